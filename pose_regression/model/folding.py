"""The network as it is used: batch norms folded into convolutions, soft-argmax without a matrix product."""

from collections import Counter
from collections.abc import Iterator
from itertools import chain
from typing import Any

import keras
import numpy as np
from keras import ops

from pose_regression.model.kernels import BatchNormalization, SeparableConv2D
from pose_regression.model.network import PoseRegressor
from pose_regression.model.regression import SoftArgmax, coordinate_ramp

_CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.SeparableConv2D, SeparableConv2D)
_NORMS = (keras.layers.BatchNormalization, BatchNormalization)


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

    A batch norm is y = (x - mean) · gamma / √(variance + ε) + beta, so the kernel before it (of a separable
    convolution: the pointwise one) takes the factor and a bias the rest. That goes for every batch norm over channels
    whose input is the output of a convolution without activation that nothing else uses, whatever their names; all
    others stay as they are.

    Args:
        model: any `outputs`, any dtype policy; unchanged.
        dtype: "float32" or "bfloat16", of the convolutions' weights and features. Heat maps and all after them are
            float32.

    Returns:
        A functional model as `PoseRegressor(outputs="last")`: (B, H, W, 3) in [-1, 1] -> `pose` (B, J, 2),
        `probability` (B, J, 1); in float32 equal to `model` within 1e-5.
    """
    source = model.with_outputs("last", {"float32": "float32", "bfloat16": "mixed_bfloat16"}[dtype])
    plain = keras.Model(source.inputs, source.output, name=source.name)  # clone_model copies no subclass
    norms = _foldable_norms(plain)
    originals, dropped = {id(norm) for norm in norms.values()}, set()

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        if isinstance(layer, SoftArgmax):
            return _MarginalSoftArgmax.from_config(config)
        if isinstance(layer, (keras.layers.Conv2D, keras.layers.SeparableConv2D)):
            # "mixed" keeps float32 weights, for training.
            config |= {"use_bias": config["use_bias"] or id(layer) in norms, "dtype": layer.compute_dtype}
        copy = type(layer).from_config(config)
        if id(layer) in originals:
            dropped.add(copy)
        return copy

    def call(layer: keras.layers.Layer, *arguments: Any, **keywords: Any) -> Any:
        return arguments[0] if layer in dropped else layer(*arguments, **keywords)

    folded = keras.models.clone_model(plain, clone_function=clone, call_function=call, recursive=True)
    _fold_weights(plain, folded, norms)
    return folded


def _foldable_norms(model: keras.Model) -> dict[int, keras.layers.BatchNormalization]:
    """The batch norms that a convolution can take in, by the `id` of that convolution."""
    # Keras has no public list of the calls in a model.
    nodes = [node for part in _functional_parts(model) for node in chain(*part._nodes_by_depth.values())]
    calls = Counter(id(node.operation) for node in nodes)
    uses = Counter(id(tensor) for node in nodes for tensor in node.input_tensors)
    uses.update(id(tensor) for part in _functional_parts(model) for tensor in part.outputs)
    made_by = {id(tensor): node.operation for node in nodes for tensor in node.outputs}
    found = {}
    for node in nodes:
        norm = node.operation
        if type(norm) in _NORMS and calls[id(norm)] == 1:
            (tensor,) = node.input_tensors
            source = made_by.get(id(tensor))
            if _takes_in(source, norm) and calls[id(source)] == uses[id(tensor)] == 1:
                found[id(source)] = norm
    return found


def _takes_in(layer: Any, norm: keras.layers.BatchNormalization) -> bool:
    """Whether `layer` is a convolution whose kernel and bias can do what `norm` does; subclasses may compute more."""
    if type(layer) not in _CONVOLUTIONS or layer.activation is not keras.activations.linear:
        return False
    return norm.axis % 4 == (3 if layer.data_format == "channels_last" else 1)


def _functional_parts(model: keras.Model) -> Iterator[keras.Model]:
    """The model and the functional models nested in it, each once; sequential ones are copied as they are."""
    parts, seen = [model], set()
    while parts:
        part = parts.pop()
        if id(part) not in seen and not isinstance(part, keras.Sequential) and hasattr(part, "_nodes_by_depth"):
            seen.add(id(part))
            yield part
            parts += [layer for layer in part.layers if isinstance(layer, keras.Model)]


def _fold_weights(source: keras.Model, folded: keras.Model, norms: dict[int, keras.layers.BatchNormalization]) -> None:
    """Fill `folded` with the weights of `source`, layer by layer of the same name."""
    for layer in folded.layers:
        if isinstance(layer, keras.Model):
            _fold_weights(source.get_layer(layer.name), layer, norms)
        elif layer.weights:
            original = source.get_layer(layer.name)
            norm = norms.get(id(original))
            layer.set_weights(_folded_weights(original, norm) if norm else [_array(w) for w in original.weights])


def _folded_weights(
    layer: keras.layers.Conv2D | keras.layers.SeparableConv2D, norm: keras.layers.BatchNormalization
) -> list[np.ndarray]:
    """Kernels and bias of a convolution that does what `layer` and `norm` after it do."""
    kernels = [_array(weight) for weight in layer.weights]
    bias = kernels.pop() if layer.use_bias else 0.0
    gamma, beta = _array(norm.gamma) if norm.scale else 1.0, _array(norm.beta) if norm.center else 0.0
    scale = gamma / np.sqrt(_array(norm.moving_variance) + norm.epsilon)
    kernels[-1] = kernels[-1] * scale
    return [*kernels, beta + (bias - _array(norm.moving_mean)) * scale]


def _array(variable: keras.Variable) -> np.ndarray:
    return ops.convert_to_numpy(variable.value).astype(np.float64)
