"""One square crop out of an image, resampled once through one affine; and its values as the network takes them."""

from collections.abc import Callable
from functools import partial

import numpy as np
import tensorflow as tf

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
            EXIF orientation is not applied; `affine` may have it (`crop_affine`).
        affine: (3, 3) float32, image pixels -> crop-normalised; pixel i covers [i, i+1).
        size: side of the crop in pixels.

    Returns:
        (size, size, 3) float32 in [0, 255]; black outside the image.
    """
    return _resample(partial(decode, encoded), affine, size)


def crop_pixels(pixels: tf.Tensor, affine: tf.Tensor, size: int) -> tf.Tensor:
    """As `crop`, of (h, w, 3) pixels, uint8 or float32 in [0, 255]; of a PNG's they give exactly what `crop` gives."""
    return _resample(partial(_reduce, pixels), affine, size)


def _resample(read: Callable[..., tuple[tf.Tensor, tf.Tensor]], affine: tf.Tensor, size: int) -> tf.Tensor:
    """The crop, from the rectangle of the image that `read` gives for (low, high, level, ratio), see `decode`."""
    inverse = tf.linalg.inv(tf.cast(affine, tf.float64))
    corners = tf.constant([[0, 1, 0, 1], [0, 0, 1, 1], [1, 1, 1, 1]], tf.float64)
    corners = (inverse @ corners)[:2]
    # The area scale is exact for a rotation and a scale; both are what `crop_affine` makes.
    shrink = tf.sqrt(tf.abs(tf.linalg.det(inverse[:2, :2]))) / size
    level = level_of(shrink)
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


def to_uint8(image: np.ndarray) -> np.ndarray:
    """The network's [-1, 1] -> uint8 in [0, 255], rounded: `normalize` of the result differs by half a grey level."""
    return np.rint(np.clip((np.asarray(image, np.float32) + 1) * 127.5, 0, 255)).astype(np.uint8)


def level_of(shrink: tf.Tensor) -> tf.Tensor:
    """Which of `_RATIOS` is the largest that does not exceed `shrink`; the first if none."""
    return tf.reduce_sum(tf.cast(shrink >= tf.constant(_RATIOS[1:], shrink.dtype), tf.int32))


def decode(
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
    """As `decode`, of a decoded image: the mean of every `ratio` x `ratio` pixels."""
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
