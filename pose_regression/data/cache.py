"""Crops prepared once: small JPEGs that hold all that training can see of each person."""

import hashlib
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from PIL import Image

from pose_regression.data.augment import PAPER, Augmentation
from pose_regression.data.crop import decode, level_of
from pose_regression.data.sample import Sample
from pose_regression.errors import PoseError
from pose_regression.files import write_file

_LOG = logging.getLogger(__name__)
_DIGEST = hashlib.sha256().digest_size
_RESIZE_SIGNATURE = [tf.TensorSpec(*of) for of in (([], tf.string), ([2], tf.int32), ([2], tf.int32), ([], tf.float32))]


class _Part(NamedTuple):
    """The rectangle of an image that is kept."""

    image: str
    low: np.ndarray
    """(2,) x, y of its corner in image pixels."""
    extent: np.ndarray
    """(2,) width and height of the prepared picture."""
    scale: float
    """Prepared pixels per image pixel, at most 1."""


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
    reach = _reach(augmentation)
    prepared: list[Sample] = []
    missing: dict[Path, _Part] = {}
    for sample in samples:
        part, name = _part_of(sample, reach * sample.side, size)
        path = Path(directory, name)
        if not _is_whole(path):
            missing[path] = part
        prepared.append(_moved(sample, part, str(path)))
    if missing:
        _LOG.info("Preparing %d crops in %s.", len(missing), directory)
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        list(pool.map(_write, missing, missing.values()))
    return prepared


def _reach(augmentation: Augmentation) -> float:
    """Side of the upright square that holds every window of `augmentation`, in sides of the sample's window."""
    angle = np.deg2rad(min(augmentation.rotation, 45.0))
    return max(augmentation.zoom) * (np.cos(angle) + np.sin(angle)) + 2 * augmentation.translation


def _part_of(sample: Sample, window: float, size: int) -> tuple[_Part, str]:
    """The part of the sample's image within a square of `window` pixels, and the name of its file."""
    try:
        status = os.stat(sample.image)
        with Image.open(sample.image) as image:
            width_height = np.array(image.size)
    except OSError as error:
        raise PoseError(f"{sample.image} cannot be read: {error}.") from error
    scale = min(1.0, size / window)
    low = np.clip(np.floor(sample.center - window / 2), 0, width_height - 1)
    high = np.clip(np.ceil(sample.center + window / 2), low + 1, width_height)
    made_from = [os.path.abspath(sample.image), status.st_size, status.st_mtime_ns, *low, *high, scale]
    name = hashlib.sha256(repr(made_from).encode()).hexdigest()[:32] + ".jpg"
    return _Part(sample.image, low, np.ceil((high - low) * scale), scale), name


def _moved(sample: Sample, part: _Part, path: str) -> Sample:
    """The sample in pixels of its prepared picture."""
    return replace(
        sample,
        image=path,
        center=(sample.center - part.low) * part.scale,
        side=sample.side * part.scale,
        joints=(sample.joints - part.low) * part.scale,
        head_size=sample.head_size * part.scale,
    )


def _write(path: Path, part: _Part) -> None:
    content, corner, extent = Path(part.image).read_bytes(), part.low.astype(np.int32), part.extent.astype(np.int32)
    try:
        encoded = _resize(content, corner, extent, part.scale).numpy()
    except tf.errors.InvalidArgumentError as error:
        raise PoseError(f"{part.image} is truncated or damaged.") from error
    write_file(path, encoded + hashlib.sha256(encoded).digest())


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


@tf.function(input_signature=_RESIZE_SIGNATURE)
def _resize(encoded: tf.Tensor, low: tf.Tensor, extent: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    """The rectangle of `extent` (w, h) pixels whose corner is `low` in the image shrunk by `scale`, as a JPEG."""
    level = level_of(1 / tf.cast(scale, tf.float64))
    ratio = tf.bitwise.left_shift(1, level)
    high = low + tf.cast(tf.math.ceil(tf.cast(extent, tf.float32) / scale), tf.int32)
    pixels, origin = decode(encoded, low, high, level, ratio)
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
