"""What soft-argmax replaces, for Table 1: reading the pose from a heat map's maximum, and training such maps.

The paper's "simple argmax" row is not described. Both readings are here: `argmax_decoder` reads the maximum of any
network's part maps; `HeatmapRegressor` is the network trained to draw a Gaussian at each joint, the common way before
the paper, to be read by the same decoder. A maximum lies on a cell, so its coordinates are no finer than the grid.
"""

import keras
import numpy as np
from keras import KerasTensor, ops

from pose_regression.model.network import PoseRegressor
from pose_regression.model.regression import Tensor, coordinate_ramp, register
from pose_regression.training.loop import Recipe, create_running_losses, make_optimizer
from pose_regression.training.losses import mean_present

SIGMA = 1.0
"""Width of the Gaussians in cells of the heat map, as in the stacked hourglass."""


def argmax_pose(heatmaps: Tensor, *, grid: str = "endpoints") -> Tensor:
    """Coordinate of the cell with the largest value of each map; of several, the first in rows from the top.

    Args:
        heatmaps: (B, ..., H, W, J).
        grid: where the cells lie, see `regression.coordinate_ramp`.

    Returns:
        (B, ..., J, 2) x, y in [0, 1]. It has no gradient.
    """
    *leading, height, width, joints = heatmaps.shape
    y, x = np.meshgrid(coordinate_ramp(height, grid), coordinate_ramp(width, grid), indexing="ij")
    cells = np.stack([x, y], axis=-1).reshape(height * width, 2)
    largest = ops.argmax(ops.reshape(heatmaps, (-1, height * width, joints)), axis=1)
    return ops.reshape(ops.take(cells, largest, axis=0), (-1, *leading[1:], joints, 2))


def gaussian_maps(pose: Tensor, shape: tuple[int, int], *, grid: str = "endpoints", sigma: float = SIGMA) -> Tensor:
    """Draw a Gaussian of height 1 at each joint.

    Args:
        pose: (B, J, 2) x, y in [0, 1].
        shape: (H, W) of the maps.
        grid: where the cells lie.
        sigma: standard deviation in cells.

    Returns:
        (B, H, W, J) in [0, 1].
    """

    def along(coordinate, length):
        ramp = coordinate_ramp(length, grid)
        return ops.exp(-0.5 * ops.square((ops.expand_dims(coordinate, -1) - ramp) / (sigma * (ramp[1] - ramp[0]))))

    return ops.einsum("bjh,bjw->bhwj", along(pose[..., 1], shape[0]), along(pose[..., 0], shape[1]))


@register
class HeatmapLoss(keras.losses.Loss):
    """Squared error to `gaussian_maps`: summed over cells and blocks, averaged over present joints.

    `y_true` (B, J, 3) is x, y, present; `y_pred` (B, K, H, W, J).

    Args:
        grid: where the cells lie.
        sigma: of the Gaussians, in cells.
    """

    def __init__(self, *, grid: str = "endpoints", sigma: float = SIGMA, name: str = "heatmap_loss", **kwargs):
        super().__init__(name=name, **kwargs)
        self.grid, self.sigma = grid, sigma

    def call(self, y_true, y_pred):
        present = y_true[..., 2]
        target = gaussian_maps(y_true[..., :2], y_pred.shape[2:4], grid=self.grid, sigma=self.sigma)
        difference = ops.expand_dims(target, 1) - y_pred
        per_joint = ops.sum(ops.square(difference), axis=(1, 2, 3))
        return mean_present(per_joint, present)

    def get_config(self):
        return super().get_config() | {"grid": self.grid, "sigma": self.sigma}


def block_heatmaps(network: PoseRegressor, image: KerasTensor) -> list[KerasTensor]:
    """All maps of every block, K logits (B, H, W, maps), by the sub-models of `network`: weights are shared."""
    blocks = network.get_config()["num_blocks"]
    features, maps = network.get_layer("stem")(image), []
    for k in range(1, blocks + 1):
        answer = network.get_layer(f"block_b_{k}")(network.get_layer(f"block_a_{k}")(features))
        heatmaps, features = answer if k < blocks else (answer, None)
        maps.append(heatmaps)
    return maps


def part_maps(network: PoseRegressor, maps: list[KerasTensor]) -> KerasTensor:
    """Of all maps of every block, those of the joints: (B, K, H, W, J)."""
    return ops.stack([heatmaps[..., : network.get_config()["num_joints"]] for heatmaps in maps], axis=1)


def argmax_decoder(network: PoseRegressor) -> keras.Model:
    """The same network, sharing its weights, that reads each joint from the maximum of its part map.

    Returns:
        A model for `evaluation.predict`: image -> `pose` (B, K, J, 2) in [0, 1] and `probability` (B, K, J, 1), the
        sigmoid of the maximum. Context maps are not looked at.
    """
    image = keras.Input(network.input_shape[1:], name="image", dtype="float32")
    maps = part_maps(network, block_heatmaps(network, image))
    pose = argmax_pose(maps, grid=network.get_config()["grid"])
    return keras.Model(image, {"pose": pose, "probability": _probability(maps)}, name="argmax_decoder")


class HeatmapRegressor(keras.Model):
    """`network` without its regression stage, sharing its weights, to be trained on heat maps.

    It has the network's configuration and weight names, so its weight files are the network's.

    Args:
        network: without context maps.

    Output: `pose` (B, K, H, W, J), the part maps of every block (the name is the target's), and `probability`
    (B, K, J, 1), which no loss looks at: the maximum has to be 1, not as large as it can.
    """

    def __init__(self, network: PoseRegressor):
        image = keras.Input(network.input_shape[1:], name="image", dtype="float32")
        maps = part_maps(network, block_heatmaps(network, image))
        outputs = {"pose": maps, "probability": _probability(maps)}
        super().__init__(inputs=image, outputs=outputs, name="heatmap_regressor")
        self._config = network.get_config()

    def get_config(self) -> dict:
        """The arguments of the `PoseRegressor` with the same weights."""
        return self._config


def compile_heatmaps(model: HeatmapRegressor, recipe: Recipe, *, steps_per_epoch: int) -> None:
    """As `training.compile_model`, with `HeatmapLoss` in place of the paper's losses."""
    optimizer = make_optimizer(recipe, steps_per_epoch=steps_per_epoch)
    model.compile(optimizer, loss={"pose": HeatmapLoss(grid=model.get_config()["grid"]), "probability": None})
    create_running_losses(model)


def _probability(maps):
    """(B, K, H, W, J) -> (B, K, J, 1)."""
    return ops.expand_dims(ops.sigmoid(ops.max(maps, axis=(2, 3))), -1)
