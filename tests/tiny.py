"""A backbone for tests in which the network is not the point: far fewer layers to build, trace, save and export."""

from dataclasses import dataclass

import keras
from keras import layers

from pose_regression.model.backbone import Serialisable
from pose_regression.model.kernels import BatchNormalization
from pose_regression.model.network import PoseRegressor


@keras.saving.register_keras_serializable(package="tests")
@dataclass(frozen=True)
class Tiny(Serialisable):
    """Image -> logits of `num_blocks` convolutions of the same features, an eighth of the image's size."""

    num_blocks: int = 1

    def __call__(self, image, num_maps, policy):
        x = layers.AveragePooling2D(8, name="pool", dtype=policy)(image)
        x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="conv", dtype=policy)(x)
        x = BatchNormalization(scale=False, name="conv_bn", dtype=policy)(x)
        x = layers.ReLU(name="relu", dtype=policy)(x)
        return [
            layers.Conv2D(num_maps, 1, use_bias=False, name=f"heatmaps_{k}", dtype="float32")(x)
            for k in range(1, self.num_blocks + 1)
        ]


def tiny(size: int = 32, *, blocks: int = 1, seed: int = 0, **arguments) -> PoseRegressor:
    """A `PoseRegressor` of this backbone."""
    keras.utils.set_random_seed(seed)
    return PoseRegressor((size, size, 3), backbone=Tiny(blocks), **arguments)
