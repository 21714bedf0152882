"""What a network is told: losses over the answers and the maps of every block.

`paper` is eqs. 7 and 8. `with_map_divergence` also tells part maps how to look: soft-argmax fixes the mean of a map
alone, and a map with half its mass on either leg can have the right mean. There the softmax of every part map, in every
block, is drawn to a Gaussian about the joint by its Kullback-Leibler divergence, which gives every cell a gradient from
the first batch on; context maps stay free. The idea is that of Nibali et al., "Numerical Coordinate Regression with
Convolutional Neural Networks", 2018 (who prefer the Jensen-Shannon divergence). `gaussian_heatmaps` is the common way
before the paper: maps that are Gaussians, read at their maxima.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from pose_regression.model.network import PoseRegressor
from pose_regression.model.regression import Tensor, coordinate_ramp, register
from pose_regression.training.argmax import argmax_decoder
from pose_regression.training.experiment import Recipe
from pose_regression.training.losses import PROBABILITY_WEIGHT, PoseLoss, ProbabilityLoss, elastic_net, mean_present
from pose_regression.training.optimizer import make_optimizer

SIGMA = 1.0
"""Width of the Gaussians in cells of the heat map, as in the stacked hourglass."""


def answering(network: PoseRegressor) -> keras.Model:
    """The network's own answers, without its maps, sharing its weights."""
    if network.get_config()["outputs"] == "all":
        return network
    return keras.Model(network.input, {name: network.output[name] for name in ("pose", "probability")})


@dataclass(frozen=True)
class Supervision:
    """Losses by output of a `PoseRegressor`, and how the network that they train is read."""

    losses: dict[str, keras.losses.Loss]
    weights: dict[str, float]
    outputs: str = "all"
    """of the network: "all", or "every_map" where a loss is over the maps."""
    read: Callable[[PoseRegressor], keras.Model] = answering
    """network -> a model that shares its weights and gives `pose` (B, K, J, 2) and `probability` (B, K, J, 1)."""

    def targets(self, targets: dict[str, Any]) -> dict[str, Any]:
        """Those of the pipeline and, where there are maps, the joints for them: Keras wants one for every output."""
        if self.outputs == "all":
            return targets
        return targets | {"heatmaps": targets["pose"], "context_heatmaps": targets["pose"]}


def paper(*, entropy: bool = False) -> Supervision:
    """Eqs. 7 and 8 on every block; `entropy` as in `PoseLoss`."""
    losses = {"pose": PoseLoss(entropy=entropy), "probability": ProbabilityLoss()}
    return Supervision(losses, {"pose": 1.0, "probability": PROBABILITY_WEIGHT})


def with_map_divergence(weight: float, *, grid: str = "endpoints", entropy: bool = False) -> Supervision:
    """As `paper`, plus `weight` times `map_divergence`, summed over the blocks."""
    plain = paper(entropy=entropy)
    losses = plain.losses | {"heatmaps": MapDivergenceLoss(grid=grid)}
    return Supervision(losses, plain.weights | {"heatmaps": weight}, "every_map")


def gaussian_heatmaps(*, grid: str = "endpoints") -> Supervision:
    """Part maps alone, drawn to Gaussians of height 1 and read at their maxima."""
    return Supervision({"heatmaps": HeatmapLoss(grid=grid)}, {"heatmaps": 1.0}, "every_map", argmax_decoder)


def supervision_of(recipe: Recipe, *, grid: str = "endpoints") -> Supervision:
    """That of a recipe."""
    if recipe.supervise == "heatmaps":
        return gaussian_heatmaps(grid=grid)
    if recipe.map_weight:
        return with_map_divergence(recipe.map_weight, grid=grid, entropy=recipe.entropy)
    return paper(entropy=recipe.entropy)


def compile_model(network: PoseRegressor, recipe: Recipe, *, steps_per_epoch: int) -> None:
    """Attach the losses of the recipe's supervision, whose `outputs` the network has, and the recipe's optimizer."""
    config = network.get_config()
    supervision = supervision_of(recipe, grid=config["grid"])
    blocks = [BlockLosses(config["num_blocks"], name="blocks")] if "pose" in supervision.losses else None
    network.compile(
        make_optimizer(recipe, steps_per_epoch=steps_per_epoch),
        loss={name: supervision.losses.get(name) for name in network.output},
        loss_weights={name: supervision.weights.get(name) for name in network.output},
        metrics={"pose": blocks} if blocks else None,
    )
    _create_running_losses(network, supervision)


def _create_running_losses(network: PoseRegressor, supervision: Supervision) -> None:
    """Create the variables of the running losses, which Keras does at the first batch: a restored state needs them."""
    blank = {name: np.zeros((1, *output.shape[1:]), np.float32) for name, output in network.output.items()}
    joints = network.get_config()["num_joints"]
    pose, probability = np.zeros((1, joints, 3), np.float32), np.zeros((1, joints, 2), np.float32)
    targets = supervision.targets({"pose": pose, "probability": probability})
    network.compute_loss(y=targets, y_pred=blank)
    network.compute_metrics(None, targets, blank)
    network.reset_metrics()


def gaussian_maps(pose: Tensor, shape: tuple[int, int], *, grid: str = "endpoints") -> Tensor:
    """Draw a Gaussian of height 1 and width `SIGMA` at each joint.

    Args:
        pose: (B, J, 2) x, y in [0, 1].
        shape: (H, W) of the maps.
        grid: where the cells lie.

    Returns:
        (B, H, W, J) in [0, 1].
    """

    def along(coordinate, length):
        ramp = coordinate_ramp(length, grid)
        return ops.exp(-0.5 * ops.square((ops.expand_dims(coordinate, -1) - ramp) / (SIGMA * (ramp[1] - ramp[0]))))

    return ops.einsum("bjh,bjw->bhwj", along(pose[..., 1], shape[0]), along(pose[..., 0], shape[1]))


def map_divergence(target: Tensor, present: Tensor, heatmaps: Tensor, *, grid: str = "endpoints") -> Tensor:
    """Kullback-Leibler divergence of each block's part maps from Gaussians of sum 1 and width `SIGMA` at the joints.

    Args:
        target: (B, J, 2) in [0, 1].
        present: (B, J) weight of each joint in [0, 1], 0 where it does not count.
        heatmaps: (B, K, H, W, J) logits.
        grid: where the cells lie.

    Returns:
        (B, K) in nats, the mean over present joints; 0 for a sample without joints.
    """
    _, blocks, height, width, joints = heatmaps.shape
    wanted = gaussian_maps(ops.where(present[..., None] > 0, target, 0.5), (height, width), grid=grid)
    wanted = ops.reshape(wanted / ops.sum(wanted, axis=(1, 2), keepdims=True), (-1, 1, height * width, joints))
    logits = ops.reshape(heatmaps, (-1, blocks, height * width, joints))
    difference = ops.log(ops.maximum(wanted, 1e-30)) - ops.log_softmax(logits, axis=2)
    per_joint = ops.sum(wanted * difference, axis=2)
    return mean_present(per_joint, ops.expand_dims(present, 1))


class _MapLoss(keras.losses.Loss):
    """A loss over part maps, whose cells lie on `grid`: `y_true` (B, J, 3) x, y, weight; `y_pred` (B, K, H, W, J)."""

    def __init__(self, *, grid: str = "endpoints", name: str | None = None, **kwargs):
        super().__init__(name=name, **kwargs)
        self.grid = grid

    def get_config(self):
        return super().get_config() | {"grid": self.grid}


@register
class MapDivergenceLoss(_MapLoss):
    """`map_divergence` summed over the blocks."""

    def call(self, y_true, y_pred):
        divergence = map_divergence(y_true[..., :2], y_true[..., 2], y_pred, grid=self.grid)
        return ops.sum(divergence, axis=1)


@register
class HeatmapLoss(_MapLoss):
    """Squared error to `gaussian_maps`: summed over cells and blocks, averaged over present joints."""

    def call(self, y_true, y_pred):
        target = gaussian_maps(y_true[..., :2], y_pred.shape[2:4], grid=self.grid)
        difference = ops.expand_dims(target, 1) - y_pred
        return mean_present(ops.sum(ops.square(difference), axis=(1, 2, 3)), y_true[..., 2])


@register
class BlockLosses(keras.metrics.Metric):
    """Running mean of eq. 7 for each block: `block_1` ... `block_K`."""

    def __init__(self, num_blocks: int, *, name: str = "blocks", **kwargs):
        super().__init__(name=name, **kwargs)
        self.num_blocks = num_blocks
        self.total = self.add_variable((num_blocks,), initializer="zeros", name="total")
        self.count = self.add_variable((), initializer="zeros", name="count")

    def update_state(self, y_true, y_pred, sample_weight=None):
        loss = elastic_net(y_true[..., :2], y_pred, y_true[..., 2])
        self.total.assign_add(ops.sum(loss, axis=0))
        self.count.assign_add(ops.cast(ops.shape(loss)[0], "float32"))

    def result(self):
        mean = self.total / ops.maximum(self.count, 1)
        return {f"block_{k + 1}": mean[k] for k in range(self.num_blocks)}

    def get_config(self):
        return super().get_config() | {"num_blocks": self.num_blocks}
