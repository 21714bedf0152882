"""Labels that agree: of a careless label, a stronger network's pose and one's own network's, what two of them say."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pose_regression.data.sample import Sample

NEAR = 0.08
"""Sides of a person's window within which two sources agree; 0.2 torso lengths of an upright adult are about 0.06."""

SAME_PERSON = 0.15
"""Sides of the window by which another's pose may differ in the median joint, to be of the same person."""

CERTAIN = 1.2
"""Sum of weights from which joints that two sources agree on count in full."""

ALONE = 0.4
"""What a source's weight is multiplied by where no other agrees."""


def consensus(
    people: Sequence[Sample], others: Sequence[Sample], pixels: np.ndarray, confidence: np.ndarray
) -> list[Sample]:
    """People with the joints on which most weight agrees, in the place of their labels.

    Each joint has up to three sources: its label, of weight 1; the pose of another network, of the weight given; one's
    own network's, of the weight of its confidence. Around each source the weights within `NEAR` are summed; where the
    sum is largest, the joint becomes the weighted mean of those sources. Its weight is the sum, as a part of `CERTAIN`
    and at most 1, or, of a source alone, `ALONE` times the sum.

    Args:
        people: N samples of J joints.
        others: another network's poses (`soft_labels.read`), of any people in the same images.
        pixels: (N, J, 2) one's own network's poses of `people`, in image pixels.
        confidence: (N, J) in [0, 1].

    Returns:
        The samples in the same order, with other joints and weights.
    """
    labels = np.stack([person.joints for person in people])
    side = np.array([person.side for person in people])
    supervised = np.stack([person.supervised for person in people])
    poses, weights = _of_same_people(people, others, pixels, side)
    found = np.stack([labels, poses, pixels])
    certainty = np.stack([np.isfinite(labels).all(-1) * 1.0, weights, np.clip(confidence, 0, 1)])

    found = np.nan_to_num(found)
    near = np.linalg.norm(found[:, None] - found[None], axis=-1) < NEAR * side[:, None]
    support = (near * certainty).sum(1) * (certainty > 0)
    chosen = np.take_along_axis(near, support.argmax(0)[None, None], 0)[0] * certainty
    total = chosen.sum(0)
    agreed = (chosen > 0).sum(0) > 1
    joints = (chosen[..., None] * found).sum(0) / np.maximum(total, 1e-9)[..., None]
    known = (total > 0) & supervised
    weight = known * np.clip(np.where(agreed, total / CERTAIN, ALONE * total), 0, 1)
    joints = np.where(known[..., None], joints, np.nan)
    return [replace(s, joints=j, weight=w) for s, j, w in zip(people, joints, weight, strict=True)]


def _of_same_people(
    people: Sequence[Sample], others: Sequence[Sample], pixels: np.ndarray, side: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(N, J, 2) joints, 0 where there are none, and (N, J) weights of the other network's pose of each person."""
    rows = {person.image: row for row, person in enumerate(people)}
    poses, weights = np.zeros(pixels.shape), np.zeros(pixels.shape[:2])
    for other in others:
        row = rows.get(other.image)
        if row is None or other.weight is None:
            continue
        apart = np.nanmedian(np.linalg.norm(other.joints - pixels[row], axis=-1)) / side[row]
        if apart < SAME_PERSON and other.weight.sum() > weights[row].sum():
            known = other.present
            poses[row], weights[row] = np.where(known[:, None], other.joints, 0.0), other.weight * known
    return poses, weights
