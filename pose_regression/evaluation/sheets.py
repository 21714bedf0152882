"""Contact sheets of people as the network sees them, predicted poses over annotated ones."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pose_regression.data.sample import Sample
from pose_regression.data.windows import windows_of_samples
from pose_regression.errors import PoseError
from pose_regression.evaluation.windows import crops_of
from pose_regression.geometry import to_crop_pixels, transform_points
from pose_regression.skeleton import PA16J, Skeleton, reorder
from pose_regression.visualize import contact_sheet, draw_pose, save_image

SHOWN, TILE = 48, 256
"""People on a contact sheet, and the side of each in pixels."""


def mean_errors(distances: np.ndarray) -> np.ndarray:
    """(N,) mean of each person's (N, J) distances, NaN for a person without any; a miss counts as 10 units."""
    known = ~np.isnan(distances)
    total = np.where(known, np.minimum(distances, 10.0), 0.0).sum(axis=1)
    with np.errstate(invalid="ignore"):
        return total / known.sum(axis=1)


def choose(errors: np.ndarray, *, worst: bool, count: int = SHOWN) -> np.ndarray:
    """Indices of `count` people sorted by (N,) errors: the worst first, or spread evenly from best to worst."""
    order = np.argsort(errors, kind="stable")  # NaN, a person without annotation, comes last.
    if worst:
        return order[np.isfinite(errors[order])][::-1][:count]
    return order[spread(len(order), count)]


def spread(total: int, count: int = SHOWN) -> np.ndarray:
    """Up to `count` indices spread evenly over 0 to `total` - 1, the first and the last among them."""
    return np.linspace(0, total - 1, min(count, total)).round().astype(int)


def save_predictions(
    path: str | Path, samples: Sequence[Sample], pixels: np.ndarray, joints: Skeleton, *, annotated: Skeleton = PA16J
) -> None:
    """Write a sheet of the first people of a run's validation, with the arguments of `draw_people`."""
    save_image(path, draw_people(samples[:24], pixels[:24], joints, columns=6, annotated=annotated))


def draw_people(
    samples: Sequence[Sample],
    pixels: np.ndarray,
    joints: Skeleton,
    captions: Sequence[str] | None = None,
    *,
    columns: int = 8,
    annotated: Skeleton = PA16J,
) -> np.ndarray:
    """Contact sheet of the crops that the network sees: prediction in colour over the annotation in white.

    Args:
        samples: N people, joints in the order of `annotated`.
        pixels: (N, J, 2) predictions in image pixels, in the order of `joints`.
        joints: what to draw.
        captions: N, or none.
        columns: people in a row.
        annotated: the samples' joints.

    Returns:
        uint8 RGB.
    """
    if not len(samples):
        raise PoseError("There is nobody to draw.")
    affine = windows_of_samples(samples).affine()
    to_tile = to_crop_pixels(affine, TILE)
    predicted = transform_points(to_tile, pixels)
    truth = transform_points(to_tile, reorder(np.stack([s.joints for s in samples]), annotated, joints))
    pictures = [
        draw_pose(crop, pose, joints, truth=true)
        for crop, pose, true in zip(crops_of(samples, size=TILE), predicted, truth, strict=True)
    ]
    return contact_sheet(pictures, captions=captions, columns=columns)
