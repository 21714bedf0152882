"""Whom an experiment trains on, validates on, and how it scores them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pose_regression.data import coco, lsp, soft_labels, synthetic
from pose_regression.data.images import without_broken
from pose_regression.data.sample import Sample
from pose_regression.errors import PoseError
from pose_regression.evaluation import benchmarks
from pose_regression.evaluation.metrics import joint_rates, pck_curve
from pose_regression.geometry import BOX_MARGIN
from pose_regression.skeleton import PA16J, Skeleton
from pose_regression.training.experiment import Coco, Data, Lsp, Mpii
from pose_regression.wording import quantity

THRESHOLD = 0.1
"""Of PCK on one's own joints, in longer sides of the box; upright adults' PCKh@0.5 and PCK@0.2 come to about 0.07."""

Score = Callable[[Sequence[Sample], np.ndarray], dict[str, float]]
"""Samples and (N, J, 2) pixels -> scores by name, per cent."""


@dataclass(frozen=True)
class People:
    """Samples, and the metric that decides."""

    training: list[Sample]
    validation: list[Sample]
    score: Score
    total: str
    """the entry of `score` that decides"""
    title: str
    """of the metric"""
    skeleton: Skeleton = PA16J
    lonely: tuple[str, ...] = ()
    """joints whose names show a side and have no partner: no picture is mirrored"""
    notes: tuple[str, ...] = ()
    """what was read from one's own files, a line each, for the user to check"""


def load_people(data: Data) -> People:
    """Read what `data` names.

    Raises:
        PoseError: files that are absent or damaged, or a split that leaves nothing.
    """
    if isinstance(data, Mpii):
        return _mpii(data)
    return _lsp(data) if isinstance(data, Lsp) else _coco(data)


def _mpii(data: Mpii) -> People:
    rules = benchmarks.MPII
    if str(data.folder) == "synthetic":
        rules = benchmarks.SYNTHETIC
        synthetic.ensure(synthetic.folder_of(data.folder), train=data.pictures)
    elif data.pictures != Mpii.pictures:
        raise PoseError(f"--pictures says how many to render, with --data synthetic. Received: --data {data.folder}")
    training, validation = rules.load(data.folder, "train"), rules.load(data.folder, "val")
    images = Path(validation[0].image).parent
    if not images.is_dir():
        raise PoseError(
            f"{images} does not exist: download mpii_human_pose_v1.tar.gz (12.9 GB) from "
            f"human-pose.mpi-inf.mpg.de and unpack it into {data.folder}; or train with --data synthetic."
        )
    return People(training, validation, rules.score, rules.total, rules.metric)


def _lsp(data: Lsp) -> People:
    people = lsp.load(data.folder, "train", crop="image")
    if not 0 < data.holdout < len(people):
        raise PoseError(f"--holdout must lie between 1 and {len(people) - 1}. Received: {data.holdout}")
    if data.limit is not None and (data.limit < 1 or not data.extra):
        raise PoseError(f"--limit must be positive and goes with --extra. Received: {data.limit}")
    if data.repeat < 1:
        raise PoseError(f"--repeat must be at least 1. Received: {data.repeat}")
    extended = lsp.load_extended(data.extra)[: data.limit] if data.extra else []
    own, validation = people[: -data.holdout], people[-data.holdout :]
    training = own + extended
    if data.soft_labels:
        pictures = [sample.image for sample in training]
        training += soft_labels.read(data.soft_labels, pictures, skeleton=PA16J, weight=data.soft_weight)
    training += (data.repeat - 1) * own
    rules = benchmarks.LSP
    return People(training, validation, rules.score, rules.total, rules.metric)


def _coco(data: Coco) -> People:
    annotated = coco.load(data.annotations, data.images, category=data.category, labels=data.labels)
    skeleton = annotated.skeleton
    notes = [f"{quantity(len(skeleton), 'joint')}: {_described(skeleton, annotated.written)}"]
    notes += _skipped(data.annotations, annotated)
    if data.validation:
        folder = data.validation_images or data.images
        other = coco.load(data.validation, folder, category=data.category, labels=data.labels)
        notes += _skipped(data.validation, other)
        if other.skeleton.names != skeleton.names:
            raise PoseError(
                f"{data.validation} has other joints than {data.annotations}: {', '.join(other.skeleton.names)}."
            )
        training, validation = list(annotated.samples), other.samples
    else:
        training, validation = hold_out(annotated.samples, data.holdout)
    validation = without_broken(validation)

    def score(samples: Sequence[Sample], pixels: np.ndarray) -> dict[str, float]:
        return score_pck(samples, pixels, skeleton)

    title = f"PCK@{THRESHOLD} of the box"
    return People(training, validation, score, "PCK", title, skeleton, annotated.lonely, tuple(notes))


def hold_out(samples: Sequence[Sample], fraction: float) -> tuple[list[Sample], list[Sample]]:
    """Training and validation: the people in the last `fraction` of the pictures, at least one, are the latter.

    The last and not any: neighbours in a file are often frames of one film.

    Raises:
        PoseError: `fraction` is not between 0 and 1, or there is but one picture.
    """
    pictures = list(dict.fromkeys(sample.image for sample in samples))
    if not 0 < fraction < 1:
        raise PoseError(f"--holdout must lie between 0 and 1. Received: {fraction}")
    if len(pictures) < 2:
        raise PoseError(f"{pictures[0]} is the only picture with people; expected one more to validate on.")
    held = set(pictures[-max(1, round(fraction * len(pictures))) :]) - {pictures[0]}
    return [s for s in samples if s.image not in held], [s for s in samples if s.image in held]


def score_pck(samples: Sequence[Sample], pixels: np.ndarray, skeleton: Skeleton) -> dict[str, float]:
    """PCK by joint and pooled ("PCK"), per cent; NaN for a joint that is never labelled.

    Args:
        samples: N people.
        pixels: (N, J, 2) predictions in image pixels; NaN is a miss.
        skeleton: the J joints.
    """
    length = np.array([sample.side for sample in samples]) / BOX_MARGIN
    present = np.stack([sample.present for sample in samples])
    distances = np.linalg.norm(pixels - np.stack([sample.joints for sample in samples]), axis=-1) / length[:, None]
    distances = np.where(present, np.nan_to_num(distances, nan=np.inf), np.nan)
    # A joint may have any name, and these become columns of the history beside "loss" and "score".
    rates = {f"PCK {name}": rate for name, rate in joint_rates(distances, skeleton, THRESHOLD).items()}
    return rates | {"PCK": float(pck_curve(distances, np.array([THRESHOLD]))[0])}


def _described(skeleton: Skeleton, written: Sequence[str]) -> str:
    """Pairs and other joints, as the file writes them, and what they are called here where that is another name."""
    pairs = [f"{written[i]} <-> {written[j]}" + _renamed(skeleton.names[i], skeleton.names[j], written[i], written[j])
             for i, j in enumerate(skeleton.flip) if i < j]  # fmt: skip
    return ", ".join(pairs + [written[i] for i, j in enumerate(skeleton.flip) if i == j])


def _renamed(a: str, b: str, first: str, second: str) -> str:
    return "" if (a, b) == (first, second) else f" (called {a}, {b})"


def _skipped(path: Path, annotated: coco.Annotated) -> list[str]:
    reasons = coco.left_out({reason: count for reason, count in annotated.skipped.items() if count})
    return [f"{path}: {note}" for note in (reasons and f"skipped {reasons}.", annotated.turned) if note]
