"""An option of training that the paper does not have: part maps are also told how to look.

Soft-argmax fixes the mean of a map alone; a map with half its mass on either leg can have the right mean. Here the
softmax of every part map, in every block, is drawn to a Gaussian about the joint by its Kullback-Leibler divergence,
which gives every cell a gradient from the first batch on. Context maps stay free. The idea is that of Nibali et al.,
"Numerical Coordinate Regression with Convolutional Neural Networks", 2018 (who prefer the Jensen-Shannon divergence).
"""

import keras
from keras import ops

from pose_regression.model.network import PoseRegressor, answers, regression_stage
from pose_regression.model.regression import Tensor
from pose_regression.training.heatmap_regression import SIGMA, block_heatmaps, gaussian_maps, part_maps
from pose_regression.training.losses import mean_present


def map_divergence(
    target: Tensor, present: Tensor, heatmaps: Tensor, *, grid: str = "endpoints", sigma: float = SIGMA
) -> Tensor:
    """Kullback-Leibler divergence of each block's part maps from Gaussians of sum 1 about the joints.

    Args:
        target: (B, J, 2) in [0, 1].
        present: (B, J), 1 where the joint counts, else 0.
        heatmaps: (B, K, H, W, J) logits.
        grid: where the cells lie.
        sigma: of the Gaussians, in cells.

    Returns:
        (B, K) in nats, the mean over present joints; 0 for a sample without joints.
    """
    _, blocks, height, width, joints = heatmaps.shape
    wanted = gaussian_maps(ops.where(present[..., None] > 0, target, 0.5), (height, width), grid=grid, sigma=sigma)
    wanted = ops.reshape(wanted / ops.sum(wanted, axis=(1, 2), keepdims=True), (-1, 1, height * width, joints))
    logits = ops.reshape(heatmaps, (-1, blocks, height * width, joints))
    difference = ops.log(ops.maximum(wanted, 1e-30)) - ops.log_softmax(logits, axis=2)
    per_joint = ops.sum(wanted * difference, axis=2)
    return mean_present(per_joint, ops.expand_dims(present, 1))


class MapSupervised(keras.Model):
    """`network`, sharing its weights, with `weight` times `map_divergence`, summed over the blocks, in its loss.

    It has the network's configuration and weight names, so its weight files and states are the network's.

    Args:
        network: a `PoseRegressor` with `outputs="all"`.
        weight: of the divergence against the pose loss.
    """

    def __init__(self, network: PoseRegressor, weight: float):
        config = network.get_config()
        image = keras.Input(network.input_shape[1:], name="image", dtype="float32")
        maps = block_heatmaps(network, image)
        regress = regression_stage(**{name: config[name] for name in ("num_joints", "num_context", "alpha", "grid")})
        outputs = answers(maps, regress, "all") | {"heatmaps": part_maps(network, maps)}
        super().__init__(inputs=image, outputs=outputs, name="map_supervised")
        self._config, self._weight = config, weight

    def get_config(self) -> dict:
        """The arguments of the `PoseRegressor` with the same weights."""
        return self._config

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The compiled losses of pose and probability, plus the weighted divergence."""
        heatmaps, plain = self._parts(y_pred)
        divergence = map_divergence(y["pose"][..., :2], y["pose"][..., 2], heatmaps, grid=self._config["grid"])
        loss = super().compute_loss(x, y, plain, sample_weight, training)
        return loss + self._weight * ops.mean(ops.sum(divergence, axis=1))

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """The compiled metrics, of pose and probability."""
        return super().compute_metrics(x, y, self._parts(y_pred)[1], sample_weight)

    def _parts(self, y_pred):
        return y_pred["heatmaps"], {name: value for name, value in y_pred.items() if name != "heatmaps"}
