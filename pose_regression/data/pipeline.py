"""From a plan to batches: tf.data reads, crops and colours; nothing here is random."""

import logging
import os
import struct
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf

from pose_regression.data.augment import Plan
from pose_regression.data.sample import Sample
from pose_regression.errors import PoseError

_LOG = logging.getLogger(__name__)
# Decoded, 100 million pixels take 300 MB; MPII's largest image has 2.
_MAX_PIXELS = 100_000_000
# Denominators at which libjpeg can decode to a smaller image.
_RATIOS = (1, 2, 4, 8)


def crop(encoded: tf.Tensor, affine: tf.Tensor, size: int) -> tf.Tensor:
    """Cut one square crop out of an encoded image, resampling it once (bilinear) through `affine`.

    Only the rectangle that the crop touches is decoded. Where the crop shrinks the image by r >= 2, 4 or 8 in both
    directions, every r x r pixels are averaged first, so that fine structure turns grey instead of aliasing: a JPEG
    by decoding to 1/r of its size, which libjpeg does on the frequencies, a PNG by its box mean. What is left to the
    bilinear step shrinks by less than 2 (up to 16 in all).

    Args:
        encoded: scalar string, the bytes of a JPEG or PNG; grey, CMYK, RGBA and 16 bits become 8-bit RGB.
            EXIF orientation is not applied: annotations are in pixels of the file.
        affine: (3, 3) float32, image pixels -> crop-normalised; pixel i covers [i, i+1).
        size: side of the crop in pixels.

    Returns:
        (size, size, 3) float32 in [0, 255]; black outside the image.
    """
    inverse = tf.linalg.inv(tf.cast(affine, tf.float64))
    corners = tf.constant([[0, 1, 0, 1], [0, 0, 1, 1], [1, 1, 1, 1]], tf.float64)
    corners = (inverse @ corners)[:2]
    # The area scale is exact for a rotation and a scale; both are what `crop_affine` makes.
    shrink = tf.sqrt(tf.abs(tf.linalg.det(inverse[:2, :2]))) / size
    level = tf.reduce_sum(tf.cast(shrink >= tf.constant(_RATIOS[1:], tf.float64), tf.int32))
    ratio = tf.bitwise.left_shift(1, level)
    low = tf.cast(tf.floor(tf.reduce_min(corners, axis=1)), tf.int32)
    high = tf.cast(tf.math.ceil(tf.reduce_max(corners, axis=1)), tf.int32)

    pixels, origin = _decode(encoded, low, high, level, ratio)
    # Index of a crop pixel -> its centre -> image pixels -> index in the decoded rectangle, whose pixel 0 is centred
    # at +0.5 as well.
    scale = tf.cast(ratio, tf.float64)
    linear = inverse[:2, :2] / (size * scale)
    offset = (inverse[:2, 2] - tf.cast(origin, tf.float64)) / scale - 0.5 + tf.reduce_sum(linear, axis=1) / 2
    transform = tf.concat([tf.concat([linear, offset[:, None]], axis=1), [[0, 0, 1]]], axis=0)
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(pixels, tf.float32)[None],  # it truncates in uint8
        transforms=tf.cast(tf.reshape(transform, [1, 9])[:, :8], tf.float32),
        output_shape=[size, size],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )[0]


def normalize(pixels: tf.Tensor) -> tf.Tensor:
    """[0, 255] -> the network's [-1, 1]."""
    return tf.cast(pixels, tf.float32) * (2 / 255) - 1


def _decode(
    encoded: tf.Tensor, low: tf.Tensor, high: tf.Tensor, level: tf.Tensor, ratio: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Decode what lies in `low` <= (x, y) < `high`, reduced by `ratio` = 2 ** `level`.

    Returns:
        (h, w, 3) pixels, at least one, and (2,) int32 (x, y) of their corner in image pixels. The rectangle has a
        margin, so that its edges are never interpolated against black unless they are the edges of the image.
    """

    def window(width_height: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Corner and extent of the rectangle in reduced pixels, within the image."""
        reduced = -(-width_height // ratio)
        first = tf.clip_by_value(low // ratio - 2, 0, reduced - 1)
        last = tf.clip_by_value(-(-high // ratio) + 2, first + 1, reduced)
        return first, last - first

    def jpeg() -> tuple[tf.Tensor, tf.Tensor]:
        first, extent = window(tf.io.extract_jpeg_shape(encoded)[1::-1])
        box = tf.concat([first[::-1], extent[::-1]], axis=0)
        decoders = [
            # The default method is darker by 0.75 grey levels and no faster.
            lambda r=r: tf.io.decode_and_crop_jpeg(encoded, box, channels=3, ratio=r, dct_method="INTEGER_ACCURATE")
            for r in _RATIOS
        ]
        return tf.switch_case(level, decoders), first * ratio

    def png() -> tuple[tf.Tensor, tf.Tensor]:
        pixels = tf.io.decode_png(encoded, channels=3)
        height_width = tf.shape(pixels)[:2]
        first, extent = window(height_width[::-1])
        # The last pixels of an image whose sides are no multiple of the ratio are repeated, as libjpeg does.
        rows = tf.minimum(tf.range(first[1] * ratio, (first[1] + extent[1]) * ratio), height_width[0] - 1)
        columns = tf.minimum(tf.range(first[0] * ratio, (first[0] + extent[0]) * ratio), height_width[1] - 1)
        pixels = tf.gather(tf.gather(pixels, rows), columns, axis=1)
        pixels = tf.image.resize(pixels, extent[::-1], method="area")
        return tf.cast(tf.round(pixels), tf.uint8), first * ratio

    pixels, origin = tf.cond(tf.io.is_jpeg(encoded), jpeg, png)
    return tf.ensure_shape(pixels, [None, None, 3]), origin


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
    """

    def load(path: tf.Tensor, affine: tf.Tensor, gamma: tf.Tensor, pose: tf.Tensor, probability: tf.Tensor):
        pixels = crop(tf.io.read_file(path), affine, size) / 255
        # x ** gamma, three times as fast as tf.pow; log(0) = -inf gives 0 again.
        pixels = tf.exp(tf.math.log(pixels) * gamma) * 255
        return normalize(pixels), {"pose": pose, "probability": probability}

    rest = Plan(*(values[first_batch * batch_size :] for values in plan))
    dataset = tf.data.Dataset.from_tensor_slices((rest.image, rest.affine, rest.gamma, rest.pose, rest.probability))
    dataset = dataset.map(load, num_parallel_calls=workers, deterministic=True)
    return dataset.batch(batch_size, drop_remainder=True).prefetch(2).with_options(_options())


def evaluation_dataset(
    paths: Sequence[str | Path], affines: np.ndarray, *, size: int, batch_size: int
) -> tf.data.Dataset:
    """Batches of crops in the given order, nothing skipped; the last batch may be smaller.

    Every image is checked first (`find_broken`), so that an unreadable one is reported at once.

    Args:
        paths: N image files, repeated where an image has several people.
        affines: (N, 3, 3), image pixels -> crop-normalised.
        size: side of the crops in pixels.
        batch_size: B.

    Returns:
        Batches of images (B, size, size, 3) float32 in [-1, 1], without targets.

    Raises:
        PoseError: an image that cannot be read.
    """
    names = [str(path) for path in paths]
    if len(affines) != len(names):
        raise PoseError(f"Expected one affine for each of {len(names)} images. Received: affines.shape={affines.shape}")
    for path, reason in find_broken(names).items():
        raise PoseError(f"{path} {reason}; evaluation does not skip images.")

    def load(path: tf.Tensor, affine: tf.Tensor) -> tf.Tensor:
        return normalize(crop(tf.io.read_file(path), affine, size))

    dataset = tf.data.Dataset.from_tensor_slices((names, np.asarray(affines, np.float32)))
    dataset = dataset.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return dataset.batch(batch_size).prefetch(2).with_options(_options())


def _options() -> tf.data.Options:
    options = tf.data.Options()
    options.deterministic = True
    # Images are decoded side by side; threads within one only get in each other's way.
    options.threading.max_intra_op_parallelism = 1
    return options


def find_broken(paths: Iterable[str | Path], *, max_pixels: int = _MAX_PIXELS) -> dict[str, str]:
    """Check every image with the decoder that training and evaluation use.

    Each file is read in full. A JPEG is decoded to an eighth of its size, which costs about half of a full decode,
    a PNG in full.

    Args:
        paths: image files; repeated ones are checked once.
        max_pixels: images whose header announces more are broken, and not decoded.

    Returns:
        What is wrong with each broken one, in the order given: {path: "is empty", ...}.
    """
    unique = list(dict.fromkeys(str(path) for path in paths))
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        reasons = pool.map(lambda path: _defect(path, max_pixels), unique)
        return {path: reason for path, reason in zip(unique, reasons, strict=True) if reason}


def _defect(path: str, max_pixels: int) -> str | None:
    """What is wrong with the image, as the end of a sentence that begins with its path; None if nothing is."""
    try:
        encoded = Path(path).read_bytes()
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if not encoded:
        return "is empty"
    try:
        with tf.device("CPU"):
            if encoded.startswith(b"\xff\xd8\xff"):
                height, width, _ = tf.io.extract_jpeg_shape(encoded).numpy()
                decode = partial(tf.io.decode_jpeg, channels=3, ratio=8)
            elif encoded.startswith(b"\x89PNG\r\n\x1a\n") and len(encoded) >= 24:
                width, height = struct.unpack(">II", encoded[16:24])
                decode = partial(tf.io.decode_png, channels=3)
            else:
                return "is neither a JPEG nor a PNG image"
            if int(width) * int(height) > max_pixels:
                return f"has {width} x {height} pixels, more than {max_pixels} in all"
            decode(encoded)
    except tf.errors.InvalidArgumentError:
        return "is truncated or damaged"
    return None


def without_broken(samples: Sequence[Sample]) -> list[Sample]:
    """The samples whose image can be read; the other images are named and counted in the log.

    Raises:
        PoseError: more than 1 % of the images are broken.
    """
    images = {sample.image for sample in samples}
    broken = find_broken(sample.image for sample in samples)
    for path, reason in broken.items():
        _LOG.warning("Skipped: %s %s.", path, reason)
    if len(broken) > 0.01 * len(images):
        path, reason = next(iter(broken.items()))
        raise PoseError(f"{len(broken)} of {len(images)} images are broken, more than 1 %; the first: {path} {reason}.")
    if broken:
        _LOG.warning("%d of %d images are broken and were skipped.", len(broken), len(images))
    return [sample for sample in samples if sample.image not in broken]
