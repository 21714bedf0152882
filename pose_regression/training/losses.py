"""Equations 7 and 8, on every block, with masks for absent joints.

Targets carry their weights, usually 1 or 0: `pose` (B, J, 3) is x, y, weight; `probability` (B, J, 2) is target,
weight. A target whose weight is 0 enters neither the value nor the gradient, whatever it holds. Predictions are those
of `outputs="all"`: (B, K, J, 2) and (B, K, J, 1). All in float32.
"""

import keras
from keras import ops

from pose_regression.model.regression import Tensor, register

PROBABILITY_WEIGHT = 0.01
"""Weight of the probability loss against the pose loss: not in the paper; `reception.py` of the authors."""

EPSILON = 1e-7


def elastic_net(target: Tensor, pose: Tensor, present: Tensor) -> Tensor:
    """Pose loss of each block: the mean over present joints of ‖y - ŷ‖₁ + ‖y - ŷ‖₂² (eq. 7).

    Args:
        target: (B, J, 2) in [0, 1].
        pose: (B, K, J, 2).
        present: (B, J) weight of each joint in [0, 1], 0 where it does not count.

    Returns:
        (B, K); 0 for a sample without joints.
    """
    mask = ops.expand_dims(present, 1)
    difference = _difference(target, pose, ops.expand_dims(mask, -1))
    return mean_present(ops.sum(ops.abs(difference) + ops.square(difference), axis=-1), mask)


def elastic_net_with_entropy(target: Tensor, pose: Tensor, present: Tensor) -> Tensor:
    """Pose loss of the authors' training script: eq. 7 per coordinate, plus 0.01 cross-entropy of the coordinates.

    The sum over the valid coordinates of |d| + d² + 0.01 BCE(y, ŷ), divided by their number; a coordinate is valid
    where the joint is present and y > 0. Shapes as in `elastic_net`. Source: mode `l1l2bincross` of deephar's
    `losses.py`.
    """
    mask = ops.expand_dims(ops.cast(target > 0, "float32") * ops.expand_dims(present, -1), 1)
    difference = _difference(target, pose, mask)
    y = ops.where(mask > 0, ops.expand_dims(target, 1), 0.5)
    entropy = _cross_entropy(y, ops.where(mask > 0, pose, 0.5)) * mask
    total = ops.sum(ops.abs(difference) + ops.square(difference) + 0.01 * entropy, axis=(-2, -1))
    return total / ops.maximum(ops.sum(mask, axis=(-2, -1)), 1.0)


def probability_entropy(target: Tensor, probability: Tensor, weight: Tensor) -> Tensor:
    """Probability loss of each block: the mean binary cross-entropy over the joints that count (eq. 8).

    Args:
        target: (B, J), 1 where the joint is inside the crop, else 0.
        probability: (B, K, J) in [0, 1].
        weight: (B, J), 0 for joints of which nothing is known.

    Returns:
        (B, K); 0 for a sample without such joints.
    """
    weight = ops.expand_dims(weight, 1)
    target = ops.where(weight > 0, ops.expand_dims(target, 1), 0.0)
    entropy = _cross_entropy(target, probability)
    return mean_present(entropy, weight)


def mean_present(values: Tensor, present: Tensor) -> Tensor:
    """The mean along the last axis over what is present, where `present` is 1 and not 0; 0 where nothing is."""
    return ops.sum(values * present, axis=-1) / ops.maximum(ops.sum(present, axis=-1), 1.0)


@register
class PoseLoss(keras.losses.Loss):
    """`elastic_net` summed over the blocks: `y_true` (B, J, 3), `y_pred` (B, K, J, 2).

    `y_true` may be (B, J, 2), every joint then counting, and `y_pred` (B, J, 2) of one block alone.

    Args:
        entropy: use `elastic_net_with_entropy`, as the authors' training script.
    """

    def __init__(self, *, entropy: bool = False, name: str = "pose_loss", **kwargs):
        super().__init__(name=name, **kwargs)
        self.entropy = entropy

    def call(self, y_true, y_pred):
        function = elastic_net_with_entropy if self.entropy else elastic_net
        present = y_true[..., 2] if y_true.shape[-1] == 3 else ops.ones_like(y_true[..., 0])
        blocks = y_pred if len(y_pred.shape) == 4 else ops.expand_dims(y_pred, 1)
        return ops.sum(function(y_true[..., :2], blocks, present), axis=1)

    def get_config(self):
        return super().get_config() | {"entropy": self.entropy}


@register
class ProbabilityLoss(keras.losses.Loss):
    """`probability_entropy` summed over the blocks: `y_true` (B, J, 2), `y_pred` (B, K, J, 1)."""

    def __init__(self, *, name: str = "probability_loss", **kwargs):
        super().__init__(name=name, **kwargs)

    def call(self, y_true, y_pred):
        return ops.sum(probability_entropy(y_true[..., 0], y_pred[..., 0], y_true[..., 1]), axis=1)


def _difference(target, pose, mask):
    """(B, K, J, 2) differences, exactly 0 and without gradient where the mask is 0."""
    return ops.where(mask > 0, ops.expand_dims(target, 1) - pose, 0.0)


def _cross_entropy(target, probability):
    p = ops.clip(probability, EPSILON, 1 - EPSILON)
    return -(target * ops.log(p) + (1 - target) * ops.log(1 - p))
