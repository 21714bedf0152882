"""Crops there and back with models whose answer is known, and scores of hand-made predictions."""

import keras
import numpy as np
import pytest
from keras import ops
from PIL import Image

from pose_regression.data.sample import Sample
from pose_regression.data.windows import windows_of_boxes, windows_of_samples
from pose_regression.errors import PoseError
from pose_regression.evaluation.windows import crops_of, predict, predict_blocks, refined
from pose_regression.model.network import PoseRegressor
from pose_regression.skeleton import Skeleton

HANDS = Skeleton(("head", "right_hand", "left_hand"))
POSE = np.array([[0.5, 0.25], [0.25, 0.5], [0.7, 0.6]])
PROBABILITY = np.array([0.9, 0.2, 0.6])


class Constant(keras.layers.Layer):
    """The same value for every image."""

    def __init__(self, value):
        super().__init__()
        self.value = np.float32(value)

    def call(self, image):
        zero = 0 * ops.mean(image, axis=(1, 2, 3))
        return self.value + ops.reshape(zero, (-1, *[1] * self.value.ndim))


class CentreOfColour(keras.layers.Layer):
    """Position in [0, 1] of the red, the green and the blue in an image, as three joints."""

    def call(self, image):
        light = (image + 1) / 2
        size = image.shape[1]
        cells = (np.arange(size, dtype="float32") + 0.5) / size
        total = ops.sum(light, axis=(1, 2))
        x = ops.sum(light * cells[None, None, :, None], axis=(1, 2)) / total
        y = ops.sum(light * cells[None, :, None, None], axis=(1, 2)) / total
        return ops.stack([x, y], axis=-1)


def answering(pose, probability, shape=(32, 32, 3)) -> keras.Model:
    image = keras.Input(shape)
    value = {"pose": Constant(pose)(image), "probability": Constant(np.asarray(probability)[..., None])(image)}
    return keras.Model(image, value)


@pytest.fixture(scope="module")
def constant() -> keras.Model:
    return answering(POSE, PROBABILITY)


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photos") / "photo.png"
    Image.fromarray(np.full((80, 100, 3), 128, np.uint8)).save(path)
    return path


def person(image, center=(50, 40), side=20.0, **options) -> Sample:
    nowhere = np.full((3, 2), np.nan)
    return Sample(str(image), np.array(center, float), side, nowhere, np.ones(3, bool), **options)


def test_answer_in_the_crop_becomes_pixels_of_the_image(constant, photo):
    found = predict(constant, [person(photo)], skeleton=HANDS)
    np.testing.assert_allclose(found.pixels, [[[50, 35], [45, 40], [54, 42]]], atol=1e-5)
    np.testing.assert_allclose(found.probability, [PROBABILITY], atol=1e-6)
    assert found.pixels.dtype == found.probability.dtype == np.float32


def test_people_keep_their_order_whatever_the_batch(constant, photo):
    people = [person(photo, center=(10 * i, 5 * i), side=10.0 * (i + 1)) for i in range(5)]
    found = predict_blocks(constant, people, batch_size=2, skeleton=HANDS).last
    expected = [p.center + (POSE - 0.5) * p.side for p in people]
    np.testing.assert_allclose(found.pixels, expected, atol=1e-4)


def test_mirrored_answer_is_averaged_with_left_and_right_exchanged(constant, photo):
    # In the mirrored crop the model's "left hand" is the right one, at x = 50 - (0.7 - 0.5) 20 = 46, y = 42;
    # its "right hand" is the left one, at x = 50 + 0.25 · 20 = 55, y = 40.
    found = predict_blocks(constant, [person(photo)], flip=True, skeleton=HANDS).last
    np.testing.assert_allclose(found.pixels, [[[50, 35], [(45 + 46) / 2, 41], [(54 + 55) / 2, 41]]], atol=1e-5)
    np.testing.assert_allclose(found.probability, [[0.9, 0.4, 0.4]], atol=1e-6)


@pytest.mark.parametrize(("crops", "zooms"), [(1, [1]), (2, [0.8, 1.25]), (3, [0.8, 1, 1.25])])
def test_several_crops_are_averaged_in_the_image(constant, photo, crops, zooms):
    found = predict_blocks(constant, [person(photo)], crops=crops, skeleton=HANDS).last
    np.testing.assert_allclose(found.pixels[0], [50, 40] + (POSE - 0.5) * 20 * np.mean(zooms), atol=1e-5)
    np.testing.assert_allclose(found.probability[0], PROBABILITY, atol=1e-6)


@pytest.mark.parametrize(
    "options", [{}, {"flip": True}, {"crops": 3}, {"flip": True, "crops": 2}, {"refine": 1}], ids=str
)
def test_what_the_model_sees_is_found_where_it_is(options, tmp_path):
    places = np.array([[60.0, 50.0], [95.0, 70.0], [70.0, 100.0]])
    x, y = np.meshgrid(np.arange(160) + 0.5, np.arange(120) + 0.5)
    blobs = [250 * np.exp(-((x - a) ** 2 + (y - b) ** 2) / 8) for a, b in places]
    Image.fromarray(np.rint(np.stack(blobs, axis=-1)).astype(np.uint8)).save(tmp_path / "blobs.png")
    image = keras.Input((64, 64, 3))
    model = keras.Model(
        image, {"pose": CentreOfColour()(image), "probability": Constant(PROBABILITY[:, None])(image)}
    )  # fmt: skip
    names = Skeleton(("red", "green", "blue"))  # joints without a side
    found = predict_blocks(model, [person(tmp_path / "blobs.png", (80, 70), 100.0)], skeleton=names, **options).last
    np.testing.assert_allclose(found.pixels[0], places, atol=0.1)


def test_refinement_moves_the_window_to_the_pose(constant, photo):
    # Pose (50, 35), (45, 40), (54, 42): its box is 9 x 7 about (49.5, 38.5).
    moved = refined(windows_of_samples([person(photo)]), np.array([[[50.0, 35], [45, 40], [54, 42]]]))
    np.testing.assert_allclose(moved.center, [[0.8 * 50 + 0.2 * 49.5, 0.8 * 40 + 0.2 * 38.5]])
    assert moved.side == 1.5 * 9
    found = predict_blocks(constant, [person(photo)], refine=1, skeleton=HANDS).last
    np.testing.assert_allclose(found.pixels[0], [49.9, 39.7] + (POSE - 0.5) * 13.5, atol=1e-4)
    # The same pose again, 13.5 / 20 as large: a box of 6.075 about (49.9 - 0.3375, 39.7 - 1.0125).
    found = predict_blocks(constant, [person(photo)], refine=2, skeleton=HANDS).last
    center = np.array([49.9 - 0.2 * 0.3375, 39.7 - 0.2 * 1.0125])
    np.testing.assert_allclose(found.pixels[0], center + (POSE - 0.5) * 1.5 * 6.075, atol=1e-4)


def test_refinement_on_a_single_point_keeps_a_window(photo):
    assert refined(windows_of_samples([person(photo)]), np.full((1, 3, 2), 30.0)).side == 1


def test_last_of_several_blocks_counts(photo):
    model = answering(np.stack([0 * POSE, POSE]), np.stack([0 * PROBABILITY, PROBABILITY]))
    blocks = predict_blocks(model, [person(photo)] * 2, flip=True, skeleton=HANDS)
    assert blocks.pixels.shape == (2, 2, 3, 2) and blocks.probability.shape == (2, 2, 3)
    np.testing.assert_allclose(blocks.pixels[0, 0], [[50, 30]] * 3, atol=1e-5)  # corners of both crops, averaged
    np.testing.assert_array_equal(blocks.last.pixels, blocks.pixels[:, 1])
    np.testing.assert_array_equal(blocks.last.probability, blocks.probability[:, 1])


def test_every_window_after_the_first_follows_the_last_block(photo):
    model = answering(np.stack([0 * POSE, POSE]), np.stack([0 * PROBABILITY, PROBABILITY]))
    blocks = predict_blocks(model, [person(photo)], refine=1, skeleton=HANDS)
    np.testing.assert_allclose(blocks.pixels[0, 1], [49.9, 39.7] + (POSE - 0.5) * 13.5, atol=1e-4)
    np.testing.assert_allclose(blocks.pixels[0, 0], [[49.9 - 6.75, 39.7 - 6.75]] * 3, atol=1e-4)


def test_every_output_mode_of_the_network_serves(photo):
    model = PoseRegressor((32, 32, 3), num_joints=3, num_blocks=2, kernel_size=3, width=8)
    expected = predict(model, [person(photo)], skeleton=HANDS)
    for outputs in ("all", "maps"):
        found = predict(model.with_outputs(outputs), [person(photo)], skeleton=HANDS)
        np.testing.assert_allclose(found.pixels, expected.pixels, atol=1e-4)
        np.testing.assert_allclose(found.probability, expected.probability, atol=1e-5)


def test_window_about_a_box_is_a_quarter_wider_than_its_longer_side():
    windows = windows_of_boxes(np.array([[10, 20, 50, 100], [0, 0, 8, 4]]))
    np.testing.assert_allclose(windows.center, [[30, 60], [4, 2]])
    np.testing.assert_allclose(windows.side, [100, 10])
    np.testing.assert_allclose(windows.affine(zoom=2.0)[0] @ [30, 60, 1], [0.5, 0.5, 1])
    np.testing.assert_allclose(windows_of_boxes(np.array([[0, 0, 8, 4]]), margin=1.0).side, [8])


def test_crops_shown_are_those_of_the_network_and_a_broken_one_is_named(photo, tmp_path):
    assert (crops_of([person(photo)] * 2, size=16) == 128).all() and crops_of([person(photo)], size=8).shape[1] == 8
    (tmp_path / "broken.png").write_bytes(photo.read_bytes()[:60])
    with pytest.raises(PoseError, match="broken.png .*evaluation does not skip images"):
        crops_of([person(photo), person(tmp_path / "broken.png")], size=16)


def test_mistakes_are_refused_in_one_sentence(constant, photo, tmp_path):
    with pytest.raises(PoseError, match="crops of at least 1, refine of at least 0. Received: crops=0"):
        predict_blocks(constant, [person(photo)], crops=0)
    with pytest.raises(PoseError, match="Received: crops=1, refine=-1"):
        predict_blocks(constant, [person(photo)], refine=-1)
    with pytest.raises(PoseError, match="no person to predict"):
        predict(constant, [])
    with pytest.raises(PoseError, match="the model takes images of 32x64"):
        predict(answering(POSE, PROBABILITY, (32, 64, 3)), [person(photo)])
    (tmp_path / "broken.png").write_bytes(photo.read_bytes()[:60])
    with pytest.raises(PoseError, match="broken.png .*evaluation does not skip images"):
        predict(constant, [person(photo), person(tmp_path / "broken.png")])
