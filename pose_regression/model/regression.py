"""The layers of the paper's section 3: soft-argmax, joint probability, context aggregation.

They compute in float32 under any dtype policy: bfloat16 coordinates are 1.5 pixels off, and a float16
sigmoid of 9 is exactly 1, whose cross-entropy is infinite.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from pose_regression.errors import PoseError

Tensor = Any
"""A tensor of Keras' backend, or an array."""

register = keras.saving.register_keras_serializable(package="pose_regression")

GRIDS = ("endpoints", "paper", "centers")


def coordinate_ramp(length: int, grid: str = "endpoints") -> np.ndarray:
    """Coordinate of each of `length` cells along one axis of a heat map, (length,) float32 in [0, 1].

    Args:
        length: number of cells, at least 2.
        grid: `"endpoints"`: i/(W-1), i = 0..W-1, the authors' code and so the published weights;
            `"paper"`: i/W, i = 1..W (eq. 3); `"centers"`: (i-½)/W, the centres of the cells in the crop.
    """
    if grid not in GRIDS:
        raise PoseError(f"grid must be one of {', '.join(GRIDS)}. Received: grid={grid!r}")
    cells = np.arange(1, length + 1, dtype=np.float64)
    ramp = {"endpoints": (cells - 1) / max(length - 1, 1), "paper": cells / length, "centers": (cells - 0.5) / length}
    return ramp[grid].astype(np.float32)


@register
class SoftArgmax(keras.layers.Layer):
    """Expected coordinate under the spatial softmax of each heat map: eqs. 1-4.

    Softmax over all cells of a map (its maximum subtracted, so no logit overflows), then a frozen convolution with a
    W×H×2 kernel of coordinates. A convolution as large as its input is one matrix product, and is computed as one.

    The gradient is that of the function itself: dΨ/dh_ij = φ_ij (W_ij - Ψ). Equation 5 as printed,
    W_ij φ_ij (1 - φ_ij), leaves out the cross terms of the softmax.

    Args:
        grid: where the cells lie, see `coordinate_ramp`.

    Input shape: `(batch, height, width, maps)` logits.
    Output shape: `(batch, maps, 2)`, (x, y) in [0, 1], x to the right, y down.
    """

    def __init__(self, *, grid: str = "endpoints", **kwargs):
        super().__init__(**kwargs | {"dtype": "float32"})
        coordinate_ramp(2, grid)  # refuses an unknown grid
        self.grid = grid

    def build(self, input_shape):
        height, width = input_shape[1:3]
        if not height or not width:
            raise PoseError(f"SoftArgmax needs a fixed height and width. Received: input_shape={input_shape}")
        y, x = np.meshgrid(coordinate_ramp(height, self.grid), coordinate_ramp(width, self.grid), indexing="ij")
        kernel = np.stack([x, y], axis=-1)
        self.kernel = self.add_weight(
            shape=kernel.shape, initializer=lambda shape, dtype: kernel, trainable=False, name="coordinates"
        )

    def call(self, heatmaps):
        _, height, width, maps = heatmaps.shape
        logits = ops.transpose(ops.reshape(heatmaps, (-1, height * width, maps)), (0, 2, 1))
        return ops.matmul(ops.softmax(logits, axis=-1), ops.reshape(self.kernel, (height * width, 2)))

    def compute_output_shape(self, input_shape):
        return (input_shape[0], input_shape[3], 2)

    def get_config(self):
        return super().get_config() | {"grid": self.grid}


@register
class JointProbability(keras.layers.Layer):
    """Probability that a joint is in the crop: the sigmoid of its heat map's global maximum (section 3.3).

    Input shape: `(batch, height, width, maps)` logits.
    Output shape: `(batch, maps, 1)`, in [0, 1].
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs | {"dtype": "float32"})

    def call(self, heatmaps):
        return ops.sigmoid(ops.expand_dims(ops.max(heatmaps, axis=(1, 2)), -1))

    def compute_output_shape(self, input_shape):
        return (input_shape[0], input_shape[3], 1)


@register
class ContextAggregation(keras.layers.Layer):
    """Blend each joint's own answer with its context maps': y = α y_d + (1 - α) Σ p_c y_c / Σ p_c (eq. 6).

    Context maps are joint-major: those of joint j are j·N_c ... j·N_c + N_c - 1. Where every probability of a joint
    underflows (all context logits below about -87; the authors' code gives NaN there), the context term is 0.
    Value and gradient are finite for any logits, and equal the authors' wherever no product of theirs underflows.

    Args:
        alpha: weight of the direct detection, in [0, 1].

    Call arguments:
        part_pose: `(batch, joints, 2)`, answers of the part maps.
        context_pose: `(batch, joints * N_c, 2)`, answers of the context maps.
        context_probability: `(batch, joints * N_c, 1)`.

    Output shape: `(batch, joints, 2)`.
    """

    def __init__(self, *, alpha: float = 0.8, **kwargs):
        super().__init__(**kwargs | {"dtype": "float32"})
        if not isinstance(alpha, int | float | np.floating) or not 0 <= alpha <= 1:
            raise PoseError(f"alpha must lie in [0, 1]. Received: alpha={alpha!r}")
        self.alpha = float(alpha)

    def call(self, part_pose, context_pose, context_probability):
        joints = part_pose.shape[1]
        per_joint = context_pose.shape[1] // joints
        votes = ops.reshape(context_pose, (-1, joints, per_joint, 2))
        weights = ops.reshape(context_probability, (-1, joints, per_joint, 1))
        # Relative to the largest: the gradient of a quotient divides by the square of its denominator on some backends,
        # which is 0 for probabilities below 1e-19.
        smallest = float(np.finfo(np.float32).tiny)
        weights = weights / ops.maximum(ops.stop_gradient(ops.max(weights, axis=2, keepdims=True)), smallest)
        total = ops.sum(weights, axis=2)
        context = ops.sum(weights * votes, axis=2) / ops.where(total > 0, total, 1.0)
        return self.alpha * part_pose + (1 - self.alpha) * context

    def compute_output_shape(self, part_pose_shape, context_pose_shape, context_probability_shape):
        return part_pose_shape

    def get_config(self):
        return super().get_config() | {"alpha": self.alpha}
