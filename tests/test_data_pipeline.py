"""Pixels: a crop agrees with its points, decoding is robust, batches are deterministic and resume exactly."""

import dataclasses
import io
import logging
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pose_regression.data import cache, images, pipeline
from pose_regression.data import crop as cropping
from pose_regression.data.augment import NONE, PAPER, plan_epoch
from pose_regression.data.sample import Sample
from pose_regression.errors import PoseError
from pose_regression.geometry import crop_affine, transform_points
from pose_regression.skeleton import Skeleton

SKELETON = Skeleton(names=("head", "right_hand", "left_hand"))
SIZE = 64

# One trace for all tests, as in a SavedModel.
_crop = tf.function(
    lambda encoded, affine: cropping.crop(encoded, affine, SIZE),
    input_signature=[tf.TensorSpec([], tf.string), tf.TensorSpec([3, 3], tf.float32)],
)


def crop(encoded: bytes, affine: np.ndarray) -> np.ndarray:
    return _crop(encoded, affine.astype(np.float32)).numpy()


def encode(pixels: np.ndarray | Image.Image, kind: str = "PNG", **options) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = io.BytesIO()
    image.save(buffer, kind, **({"quality": 98, "subsampling": 0} if kind == "JPEG" else {}), **options)
    return buffer.getvalue()


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


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> list[Sample]:
    """21 people in photographs of their own, JPEG and PNG."""
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    found = []
    for i in range(21):
        pixels = np.kron(rng.integers(0, 256, (10, 13, 3), np.uint8), np.ones((12, 12, 1), np.uint8))
        path = folder / f"{i}.{'png' if i % 5 == 0 else 'jpg'}"
        path.write_bytes(encode(pixels, "PNG" if i % 5 == 0 else "JPEG"))
        joints = rng.uniform([30, 30], [120, 90], (3, 2))
        joints[0] = np.nan if i % 3 == 0 else joints[0]
        found.append(Sample(str(path), rng.uniform(50, 80, 2), rng.uniform(60, 150), joints, np.ones(3, bool)))
    return found


def collect(dataset: tf.data.Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    batches = [(image.numpy(), target["pose"].numpy(), target["probability"].numpy()) for image, target in dataset]
    image, pose, probability = zip(*batches, strict=True)
    return np.stack(image), np.stack(pose), np.stack(probability)


def test_batches_hold_the_planned_targets_in_the_network_range(samples):
    plan = plan_epoch(samples, SKELETON, seed=1, epoch=0)
    image, pose, probability = collect(pipeline.training_dataset(plan, size=SIZE, batch_size=4))
    assert image.shape == (5, 4, SIZE, SIZE, 3) and image.dtype == np.float32
    assert -1 <= image.min() < -0.9 and 0.9 < image.max() <= 1
    np.testing.assert_array_equal(pose.reshape(20, 3, 3), plan.pose[:20])
    np.testing.assert_array_equal(probability.reshape(20, 3, 2), plan.probability[:20])


def test_batches_do_not_depend_on_the_number_of_workers(samples):
    plan = plan_epoch(samples, SKELETON, seed=1, epoch=0)
    one = collect(pipeline.training_dataset(plan, size=SIZE, batch_size=4, workers=1))
    two = collect(pipeline.training_dataset(plan, size=SIZE, batch_size=4, workers=2))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("first", [0, 1, 3])
def test_resumed_epoch_equals_the_rest_of_an_uninterrupted_one(samples, first):
    plan = plan_epoch(samples, SKELETON, seed=1, epoch=0)
    whole = collect(pipeline.training_dataset(plan, size=SIZE, batch_size=4))
    rest = collect(pipeline.training_dataset(plan, size=SIZE, batch_size=4, first_batch=first))
    for a, b in zip(whole, rest, strict=True):
        np.testing.assert_array_equal(a[first:], b)


def test_epoch_that_was_finished_has_no_batches_left(samples):
    plan = plan_epoch(samples, SKELETON, seed=1, epoch=0)
    assert list(pipeline.training_dataset(plan, size=SIZE, batch_size=4, first_batch=5)) == []


def test_gamma_is_a_power_of_each_channel(samples):
    plain = plan_epoch(samples, SKELETON, seed=1, epoch=0, augmentation=NONE)
    image, *_ = collect(pipeline.training_dataset(plain, size=SIZE, batch_size=7))
    plain.gamma[:] = [0.9, 1.0, 1.1]
    powered, *_ = collect(pipeline.training_dataset(plain, size=SIZE, batch_size=7))
    expected = ((image.astype(np.float64) + 1) / 2).clip(0) ** np.array([0.9, 1.0, 1.1]) * 2 - 1
    np.testing.assert_allclose(powered, expected, atol=2e-6)


def test_evaluation_keeps_order_and_remainder(samples):
    affines = np.stack([crop_affine(sample.center, sample.side) for sample in samples])
    paths = [sample.image for sample in samples]
    batches = [batch.numpy() for batch in pipeline.evaluation_dataset(paths, affines, size=SIZE, batch_size=8)]
    assert [len(batch) for batch in batches] == [8, 8, 5]
    plan = plan_epoch(samples, SKELETON, seed=0, epoch=0, augmentation=NONE, shuffle=False)
    expected, *_ = collect(pipeline.training_dataset(plan, size=SIZE, batch_size=1))
    np.testing.assert_allclose(np.concatenate(batches), expected[:, 0], atol=2e-6)


@pytest.fixture
def broken(tmp_path, samples) -> dict[str, str]:
    """Every kind of broken file: {path: part of what is said about it}."""
    jpeg = next(sample.image for sample in samples if sample.image.endswith("jpg"))
    whole = open(jpeg, "rb").read()
    png = encode(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    huge = png[:16] + (60_000).to_bytes(4, "big") * 2 + png[24:]
    size = whole.index(b"\xff\xc0") + 5
    huge_jpeg = whole[:size] + (60_000).to_bytes(2, "big") * 2 + whole[size + 4 :]
    files = {
        "missing.jpg": (None, "cannot be read: No such file"),
        "empty.jpg": (b"", "is empty"),
        "page.jpg": (b"<html>404</html>", "is neither a JPEG nor a PNG"),
        "header.jpg": (whole[:10], "is truncated or damaged"),
        "half.jpg": (whole[: len(whole) // 2], "is truncated or damaged"),
        "almost.jpg": (whole[:-40], "is truncated or damaged"),
        "half.png": (png[: len(png) // 2], "is truncated or damaged"),
        "stub.png": (png[:12], "is neither a JPEG nor a PNG"),
        "huge.png": (huge, "has 60000 x 60000 pixels"),
        "huge.jpg": (huge_jpeg, "has 60000 x 60000 pixels"),
    }
    for name, (content, _) in files.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
    return {str(tmp_path / name): said for name, (_, said) in files.items()}


def test_broken_images_are_found_with_their_reason(samples, broken):
    sound = [sample.image for sample in samples]
    found = images.find_broken([*sound, *broken, *sound])
    assert list(found) == list(broken)
    for path, said in broken.items():
        assert said in found[path]


def test_one_broken_image_in_a_hundred_is_named_and_dropped(samples, broken, tmp_path, caplog):
    many = []
    for i in range(99):
        path = tmp_path / f"sound{i}.jpg"
        path.symlink_to(samples[1].image)
        many.append(Sample(str(path), np.zeros(2), 1.0, np.zeros((3, 2)), np.ones(3, bool)))
    path = next(iter(broken))
    bad = Sample(path, np.zeros(2), 1.0, np.zeros((3, 2)), np.ones(3, bool))
    with caplog.at_level(logging.WARNING):
        assert images.without_broken([bad, *many, bad]) == many
    assert f"{path} cannot be read" in caplog.text and "1 of 100 images" in caplog.text
    with pytest.raises(PoseError, match="1 of 99 images are broken, more than 1 %; the first: .*missing.jpg cannot"):
        images.without_broken([bad, *many[1:]])


def test_images_are_checked_once_and_the_first_broken_one_is_named(samples, broken):
    half = next(path for path in broken if "half.jpg" in path)
    with pytest.raises(PoseError, match="half.jpg is truncated or damaged; evaluation does not skip images"):
        images.check_images([*samples, dataclasses.replace(samples[0], image=half)])
    images.check_images(samples)


@pytest.mark.parametrize(("value", "grey"), [(-1, 0), (1, 255), (0, 128), (-1 + 1.4 / 127.5, 1), (1.5, 255), (-2, 0)])
def test_network_values_become_the_nearest_grey_level(value, grey):
    shown = cropping.to_uint8(np.array([value], np.float32))
    assert shown == grey and shown.dtype == np.uint8


def large_photographs(folder, count: int) -> list[Sample]:
    """Smooth images of odd size with people of all sizes, some beyond the edge."""
    rng = np.random.default_rng(4)
    found = []
    for i in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (8, 11, 3), np.uint8))
        path = folder / f"large{i}.jpg"
        path.write_bytes(encode(coarse.resize((1011, 667), Image.Resampling.BICUBIC), "JPEG"))
        center, side = rng.uniform([0, 0], [1011, 667]), rng.uniform(60, 600)
        joints = center + rng.uniform(-0.5, 0.5, (3, 2)) * side
        found.append(Sample(str(path), center, side, joints, np.ones(3, bool), head_size=side / 10))
    return found


def test_prepared_crops_give_the_same_batches(tmp_path):
    samples = large_photographs(tmp_path, 16)
    prepared = cache.prepare_crops(samples, tmp_path / "cache", size=200)
    plans = [plan_epoch(which, SKELETON, seed=2, epoch=0, augmentation=PAPER) for which in (samples, prepared)]
    np.testing.assert_allclose(plans[0].pose, plans[1].pose, atol=1e-6)
    np.testing.assert_array_equal(plans[0].probability, plans[1].probability)
    direct, cached = (collect(pipeline.training_dataset(p, size=SIZE, batch_size=4))[0] for p in plans)
    # Where a crop's edge meets the image's edge, the two differ by part of a pixel of black.
    assert np.median(np.abs(direct - cached)) < 0.01 and (np.abs(direct - cached) > 0.1).mean() < 0.01
    for sample, original in zip(prepared, samples, strict=True):
        assert max(Image.open(sample.image).size) <= 201
        np.testing.assert_allclose(sample.head_size / sample.side, original.head_size / original.side)


def test_prepared_crops_are_kept_until_their_source_changes(tmp_path):
    samples = large_photographs(tmp_path, 3)
    first = cache.prepare_crops(samples + samples, tmp_path / "cache", size=200)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()}
    assert len(times) == 3
    again = cache.prepare_crops(samples, tmp_path / "cache", size=200)
    assert [s.image for s in again] == [s.image for s in first[:3]]
    assert times == {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()}
    source = samples[0].image
    content = bytearray(open(source, "rb").read())
    content[-40] ^= 1  # the size stays
    open(source, "wb").write(content)
    changed = cache.prepare_crops(samples, tmp_path / "cache", size=200)
    assert changed[0].image != first[0].image and changed[1].image == first[1].image
    other_size = cache.prepare_crops(samples, tmp_path / "cache", size=100)
    assert all(a.image != b.image for a, b in zip(other_size, changed, strict=True) if a.side != b.side)


def test_a_damaged_prepared_crop_is_prepared_again(tmp_path, caplog):
    samples = large_photographs(tmp_path, 2)
    sound, path = (Path(sample.image) for sample in cache.prepare_crops(samples, tmp_path / "cache", size=200))
    content, written = path.read_bytes(), sound.stat().st_mtime_ns
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1  # among the coefficients: a decoder reads on
    for damaged in (bytes(flipped), content[:-1], content[:-32], b""):
        path.write_bytes(damaged)
        caplog.clear()
        cache.prepare_crops(samples, tmp_path / "cache", size=200)
        assert path.read_bytes() == content
        assert f"{path} is damaged and is prepared again." in caplog.text
    assert sound.stat().st_mtime_ns == written


def test_preparing_a_broken_image_names_it(samples, broken, tmp_path):
    for name in ("missing.jpg", "half.jpg", "page.jpg"):
        path = next(p for p in broken if p.endswith(name))
        sample = Sample(path, np.array([30.0, 30.0]), 60.0, np.zeros((3, 2)), np.ones(3, bool))
        with pytest.raises(PoseError, match=name):
            cache.prepare_crops([sample], tmp_path / "cache")
