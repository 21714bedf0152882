"""Kernels against Keras' own layers, in value and gradient."""

import keras
import numpy as np
import pytest
from keras import ops

from pose_regression.model.kernels import BatchNormalization, SeparableConv2D, _depthwise_kernel_gradient

tensorflow_only = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a TensorFlow kernel")


def array(tensor) -> np.ndarray:
    return keras.ops.convert_to_numpy(tensor)


# Batch normalization


@tensorflow_only
@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_fused_batch_normalization_equals_the_plain_layer(training, scale):
    import tensorflow as tf

    rng = np.random.default_rng(0)
    layers = BatchNormalization(scale=scale), keras.layers.BatchNormalization(scale=scale)
    for layer in layers:
        layer.build((None, 5, 7, 3))
    values = [rng.uniform(0.5, 2, size=weight.shape) for weight in layers[0].weights]
    for layer in layers:
        layer.set_weights(values)
    for _ in range(3):
        x = rng.normal(2, 3, size=(2, 5, 7, 3)).astype("float32")
        upstream = rng.normal(size=x.shape).astype("float32")
        found = []
        for layer in layers:
            image = tf.constant(x)
            with tf.GradientTape() as tape:
                tape.watch(image)
                y = layer(image, training=training)
            gradients = tape.gradient(y, [image, *layer.trainable_variables], upstream)
            found.append([y, *gradients, *layer.non_trainable_variables])
        assert len(found[0]) == len(found[1]) == 5 + scale
        for ours, plain in zip(*found, strict=True):
            np.testing.assert_allclose(array(ours), array(plain), rtol=2e-5, atol=2e-5)


@tensorflow_only
def test_batch_normalization_averages_the_plain_variance_of_the_batch():
    layer = BatchNormalization(scale=False, momentum=0.75)
    x = np.array([0, 2, 4, 6], np.float32).reshape(1, 2, 2, 1)  # mean 3, variance 5 (20/3 with N - 1)
    layer(x, training=True)
    np.testing.assert_allclose(array(layer.moving_mean), [0.25 * 3], rtol=1e-6)
    np.testing.assert_allclose(array(layer.moving_variance), [0.75 + 0.25 * 5], rtol=1e-6)


@tensorflow_only
def test_frozen_batch_normalization_uses_and_keeps_its_averages():
    layer = BatchNormalization(scale=False)
    layer.build((None, 2, 2, 1))
    layer.set_weights([np.array([n]) for n in (1, 2, 4)])  # beta, moving mean, moving variance
    layer.trainable = False
    x = np.array([0, 2, 4, 6], np.float32).reshape(1, 2, 2, 1)
    expected = (x - 2) / np.sqrt(4 + 1e-3) + 1
    np.testing.assert_allclose(array(layer(x, training=True)), expected, atol=1e-6)
    assert [array(weight).item() for weight in layer.weights] == [1, 2, 4]


@tensorflow_only
@pytest.mark.parametrize("training", [False, True])
def test_batch_normalization_in_low_precision_keeps_float32_averages(low_precision, training):
    x = np.random.default_rng(0).normal(size=(4, 6, 6, 2)).astype("float32")
    layer, plain = BatchNormalization(scale=False), keras.layers.BatchNormalization(scale=False, dtype="float32")
    y = layer(x, training=training)
    assert keras.backend.standardize_dtype(y.dtype) == low_precision.removeprefix("mixed_")
    np.testing.assert_allclose(array(ops.cast(y, "float32")), array(plain(x, training=training)), atol=0.02)
    for ours, theirs in zip(layer.non_trainable_variables, plain.non_trainable_variables, strict=True):
        assert ours.dtype == "float32"
        np.testing.assert_allclose(array(ours), array(theirs), atol=1e-3)


@tensorflow_only
def test_batch_normalization_that_the_kernel_cannot_do_is_the_plain_layer():
    x = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")
    for shape, options in (((6, 4), {}), ((2, 3, 2, 2), {"axis": 1}), ((3, 2, 2, 2), {"dtype": "float64"})):
        ours, plain = BatchNormalization(**options), keras.layers.BatchNormalization(**options)
        values = ours(x.reshape(shape), training=True), plain(x.reshape(shape), training=True)
        np.testing.assert_allclose(*map(array, values), rtol=1e-6)


# Separable convolution


@tensorflow_only
@pytest.mark.parametrize(
    ("batch", "height", "width", "channels", "kernel"),
    [(1, 1, 1, 1, (1, 1)), (2, 5, 7, 3, (3, 3)), (3, 4, 2, 2, (5, 5)), (1, 9, 4, 5, (3, 5)), (2, 3, 8, 4, (7, 1))],
)
def test_depthwise_kernel_gradient_equals_the_library(batch, height, width, channels, kernel):
    import tensorflow as tf

    rng = np.random.default_rng(0)
    x = rng.normal(size=(batch, height, width, channels)).astype("float32")
    upstream = rng.normal(size=x.shape).astype("float32")
    weights = tf.Variable(tf.zeros((*kernel, channels, 1)))
    with tf.GradientTape() as tape:
        y = tf.nn.depthwise_conv2d(x, weights, (1, 1, 1, 1), "SAME")
    expected = tape.gradient(y, weights, upstream)
    found = _depthwise_kernel_gradient(tf.constant(x), tf.constant(upstream), weights.shape)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def separable_pair(**options) -> tuple[keras.layers.Layer, keras.layers.Layer]:
    """Ours in bfloat16 and Keras' in float32, with the same kernels, exact in bfloat16."""
    import tensorflow as tf

    layers = SeparableConv2D(6, **options, dtype="mixed_bfloat16"), keras.layers.SeparableConv2D(6, **options)
    for layer in layers:
        layer.build((None, 9, 7, 4))
    rng = np.random.default_rng(0)
    values = [tf.cast(tf.cast(rng.normal(size=w.shape), "bfloat16"), "float32") for w in layers[0].weights]
    for layer in layers:
        layer.set_weights(values)
    return layers


@tensorflow_only
@pytest.mark.parametrize("kernel_size", [1, 3, 5, (3, 5)])
def test_bfloat16_separable_convolution_has_the_value_and_gradients_of_float32(kernel_size):
    import tensorflow as tf

    rng = np.random.default_rng(1)
    layers = separable_pair(kernel_size=kernel_size, padding="same", use_bias=False)
    assert layers[0]._slow_gradient() == (not tf.config.list_logical_devices("GPU"))
    x = tf.cast(tf.cast(rng.normal(size=(2, 9, 7, 4)), "bfloat16"), "float32")
    upstream = tf.constant(rng.normal(size=(2, 9, 7, 6)), "float32")
    found = []
    for layer in layers:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.cast(layer(x), "float32")
        found.append([y, *tape.gradient(y, [x, *layer.trainable_variables], upstream)])
    for ours, plain in zip(*found, strict=True):
        assert np.linalg.norm(ours - plain) < 0.01 * np.linalg.norm(plain)


@tensorflow_only
@pytest.mark.parametrize(
    "options",
    [
        {"use_bias": True}, {"activation": "relu"}, {"dilation_rate": 2}, {"strides": 2}, {"padding": "valid"},
        {"depth_multiplier": 2}, {"kernel_size": 4},
    ],
    ids=str,
)  # fmt: skip
def test_bfloat16_separable_convolution_with_any_other_option_is_the_plain_layer(options):
    ours, plain = separable_pair(**{"kernel_size": 3, "padding": "same", "use_bias": False} | options)
    x = np.random.default_rng(1).integers(-2, 3, size=(2, 9, 7, 4)).astype("float32")
    y, expected = array(ops.cast(ours(x), "float32")), array(plain(x))
    assert y.shape == expected.shape
    assert np.linalg.norm(y - expected) < 0.01 * np.linalg.norm(expected)
