"""From annotated people to joints in image pixels: single crop, mirrored crop, several crops, refined boxes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import keras
import numpy as np

from pose_regression.data.pipeline import evaluation_dataset
from pose_regression.data.sample import Sample
from pose_regression.errors import PoseError
from pose_regression.geometry import crop_affine, invert, transform_points
from pose_regression.skeleton import PA16J, Skeleton

ZOOM_RANGE = 1.25
"""Several crops spread evenly (in ratio) between this factor and its inverse on the window's side."""


@dataclass(frozen=True, eq=False)
class Windows:
    """The squares of N images that the network looks at."""

    center: np.ndarray
    """(N, 2) float64, image pixels."""
    side: np.ndarray
    """(N,) float64, image pixels."""

    def affine(self, *, zoom: float = 1.0, flip: bool = False) -> np.ndarray:
        """(N, 3, 3) float64, image pixels -> crop, of windows `zoom` times as wide, mirrored if `flip`."""
        return crop_affine(self.center, self.side * zoom, flip=flip)


def windows_of_samples(samples: Sequence[Sample]) -> Windows:
    """The samples' own windows."""
    return Windows(np.stack([sample.center for sample in samples]), np.array([sample.side for sample in samples]))


@dataclass(frozen=True)
class Estimate:
    """Predicted joints of N people, in the order of the skeleton that the network was trained with."""

    pixels: np.ndarray
    """(N, J, 2) float32, pixels of the original image."""
    probability: np.ndarray
    """(N, J) float32 in [0, 1], that the joint is inside the crop."""


def predict(
    model: keras.Model,
    samples: Sequence[Sample],
    *,
    batch_size: int = 32,
    flip: bool = False,
    crops: int = 1,
    refine: int = 0,
    skeleton: Skeleton = PA16J,
) -> Estimate:
    """Predict every sample; the answers of a sample's crops are averaged in image pixels.

    Args:
        model: a `PoseRegressor`, any `outputs`; of several blocks the last one counts.
        samples: N people.
        batch_size: crops at a time.
        flip: also predict the mirrored crop, its left and right joints exchanged back.
        crops: number of windows per person, of sides between 1/1.25 and 1.25 of the sample's.
        refine: times to re-centre the window on the prediction and predict again, see `refined`.
        skeleton: the joints that the model predicts.

    Raises:
        PoseError: an image that cannot be read, or an argument out of range.
    """
    blocks = predict_blocks(
        model, samples, batch_size=batch_size, flip=flip, crops=crops, refine=refine, skeleton=skeleton
    )
    return Estimate(blocks.pixels[:, -1], blocks.probability[:, -1])


def predict_blocks(
    model: keras.Model,
    samples: Sequence[Sample],
    *,
    batch_size: int = 32,
    flip: bool = False,
    crops: int = 1,
    refine: int = 0,
    skeleton: Skeleton = PA16J,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> Estimate:
    """As `predict`, of every block: `pixels` (N, K, J, 2), `probability` (N, K, J)."""
    if crops < 1 or refine < 0:
        raise PoseError(f"Expected crops of at least 1, refine of at least 0. Received: crops={crops}, refine={refine}")
    if not samples:
        raise PoseError("There is no person to predict: samples is empty.")
    height, width = model.input_shape[1:3]
    if height != width:
        raise PoseError(f"People are cropped to squares; the model takes images of {height}x{width}.")
    estimate = _predict_windows(model, samples, batch_size, flip, crops, skeleton, callbacks)
    for _ in range(refine):
        last = estimate.pixels[:, -1]
        samples = [refined(sample, pixels) for sample, pixels in zip(samples, last, strict=True)]
        estimate = _predict_windows(model, samples, batch_size, flip, crops, skeleton, callbacks)
    return estimate


def _predict_windows(model, samples, batch_size, flip, crops, skeleton, callbacks) -> Estimate:
    """Every block's answers in the samples' own windows, over zooms and mirror images."""
    windows = windows_of_samples(samples)
    images, size = [sample.image for sample in samples], model.input_shape[2]
    views = [(zoom, mirrored) for zoom in window_zooms(crops) for mirrored in ((False, True) if flip else (False,))]
    pixels, probability = [], []
    for zoom, mirrored in views:
        affine = windows.affine(zoom=zoom, flip=mirrored)
        batches = evaluation_dataset(images, affine, size=size, batch_size=batch_size)
        output = model.predict(batches, verbose=0, callbacks=list(callbacks))
        pose, visible = output["pose"], output["probability"][..., 0]
        if pose.ndim == 3:
            pose, visible = pose[:, None], visible[:, None]
        if mirrored:
            pose, visible = pose[:, :, list(skeleton.flip)], visible[:, :, list(skeleton.flip)]
        pixels.append(transform_points(invert(affine)[:, None], pose.astype(np.float64)))
        probability.append(visible)
    return Estimate(np.mean(pixels, axis=0).astype(np.float32), np.mean(probability, axis=0).astype(np.float32))


def window_zooms(crops: int) -> np.ndarray:
    """(crops,) factors on the window's side, the same for evaluation and `PosePredictor`; 1 alone for one crop."""
    return np.geomspace(1 / ZOOM_RANGE, ZOOM_RANGE, crops) if crops > 1 else np.ones(1)


def refined(sample: Sample, pixels: np.ndarray, *, window: float = 1.5, momentum: float = 0.8) -> Sample:
    """The sample with its window moved towards the box of its predicted pose.

    Args:
        sample: the person.
        pixels: (J, 2) predicted joints in image pixels.
        window: side of the new window in longer sides of the pose's box.
        momentum: part of the old centre that is kept.

    Source: `refine_pred` of deephar's `mpii_tools.py`, which the authors wrote but never called.
    """
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    center = momentum * sample.center + (1 - momentum) * (low + high) / 2
    return replace(sample, center=center, side=max(window * float((high - low).max()), 1.0))
