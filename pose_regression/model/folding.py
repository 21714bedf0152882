"""The network as it is used: batch norms folded into convolutions, soft-argmax without a matrix product."""

from typing import Any

import keras
import numpy as np
from keras import ops

from pose_regression.model.network import PoseRegressor
from pose_regression.model.regression import SoftArgmax, coordinate_ramp


class _MarginalSoftArgmax(SoftArgmax):
    """Soft-argmax as the mean of each axis under the softmax's marginal: equal, and without a matrix product.

    A product with coordinates is what converters would quantise (LiteRT), and what OpenVINO takes for the last
    operation that counts, computing the softmax before it in bfloat16: 6 times the deviation.
    """

    def build(self, input_shape):
        self.ramps = coordinate_ramp(input_shape[2], self.grid), coordinate_ramp(input_shape[1], self.grid)

    def call(self, heatmaps):
        _, height, width, maps = heatmaps.shape
        logits = ops.transpose(ops.reshape(heatmaps, (-1, height * width, maps)), (0, 2, 1))
        weights = ops.reshape(ops.softmax(logits, axis=-1), (-1, maps, height, width))
        marginals = ops.sum(weights, axis=2), ops.sum(weights, axis=3)
        means = [ops.sum(marginal * ramp, axis=-1) for marginal, ramp in zip(marginals, self.ramps, strict=True)]
        return ops.stack(means, axis=-1)


def fold_batch_norms(model: PoseRegressor, *, dtype: str = "float32") -> keras.Model:
    """The network for inference: every batch norm folded into the convolution before it, the last block's outputs.

    A batch norm without scale is y = (x - mean) / √(variance + ε) + beta, so the kernel before it (of a separable
    convolution: the pointwise one) takes the factor and a bias the rest. Every batch norm of the paper's blocks follows
    a convolution without bias, is named after it with `_bn`, and is alone in using its output. Batch norms of other
    names, as those of another backbone, stay as they are.

    Args:
        model: any `outputs`, any dtype policy; unchanged.
        dtype: "float32" or "bfloat16", of the convolutions' weights and features. Heat maps and all after them are
            float32.

    Returns:
        A functional model as `PoseRegressor(outputs="last")`: (B, H, W, 3) in [-1, 1] -> `pose` (B, J, 2),
        `probability` (B, J, 1); in float32 equal to `model` within 1e-5.
    """
    source = last_block(model, {"float32": "float32", "bfloat16": "mixed_bfloat16"}[dtype])
    plain = keras.Model(source.inputs, source.output, name=source.name)  # clone_model copies no subclass
    normalised = {id(layer) for layer in _layers_with_norm(plain)}

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        if isinstance(layer, SoftArgmax):
            return _MarginalSoftArgmax.from_config(config)
        if isinstance(layer, (keras.layers.Conv2D, keras.layers.SeparableConv2D)):
            # "mixed" keeps float32 weights, for training.
            config |= {"use_bias": config["use_bias"] or id(layer) in normalised, "dtype": layer.compute_dtype}
        return type(layer).from_config(config)

    def call(layer: keras.layers.Layer, *arguments: Any, **keywords: Any) -> Any:
        return arguments[0] if _is_folded(layer) else layer(*arguments, **keywords)

    folded = keras.models.clone_model(plain, clone_function=clone, call_function=call, recursive=True)
    _fold_weights(plain, folded)
    return folded


def last_block(model: PoseRegressor, policy: str) -> PoseRegressor:
    """A copy with the weights of `model`, whatever its outputs and policy."""
    network = PoseRegressor.from_config(model.get_config() | {"outputs": "last", "dtype": policy})
    network.set_weights(model.get_weights())
    return network


def _is_folded(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, keras.layers.BatchNormalization) and layer.name.endswith("_bn")


def _layers_with_norm(model: keras.Model) -> list[keras.layers.Layer]:
    norms = [layer for layer in model.layers if _is_folded(layer)]
    nested = [found for part in model.layers if isinstance(part, keras.Model) for found in _layers_with_norm(part)]
    return [model.get_layer(norm.name.removesuffix("_bn")) for norm in norms] + nested


def _fold_weights(source: keras.Model, folded: keras.Model) -> None:
    """Fill `folded` with the weights of `source`, layer by layer of the same name."""
    norms = {layer.name.removesuffix("_bn"): layer for layer in source.layers if _is_folded(layer)}
    for layer in folded.layers:
        if isinstance(layer, keras.Model):
            _fold_weights(source.get_layer(layer.name), layer)
        elif layer.weights:
            weights = [_array(weight) for weight in source.get_layer(layer.name).weights]
            if norm := norms.get(layer.name):
                scale = 1 / np.sqrt(_array(norm.moving_variance) + norm.epsilon)
                weights[-1] = weights[-1] * scale
                weights.append(_array(norm.beta) - _array(norm.moving_mean) * scale)
            layer.set_weights(weights)


def _array(variable: keras.Variable) -> np.ndarray:
    return ops.convert_to_numpy(variable.value).astype(np.float64)
