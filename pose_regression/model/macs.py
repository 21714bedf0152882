"""Multiply-accumulates of a Keras model, by kind of layer, from the layers and the shapes they are called with."""

from collections.abc import Iterator
from itertools import chain
from math import prod

import keras
from keras import layers

from pose_regression.errors import PoseError
from pose_regression.model.regression import ContextAggregation, SoftArgmax

KINDS = ("conv_kxk", "conv1x1", "depthwise", "sep_pointwise", "sam", "dense")


def count_macs(model: keras.Model) -> dict[str, int]:
    """Multiply-accumulates that one input image costs. Floating-point operations are twice as many.

    A layer called several times counts once per call, and so does everything in a nested model. Biases, batch norm,
    activations, pooling, softmax and element-wise sums are not counted, nor are operations of `keras.ops` that are
    called on the model's tensors outside a layer.

    Args:
        model: functional or sequential model whose layers see fixed spatial sizes.

    Returns:
        The count of every kind, 0 where the model has none:
        `conv_kxk` plain convolutions with a kernel larger than 1x1; `conv1x1` the others; `depthwise` depthwise
        convolutions, those of separable ones too; `sep_pointwise` the 1x1 convolution of separable ones;
        `sam` soft-argmax: its products with the coordinates, 2·H·W·C;
        `dense` dense layers, and the context aggregation's weighted sum, 2·N_c·J.
        The authors' frozen layers spend 2·C² more on a soft-argmax (a pointwise identity after the convolution) and
        3·N_c·J² on an aggregation (a dense product with a matrix of ones and zeros, three times over); the other
        four kinds of the two implementations are equal.

    Raises:
        PoseError: a model without a graph, a size that is not fixed, or a layer with weights and no rule here.
    """
    counts = dict.fromkeys(KINDS, 0)
    for layer, inputs, output in _calls(model):
        for kind, macs in _layer_macs(layer, inputs, output).items():
            counts[kind] += macs
    return counts


Shape = tuple[int, ...]
"""Of a tensor without its batch axis."""


def _layer_macs(layer: keras.layers.Layer, inputs: list[Shape], output: Shape) -> dict[str, int]:
    """Multiply-accumulates of one call of `layer`, by kind."""
    # Each output value of a convolution costs one product per weight of its filter, whatever stride, padding,
    # groups and data format.
    if isinstance(layer, layers.SeparableConv2D):
        positions = prod(output) // layer.filters
        return {
            "depthwise": positions * prod(layer.depthwise_kernel.shape),
            "sep_pointwise": positions * prod(layer.pointwise_kernel.shape),
        }
    if isinstance(layer, layers.DepthwiseConv2D):
        return {"depthwise": prod(output) * prod(layer.kernel_size)}
    if isinstance(layer, layers.Conv2D):
        kind = "conv1x1" if prod(layer.kernel_size) == 1 else "conv_kxk"
        return {kind: prod(output) * prod(layer.kernel.shape[:-1])}
    if isinstance(layer, layers.Dense):
        return {"dense": prod(output) * layer.kernel.shape[0]}
    if isinstance(layer, SoftArgmax):
        return {"sam": 2 * prod(inputs[0])}
    if isinstance(layer, ContextAggregation):
        return {"dense": 2 * max(shape[0] for shape in inputs)}
    if layer.weights and not isinstance(layer, layers.BatchNormalization):
        raise PoseError(f"Layer {layer.name!r} has weights and no counting rule. Received: {type(layer).__name__}")
    return {}


def _calls(model: keras.Model) -> Iterator[tuple[keras.layers.Layer, list[Shape], Shape]]:
    """Every call of a layer in `model` and in its nested models: the layer, its input shapes, its output shape."""
    if isinstance(model, keras.Sequential):
        model = model._functional
    # Keras has no public list of the calls in a model: `layers` names a shared layer once, and the nodes of a layer
    # include calls that belong to other models.
    nodes_by_depth = getattr(model, "_nodes_by_depth", None)
    if not nodes_by_depth:
        raise PoseError(f"Only functional models and built sequential ones can be counted. Received: {model!r}")
    for node in chain.from_iterable(nodes_by_depth.values()):
        layer = node.operation
        if isinstance(layer, keras.Model):
            yield from _calls(layer)
        elif isinstance(layer, keras.layers.Layer) and not isinstance(layer, layers.InputLayer):
            shapes = [tensor.shape[1:] for tensor in node.input_tensors]
            output = node.outputs[0].shape[1:]
            if None in output or any(None in shape for shape in shapes):
                raise PoseError(f"Layer {layer.name!r} must have fixed sizes. Received: {output} as its output shape")
            yield layer, shapes, output
