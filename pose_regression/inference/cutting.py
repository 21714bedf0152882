"""`data.crop` for one upright window at a time: the same pixels, without a TensorFlow graph for every crop.

A graph pays for itself over the batches of training and evaluation. For one picture its call costs more than decoding a
small photograph, so here TensorFlow only decodes, and NumPy does the rest; a window that is not turned is resampled in
rows and columns, one after the other.
"""

from functools import partial

import numpy as np
import tensorflow as tf

__all__ = ["cut", "decode_whole"]

_LARGEST_RATIO = 8
"""Libjpeg can decode to 1/2, 1/4 and 1/8 of the size."""

_JPEG = b"\xff\xd8\xff"


def cut(content: bytes | np.ndarray, stored: tuple[int, int], affine: np.ndarray, size: int) -> np.ndarray:
    """One square crop, as `crop` or `crop_pixels`, then `normalize` of `data.crop` give it.

    Args:
        content: a JPEG or PNG, or (h, w, 3) pixels, uint8 or float32 in [0, 255].
        stored: width and height of the image, pixels.
        affine: (3, 3), image pixels -> crop-normalised; each axis of the crop follows one axis of the image.
        size: side of the crop in pixels.

    Returns:
        (size, size, 3) float32 in [-1, 1]; -1 outside the image.

    Raises:
        tensorflow.errors.InvalidArgumentError: a file that is truncated or damaged.
    """
    inverse = np.linalg.inv(affine.astype(np.float32).astype(np.float64))
    corners = (inverse @ [[0, 1, 0, 1], [0, 0, 1, 1], [1, 1, 1, 1]])[:2]
    ratio = _ratio(np.abs(inverse[0, :2]).sum() / size)  # of which one is 0
    first, extent = _rectangle(stored, corners, ratio)
    pixels = _read(content, first, extent, ratio)
    linear = inverse[:2, :2] / (size * ratio)
    offset = (inverse[:2, 2] - first * ratio) / ratio - 0.5 + linear.sum(axis=1) / 2
    return _resample(pixels, linear, offset, size)


def decode_whole(encoded: bytes, stored: tuple[int, int]) -> np.ndarray:
    """(h, w, 3) uint8 of a JPEG or PNG, as stored.

    Raises:
        tensorflow.errors.InvalidArgumentError: it is truncated or damaged.
    """
    return _read(encoded, np.zeros(2, int), np.array(stored), 1)


def _ratio(shrink: float) -> int:
    """The largest at which the image may be reduced before it is resampled."""
    ratio = 1
    while ratio < _LARGEST_RATIO and shrink >= 2 * ratio:
        ratio *= 2
    return ratio


def _rectangle(stored: tuple[int, int], corners: np.ndarray, ratio: int) -> tuple[np.ndarray, np.ndarray]:
    """Corner and extent (x, y), in reduced pixels, of what a crop with these corners needs (`data.crop._window`)."""
    reduced = -(-np.array(stored) // ratio)
    low, high = np.floor(corners.min(axis=1)).astype(int), np.ceil(corners.max(axis=1)).astype(int)
    first = np.clip(low // ratio - 2, 0, reduced - 1)
    return first, np.clip(-(-high // ratio) + 2, first + 1, reduced) - first


def _read(content: bytes | np.ndarray, first: np.ndarray, extent: np.ndarray, ratio: int) -> np.ndarray:
    """(h, w, 3) uint8 or float32 in [0, 255] of a rectangle in pixels that are reduced by `ratio`."""
    if isinstance(content, np.ndarray):
        return _reduced(content, first, extent, ratio)
    with tf.device("CPU"):
        if not content.startswith(_JPEG):
            return _reduced(tf.io.decode_png(content, channels=3).numpy(), first, extent, ratio)
        window = [*first[::-1].tolist(), *extent[::-1].tolist()]
        decode = partial(tf.io.decode_and_crop_jpeg, content, window, channels=3, ratio=ratio)
        return decode(dct_method="INTEGER_ACCURATE").numpy()


def _reduced(pixels: np.ndarray, first: np.ndarray, extent: np.ndarray, ratio: int) -> np.ndarray:
    """The mean of every `ratio` x `ratio` pixels; beyond the last row and column those are repeated."""
    (left, top), (right, bottom) = first * ratio, (first + extent) * ratio
    part = pixels[top:bottom, left:right]
    if ratio == 1:
        return part
    missing = bottom - top - part.shape[0], right - left - part.shape[1]
    if any(missing):
        part = np.pad(part, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
    whole = pixels.dtype == np.uint8
    # Sums of slices: NumPy's mean over two short axes takes ten times as long.
    rows: np.ndarray = part[::ratio].astype(np.uint16 if whole else np.float32)
    for i in range(1, ratio):
        rows += part[i::ratio]
    total = rows[:, ::ratio].copy()
    for i in range(1, ratio):
        total += rows[:, i::ratio]
    mean = total * np.float32(1 / ratio**2)
    return np.rint(mean).astype(np.uint8) if whole else mean


def _resample(pixels: np.ndarray, linear: np.ndarray, offset: np.ndarray, size: int) -> np.ndarray:
    """Bilinear, then [0, 255] -> [-1, 1].

    Args:
        pixels: (h, w, 3).
        linear, offset: (2, 2) and (2,), index of a crop pixel (x, y) -> index in `pixels`.
        size: side of the crop.
    """
    if linear[0, 0] == 0:  # the crop's x runs along the image's y
        return _resample(pixels, linear[:, ::-1], offset, size).transpose(1, 0, 2)
    height, width = pixels.shape[:2]
    values = pixels.reshape(height, -1)
    upper, lower, of_upper, of_lower = _taps(linear[1, 1], offset[1], size, height)
    rows = values.take(upper, axis=0) * (of_upper * np.float32(2 / 255))[:, None]
    rows += values.take(lower, axis=0) * (of_lower * np.float32(2 / 255))[:, None]
    left, right, of_left, of_right = _taps(linear[0, 0], offset[0], size, width)
    # Long rows of numbers are fetched and multiplied faster than three channels at a time.
    crop = rows[:, _channels(left)] * np.repeat(of_left, 3)
    crop += rows[:, _channels(right)] * np.repeat(of_right, 3)
    crop -= np.float32(1)
    return crop.reshape(size, size, 3)


def _channels(columns: np.ndarray) -> np.ndarray:
    """(3 n,) where the three channels of n columns lie in a row of numbers."""
    return (columns[:, None] * 3 + np.arange(3)).ravel()


def _taps(step: float, start: float, size: int, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The two pixels along an axis between which each of `size` points lies, and their weights; 0 outside."""
    place = np.arange(size, dtype=np.float32) * np.float32(step) + np.float32(start)
    before = np.floor(place)
    share = place - before
    before = before.astype(int)
    after = before + 1
    of_before = np.where((before >= 0) & (before < length), 1 - share, np.float32(0))
    of_after = np.where((after >= 0) & (after < length), share, np.float32(0))
    return before.clip(0, length - 1), after.clip(0, length - 1), of_before, of_after
