"""The stacked hourglass network (Newell, Yang, Deng, ECCV 2016), whose speed the paper compares itself with.

    image (256, 256, 3) --stem--> (64, 64, 256) --hourglass--residual--linear--+--> heat maps (64, 64, 16)
                                        ^                                      |            |
                                        +------ sum of input, features and maps, each through a 1x1 convolution

Only what a comparison of speed and size needs: the network, with no training code and no weights.
"""

import keras
from keras import KerasTensor, layers

from pose_regression.errors import PoseError
from pose_regression.model.layers import BatchNormalization

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
    name: str = "hourglass",
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
        name: of the model.

    Returns:
        A functional model, (B, height, width, 3) -> a list of `num_stacks` tensors (B, height/4, width/4, num_joints),
        the last being the answer. Convolutions follow Keras' global dtype policy.

    Raises:
        PoseError: an argument out of range.

    Source: `src/models/hg.lua`, `src/models/layers/Residual.lua` and `src/opts.lua` (`nFeats` 256, `nStack` 8,
    `nModules` 1) of github.com/princeton-vl/pose-hg-train at f61d3c6.
    """
    height, width, channels = input_shape
    if height < STRIDE or width < STRIDE or height % STRIDE or width % STRIDE or channels != 3:
        raise PoseError(
            f"input_shape must be (height, width, 3) with sides that are multiples of {STRIDE}. "
            f"Received: input_shape={tuple(input_shape)}"
        )
    if min(num_joints, num_stacks) < 1:
        raise PoseError(
            f"num_joints and num_stacks must be at least 1. Received: num_joints={num_joints}, num_stacks={num_stacks}"
        )
    if features < 2 or features % 2:
        raise PoseError(f"features must be a positive even number. Received: features={features}")

    image = keras.Input(input_shape, name="image")
    x = _stem(image, features)
    outputs = []
    for k in range(1, num_stacks + 1):
        y = _residual(_hourglass(x, LEVELS), features)
        y = _norm_relu(layers.Conv2D(features, 1)(y))
        heatmaps = layers.Conv2D(num_joints, 1, name=f"heatmaps_{k}")(y)
        outputs.append(heatmaps)
        if k < num_stacks:
            x = layers.Add()([x, layers.Conv2D(features, 1)(y), layers.Conv2D(features, 1)(heatmaps)])
    return keras.Model(image, outputs, name=name)


def _stem(image: KerasTensor, features: int) -> KerasTensor:
    """(H, W, 3) -> (H/4, W/4, features)."""
    # Three zeros on every side, as in Torch; "same" would put two before and three after.
    x = layers.Conv2D(64, 7, strides=2)(layers.ZeroPadding2D(3)(image))
    x = _residual(_norm_relu(x), 128)
    x = _residual(layers.MaxPooling2D()(x), 128)
    return _residual(x, features)


def _hourglass(x: KerasTensor, levels: int) -> KerasTensor:
    """One residual module at full resolution, beside the same at half resolution with another hourglass inside."""
    features = x.shape[-1]
    low = _residual(layers.MaxPooling2D()(x), features)
    low = _hourglass(low, levels - 1) if levels > 1 else _residual(low, features)
    low = _residual(low, features)
    return layers.Add()([_residual(x, features), layers.UpSampling2D(interpolation="nearest")(low)])


def _residual(x: KerasTensor, filters: int) -> KerasTensor:
    """Pre-activated bottleneck, 1x1 to half of `filters`, 3x3, 1x1; a 1x1 shortcut where the width changes."""
    y = layers.Conv2D(filters // 2, 1)(_norm_relu(x))
    y = layers.Conv2D(filters // 2, 3, padding="same")(_norm_relu(y))
    y = layers.Conv2D(filters, 1)(_norm_relu(y))
    shortcut = x if x.shape[-1] == filters else layers.Conv2D(filters, 1)(x)
    return layers.Add()([shortcut, y])


def _norm_relu(x: KerasTensor) -> KerasTensor:
    """Batch norm with Torch's constants, then ReLU."""
    return layers.ReLU()(BatchNormalization(momentum=0.9, epsilon=1e-5)(x))
