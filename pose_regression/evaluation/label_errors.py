"""Labels that look wrong: those which networks that never saw them contradict, though they agree with the rest."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pose_regression.data.corrections import Correction
from pose_regression.data.sample import Sample
from pose_regression.errors import PoseError
from pose_regression.evaluation.paper import format_table
from pose_regression.evaluation.predictions import identities, load_predictions, match
from pose_regression.evaluation.sheets import draw_people, spread
from pose_regression.skeleton import LSP, PA16J, Skeleton, reorder
from pose_regression.visualize import save_image

AGREEMENT = 0.3
"""Torso lengths: a prediction this near to a label agrees with it."""

DISAGREEMENT = 0.8
"""Torso lengths: a prediction this far from a label contradicts it."""

SEPARATION = 0.5
"""Torso lengths: a swap of joints nearer to each other can neither be told nor does it matter."""

CERTAINTY = 0.5
"""The joint's probability below which its prediction says nothing."""

LIMBS = (("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle"))
"""Joints whose sides are confused together."""


def out_of_fold(samples: Sequence[Sample], paths: Sequence[Path]) -> tuple[list[Sample], np.ndarray, np.ndarray]:
    """Put the files of all folds together.

    Args:
        samples: the people of the data set.
        paths: files of named predictions, with probabilities; no person in two of them.

    Returns:
        The M people that are predicted, in the order of `samples`; their (M, 16, 2) pixels and (M, 16) probabilities
        in the order PA16J, NaN for the two joints that LSP does not have.

    Raises:
        PoseError: a file is damaged, lacks names or probabilities, predicts a person who is not among the samples, or
            whom another file predicts too.
    """
    rows = {key: i for i, key in enumerate(zip(*identities(samples), strict=True))}
    pixels = np.full((len(samples), len(LSP), 2), np.nan)
    probability = np.full((len(samples), len(LSP)), np.nan)
    origin: dict[int, Path] = {}
    for path in paths:
        predictions = load_predictions(path, LSP)
        if predictions.images is None or predictions.people is None or predictions.probability is None:
            raise PoseError(f"{path} lacks image names or probabilities; expected the .json of experiments.evaluate.")
        people = list(zip(predictions.images, predictions.people, strict=True))
        strange = next((key for key in people if key not in rows), None)
        if strange:
            raise PoseError(f"{path} predicts person {strange[1]} of {strange[0]}, who is not in this data set.")
        index = [rows[key] for key in people]
        twice = next((i for i in index if i in origin), None)
        if twice is not None:
            raise PoseError(f"{path} and {origin[twice]} both predict {Path(samples[twice].image).name}.")
        origin |= dict.fromkeys(index, path)
        predictions = match(predictions, *identities([samples[i] for i in index]))  # refuses a person named twice
        pixels[index], probability[index] = predictions.pixels, predictions.probability
    chosen = sorted(origin)
    return (
        [samples[i] for i in chosen],
        reorder(pixels[chosen], LSP, PA16J),
        reorder(probability[chosen], LSP, PA16J, axis=-1),
    )


def find(
    samples: Sequence[Sample],
    pixels: np.ndarray,
    probability: np.ndarray,
    *,
    agreement: float = AGREEMENT,
    disagreement: float = DISAGREEMENT,
    skeleton: Skeleton = PA16J,
) -> list[Correction]:
    """The labels that predictions contradict, though they agree with the rest of the person.

    A pair is swapped if its two joints lie `SEPARATION` from their predictions on average, and both within `agreement`
    once they are exchanged. Where that is clear for one pair of the arms or legs, their other pairs are swapped too if
    exchanging brings them nearer: hips are often too close to each other to tell on their own. A joint outside such
    pairs is misplaced if it lies `disagreement` from its prediction. Either counts only where the joint's probability
    is at least `CERTAINTY`, and in people half of whose annotated joints, swaps undone, lie within `agreement`.

    Args:
        samples: N people, joints in the order of `skeleton`.
        pixels: (N, J, 2) predictions in image pixels by networks not trained on these people; NaN where there is none.
        probability: (N, J) in [0, 1].
        agreement, disagreement: in torso lengths of the prediction (`torso`).
        skeleton: the joints.

    Returns:
        Sorted by sample, then by joint; a swap is listed at both its joints.

    Raises:
        PoseError: arrays that do not fit the samples, or `disagreement` not above `agreement`.
    """
    if not 0 < agreement < disagreement:
        raise PoseError(f"Expected 0 < agreement < disagreement. Received: {agreement} and {disagreement}")
    shape = (len(samples), len(skeleton))
    if pixels.shape != (*shape, 2) or probability.shape != shape:
        raise PoseError(
            f"Expected pixels {(*shape, 2)} and probability {shape}. Received: {pixels.shape} and {probability.shape}"
        )
    if not samples:
        return []
    other = np.array(skeleton.flip)
    truth = np.stack([sample.joints for sample in samples])
    unit = torso(pixels, skeleton)[:, None]
    # NaN, a joint without label or prediction, compares as False throughout.
    distance = np.linalg.norm(truth - pixels, axis=-1) / unit
    exchanged = np.linalg.norm(truth - pixels[:, other], axis=-1) / unit
    sure = probability >= CERTAINTY
    swap = _swapped(distance, exchanged, sure, agreement, skeleton)
    explained = np.where(swap, exchanged, distance)
    known = np.isfinite(explained)
    trusted = (explained <= agreement).sum(axis=1) * 2 >= np.maximum(known.sum(axis=1), 1)
    misplaced = ~swap & sure & (distance >= disagreement)
    return [
        Correction(
            Path(samples[i].image).name,
            skeleton.names[j],
            "swap" if swap[i, j] else "misplaced",
            float(distance[i, j]),
            skeleton.names[other[j]] if swap[i, j] else "{:.1f} {:.1f}".format(*pixels[i, j]),
        )
        for i, j in np.argwhere((swap | misplaced) & trusted[:, None]).tolist()
    ]


def _swapped(
    distance: np.ndarray, exchanged: np.ndarray, sure: np.ndarray, agreement: float, skeleton: Skeleton
) -> np.ndarray:
    """(N, J) bool: joints whose labels are those of the other side; see `find`.

    Args:
        distance, exchanged: (N, J) torso lengths from the prediction of the joint, and of its other side.
        sure: (N, J) bool, predictions that say something.
        agreement: torso lengths.
        skeleton: the joints.
    """
    other = np.array(skeleton.flip)
    fits = exchanged <= agreement
    fits &= fits[:, other] & sure & sure[:, other] & (other != np.arange(len(skeleton)))
    before, after = distance + distance[:, other], exchanged + exchanged[:, other]
    swap = fits & (before >= 2 * SEPARATION)
    for limb in LIMBS:
        joints = [skeleton.index(f"{side}_{part}") for side in ("right", "left") for part in limb]
        clear = swap[:, joints].any(axis=1, keepdims=True)
        swap[:, joints] |= clear & fits[:, joints] & (after < before)[:, joints]
    return swap


def torso(pixels: np.ndarray, skeleton: Skeleton = PA16J) -> np.ndarray:
    """The unit of a person's size: mean of both diagonals from shoulder to hip, at least a fifth of the pose's extent.

    Of the prediction, as the label may be the thing that is wrong; the bound is for people seen along their trunk.

    Args:
        pixels: (N, J, 2).
        skeleton: the joints.

    Returns:
        (N,) pixels; NaN where nothing is predicted.
    """

    def joint(name: str) -> np.ndarray:
        return pixels[:, skeleton.index(name)]

    first = np.linalg.norm(joint("left_shoulder") - joint("right_hip"), axis=-1)
    second = np.linalg.norm(joint("right_shoulder") - joint("left_hip"), axis=-1)
    known = np.isfinite(pixels)
    low = np.where(known, pixels, np.inf).min(axis=1)
    high = np.where(known, pixels, -np.inf).max(axis=1)
    extent = np.where(known.any(axis=(1, 2)), (high - low).max(axis=-1), np.nan)
    return np.fmax((first + second) / 2, extent / 5)


def summary(samples: Sequence[Sample], found: Sequence[Correction]) -> str:
    """How many labels of which joint and kind."""
    labels = sum(int(sample.present.sum()) for sample in samples)
    images = len({line.image for line in found})
    share = 100 * len(found) / max(labels, 1)
    count = Counter((line.kind, line.joint) for line in found)
    rows = [
        (name, {kind: float(count[kind, name]) for kind in ("swap", "misplaced")})
        for name in LSP.names
        if count["swap", name] or count["misplaced", name]
    ]
    table = ["", format_table(rows, digits=0)] if rows else []
    head = f"{len(found):,} of {labels:,} labels ({share:.1f} %) in {images:,} of {len(samples):,} images look wrong."
    return "\n".join([head, *table])


def draw(path: Path, samples: Sequence[Sample], pixels: np.ndarray, found: Sequence[Correction]) -> int:
    """Contact sheet of people found, evenly from the list: label white, prediction in colour; how many."""
    images = list(dict.fromkeys(line.image for line in found))
    if not images:
        return 0
    images = [images[i] for i in spread(len(images))]
    index = {Path(sample.image).name: i for i, sample in enumerate(samples)}
    rows = [index[image] for image in images]
    captions = []
    for image in images:
        lines = [line for line in found if line.image == image]
        short = [line.joint.replace("right_", "r.").replace("left_", "l.") for line in lines]
        captions.append(" ".join(f"{line.kind[0]}:{name}" for line, name in zip(lines, short, strict=True)))
    save_image(path, draw_people([samples[i] for i in rows], reorder(pixels[rows], PA16J, LSP), LSP, captions))
    return len(rows)
