import keras
import numpy as np
import pytest

from pose_regression.model.load import load_model
from pose_regression.model.network import PoseRegressor
from pose_regression.model.weights import named_weights, save_weights
from pose_regression.training.heatmap_regression import (
    HeatmapLoss,
    HeatmapRegressor,
    argmax_decoder,
    argmax_pose,
    compile_heatmaps,
    gaussian_maps,
)
from pose_regression.training.loop import Recipe


@pytest.fixture(scope="module")
def network() -> PoseRegressor:
    keras.utils.set_random_seed(3)
    return PoseRegressor((64, 64, 3), num_context=0, num_blocks=2, width=24, outputs="all")


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
    wide = np.asarray(gaussian_maps(np.array([[[0.5, 0.25]]], np.float32), (5, 9), sigma=2.0))[0, ..., 0]
    assert wide[1, 6] == pytest.approx(np.exp(-0.5))


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
    network = PoseRegressor((64, 64, 3), num_context=2, num_blocks=1, width=24)
    maps = network.with_outputs("maps").predict(images, verbose=0)["heatmaps"]
    pose = argmax_decoder(network).predict(images, verbose=0)["pose"][:, 0]
    np.testing.assert_allclose(pose, np.asarray(argmax_pose(maps)), atol=1e-6)


def test_weights_of_the_heatmap_network_are_those_of_the_pose_network(network, images, tmp_path):
    model = HeatmapRegressor(network)
    assert named_weights(model).keys() == named_weights(network).keys()
    assert model.predict(images, verbose=0)["pose"].shape == (4, 2, 8, 8, 16)
    save_weights(model, tmp_path / "a.weights.h5")
    loaded, _ = load_model(tmp_path / "a.weights.h5", outputs="all")
    np.testing.assert_allclose(
        loaded.predict(images, verbose=0)["pose"], network.predict(images, verbose=0)["pose"], atol=1e-6
    )


def test_training_on_heatmaps_moves_the_maxima_to_the_joints(images):
    keras.utils.set_random_seed(0)
    network = PoseRegressor((64, 64, 3), num_joints=4, num_context=0, num_blocks=1, width=24, outputs="all")
    model, decoder = HeatmapRegressor(network), argmax_decoder(network)
    compile_heatmaps(model, Recipe(optimizer="adamw", learning_rate=3e-3, schedule="constant"), steps_per_epoch=1)
    place = np.random.default_rng(5).uniform(0, 1, (4, 4, 2)).astype(np.float32)
    pose = np.concatenate([place, np.ones((4, 4, 1), np.float32)], axis=-1)
    targets = {"pose": pose, "probability": np.ones((4, 4, 2), np.float32)}
    losses = [model.train_on_batch(images, targets) for _ in range(60)]
    assert losses[-1] < 0.3 * losses[0]
    output = np.asarray(decoder(images, training=True)["pose"])[:, 0]
    assert (np.abs(output - place).max(axis=-1) < 1 / 7).mean() > 0.8
