"""One picture's crop by NumPy: the pixels of `data.crop`, by which networks are trained and evaluated."""

import numpy as np
import pytest
import tensorflow as tf
from pictures import SIZE, encode

from pose_regression.data.crop import crop, crop_pixels, normalize
from pose_regression.geometry import crop_affine
from pose_regression.inference.cutting import cut, decode_whole

WIDTH, HEIGHT = 301, 402

WINDOWS = {
    "enlarged": ((150.3, 200.7), 40.2),
    "the whole": ((150.5, 201.0), 402.0),
    "reduced by 2": ((150.5, 201.0), 2.3 * SIZE),
    "reduced by 4": ((120.1, 190.2), 5 * SIZE),
    "reduced by 8": ((150.0, 201.0), 9 * SIZE),
    "over the corner": ((-3.0, 10.0), 150.0),
    "outside": ((-500.0, 900.0), 64.0),
    "far and wide": ((1e6, -1e6), 1e6),
}

TURNS = {
    "upright": np.eye(3),
    "mirrored": np.array([[-1.0, 0, WIDTH], [0, 1, 0], [0, 0, 1]]),
    "turned right": np.array([[0, -1.0, HEIGHT], [1, 0, 0], [0, 0, 1]]),
    "turned left": np.array([[0, 1.0, 0], [-1, 0, WIDTH], [0, 0, 1]]),
    "transposed": np.array([[0, 1.0, 0], [1, 0, 0], [0, 0, 1]]),
}


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """Noise over a slope: every pixel matters, and where it lies."""
    noise = np.random.default_rng(0).integers(0, 200, (HEIGHT, WIDTH, 3))
    return (noise + np.linspace(0, 55, WIDTH)[None, :, None]).astype(np.uint8)


_crop = tf.function(lambda encoded, affine: normalize(crop(encoded, affine, SIZE)))
_crop_pixels = tf.function(lambda pixels, affine: normalize(crop_pixels(pixels, affine, SIZE)), reduce_retracing=True)


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "uint8", "float32"])
def test_a_crop_has_the_pixels_of_training_and_evaluation(pixels, window, kind):
    expected = _crop if kind in ("JPEG", "PNG") else _crop_pixels
    content = encode(pixels, kind) if kind in ("JPEG", "PNG") else pixels.astype(kind)
    for turn in TURNS.values():
        center, side = WINDOWS[window]
        affine = crop_affine(np.array(center), side) @ turn
        found = cut(content, (WIDTH, HEIGHT), affine, SIZE)
        assert found.shape == (SIZE, SIZE, 3) and found.dtype == np.float32
        np.testing.assert_allclose(found, expected(content, affine.astype(np.float32)), atol=1e-3 / 127.5)


def test_a_small_reduced_image_repeats_its_last_row_and_column():
    pixels = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    affine = crop_affine(np.array([3.5, 2.5]), 9.0 * SIZE)
    found = cut(pixels, (7, 5), affine, SIZE)
    np.testing.assert_allclose(found, _crop_pixels(pixels, affine.astype(np.float32)), atol=1e-5)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_the_whole_is_decoded_as_stored_and_damage_is_told(pixels, kind):
    encoded = encode(pixels, kind)
    whole = decode_whole(encoded, (WIDTH, HEIGHT))
    assert whole.shape == pixels.shape and whole.dtype == np.uint8
    assert np.abs(whole.astype(int) - pixels).mean() < (20 if kind == "JPEG" else 1e-9)
    for broken in (encoded[: len(encoded) // 2], encoded[:10]):
        with pytest.raises(tf.errors.InvalidArgumentError):
            decode_whole(broken, (WIDTH, HEIGHT))
