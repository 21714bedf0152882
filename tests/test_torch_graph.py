"""The network run by PyTorch gives what Keras gives."""

import keras
import numpy as np
import pytest
from keras import ops

torch = pytest.importorskip("torch")

from pose_regression.model.network import PoseRegressor  # noqa: E402
from pose_regression.model.torch_graph import TorchGraph  # noqa: E402


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    network = PoseRegressor((64, 96, 3), num_blocks=2, width=32, outputs="every_map")
    generator = np.random.default_rng(1)
    for weight in network.weights:
        if weight.name in ("beta", "moving_mean", "moving_variance"):
            weight.assign(generator.uniform(0.5, 1.5, weight.shape))
    return network


def images(count: int = 3) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (count, 64, 96, 3)).astype(np.float32)


def given(pictures: np.ndarray):
    return torch.tensor(pictures).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("training", [False, True])
def test_maps_are_those_of_keras(network, training):
    kept = network.get_weights()
    wanted = network(images(), training=training)
    network.set_weights(kept)
    graph = TorchGraph(network, "cpu", half=False)
    with torch.no_grad():
        maps = graph.maps(given(images()), training=training).numpy().transpose(0, 1, 3, 4, 2)
    whole = np.concatenate([wanted["heatmaps"], wanted["context_heatmaps"]], axis=-1)
    np.testing.assert_allclose(maps, whole, atol=2e-4 * np.abs(whole).max())


def test_weights_go_there_and_back(network):
    for given_back, own in zip(TorchGraph(network, "cpu").weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(given_back, own)


def test_moving_averages_take_the_part_that_is_asked(network):
    graph = TorchGraph(network, "cpu", half=False)
    first = graph.index[id(network.get_layer("stem").get_layer("conv_1_bn").moving_mean)]
    kernel = network.get_layer("stem").get_layer("conv_1").kernel
    mean = ops.convert_to_numpy(ops.conv(images(), kernel, 2, "same")).mean((0, 1, 2))
    with torch.no_grad():
        graph.maps(given(images()), training=True, momentum=1.0)
    np.testing.assert_allclose(graph.tensors[first].numpy(), mean, atol=1e-5)


def test_gradients_are_those_of_keras(network):
    import tensorflow as tf

    variable = network.get_layer("block_a_1").get_layer("half_2").depthwise_kernel
    with tf.GradientTape() as tape:
        total = ops.sum(ops.square(network(images())["heatmaps"]))
    wanted = np.asarray(tape.gradient(total, variable.value))
    graph = TorchGraph(network, "cpu", half=False)
    torch.sum(graph.maps(given(images()))[:, :, :16] ** 2).backward()
    gradient = graph.tensors[graph.index[id(variable)]].grad.numpy().transpose(2, 3, 0, 1)
    np.testing.assert_allclose(gradient, wanted, atol=1e-3 * np.abs(wanted).max())
