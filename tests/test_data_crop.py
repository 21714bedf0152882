"""Pixels: a crop agrees with its points, decoding is robust."""

import io

import numpy as np
import pytest
import tensorflow as tf
from pictures import SIZE, encode
from PIL import Image

from pose_regression.data import crop as cropping
from pose_regression.geometry import crop_affine, transform_points

# One trace for all tests, as in a SavedModel.
_crop = tf.function(
    lambda encoded, affine: cropping.crop(encoded, affine, SIZE),
    input_signature=[tf.TensorSpec([], tf.string), tf.TensorSpec([3, 3], tf.float32)],
)


def crop(encoded: bytes, affine: np.ndarray) -> np.ndarray:
    return _crop(encoded, affine.astype(np.float32)).numpy()


def blob(width: int, height: int, center: np.ndarray, radius: float) -> np.ndarray:
    """A white Gaussian blob on black; pixel i covers [i, i+1)."""
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    value = 250 * np.exp(-((x - center[0]) ** 2 + (y - center[1]) ** 2) / (2 * radius**2))
    return np.repeat(np.rint(value).astype(np.uint8)[..., None], 3, axis=-1)


def centroid(pixels: np.ndarray) -> np.ndarray:
    """(x, y) centre of mass in pixels."""
    weight = np.clip(pixels.mean(axis=-1) - 8, 0, None)  # leaves out the noise of JPEG
    position = np.arange(len(weight)) + 0.5
    return np.array([weight.sum(axis=0) @ position, weight.sum(axis=1) @ position]) / weight.sum()


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("side", [40, 64, 110, 150, 300, 700])
def test_image_and_points_go_the_same_way(kind, side):
    # Sides from 0.6 to 11 image pixels a crop pixel: every decoding ratio, with odd image sizes.
    rng = np.random.default_rng(side)
    for rotation, flip in ((0, False), (0, True), (37, False), (-140, True)):
        center = rng.uniform([480, 430], [520, 470])
        point = center + rng.uniform(-0.15, 0.15, 2) * side
        affine = crop_affine(center, side, rotation=rotation, flip=flip)
        pixels = crop(encode(blob(1003, 905, point, 0.06 * side), kind), affine)
        expected = transform_points(affine, point[None])[0] * SIZE
        assert np.abs(centroid(pixels) - expected).max() < 0.1, (rotation, flip)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_identity_crop_returns_the_pixels_unchanged(kind):
    image = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    encoded = encode(image, kind)
    expected = np.asarray(Image.open(io.BytesIO(encoded)))
    np.testing.assert_allclose(crop(encoded, crop_affine(np.array([32.0, 32.0]), 64.0)), expected, atol=0.02)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("factor", [2, 4, 8])
def test_fine_structure_turns_grey_when_shrunk(kind, factor):
    x, y = np.meshgrid(np.arange(SIZE * factor), np.arange(SIZE * factor))
    checkerboard = np.repeat(((x + y) % 2 * 255).astype(np.uint8)[..., None], 3, axis=-1)
    side = float(SIZE * factor)
    for rotation in (0.0, 20.0):
        affine = crop_affine(np.array([side / 2 + 0.3, side / 2]), side, rotation=rotation)
        center = crop(encode(checkerboard, kind), affine)[16:48, 16:48]
        assert np.abs(center - 127.5).max() < 2


def test_interpolation_does_not_darken_the_image():
    image = np.random.default_rng(0).integers(0, 256, (80, 80, 3), np.uint8)
    between = crop(encode(image), crop_affine(np.array([40.5, 40.5]), 64.0))  # the mean of four pixels each
    expected = sum(image[y : y + 64, x : x + 64].astype(float) for y in (8, 9) for x in (8, 9)) / 4
    np.testing.assert_allclose(between, expected, atol=0.05)


def test_progressive_and_tiny_images_are_read():
    image = np.full((3, 5, 3), 90, np.uint8)
    for encoded in (encode(image, "JPEG", progressive=True), encode(image, "JPEG"), encode(image)):
        for side in (2.0, 400.0):
            pixels = crop(encoded, crop_affine(np.array([2.5, 1.5]), side))
            assert np.abs(pixels - 90).max() < 1.5 if side == 2 else pixels.max() < 92


def test_outside_of_the_image_is_black():
    white = encode(np.full((40, 40, 3), 255, np.uint8), "JPEG")
    pixels = crop(white, crop_affine(np.array([0.0, 20.0]), 64.0))  # x -32..32, y -12..52
    assert (pixels[:, :31] == 0).all() and (pixels[:11] == 0).all() and (pixels[53:] == 0).all()
    assert (pixels[13:51, 33:] > 254).all()
    assert (crop(white, crop_affine(np.array([-500.0, 900.0]), 64.0)) == 0).all()
    assert (crop(white, crop_affine(np.array([70.0, 20.0]), 50.0)) == 0).all()


def test_rectangle_decoding_shows_no_seams():
    # A crop in the middle of a flat image must not see the edges of the rectangle that was decoded.
    flat = encode(np.full((301, 402, 3), 200, np.uint8), "JPEG")
    for side in (20.0, 65.0, 130.0, 190.0):
        for rotation in (0.0, 15.0, 45.0):
            pixels = crop(flat, crop_affine(np.array([201.7, 150.2]), side, rotation=rotation))
            assert np.abs(pixels - 200).max() < 1.5


@pytest.mark.parametrize("mode", ["L", "RGBA", "LA", "P", "I;16", "CMYK", "1"])
def test_every_pixel_format_becomes_rgb(mode):
    # A grey level that all of them can hold.
    grey = 255 if mode == "1" else 102
    if mode == "I;16":
        image = Image.fromarray(np.full((SIZE, SIZE), grey * 257, np.uint16))
    else:
        image = Image.new("RGB", (SIZE, SIZE), (grey,) * 3).convert(mode)
    encoded = encode(image, "JPEG" if mode == "CMYK" else "PNG")
    pixels = crop(encoded, crop_affine(np.array([32.0, 32.0]), 64.0))
    assert pixels.shape == (SIZE, SIZE, 3)
    np.testing.assert_allclose(pixels, grey, atol=1.5)


def test_orientation_tag_is_ignored():
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    image[:, :32] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    affine = crop_affine(np.array([32.0, 32.0]), 64.0)
    np.testing.assert_array_equal(crop(encode(image, "JPEG", exif=exif), affine), crop(encode(image, "JPEG"), affine))


def test_normalize_maps_black_and_white_to_minus_one_and_one():
    np.testing.assert_allclose(cropping.normalize(tf.constant([0.0, 127.5, 255.0])), [-1, 0, 1], atol=1e-7)


@pytest.mark.parametrize(("value", "grey"), [(-1, 0), (1, 255), (0, 128), (-1 + 1.4 / 127.5, 1), (1.5, 255), (-2, 0)])
def test_network_values_become_the_nearest_grey_level(value, grey):
    shown = cropping.to_uint8(np.array([value], np.float32))
    assert shown == grey and shown.dtype == np.uint8
