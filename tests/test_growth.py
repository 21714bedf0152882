import numpy as np
import pytest

from pose_regression.errors import PoseError
from pose_regression.model.growth import grown
from pose_regression.model.named_weights import assign, named_weights
from pose_regression.model.network import PoseRegressor


def network(**settings):
    return PoseRegressor((64, 64, 3), num_joints=3, outputs="all", **settings)


def grow(source, target):
    arrays = {name: np.array(variable.value) for name, variable in named_weights(source).items()}
    variables = named_weights(target)
    assign(variables, grown(arrays, {name: tuple(v.shape) for name, v in variables.items()}))
    return arrays


@pytest.fixture
def images():
    return np.random.default_rng(0).uniform(-1, 1, (2, 64, 64, 3)).astype("float32")


@pytest.fixture
def source():
    small = network(num_blocks=2, width=144)
    for layer in small._flatten_layers():
        if "bn" in layer.name:  # of a trained network, no two channels are alike
            for variable in layer.weights:
                variable.assign(np.random.default_rng(len(layer.name)).uniform(0.5, 1.5, variable.shape))
    return small


@pytest.mark.parametrize("width", [200, 288])
def test_a_wider_network_gives_the_same_answers(source, images, width):
    wide = network(num_blocks=2, width=width)
    grow(source, wide)
    before, after = source.predict(images, verbose=0), wide.predict(images, verbose=0)
    for name in before:
        np.testing.assert_allclose(after[name], before[name], atol=2e-5)


def test_more_blocks_begin_as_the_last_one_and_leave_the_others_answers(source, images):
    deep = network(num_blocks=4, width=144)
    arrays = grow(source, deep)
    np.testing.assert_allclose(
        deep.predict(images, verbose=0)["pose"][:, :2], source.predict(images, verbose=0)["pose"], atol=1e-5
    )
    held = {name: np.array(variable.value) for name, variable in named_weights(deep).items()}
    np.testing.assert_array_equal(
        held["block_a_4/half_1/pointwise_kernel"], arrays["block_a_2/half_1/pointwise_kernel"]
    )
    np.testing.assert_array_equal(held["block_b_3/project/kernel"], arrays["block_b_1/project/kernel"])


def test_copies_of_a_channel_are_read_by_different_parts(source):
    wide = network(num_blocks=2, width=288)
    arrays = grow(source, wide)
    kernel = np.array(named_weights(wide)["block_b_1/heatmaps/kernel"].value)
    old = arrays["block_b_1/heatmaps/kernel"]
    np.testing.assert_allclose(kernel[:, :, :144] + kernel[:, :, 144:], old, atol=1e-6)
    assert np.abs(kernel[:, :, :144] - kernel[:, :, 144:]).mean() > 0.1 * np.abs(old).mean()


def test_a_narrower_network_is_refused(source):
    with pytest.raises(PoseError, match="conv_4/kernel has 32 channels, more than the 16 of the new network"):
        grow(source, network(num_blocks=2, width=64))
