from dataclasses import replace

import keras
import numpy as np
import pytest
from scipy.special import log_softmax

from pose_regression.model.load import load_model
from pose_regression.model.network import PoseRegressor
from pose_regression.model.weights import named_weights, save_weights
from pose_regression.training.loop import RECIPES, compile_model
from pose_regression.training.map_supervision import MapSupervised, map_divergence


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


@pytest.fixture
def network() -> PoseRegressor:
    keras.utils.set_random_seed(3)
    return PoseRegressor((64, 64, 3), num_blocks=2, width=18, outputs="all")


def batch(present: float = 1.0):
    rng = np.random.default_rng(0)
    pose = np.concatenate([rng.uniform(0.2, 0.8, (4, 16, 2)), np.full((4, 16, 1), present)], axis=-1)
    image = rng.uniform(-1, 1, (4, 64, 64, 3))
    return image.astype(np.float32), {"pose": pose.astype(np.float32), "probability": np.ones((4, 16, 2), np.float32)}


def test_loss_is_the_plain_one_plus_the_weighted_divergence(network):
    recipe = replace(RECIPES["quick"], epochs=1)
    image, targets = batch()
    supervised = MapSupervised(network, 0.5)
    compile_model(supervised, recipe, steps_per_epoch=1)
    compile_model(network, recipe, steps_per_epoch=1)
    answers = supervised(image)
    plain = float(network.compute_loss(image, targets, network(image)))
    divergence = np.asarray(map_divergence(targets["pose"][..., :2], targets["pose"][..., 2], answers["heatmaps"]))
    total = float(supervised.compute_loss(image, targets, answers))
    assert total == pytest.approx(plain + 0.5 * divergence.sum(axis=1).mean(), rel=1e-5)


def test_training_narrows_the_maps_and_gives_the_networks_own_weight_file(network, tmp_path):
    recipe = replace(RECIPES["quick"], epochs=1, learning_rate=1e-2, schedule="constant")
    image, targets = batch()
    supervised = MapSupervised(network, 1.0)
    compile_model(supervised, recipe, steps_per_epoch=10)

    def divergence() -> float:
        heatmaps = supervised(image, training=True)["heatmaps"]
        return float(np.sum(map_divergence(targets["pose"][..., :2], targets["pose"][..., 2], heatmaps)))

    before = divergence()
    for _ in range(10):
        supervised.train_on_batch(image, targets)
    assert divergence() < 0.8 * before
    assert named_weights(supervised).keys() == named_weights(network).keys()
    save_weights(supervised, tmp_path / "it.weights.h5")
    loaded, _ = load_model(tmp_path / "it.weights.h5")
    expected = network.predict(image, verbose=0)["pose"][:, -1]
    np.testing.assert_allclose(loaded.predict(image, verbose=0)["pose"], expected, atol=1e-5)
