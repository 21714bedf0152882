"""Which image files can be read: found before a run starts, by the decoder that it will use."""

import logging
import os
import struct
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import tensorflow as tf

from pose_regression.data.sample import Sample
from pose_regression.errors import PoseError
from pose_regression.files import MAX_PIXELS

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".heic", ".heif")
"""Of what is taken from a folder for a picture; a file given by name may have any."""

_LOG = logging.getLogger(__name__)


def find_broken(paths: Iterable[str | Path]) -> dict[str, str]:
    """Check every image with the decoder that training and evaluation use.

    Each file is read in full. A JPEG is decoded to an eighth of its size, which costs about half of a full decode,
    a PNG in full; what has more than `files.MAX_PIXELS` by its header is broken, and not decoded.

    Args:
        paths: image files; repeated ones are checked once.

    Returns:
        What is wrong with each broken one, in the order given: {path: "is empty", ...}.
    """
    unique = list(dict.fromkeys(str(path) for path in paths))
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        reasons = pool.map(_defect, unique)
        return {path: reason for path, reason in zip(unique, reasons, strict=True) if reason}


def _defect(path: str) -> str | None:
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
            if int(width) * int(height) > MAX_PIXELS:
                return f"has {width} x {height} pixels, more than {MAX_PIXELS} in all"
            decode(encoded)
    except tf.errors.InvalidArgumentError:
        return "is truncated or damaged"
    return None


def check_images(samples: Sequence[Sample]) -> None:
    """`PoseError` that names an image which cannot be read, where none may be skipped.

    It reads every file: once per run is enough, by whoever starts it.
    """
    for path, reason in find_broken(sample.image for sample in samples).items():
        raise PoseError(f"{path} {reason}; evaluation does not skip images.")


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
