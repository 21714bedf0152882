"""From a plan to batches: tf.data reads, crops and colours; nothing here is random."""

import hashlib
import logging
import os
import struct
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from pose_regression.data.augment import PAPER, Augmentation, Plan
from pose_regression.data.sample import Sample
from pose_regression.errors import PoseError
from pose_regression.files import atomic_path

_LOG = logging.getLogger(__name__)
# Decoded, 100 million pixels take 300 MB; MPII's largest image has 2.
_MAX_PIXELS = 100_000_000
_DIGEST = hashlib.sha256().digest_size
# Denominators at which libjpeg can decode to a smaller image.
_RATIOS = (1, 2, 4, 8)
_RESIZE_SIGNATURE = [([], tf.string), ([2], tf.int32), ([2], tf.int32), ([], tf.float32)]


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
    return _resample(partial(_decode, encoded), affine, size)


def crop_pixels(pixels: tf.Tensor, affine: tf.Tensor, size: int) -> tf.Tensor:
    """As `crop`, of an image that is decoded already; from a PNG's pixels it gives exactly what `crop` gives.

    Args:
        pixels: (h, w, 3) uint8, or float32 in [0, 255].
        affine: (3, 3) float32, image pixels -> crop-normalised; pixel i covers [i, i+1).
        size: side of the crop in pixels.

    Returns:
        (size, size, 3) float32 in [0, 255]; black outside the image.
    """
    return _resample(partial(_reduce, pixels), affine, size)


def _resample(read: Callable[..., tuple[tf.Tensor, tf.Tensor]], affine: tf.Tensor, size: int) -> tf.Tensor:
    """The crop, from the rectangle of the image that `read` gives for (low, high, level, ratio), see `_decode`."""
    inverse = tf.linalg.inv(tf.cast(affine, tf.float64))
    corners = tf.constant([[0, 1, 0, 1], [0, 0, 1, 1], [1, 1, 1, 1]], tf.float64)
    corners = (inverse @ corners)[:2]
    # The area scale is exact for a rotation and a scale; both are what `crop_affine` makes.
    shrink = tf.sqrt(tf.abs(tf.linalg.det(inverse[:2, :2]))) / size
    level = _level(shrink)
    ratio = tf.bitwise.left_shift(1, level)
    low = tf.cast(tf.floor(tf.reduce_min(corners, axis=1)), tf.int32)
    high = tf.cast(tf.math.ceil(tf.reduce_max(corners, axis=1)), tf.int32)

    pixels, origin = read(low, high, level, ratio)
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


def _resize(encoded: tf.Tensor, low: tf.Tensor, extent: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    """The rectangle of `extent` (w, h) pixels whose corner is `low` in the image shrunk by `scale`, as a JPEG."""
    level = _level(1 / tf.cast(scale, tf.float64))
    ratio = tf.bitwise.left_shift(1, level)
    high = low + tf.cast(tf.math.ceil(tf.cast(extent, tf.float32) / scale), tf.int32)
    pixels, origin = _decode(encoded, low, high, level, ratio)
    scale = scale * tf.cast(ratio, tf.float32)
    shift = tf.cast(origin - low, tf.float32) / tf.cast(ratio, tf.float32) * scale
    pixels = tf.raw_ops.ScaleAndTranslate(
        images=pixels[None],
        size=extent[::-1],
        scale=[scale, scale],
        translation=shift[::-1],
        kernel_type="triangle",
        antialias=True,
    )[0]
    pixels = tf.cast(tf.clip_by_value(tf.round(pixels), 0, 255), tf.uint8)
    return tf.io.encode_jpeg(pixels, quality=95)


def _level(shrink: tf.Tensor) -> tf.Tensor:
    """Which of `_RATIOS` is the largest that does not exceed `shrink`; the first if none."""
    return tf.reduce_sum(tf.cast(shrink >= tf.constant(_RATIOS[1:], shrink.dtype), tf.int32))


def _decode(
    encoded: tf.Tensor, low: tf.Tensor, high: tf.Tensor, level: tf.Tensor, ratio: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Decode what lies in `low` <= (x, y) < `high`, reduced by `ratio` = 2 ** `level`.

    Returns:
        (h, w, 3) pixels, at least one, and (2,) int32 (x, y) of their corner in image pixels. The rectangle has a
        margin, so that its edges are never interpolated against black unless they are the edges of the image.
    """

    def jpeg() -> tuple[tf.Tensor, tf.Tensor]:
        first, extent = _window(tf.io.extract_jpeg_shape(encoded)[1::-1], low, high, ratio)
        box = tf.concat([first[::-1], extent[::-1]], axis=0)
        decoders = [
            # The default method is darker by 0.75 grey levels and no faster.
            lambda r=r: tf.io.decode_and_crop_jpeg(encoded, box, channels=3, ratio=r, dct_method="INTEGER_ACCURATE")
            for r in _RATIOS
        ]
        return tf.switch_case(level, decoders), first * ratio

    def png() -> tuple[tf.Tensor, tf.Tensor]:
        return _reduce(tf.io.decode_png(encoded, channels=3), low, high, level, ratio)

    pixels, origin = tf.cond(tf.io.is_jpeg(encoded), jpeg, png)
    return tf.ensure_shape(pixels, [None, None, 3]), origin


def _reduce(
    pixels: tf.Tensor, low: tf.Tensor, high: tf.Tensor, level: tf.Tensor, ratio: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """As `_decode`, of a decoded image: the mean of every `ratio` x `ratio` pixels."""
    height_width = tf.shape(pixels)[:2]
    # TensorFlow's graph optimizer prints an error about height_width[::-1].
    first, extent = _window(tf.reverse(height_width, [0]), low, high, ratio)
    # The last pixels of an image whose sides are no multiple of the ratio are repeated, as libjpeg does.
    rows = tf.minimum(tf.range(first[1] * ratio, (first[1] + extent[1]) * ratio), height_width[0] - 1)
    columns = tf.minimum(tf.range(first[0] * ratio, (first[0] + extent[0]) * ratio), height_width[1] - 1)
    part = tf.gather(tf.gather(pixels, rows), columns, axis=1)
    part = tf.image.resize(part, extent[::-1], method="area")
    return tf.cast(tf.round(part), tf.uint8) if pixels.dtype == tf.uint8 else part, first * ratio


def _window(width_height: tf.Tensor, low: tf.Tensor, high: tf.Tensor, ratio: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Corner and extent of the rectangle in reduced pixels, with its margin, within the image."""
    reduced = -(-width_height // ratio)
    first = tf.clip_by_value(low // ratio - 2, 0, reduced - 1)
    last = tf.clip_by_value(-(-high // ratio) + 2, first + 1, reduced)
    return first, last - first


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

    Every image is checked first (`find_broken`), so that an unreadable one is reported at once.

    Args:
        paths: N image files, repeated where an image has several people.
        affines: (N, 3, 3), image pixels -> crop-normalised.
        size: side of the crops in pixels.
        batch_size: B.

    Returns:
        Batches of images (B, size, size, 3) float32 in [-1, 1], without targets.

    Raises:
        PoseError: an image that cannot be read, or a window that is not finite.
    """
    names = [str(path) for path in paths]
    if len(affines) != len(names):
        raise PoseError(f"Expected one affine for each of {len(names)} images. Received: affines.shape={affines.shape}")
    _check_windows(names, affines)
    for path, reason in find_broken(names).items():
        raise PoseError(f"{path} {reason}; evaluation does not skip images.")

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


def prepare_crops(
    samples: Sequence[Sample], directory: str | Path, *, augmentation: Augmentation = PAPER, size: int = 448
) -> list[Sample]:
    """Cut once what training can ever see of each sample, so that every epoch decodes small images.

    Each prepared image is the upright square that holds every window of `augmentation`, as far as it lies within the
    image, shrunk (anti-aliased) so that the square's side is at most `size`, as a JPEG of quality 95. Its name is a
    hash of all that it was made from, and behind the picture stands its SHA-256, so a later call makes only what is
    missing or damaged and never takes a stale one.

    Args:
        samples: samples whose images can be read (`without_broken`).
        directory: where the prepared images are kept.
        augmentation: the ranges that training will draw from.
        size: largest side in pixels. With the default, a 256-pixel crop shows the person at 0.96 of its own
            resolution at zoom 1 and is magnified 1.5 times at zoom 0.7; small images are never magnified here.

    Returns:
        The samples in the same order, with image, center, side, joints and head_size in prepared pixels.

    Raises:
        PoseError: an image that cannot be read, or a directory that cannot be written.
    """
    angle = np.deg2rad(min(augmentation.rotation, 45.0))
    reach = max(augmentation.zoom) * (np.cos(angle) + np.sin(angle)) + 2 * augmentation.translation
    prepared: list[Sample] = []
    missing: dict[Path, tuple[str, np.ndarray, np.ndarray, float]] = {}
    for sample in samples:
        try:
            status = os.stat(sample.image)
            with Image.open(sample.image) as image:
                width_height = np.array(image.size)
        except OSError as error:
            raise PoseError(f"{sample.image} cannot be read: {error}.") from error
        window = reach * sample.side
        scale = min(1.0, size / window)
        low = np.clip(np.floor(sample.center - window / 2), 0, width_height - 1)
        high = np.clip(np.ceil(sample.center + window / 2), low + 1, width_height)
        made_from = [os.path.abspath(sample.image), status.st_size, status.st_mtime_ns, *low, *high, scale]
        path = Path(directory, hashlib.sha256(repr(made_from).encode()).hexdigest()[:32] + ".jpg")
        if not _is_whole(path):
            missing[path] = (sample.image, low, np.ceil((high - low) * scale), scale)
        prepared.append(
            replace(
                sample,
                image=str(path),
                center=(sample.center - low) * scale,
                side=sample.side * scale,
                joints=(sample.joints - low) * scale,
                head_size=sample.head_size * scale,
            )
        )

    def make(path: Path) -> None:
        image, low, extent, scale = missing[path]
        try:
            encoded = _resizer()(Path(image).read_bytes(), low.astype(np.int32), extent.astype(np.int32), scale).numpy()
        except tf.errors.InvalidArgumentError as error:
            raise PoseError(f"{image} is truncated or damaged.") from error
        with atomic_path(path) as temporary:
            temporary.write_bytes(encoded + hashlib.sha256(encoded).digest())

    if missing:
        _LOG.info("Preparing %d crops in %s.", len(missing), directory)
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        list(pool.map(make, missing))
    return prepared


def _is_whole(path: Path) -> bool:
    """Whether a prepared image is there, as it was written. Decoders pass over what follows a JPEG's end."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise PoseError(f"{path} cannot be read: {error.strerror}.") from error
    if content[-_DIGEST:] == hashlib.sha256(content[:-_DIGEST]).digest():
        return True
    _LOG.warning("%s is damaged and is prepared again.", path)
    return False


@cache
def _resizer() -> Callable:
    return tf.function(_resize, input_signature=[tf.TensorSpec(*of) for of in _RESIZE_SIGNATURE])
