"""The paper's network, run by PyTorch: the Keras model's own graph and weights, other kernels.

For training on one GPU without a compiler: XLA took more than four minutes for a training step of K = 8, and
TensorFlow's plain wheels bring no CUDA. Tensors are (N, C, H, W) in channels-last memory; matrix products and
convolutions are in bfloat16 where `half`, the heat maps in float32, as under the policy mixed_bfloat16. Maps and
gradients equal Keras' (`tests/test_torch_graph.py`).
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import torch
from torch.nn import functional

from pose_regression.model.network import PoseRegressor

LAYOUTS = {"kernel": (3, 2, 0, 1), "pointwise_kernel": (3, 2, 0, 1), "depthwise_kernel": (2, 3, 0, 1)}
"""Axes of a Keras kernel (height, width, inputs, outputs) in PyTorch's order, by the variable's name."""

Tensors = dict[int, torch.Tensor]
"""Position in `network.weights` -> its tensor."""


class TorchGraph:
    """Runs the backbone of a `PoseRegressor` with the paper's blocks.

    Args:
        network: its weights are copied.
        device: of PyTorch.
        half: compute in bfloat16.

    Attributes:
        tensors: the weights, those that are trained requiring gradients.
        trained: their positions.
        statistics: positions of batch norm's moving averages.
    """

    def __init__(self, network: PoseRegressor, device: str, *, half: bool = True):
        self.device, self.dtype = device, torch.bfloat16 if half else torch.float32
        self.names = [weight.name for weight in network.weights]
        self.index = {id(weight): i for i, weight in enumerate(network.weights)}
        blocks = range(1, network.get_config()["num_blocks"] + 1)
        self.stem = _Graph(network.get_layer("stem"))
        self.blocks = [
            (_Graph(network.get_layer(f"block_a_{k}")), _Graph(network.get_layer(f"block_b_{k}"))) for k in blocks
        ]
        self.fixed = {i: np.array(w.value) for i, w in enumerate(network.weights) if self.names[i] == "coordinates"}
        known = [i for i in range(len(self.names)) if i not in self.fixed]
        self.statistics = [i for i in known if self.names[i].startswith("moving")]
        self.trained = [i for i in known if i not in self.statistics]
        self.tensors: Tensors = {i: self._tensor(i, np.array(network.weights[i].value)) for i in known}
        for i in self.trained:
            self.tensors[i].requires_grad_(True)

    def maps(
        self, images: torch.Tensor, tensors: Tensors | None = None, *, training: bool = False,
        momentum: float | None = None,
    ) -> torch.Tensor:  # fmt: skip
        """Heat maps of every block.

        Args:
            images: (B, 3, H, W) in [-1, 1], channels last.
            tensors: other weights than its own.
            training: batch norm by the batch's statistics, which enter the moving averages.
            momentum: the part of the batch in those; None is the layers' own.

        Returns:
            (B, K, maps, h, w) logits, float32.
        """
        tensors = tensors or self.tensors

        def run(graph: _Graph, x: torch.Tensor) -> list[torch.Tensor]:
            return graph(x, lambda layer, inputs: self._apply(layer, inputs, tensors, training, momentum))

        (x,), found = run(self.stem, images), []
        for block_a, block_b in self.blocks:
            (x,) = run(block_a, x)
            heatmaps, *features = run(block_b, x)
            found.append(heatmaps)
            x = features[0] if features else x
        return torch.stack(found, 1)

    def weights(self, tensors: Tensors | None = None) -> list[np.ndarray]:
        """Tensors as `network.set_weights` takes them."""
        tensors = tensors or self.tensors
        return [self.fixed[i] if i in self.fixed else self._array(i, tensors[i]) for i in range(len(self.names))]

    def _tensor(self, i: int, value: np.ndarray) -> torch.Tensor:
        tensor = torch.tensor(value, dtype=torch.float32, device=self.device)
        if axes := LAYOUTS.get(self.names[i]):
            return tensor.permute(axes).contiguous(memory_format=torch.channels_last)
        return tensor

    def _array(self, i: int, tensor: torch.Tensor) -> np.ndarray:
        array = tensor.detach().cpu().numpy()
        axes = LAYOUTS.get(self.names[i])
        return np.ascontiguousarray(array.transpose(np.argsort(axes)) if axes else array)

    def _apply(
        self, layer: Any, inputs: list[torch.Tensor], tensors: Tensors, training: bool, momentum: float | None
    ) -> torch.Tensor:
        """One layer of the backbone."""

        def weight(variable: keras.Variable) -> torch.Tensor:
            return tensors[self.index[id(variable)]]

        x, kind = inputs[0], type(layer).__name__
        if kind == "Conv2D":
            dtype = torch.float32 if layer.compute_dtype == "float32" and layer.name == "heatmaps" else self.dtype
            x, padding = _same(x.to(dtype), layer.kernel_size, layer.strides)
            return functional.conv2d(x, weight(layer.kernel).to(dtype), stride=layer.strides, padding=padding)
        if kind == "SeparableConv2D":
            depthwise = weight(layer.depthwise_kernel).to(self.dtype)
            x = functional.conv2d(x.to(self.dtype), depthwise, padding="same", groups=len(depthwise))
            return functional.conv2d(x, weight(layer.pointwise_kernel).to(self.dtype))
        if kind == "BatchNormalization":
            part = 1 - layer.momentum if momentum is None else momentum
            mean, variance, beta = map(weight, (layer.moving_mean, layer.moving_variance, layer.beta))
            return functional.batch_norm(
                x.to(self.dtype), mean, variance, torch.ones_like(mean), beta, training, part, layer.epsilon
            )
        if kind == "MaxPooling2D":
            if layer.padding == "same":
                x, _ = _same(x, layer.pool_size, layer.strides, value=-np.inf)
            return functional.max_pool2d(x, layer.pool_size, layer.strides)
        if kind == "Add":
            return sum(other.to(self.dtype) for other in inputs)  # type: ignore[return-value]
        others: dict[str, Callable[[], torch.Tensor]] = {
            "ReLU": lambda: functional.relu(x),
            "Concatenate": lambda: torch.cat(inputs, 1),
            "UpSampling2D": lambda: functional.interpolate(x, scale_factor=2, mode="nearest"),
        }
        return others[kind]()


class _Graph:
    """The layers of a functional Keras model in the order of its data, and which tensors each takes and gives."""

    def __init__(self, model: keras.Model):
        nodes = [node for depth in sorted(model._nodes_by_depth, reverse=True) for node in model._nodes_by_depth[depth]]
        self.inputs, self.outputs = [id(t) for t in model.inputs], [id(t) for t in model.outputs]
        self.steps = [
            (node.operation, [id(t) for t in node.arguments.keras_tensors], id(node.outputs[0]))
            for node in nodes if not node.is_input
        ]  # fmt: skip

    def __call__(self, x: torch.Tensor, apply: Callable[[Any, list[torch.Tensor]], torch.Tensor]) -> list[torch.Tensor]:
        values = dict(zip(self.inputs, (x,), strict=True))
        for layer, taken, given in self.steps:
            values[given] = apply(layer, [values[i] for i in taken])
        return [values[i] for i in self.outputs]


def _same(
    x: torch.Tensor, kernel: Sequence[int], strides: Sequence[int], *, value: float = 0.0
) -> tuple[torch.Tensor, tuple[int, int]]:
    """TensorFlow's "same": a padded tensor, and the padding that a convolution can add itself."""
    around: list[int] = []
    for length, size, stride in zip(reversed(x.shape[2:]), reversed(kernel), reversed(strides), strict=True):
        total = max((-(-length // stride) - 1) * stride + size - length, 0)
        around += [total // 2, total - total // 2]
    left, right, top, bottom = around
    if value == 0 and (left, top) == (right, bottom):
        return x, (top, left)
    return functional.pad(x, around, value=value), (0, 0)
