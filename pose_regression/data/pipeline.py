"""From a plan to batches: tf.data reads, crops and colours; nothing here is random."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from pose_regression.data.augment import Plan
from pose_regression.data.crop import crop, normalize
from pose_regression.errors import PoseError


def training_dataset(
    plan: Plan, *, size: int, batch_size: int, first_batch: int = 0, workers: int = tf.data.AUTOTUNE
) -> tf.data.Dataset:
    """The batches of one planned epoch, in the plan's order whatever the number of workers.

    Args:
        plan: N samples of J joints (`plan_epoch`).
        size: side of the crops in pixels.
        batch_size: B; the last N % B samples of the plan are left out.
        first_batch: batches to skip: the same batches follow as if they had been consumed.
        workers: images decoded at the same time.

    Returns:
        Batches (image, targets): image (B, size, size, 3) float32 in [-1, 1], targets
        {"pose": (B, J, 3) [x, y, present], "probability": (B, J, 2) [target, weight]} float32.

    Raises:
        PoseError: a window that is not finite.
    """
    _check_windows(plan.image, plan.affine)

    def load(path: tf.Tensor, affine: tf.Tensor, gamma: tf.Tensor, pose: tf.Tensor, probability: tf.Tensor):
        pixels = crop(tf.io.read_file(path), affine, size) / 255
        # x ** gamma, three times as fast as tf.pow; log(0) = -inf gives 0 again.
        pixels = tf.exp(tf.math.log(pixels) * gamma) * 255
        return normalize(pixels), {"pose": pose, "probability": probability}

    rest = plan[first_batch * batch_size :]
    dataset = tf.data.Dataset.from_tensor_slices((rest.image, rest.affine, rest.gamma, rest.pose, rest.probability))
    dataset = dataset.map(load, num_parallel_calls=workers, deterministic=True)
    return dataset.batch(batch_size, drop_remainder=True).prefetch(2).with_options(_options())


def evaluation_dataset(
    paths: Sequence[str | Path], affines: np.ndarray, *, size: int, batch_size: int
) -> tf.data.Dataset:
    """Batches of crops in the given order, nothing skipped; the last batch may be smaller.

    Nothing checks the images: whoever starts a run does so once (`images.check_images`).

    Args:
        paths: N image files, repeated where an image has several people.
        affines: (N, 3, 3), image pixels -> crop-normalised.
        size: side of the crops in pixels.
        batch_size: B.

    Returns:
        Batches of images (B, size, size, 3) float32 in [-1, 1], without targets.

    Raises:
        PoseError: a window that is not finite.
    """
    names = [str(path) for path in paths]
    _check_windows(names, affines)

    def load(path: tf.Tensor, affine: tf.Tensor) -> tf.Tensor:
        return normalize(crop(tf.io.read_file(path), affine, size))

    dataset = tf.data.Dataset.from_tensor_slices((names, np.asarray(affines, np.float32)))
    dataset = dataset.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return dataset.batch(batch_size).prefetch(2).with_options(_options())


def _check_windows(paths: Sequence[str] | np.ndarray, affines: np.ndarray) -> None:
    usable = np.isfinite(affines).all(axis=(1, 2)) & (np.linalg.det(affines) != 0)
    for path in np.asarray(paths)[~usable]:
        raise PoseError(f"{path}: the window about the person is not finite or has no area.")


def _options() -> tf.data.Options:
    options = tf.data.Options()
    options.deterministic = True
    # Images are decoded side by side; threads within one only get in each other's way.
    options.threading.max_intra_op_parallelism = 1
    return options
