"""The stacked hourglass network (Newell, Yang, Deng, ECCV 2016), whose speed the paper compares itself with.

    image (256, 256, 3) --stem--> (64, 64, 256) --hourglass--residual--linear--+--> heat maps (64, 64, 16)
                                        ^                                      |            |
                                        +------ sum of input, features and maps, each through a 1x1 convolution

`Hourglass` is their network, for comparisons of speed and size; `Stacks` is the same as a backbone of `PoseRegressor`,
whose maps the regression stage reads.
"""

from dataclasses import dataclass

import keras
from keras import KerasTensor, layers

from pose_regression.errors import PoseError
from pose_regression.model.backbone import Serialisable, check_sides
from pose_regression.model.kernels import BatchNormalization
from pose_regression.model.regression import register

LEVELS = 4
"""Poolings within an hourglass: 64x64 down to 4x4."""

STRIDE = 4 * 2**LEVELS
"""The sides of the image are multiples of this: 1/4 in the stem, then the poolings of an hourglass."""


def Hourglass(
    input_shape: tuple[int, int, int] = (256, 256, 3),
    *,
    num_joints: int = 16,
    num_stacks: int = 8,
    features: int = 256,
) -> keras.Model:
    """Stacked hourglass network: `num_stacks` heat maps of every joint, each stack refining those before it.

    Parameters of the default network: 25,434,112 trainable (every convolution has a bias, every batch norm a scale
    and an offset) and 120,576 moving averages, 25,554,688 in all. That is the repository's network with its defaults.
    The figure one often reads, 25.59 M trainable, belongs to the PyTorch port (bearpaw/pytorch-pose, `hg` with 8
    stacks and 1 block; stated in the README of yuanyuanli85/Fast_Human_Pose_Estimation_Pytorch): its stem widens one
    residual module earlier (128-256, 256-256 in place of 128-128, 128-256), 160,512 parameters more, and is otherwise
    the same.

    Args:
        input_shape: (height, width, 3), multiples of 64.
        num_joints: heat maps of one stack.
        num_stacks: hourglasses in a row.
        features: channels of an hourglass, an even number.

    Returns:
        A functional model, (B, height, width, 3) -> a list of `num_stacks` tensors (B, height/4, width/4, num_joints),
        the last being the answer. Convolutions follow Keras' global dtype policy.

    Raises:
        PoseError: an argument out of range.

    Source: `src/models/hg.lua`, `src/models/layers/Residual.lua` and `src/opts.lua` (`nFeats` 256, `nStack` 8,
    `nModules` 1) of github.com/princeton-vl/pose-hg-train at f61d3c6.
    """
    if len(input_shape) != 3 or input_shape[2] != 3 or num_joints < 1:
        raise PoseError(
            "Expected input_shape (height, width, 3) and num_joints of at least 1. "
            f"Received: input_shape={tuple(input_shape)}, num_joints={num_joints}"
        )
    image = keras.Input(input_shape, name="image")
    policy = keras.config.dtype_policy()
    return keras.Model(image, Stacks(num_stacks, features)(image, num_joints, policy), name="hourglass")


@register
@dataclass(frozen=True)
class Stacks(Serialisable):
    """A backbone: image -> logits (B, H/4, W/4, maps) of every stack.

    Raises:
        PoseError: a number out of range; in the call, an image whose sides are no multiples of 64.
    """

    num_stacks: int = 8
    features: int = 256
    """Channels of an hourglass, an even number."""

    def __post_init__(self) -> None:
        if self.num_stacks < 1:
            raise PoseError(f"num_stacks must be at least 1. Received: num_stacks={self.num_stacks}")
        if self.features < 2 or self.features % 2:
            raise PoseError(f"features must be a positive even number. Received: features={self.features}")

    def __call__(self, image: KerasTensor, num_maps: int, policy: keras.DTypePolicy) -> list[KerasTensor]:
        check_sides(image.shape[1:], STRIDE)
        make = _Layers(policy)
        x = make.stem(image, self.features)
        outputs = []
        for k in range(1, self.num_stacks + 1):
            y = make.residual(make.hourglass(x, LEVELS, f"hourglass_{k}"), self.features, f"features_{k}")
            y = make.norm_relu(make.conv(y, self.features, 1, f"linear_{k}"), f"linear_{k}")
            # Logits are float32: everything after them is sensitive to their rounding.
            heads = layers.Conv2D(num_maps, 1, data_format="channels_last", dtype="float32", name=f"heatmaps_{k}")
            outputs.append(heads(y))
            if k < self.num_stacks:
                back = (
                    make.conv(y, self.features, 1, f"back_{k}"),
                    make.conv(outputs[-1], self.features, 1, f"maps_{k}"),
                )
                x = layers.Add(dtype=policy)([x, *back])
        return outputs


class _Layers:
    """The pieces of an hourglass under one dtype policy. Names tell a layer's place, as weight files go by them."""

    def __init__(self, policy: keras.DTypePolicy):
        self.policy = policy

    def stem(self, image: KerasTensor, features: int) -> KerasTensor:
        """(H, W, 3) -> (H/4, W/4, features)."""
        # Three zeros on every side, as in Torch; "same" would put two before and three after.
        x = layers.ZeroPadding2D(3, data_format="channels_last", dtype=self.policy)(image)
        x = self.norm_relu(self.conv(x, 64, 7, "stem", strides=2, padding="valid"), "stem")
        x = self.pool(self.residual(x, 128, "stem_1"))
        return self.residual(self.residual(x, 128, "stem_2"), features, "stem_3")

    def hourglass(self, x: KerasTensor, levels: int, name: str) -> KerasTensor:
        """One residual module at full resolution, beside the same at half resolution with another hourglass inside."""
        features = x.shape[-1]
        low = self.residual(self.pool(x), features, f"{name}_down_{levels}")
        low = self.hourglass(low, levels - 1, name) if levels > 1 else self.residual(low, features, f"{name}_bottom")
        low = self.residual(low, features, f"{name}_up_{levels}")
        low = layers.UpSampling2D(2, interpolation="nearest", data_format="channels_last", dtype=self.policy)(low)
        return layers.Add(dtype=self.policy)([self.residual(x, features, f"{name}_skip_{levels}"), low])

    def residual(self, x: KerasTensor, filters: int, name: str) -> KerasTensor:
        """Pre-activated bottleneck, 1x1 to half of `filters`, 3x3, 1x1; a 1x1 shortcut where the width changes."""
        y = self.conv(self.norm_relu(x, f"{name}_a"), filters // 2, 1, f"{name}_a")
        y = self.conv(self.norm_relu(y, f"{name}_b"), filters // 2, 3, f"{name}_b")
        y = self.conv(self.norm_relu(y, f"{name}_c"), filters, 1, f"{name}_c")
        shortcut = x if x.shape[-1] == filters else self.conv(x, filters, 1, f"{name}_shortcut")
        return layers.Add(dtype=self.policy)([shortcut, y])

    def conv(self, x, filters: int, size: int, name: str, *, strides: int = 1, padding: str = "same") -> KerasTensor:
        return layers.Conv2D(
            filters, size, strides, padding, data_format="channels_last", dtype=self.policy, name=f"{name}_conv"
        )(x)  # fmt: skip

    def norm_relu(self, x: KerasTensor, name: str) -> KerasTensor:
        """Batch norm with Torch's constants, then ReLU."""
        norm = BatchNormalization(momentum=0.9, epsilon=1e-5, dtype=self.policy, name=f"{name}_norm")
        return layers.ReLU(dtype=self.policy)(norm(x))

    def pool(self, x: KerasTensor) -> KerasTensor:
        return layers.MaxPooling2D(2, data_format="channels_last", dtype=self.policy)(x)
