"""The one way from a person to pixels and back: windows -> crops -> the network's answers -> pixels of the image.

Evaluation, validation in training and `PosePredictor` all go this way: single crop, mirrored crop, several zooms,
windows refined by the answer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import keras
import numpy as np
import tensorflow as tf

from pose_regression.data.crop import to_uint8
from pose_regression.data.images import check_images
from pose_regression.data.pipeline import evaluation_dataset
from pose_regression.data.sample import Sample
from pose_regression.data.windows import Windows, windows_of_samples
from pose_regression.errors import PoseError
from pose_regression.geometry import invert, transform_points, window_of_box
from pose_regression.skeleton import PA16J, Skeleton

ZOOM_RANGE = 1.25
"""Several crops spread evenly (in ratio) between this factor and its inverse on the window's side."""


@dataclass(frozen=True, eq=False)
class Estimate:
    """Predicted joints of N people, in the order of the skeleton that the network was trained with."""

    pixels: np.ndarray
    """(N, J, 2), or (N, K, J, 2) of every block; pixels of the original image."""
    probability: np.ndarray
    """(N, J), or (N, K, J), in [0, 1], that the joint is inside the crop."""
    confidence: np.ndarray | None = None
    """(N, J) in [0, 1], that the last block's answer is right, where the network says it."""

    @property
    def last(self) -> "Estimate":
        """Of an estimate of every block, the answer: the last block's."""
        return Estimate(self.pixels[:, -1], self.probability[:, -1], self.confidence)


def views(crops: int, *, flip: bool) -> list[tuple[float, bool]]:
    """What is averaged for one person: zoom of the window, and whether its crop is mirrored; a zoom's views together.

    The zooms spread evenly (in ratio) from 1/1.25 to 1.25; of one crop it is 1.
    """
    zooms = np.geomspace(1 / ZOOM_RANGE, ZOOM_RANGE, crops) if crops > 1 else np.ones(1)
    return [(float(zoom), mirrored) for zoom in zooms for mirrored in ((False, True) if flip else (False,))]


def answers_in_pixels(
    output: Mapping[str, np.ndarray], affine: np.ndarray, *, mirrored: np.ndarray | bool, skeleton: Skeleton
) -> Estimate:
    """The network's answers to N crops in pixels of their images, of every block.

    Args:
        output: `pose` (N, J, 2) or (N, K, J, 2), `probability` (N, J, 1) or (N, K, J, 1); `confidence` (N, J, 1) or
            none.
        affine: (N, 3, 3), image pixels -> crop.
        mirrored: (N,) or one bool for all: whose left and right joints are exchanged back.
        skeleton: the joints.

    Returns:
        Pixels (N, K, J, 2) float64 and probability (N, K, J); K = 1 where the network gives the last block alone.
    """
    pose, probability = np.asarray(output["pose"]), np.asarray(output["probability"])[..., 0]
    confidence = np.asarray(output["confidence"])[..., 0] if "confidence" in output else None
    if pose.ndim == 3:
        pose, probability = pose[:, None], probability[:, None]
    if np.any(mirrored):  # else the joints need not be those of `skeleton`
        exchanged = np.broadcast_to(mirrored, len(pose))[:, None, None]
        flip = list(skeleton.flip)
        pose = np.where(exchanged[..., None], pose[:, :, flip], pose)
        probability = np.where(exchanged, probability[:, :, flip], probability)
        if confidence is not None:
            confidence = np.where(exchanged[..., 0], confidence[:, flip], confidence)
    return Estimate(transform_points(invert(affine)[:, None], pose.astype(np.float64)), probability, confidence)


def average(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of the same people's estimates, in float32."""

    def mean(arrays: Sequence[np.ndarray]) -> np.ndarray:
        return (np.mean(arrays, axis=0) if len(arrays) > 1 else arrays[0]).astype(np.float32)

    sure = [estimate.confidence for estimate in estimates if estimate.confidence is not None]
    return Estimate(
        mean([estimate.pixels for estimate in estimates]),
        mean([estimate.probability for estimate in estimates]),
        mean(sure) if sure else None,
    )


def crops_of(samples: Sequence[Sample], *, size: int) -> np.ndarray:
    """(N, size, size, 3) uint8: what the network sees of each person; `PoseError` for an image that cannot be read."""
    dataset = evaluation_dataset(
        [sample.image for sample in samples], windows_of_samples(samples).affine(), size=size, batch_size=32
    )
    try:
        return np.concatenate([to_uint8(batch) for batch in dataset.as_numpy_iterator()])
    except tf.errors.OpError:
        check_images(samples)  # says which
        raise


def predict(model: keras.Model, samples: Sequence[Sample], *, skeleton: Skeleton = PA16J) -> Estimate:
    """The last block's answer for every sample, single crop; see `predict_blocks`."""
    return predict_blocks(model, samples, skeleton=skeleton).last


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
    """Predict every sample; the answers of a sample's crops are averaged in image pixels.

    Args:
        model: a `PoseRegressor`, any `outputs`.
        samples: N people.
        batch_size: crops at a time.
        flip: also predict the mirrored crop, its left and right joints exchanged back.
        crops: number of windows per person, of sides between 1/1.25 and 1.25 of the sample's.
        refine: times to re-centre the window on the prediction and predict again, see `refined`.
        skeleton: the joints that the model predicts.
        callbacks: of `keras.Model.predict`.

    Returns:
        Of every block: `pixels` (N, K, J, 2), `probability` (N, K, J); K = 1 where the model gives the last alone.

    Raises:
        PoseError: an image that cannot be read, or an argument out of range.
    """
    if crops < 1 or refine < 0:
        raise PoseError(f"Expected crops of at least 1, refine of at least 0. Received: crops={crops}, refine={refine}")
    if not samples:
        raise PoseError("There is no person to predict: samples is empty.")
    height, width = model.input_shape[1:3]
    if height != width:
        raise PoseError(f"People are cropped to squares; the model takes images of {height}x{width}.")
    images = [sample.image for sample in samples]

    def answer(windows: Windows) -> Estimate:
        found = []
        for zoom, mirrored in views(crops, flip=flip):
            affine = windows.affine(zoom=zoom, flip=mirrored)
            batches = evaluation_dataset(images, affine, size=width, batch_size=batch_size)
            try:
                output = model.predict(batches, verbose=0, callbacks=list(callbacks))
            except tf.errors.OpError:
                check_images(samples)  # says which
                raise
            found.append(answers_in_pixels(output, affine, mirrored=mirrored, skeleton=skeleton))
        return average(found)

    windows = windows_of_samples(samples)
    estimate = answer(windows)
    for _ in range(refine):
        windows = refined(windows, estimate.pixels[:, -1])
        estimate = answer(windows)
    return estimate


def refined(windows: Windows, pixels: np.ndarray) -> Windows:
    """The windows moved a fifth of the way to the boxes of their predicted poses, 1.5 times as wide as those.

    Args:
        windows: of N people.
        pixels: (N, J, 2) predicted joints in image pixels.

    Source: `refine_pred` of deephar's `mpii_tools.py`, which the authors wrote but never called.
    """
    center, side = window_of_box(np.concatenate([pixels.min(axis=1), pixels.max(axis=1)], axis=1), margin=1.5)
    return replace(windows, center=0.8 * windows.center + 0.2 * center, side=np.maximum(side, 1.0))
