"""The random numbers of an epoch, and everything that follows from them but the pixels: matrices and targets.

All of it is numpy on small arrays, computed once before the epoch. What is random about a sample depends on the
seed, the epoch and the sample's index alone, so neither the number of workers nor a restart changes it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from pose_regression.data.sample import Sample
from pose_regression.errors import PoseError
from pose_regression.geometry import crop_affine, transform_points
from pose_regression.skeleton import Skeleton


@dataclass(frozen=True)
class Augmentation:
    """Ranges from which each sample's augmentation is drawn uniformly; the defaults are the paper's."""

    rotation: float = 40.0
    """Largest rotation in degrees, to either side."""
    zoom: tuple[float, float] = (0.7, 1.3)
    """Factors on the side of the window: 0.7 shows the person larger, as in the authors' code."""
    translation: float = 0.0
    """Largest shift of the window along each axis, as a fraction of its side."""
    flip: float = 0.5
    """Probability of a mirrored image, left and right joints exchanged."""
    gamma: tuple[float, float] = (0.9, 1.1)
    """Exponents of the colour channels, each drawn on its own and applied to values in [0, 1]."""
    discrete: bool = False
    """Draw from the authors' steps within these ranges: 5 degrees, 0.3 in zoom, 0.02 in gamma."""


# Section 4.1 of the paper, with the flip and the gamma that only the code has.
PAPER = Augmentation()
# deephar/config.py.
AUTHORS = Augmentation(discrete=True)
NONE = Augmentation(rotation=0.0, zoom=(1.0, 1.0), flip=0.0, gamma=(1.0, 1.0))


@dataclass(frozen=True, eq=False)
class Plan:
    """One pass over N samples of J joints, in the order of training. Every field is an array with N rows."""

    index: np.ndarray
    """(N,) int64 position in the list of samples."""
    image: np.ndarray
    """(N,) path of the image file."""
    affine: np.ndarray
    """(N, 3, 3) float32, image pixels -> crop-normalised."""
    pose: np.ndarray
    """(N, J, 3) float32 [x, y, weight], crop-normalised; zeros where the joint is absent."""
    probability: np.ndarray
    """(N, J, 2) float32 [target, weight]."""
    gamma: np.ndarray
    """(N, 3) float32 exponents of red, green, blue."""

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, rows: slice | np.ndarray) -> "Plan":
        """The plan of some of the rows."""
        return Plan(*(getattr(self, field.name)[rows] for field in fields(self)))


def plan_epoch(
    samples: Sequence[Sample],
    skeleton: Skeleton,
    *,
    seed: int,
    epoch: int,
    augmentation: Augmentation = PAPER,
    shuffle: bool = True,
) -> Plan:
    """Draw an epoch: its order, and each sample's window, mirror image, colours and targets.

    A joint that is annotated strictly inside the crop is present and has the probability target 1. One annotated
    outside the crop, or not annotated at all, is absent with target 0. One that the data set never annotates
    (`Sample.supervised`) is absent and its probability has weight 0. Weights are those of the sample, 1 unless it says
    otherwise.

    Args:
        samples: N samples whose joints are in the order of `skeleton`.
        skeleton: gives the joints that trade places in a mirrored image.
        seed, epoch: non-negative integers; together with a sample's index they decide all that is random about it.
        augmentation: `PAPER`, `AUTHORS`, `NONE` or one's own ranges.
        shuffle: False keeps the order of `samples`.

    Raises:
        PoseError: no samples, or samples with another number of joints.

    Source: `get_data` of deephar/data/mpii.py, `remove_outer_joints=True`.
    """
    annotated = _joints(samples, skeleton)
    center = np.stack([sample.center for sample in samples])
    side = np.array([sample.side for sample in samples])

    # Row i belongs to sample i, whatever the order; the order has a stream of its own.
    uniform = np.random.default_rng([seed, epoch]).random((len(samples), 8))
    steps = (5.0, 0.3, 0.02) if augmentation.discrete else (0.0, 0.0, 0.0)
    rotation = _spread(uniform[:, 0], -augmentation.rotation, augmentation.rotation, steps[0])
    zoom = _spread(uniform[:, 1], *augmentation.zoom, steps[1])
    flip = uniform[:, 2] < augmentation.flip
    gamma = _spread(uniform[:, 3:6], *augmentation.gamma, steps[2])
    shift = _spread(uniform[:, 6:8], -augmentation.translation, augmentation.translation, 0.0)

    side = side * zoom
    turn = np.stack([sample.turn for sample in samples])
    affine = crop_affine(center + shift * side[:, None], side, rotation=rotation, flip=flip, turn=turn)
    pose, probability = _targets(*annotated, affine, flip, skeleton)
    plan = Plan(
        index=np.arange(len(samples)),
        image=np.array([str(sample.image) for sample in samples]),
        affine=affine.astype(np.float32),
        pose=pose.astype(np.float32),
        probability=probability.astype(np.float32),
        gamma=gamma.astype(np.float32),
    )
    return plan[np.random.default_rng([seed, epoch, 1]).permutation(len(samples))] if shuffle else plan


def _targets(
    joints: np.ndarray, supervised: np.ndarray, weight: np.ndarray, affine: np.ndarray, flip: np.ndarray,
    skeleton: Skeleton,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """`Plan.pose` and `Plan.probability` of what `_joints` gives, in crops that are mirrored where `flip` (N,)."""
    points, mirror = transform_points(affine, joints), np.array(skeleton.flip)
    points = np.where(flip[:, None, None], points[:, mirror], points)
    supervised = np.where(flip[:, None], supervised[:, mirror], supervised)
    weight = np.where(flip[:, None], weight[:, mirror], weight)
    present = supervised & ((points > 0) & (points < 1)).all(axis=-1)
    pose = np.concatenate([np.where(present[..., None], points, 0.0), (present * weight)[..., None]], axis=-1)
    return pose, np.stack([present, supervised * weight], axis=-1)


def _joints(samples: Sequence[Sample], skeleton: Skeleton) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(N, J, 2) joints, (N, J) supervised and (N, J) weights of all samples."""
    if not samples:
        raise PoseError("There are no samples to train on.")
    for sample in samples:
        if sample.joints.shape != (len(skeleton), 2):
            raise PoseError(
                f"{sample.image}: expected joints of shape {(len(skeleton), 2)}. Received: {sample.joints.shape}"
            )
    one = np.ones(len(skeleton))
    return (
        np.stack([sample.joints for sample in samples]),
        np.stack([sample.supervised for sample in samples]),
        np.stack([one if sample.weight is None else sample.weight for sample in samples]),
    )


def _spread(uniform: np.ndarray, low: float, high: float, step: float) -> np.ndarray:
    """Uniform numbers from [0, 1) spread over [low, high], in multiples of `step` from `low` unless that is 0."""
    if step == 0:
        return low + (high - low) * uniform
    count = round((high - low) / step) + 1
    return low + step * np.floor(uniform * count)
