"""Rendered people as the network takes them."""

import numpy as np

from pose_regression.data.crop import crop_pixels, normalize
from pose_regression.data.synthetic.picture import render
from pose_regression.geometry import crop_affine


def rendered_crops(count: int, size: int) -> np.ndarray:
    """(count, size, size, 3) float32 in [-1, 1]: people of the synthetic data set, whole pictures, to compare on."""
    crops = []
    for seed in range(count):
        pixels, _ = render(seed)
        height, width, _ = pixels.shape
        affine = crop_affine(np.array([width, height]) / 2, max(width, height)).astype(np.float32)
        crops.append(normalize(crop_pixels(pixels, affine, size)).numpy())
    return np.stack(crops)
