"""Batch norms folded into convolutions, in backbones of every make: the answer stays, what cannot be folded stays too.

The paper's network is in test_export.py.
"""

import keras
import numpy as np
import pytest
from keras import layers

from pose_regression.model.folding import fold_batch_norms
from pose_regression.model.hourglass import Stacks
from pose_regression.model.kernels import BatchNormalization
from pose_regression.model.network import PoseRegressor


@keras.saving.register_keras_serializable(package="test_folding")
class Little:
    """An image's quarter through `body`, which is named, and a convolution to the maps."""

    def __init__(self, body: str):
        self.body = body

    def __call__(self, image, num_maps, policy):
        x = BODIES[self.body](layers.AveragePooling2D(4, name="quarter")(image))
        return [layers.Conv2D(num_maps, 1, name="maps", dtype="float32")(x)]

    def get_config(self):
        return {"body": self.body}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def scaled(x):
    return BatchNormalization(name="c1_bn")(layers.Conv2D(6, 3, use_bias=False, name="c1")(x))


def biased(x):
    return BatchNormalization(scale=False, name="c1_bn")(layers.Conv2D(6, 3, name="c1")(x))


def without_offset(x):
    return layers.BatchNormalization(center=False, name="n")(layers.SeparableConv2D(6, 3, name="c1")(x))


def of_another_name(x):
    return BatchNormalization(name="c1_bn")(layers.Conv2D(6, 3, name="first")(x))


def nested(x):
    part = keras.Input(x.shape[1:])
    inner = keras.Model(part, layers.BatchNormalization(name="n")(layers.Conv2D(6, 3, name="c")(part)), name="inner")
    return inner(x)


def not_of_a_convolution(x):
    return BatchNormalization(name="pool_bn")(layers.MaxPooling2D(2, name="pool")(x))


def after_an_activation(x):
    return BatchNormalization(name="c1_bn")(layers.Conv2D(6, 3, activation="relu", name="c1")(x))


def used_twice(x):
    x = layers.Conv2D(6, 3, name="c1")(x)
    return layers.Add(name="sum")([BatchNormalization(name="c1_bn")(x), x])


def called_twice(x):
    convolution = layers.Conv2D(3, 3, padding="same", name="c1")
    return convolution(BatchNormalization(name="c1_bn")(convolution(x)))


def depthwise(x):
    return BatchNormalization(name="c1_bn")(layers.DepthwiseConv2D(3, name="c1")(x))


def over_rows(x):
    return layers.BatchNormalization(axis=1, name="c1_bn")(layers.Conv2D(6, 3, name="c1")(x))


def sequential(x):
    return keras.Sequential([layers.Conv2D(6, 3, name="c1"), layers.BatchNormalization(name="c1_bn")], name="part")(x)


FOLDED = (scaled, biased, without_offset, of_another_name, nested)
LEFT = (
    not_of_a_convolution, after_an_activation, used_twice, called_twice, depthwise, over_rows, sequential
)  # fmt: skip
BODIES = {body.__name__: body for body in FOLDED + LEFT}


def network(backbone) -> PoseRegressor:
    """A network whose every weight and average does something."""
    keras.utils.set_random_seed(0)
    model = PoseRegressor((64, 64, 3), backbone=backbone)
    rng = np.random.default_rng(0)
    for variable in model.variables:
        if variable.name in ("gamma", "moving_variance"):
            variable.assign(rng.uniform(0.4, 2, variable.shape))
        elif variable.name in ("beta", "bias", "moving_mean"):
            variable.assign(rng.normal(0, 0.3, variable.shape))
        elif "maps" in variable.path and variable.name == "kernel":  # for heat maps with peaks
            variable.assign(variable.numpy() * 20)
    return model


def assert_same_answer(model: PoseRegressor, folded: keras.Model) -> None:
    crops = np.random.default_rng(1).uniform(-1, 1, (3, 64, 64, 3)).astype("float32")
    expected, found = model.predict(crops, verbose=0), folded.predict(crops, verbose=0)
    assert np.ptp(expected["pose"]) > 0.01  # the comparison sees something
    for name in ("pose", "probability"):
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=1e-5)


@pytest.mark.parametrize("body", [body.__name__ for body in FOLDED])
def test_a_norm_after_a_convolution_is_folded_whatever_scale_bias_and_name(body):
    model = network(Little(body))
    folded = fold_batch_norms(model)
    assert not any(weight.name == "moving_mean" for weight in folded.weights)
    assert_same_answer(model, folded)


@pytest.mark.parametrize("body", [body.__name__ for body in LEFT])
def test_a_norm_that_no_convolution_can_take_in_stays(body):
    model = network(Little(body))
    folded = fold_batch_norms(model)
    assert sum(weight.name == "moving_mean" for weight in folded.weights) == 1
    assert_same_answer(model, folded)


def test_fold_with_scale_and_bias_matches_hand_computation():
    model = network(Little("of_another_name"))
    (kernel, bias), norm = model.get_layer("first").get_weights(), model.get_layer("c1_bn")
    factor = norm.gamma.numpy() / np.sqrt(norm.moving_variance.numpy() + 1e-3)
    layer = fold_batch_norms(model).get_layer("first")
    np.testing.assert_allclose(layer.kernel.numpy(), kernel * factor, rtol=1e-6)
    offset = norm.beta.numpy() + (bias - norm.moving_mean.numpy()) * factor
    np.testing.assert_allclose(layer.bias.numpy(), offset, rtol=1e-5, atol=1e-6)


def test_stacked_hourglasses_fold_all_norms_that_follow_a_convolution_alone():
    model = network(Stacks(num_stacks=1, features=8))
    folded = fold_batch_norms(model)
    assert_same_answer(model, folded)
    left = {layer.name for layer in folded.layers if isinstance(layer, layers.BatchNormalization)}
    assert not any(name.endswith(("_b_norm", "_c_norm")) for name in left) and "hourglass_1_bottom_a_norm" in left
