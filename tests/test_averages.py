from dataclasses import replace

import keras
import numpy as np
import pytest

from pose_regression.errors import PoseError
from pose_regression.model.network import PoseRegressor
from pose_regression.training.averages import Shown, Statistics, WeightAverage
from pose_regression.training.experiment import RECIPES, Recipe


@pytest.fixture
def network() -> PoseRegressor:
    keras.utils.set_random_seed(0)
    return PoseRegressor((32, 32, 3), num_blocks=1, width=8, outputs="all")


def test_the_average_is_the_closed_form_and_forgets_what_was_before_the_first_step(network):
    average, weight = WeightAverage(network, 0.25), network.trainable_variables[0]
    values = np.random.default_rng(0).normal(size=(30, *weight.shape)).astype(np.float32)
    for step, value in enumerate(values, 1):
        weight.assign(value)
        average.update(step)
    kept = [min(0.25, (step - 1) / (step + 9)) for step in range(1, 31)]
    parts = [(1 - d) * np.prod(kept[step + 1 :]) for step, d in enumerate(kept)]
    assert sum(parts) == pytest.approx(1)
    np.testing.assert_allclose(average.variables[0].numpy(), np.tensordot(parts, values, 1), atol=1e-6)


def test_statistics_are_the_means_over_the_batches():
    image = keras.Input((4, 4, 2))
    norm = keras.layers.BatchNormalization(momentum=0.9)
    network = keras.Model(image, norm(image))
    norm.moving_mean.assign([7.0, 8.0])
    batches = np.random.default_rng(1).normal([1.0, -2.0], [0.5, 3.0], (3, 5, 4, 4, 2)).astype(np.float32)
    Statistics(network).renew(batches)
    np.testing.assert_allclose(norm.moving_mean.numpy(), batches.mean(axis=(1, 2, 3)).mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(norm.moving_variance.numpy(), batches.var(axis=(1, 2, 3)).mean(axis=0), rtol=1e-4)


def test_what_is_shown_has_averaged_weights_and_their_own_statistics_and_the_trained_network_stays(network):
    shown = Shown(network, replace(RECIPES["quick"], average=0.5, statistics_batches=2))
    first = network.trainable_variables[0]
    for step, value in enumerate((1.0, 3.0), 1):
        first.assign(np.full(first.shape, value, np.float32))
        shown.average.update(step)
    before = network.get_weights()
    images = np.random.default_rng(2).uniform(-1, 1, (2, 3, 32, 32, 3)).astype(np.float32)
    shown.renew(images)
    kept = 1 / 11  # at the second step
    np.testing.assert_allclose(shown.network.trainable_variables[0].numpy(), kept * 1 + (1 - kept) * 3, rtol=1e-6)
    for a, b in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    norm = shown.network.get_layer("stem").get_layer("conv_1_bn")
    convolved = np.asarray(shown.network.get_layer("stem").get_layer("conv_1")(images.reshape(-1, 32, 32, 3)))
    expected = convolved.reshape(2, -1, convolved.shape[-1]).mean(axis=1).mean(axis=0)
    np.testing.assert_allclose(norm.moving_mean.numpy(), expected, atol=1e-5)


def test_without_either_the_trained_network_itself_is_shown(network):
    shown = Shown(network, Recipe())
    assert shown.network is network and shown.variables == {}


def test_averaged_weights_without_statistics_are_refused():
    with pytest.raises(PoseError, match="average needs statistics_batches"):
        Recipe(average=0.9)


def test_what_is_frozen_keeps_its_weights_and_statistics_in_what_is_shown(network):
    network.get_layer("stem").trainable = False
    shown = Shown(network, replace(RECIPES["quick"], average=0.5, statistics_batches=2))
    moved = network.trainable_variables[0]
    moved.assign(np.full(moved.shape, 2.0, np.float32))
    shown.average.update(1)
    shown.renew(np.random.default_rng(2).uniform(-1, 1, (2, 3, 32, 32, 3)).astype(np.float32))
    np.testing.assert_allclose(shown.network.trainable_variables[0], moved, rtol=1e-6)
    for mine, theirs in zip(shown.network.get_layer("stem").weights, network.get_layer("stem").weights, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    norms = [weight for weight in shown.network.get_layer("block_a_1").weights if weight.name == "moving_mean"]
    assert all(np.abs(norm).max() > 0 for norm in norms)
