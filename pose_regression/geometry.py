"""One affine per sample: image pixels -> crop, and back. Images and points go through the same matrix.

Three coordinate systems, all x right and y down, pixel i covering [i, i+1):
image pixels; crop-normalised, where the crop is [0, 1] x [0, 1]; crop pixels, that times the crop's size.
"""

import numpy as np

BOX_MARGIN = 1.25
"""Side of the crop in longer sides of a person's box: MPII's training crop is 1.25 heights of the person wide."""


def window_of_box(boxes: np.ndarray, *, margin: float = BOX_MARGIN) -> tuple[np.ndarray, np.ndarray]:
    """The square window about a person's box.

    Args:
        boxes: (..., 4) x0 y0 x1 y1 in image pixels.
        margin: side of the window in longer sides of the box.

    Returns:
        Centre (..., 2) and side (...) in image pixels.
    """
    low, high = boxes[..., :2], boxes[..., 2:]
    return (low + high) / 2, margin * (high - low).max(axis=-1)


def crop_affine(
    center: np.ndarray,
    side: np.ndarray | float,
    *,
    rotation: np.ndarray | float = 0.0,
    flip: np.ndarray | bool = False,
    turn: np.ndarray | None = None,
) -> np.ndarray:
    """Affine from image pixels to crop-normalised coordinates, batched over any leading axes.

    Args:
        center: (..., 2) centre of the crop in image pixels.
        side: (...) side of the square crop in image pixels.
        rotation: (...) degrees; the picture turns counter-clockwise about `center`, as seen on the screen.
        flip: (...) bool, mirror left and right after the rotation.
        turn: (..., 2, 2) where the image's axes point when it is upright, as columns: upright before the rotation. None
            is the identity.

    Returns:
        (..., 3, 3) float64 matrices acting on column vectors (x, y, 1).

    Source: `get_data` of the authors' training code, without its truncation of the box to whole pixels.
    """
    center = np.asarray(center, np.float64)
    side, angle, mirror = np.broadcast_arrays(
        np.asarray(side, np.float64), np.deg2rad(np.asarray(rotation, np.float64)), np.asarray(flip, bool)
    )
    cos, sin = np.cos(angle) / side, np.sin(angle) / side
    sign = np.where(mirror, -1.0, 1.0)
    affine = np.zeros((*np.broadcast_shapes(center.shape[:-1], side.shape), 3, 3))
    affine[..., 0, 0], affine[..., 0, 1] = sign * cos, sign * sin
    affine[..., 1, 0], affine[..., 1, 1] = -sin, cos
    if turn is not None:
        affine[..., :2, :2] = affine[..., :2, :2] @ turn
    affine[..., :2, 2] = 0.5 - (affine[..., :2, :2] @ center[..., None])[..., 0]
    affine[..., 2, 2] = 1.0
    return affine


def transform_points(affine: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Send (..., J, 2) points through (..., 3, 3) matrices; what is not finite stays so."""
    linear, offset = affine[..., :2, :2], affine[..., None, :2, 2]
    with np.errstate(invalid="ignore"):  # 0 times infinity
        return points @ np.swapaxes(linear, -1, -2) + offset


def invert(affine: np.ndarray) -> np.ndarray:
    """Inverse of (..., 3, 3) affine matrices: crop-normalised -> image pixels."""
    return np.linalg.inv(affine)


def to_crop_pixels(affine: np.ndarray, size: int) -> np.ndarray:
    """The same affine with its result in pixels of a `size` x `size` crop instead of [0, 1]."""
    return np.diag([size, size, 1.0]) @ affine
