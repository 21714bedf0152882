"""What soft-argmax replaces, for Table 1: reading the pose from a heat map's maximum.

A maximum lies on a cell, so its coordinates are no finer than the grid.
"""

import keras
import numpy as np
from keras import ops

from pose_regression.model.network import PoseRegressor
from pose_regression.model.regression import Tensor, coordinate_ramp


def argmax_pose(heatmaps: Tensor, *, grid: str = "endpoints") -> Tensor:
    """Coordinate of the cell with the largest value of each map; of several, the first in rows from the top.

    Args:
        heatmaps: (B, ..., H, W, J).
        grid: where the cells lie, see `coordinate_ramp`.

    Returns:
        (B, ..., J, 2) x, y in [0, 1]. It has no gradient.
    """
    *leading, height, width, joints = heatmaps.shape
    y, x = np.meshgrid(coordinate_ramp(height, grid), coordinate_ramp(width, grid), indexing="ij")
    cells = np.stack([x, y], axis=-1).reshape(height * width, 2)
    largest = ops.argmax(ops.reshape(heatmaps, (-1, height * width, joints)), axis=1)
    return ops.reshape(ops.take(cells, largest, axis=0), (-1, *leading[1:], joints, 2))


def argmax_decoder(network: PoseRegressor) -> keras.Model:
    """The same network, sharing its weights, that reads each joint from the maximum of its part map.

    With `outputs="every_map"`: image -> `pose` (B, K, J, 2) in [0, 1] and `probability` (B, K, J, 1), the sigmoid of
    the maximum. Context maps are not looked at.
    """
    maps = network.output["heatmaps"]
    probability = ops.expand_dims(ops.sigmoid(ops.max(maps, axis=(2, 3))), -1)
    pose = argmax_pose(maps, grid=network.get_config()["grid"])
    return keras.Model(network.input, {"pose": pose, "probability": probability}, name="argmax_decoder")
