from dataclasses import replace

import keras
import numpy as np
import pytest
from scipy.special import log_softmax

from pose_regression.model.network import PoseRegressor
from pose_regression.training.argmax import argmax_decoder, argmax_pose
from pose_regression.training.experiment import RECIPES, Recipe
from pose_regression.training.supervision import (
    HeatmapLoss,
    compile_model,
    gaussian_maps,
    map_divergence,
    supervision_of,
)


@pytest.fixture(scope="module")
def network() -> PoseRegressor:
    keras.utils.set_random_seed(3)
    return PoseRegressor((64, 64, 3), num_context=0, num_blocks=2, width=24, outputs="every_map")


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (4, 64, 64, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("grid", "x", "y"), [("endpoints", 3 / 4, 1 / 2), ("paper", 4 / 5, 2 / 3), ("centers", 0.7, 0.5)]
)
def test_argmax_is_the_coordinate_of_the_largest_cell(grid, x, y):
    maps = np.zeros((1, 3, 5, 2), np.float32)
    maps[0, 1, 3, 0], maps[0, 2, 0, 1] = 2.0, 1e-3
    first, second = np.asarray(argmax_pose(maps, grid=grid))[0]
    np.testing.assert_allclose(first, [x, y], atol=1e-6)
    assert second[0] < 0.25 and second[1] > 0.8


def test_argmax_keeps_the_axis_of_blocks_and_takes_the_first_of_equal_cells():
    maps = np.zeros((2, 3, 4, 4, 1), np.float32)
    maps[1, 2, 3, 1, 0] = 1
    pose = np.asarray(argmax_pose(maps))
    assert pose.shape == (2, 3, 1, 2)
    np.testing.assert_allclose(pose[1, 2, 0], [1 / 3, 1])
    np.testing.assert_array_equal(pose[0], 0)


def test_gaussian_is_one_at_the_joint_and_falls_with_the_distance_in_cells():
    # On 5 x 9 cells with both ends, (0.5, 0.25) is column 4, row 1.
    maps = np.asarray(gaussian_maps(np.array([[[0.5, 0.25]]], np.float32), (5, 9)))[0, ..., 0]
    assert maps.shape == (5, 9)
    assert maps[1, 4] == pytest.approx(1)
    assert maps[1, 5] == pytest.approx(np.exp(-0.5))
    assert maps[3, 3] == pytest.approx(np.exp(-0.5 * (4 + 1)))


@pytest.mark.parametrize("grid", ["endpoints", "paper", "centers"])
def test_argmax_of_a_gaussian_is_within_half_a_cell_of_the_joint(grid):
    pose = np.random.default_rng(1).uniform(0.2, 0.8, (20, 16, 2)).astype(np.float32)
    found = np.asarray(argmax_pose(gaussian_maps(pose, (8, 8), grid=grid), grid=grid))
    cell = 1 / 7 if grid == "endpoints" else 1 / 8
    assert np.abs(found - pose).max() <= cell / 2 + 1e-6


def test_loss_is_the_squared_error_over_present_joints():
    target = np.array([[[0.5, 0.5, 1], [0.1, 0.9, 1], [0.0, 0.0, 0]]], np.float32)
    drawn = np.asarray(gaussian_maps(target[..., :2], (4, 4)))
    maps = np.stack([drawn, drawn], axis=1)
    loss = HeatmapLoss()
    assert float(loss(target, maps)) == pytest.approx(0, abs=1e-9)
    maps[0, 0, 2, 1, 0] += 3.0  # 9 in one block, over two present joints
    maps[0, 1, ..., 2] = 50.0  # of the absent joint
    assert float(loss(target, maps)) == pytest.approx(4.5, rel=1e-5)


def test_loss_without_joints_is_zero():
    assert float(HeatmapLoss()(np.zeros((1, 3, 3), np.float32), np.ones((1, 2, 4, 4, 3), np.float32))) == 0


def test_decoder_reads_the_maxima_of_the_networks_own_maps(network, images):
    output = argmax_decoder(network).predict(images, verbose=0)
    maps = network.with_outputs("maps").predict(images, verbose=0)
    assert output["pose"].shape == (4, 2, 16, 2)
    cells = maps["heatmaps"].reshape(4, 64, 16).argmax(axis=1)
    np.testing.assert_allclose(output["pose"][:, -1], np.stack([cells % 8, cells // 8], axis=-1) / 7, atol=1e-6)
    np.testing.assert_allclose(output["probability"][:, -1], maps["probability"], atol=1e-5)


def test_decoder_does_not_look_at_context_maps(images):
    keras.utils.set_random_seed(0)
    network = PoseRegressor((64, 64, 3), num_context=2, num_blocks=1, width=24, outputs="every_map")
    maps = network.with_outputs("maps").predict(images, verbose=0)["heatmaps"]
    pose = argmax_decoder(network).predict(images, verbose=0)["pose"][:, 0]
    np.testing.assert_allclose(pose, np.asarray(argmax_pose(maps)), atol=1e-6)


def test_every_map_is_the_answers_of_all_blocks_with_their_logits(network, images):
    every = network.predict(images, verbose=0)
    answers = network.with_outputs("all").predict(images, verbose=0)
    last = network.with_outputs("maps").predict(images, verbose=0)
    assert every["heatmaps"].shape == (4, 2, 8, 8, 16) and every["context_heatmaps"].shape == (4, 2, 8, 8, 0)
    np.testing.assert_allclose(every["heatmaps"][:, -1], last["heatmaps"], atol=1e-5)
    for name in ("pose", "probability"):
        np.testing.assert_allclose(every[name], answers[name], atol=1e-5)


def test_training_on_heatmaps_moves_the_maxima_to_the_joints(images):
    keras.utils.set_random_seed(0)
    recipe = Recipe(supervise="heatmaps", optimizer="adamw", learning_rate=3e-3, schedule="constant")
    supervision = supervision_of(recipe)
    network = PoseRegressor((64, 64, 3), num_joints=4, num_context=0, num_blocks=1, width=24, outputs="every_map")
    compile_model(network, recipe, steps_per_epoch=1)
    decoder = supervision.read(network)
    place = np.random.default_rng(5).uniform(0, 1, (4, 4, 2)).astype(np.float32)
    pose = np.concatenate([place, np.ones((4, 4, 1), np.float32)], axis=-1)
    targets = supervision.targets({"pose": pose, "probability": np.ones((4, 4, 2), np.float32)})
    losses = [network.train_on_batch(images, targets) for _ in range(60)]
    assert losses[-1] < 0.3 * losses[0]
    output = np.asarray(decoder(images, training=True)["pose"])[:, 0]
    assert (np.abs(output - place).max(axis=-1) < 1 / 7).mean() > 0.8


def gaussian(x: float, y: float, height: int, width: int) -> np.ndarray:
    """Sum 1, one cell wide, about (x, y) in cells."""
    rows, columns = np.mgrid[:height, :width]
    values = np.exp(-0.5 * ((rows - y) ** 2 + (columns - x) ** 2))
    return values / values.sum()


def test_divergence_is_that_of_the_softmax_from_a_gaussian_about_the_joint():
    logits = np.random.default_rng(0).normal(size=(2, 3, 5, 9, 1)).astype(np.float32)
    target = np.array([[[0.5, 0.25]], [[0.25, 1.0]]], np.float32)  # cells (4, 1) and (2, 4)
    found = np.asarray(map_divergence(target, np.ones((2, 1), np.float32), logits))
    for sample, (x, y) in enumerate([(4, 1), (2, 4)]):
        wanted = gaussian(x, y, 5, 9)
        for block in range(3):
            logarithm = log_softmax(logits[sample, block, ..., 0].astype(float))
            expected = (wanted * (np.log(wanted) - logarithm)).sum()
            assert found[sample, block] == pytest.approx(expected, rel=1e-5)


def test_divergence_is_zero_for_the_gaussian_itself_and_grows_with_the_distance():
    maps = np.log(np.stack([gaussian(x, 3, 7, 11) for x in (4, 5, 7)])).astype(np.float32)[None, ..., None]
    here, near, far = np.asarray(
        map_divergence(np.array([[[0.4, 0.5]]], np.float32), np.ones((1, 1), np.float32), maps)
    )[0]
    assert here == pytest.approx(0, abs=1e-6)
    assert near == pytest.approx(0.5, rel=0.05)  # d² / 2 for one cell, but for the edges of the map
    assert far == pytest.approx(4.5, rel=0.05)


def test_absent_joints_do_not_count_whatever_they_hold():
    logits = np.random.default_rng(1).normal(size=(1, 2, 4, 4, 2)).astype(np.float32)
    target = np.array([[[0.3, 0.3], [np.nan, 7.0]]], np.float32)
    both = np.asarray(map_divergence(target, np.array([[1.0, 0.0]], np.float32), logits))
    one = np.asarray(map_divergence(target[:, :1], np.ones((1, 1), np.float32), logits[..., :1]))
    np.testing.assert_allclose(both, one, rtol=1e-6)
    none = np.asarray(map_divergence(target, np.zeros((1, 2), np.float32), logits))
    np.testing.assert_array_equal(none, 0)


def batch(present: float = 1.0):
    rng = np.random.default_rng(0)
    pose = np.concatenate([rng.uniform(0.2, 0.8, (4, 16, 2)), np.full((4, 16, 1), present)], axis=-1)
    image = rng.uniform(-1, 1, (4, 64, 64, 3))
    return image.astype(np.float32), {"pose": pose.astype(np.float32), "probability": np.ones((4, 16, 2), np.float32)}


def test_loss_is_the_plain_one_plus_the_weighted_divergence():
    keras.utils.set_random_seed(3)
    recipe = replace(RECIPES["quick"], epochs=1, map_weight=0.5)
    plain_recipe, (image, targets) = replace(recipe, map_weight=0.0), batch()
    told = PoseRegressor((64, 64, 3), num_blocks=2, width=18, outputs="every_map")
    plain = told.with_outputs("all")
    compile_model(told, recipe, steps_per_epoch=1)
    compile_model(plain, plain_recipe, steps_per_epoch=1)
    answers = told(image)
    divergence = np.asarray(map_divergence(targets["pose"][..., :2], targets["pose"][..., 2], answers["heatmaps"]))
    total = float(told.compute_loss(image, supervision_of(recipe).targets(targets), answers))
    expected = float(plain.compute_loss(image, targets, plain(image))) + 0.5 * divergence.sum(axis=1).mean()
    assert total == pytest.approx(expected, rel=1e-5)


def test_training_with_the_divergence_narrows_the_maps():
    keras.utils.set_random_seed(3)
    recipe = replace(RECIPES["quick"], epochs=1, learning_rate=1e-2, schedule="constant", map_weight=1.0)
    network = PoseRegressor((64, 64, 3), num_blocks=2, width=18, outputs="every_map")
    compile_model(network, recipe, steps_per_epoch=10)
    image, targets = batch()

    def divergence() -> float:
        heatmaps = network(image, training=True)["heatmaps"]
        return float(np.sum(map_divergence(targets["pose"][..., :2], targets["pose"][..., 2], heatmaps)))

    before, told = divergence(), supervision_of(recipe).targets(targets)
    for _ in range(10):
        network.train_on_batch(image, told)
    assert divergence() < 0.8 * before
