"""From the image to the heat maps of every block: the stem and the K prediction blocks (Figs. 2 and 3; `network.py`).

    image (256, 256, 3) --stem--> (32, 32, 576) --block A--block B--> ... K times
                                                             |
                                                             +--> heat maps

Every convolution is without bias and padded as TensorFlow's "same"; every batch norm is without scale.

Any other backbone is a registered `Serialisable` callable of the same form as `PredictionBlocks`.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Self

import keras
from keras import KerasTensor

from pose_regression.errors import PoseError
from pose_regression.model.kernels import BatchNormalization, SeparableConv2D
from pose_regression.model.regression import register

STRIDE = 32
"""The sides of the image are multiples of this: 1/8 in the stem, then two poolings in block A."""


class Serialisable:
    """A dataclass that Keras saves by its fields."""

    def get_config(self) -> dict[str, Any]:
        """The arguments that build it again."""
        return asdict(self)  # type: ignore[call-overload]

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Build what `get_config` describes."""
        return cls(**config)


@register
@dataclass(frozen=True)
class PredictionBlocks(Serialisable):
    """The paper's backbone: image -> K logits (B, H/8, W/8, maps), float32, one for each block.

    Raises:
        PoseError: a number out of range; in the call, an image whose sides are no multiples of 32.
    """

    num_blocks: int = 8
    """K."""
    kernel_size: int = 5
    """Of the separable convolutions in the blocks."""
    width: int = 576
    """Features; the stem's channels are scaled in proportion."""

    def __post_init__(self) -> None:
        for name, least in (("num_blocks", 1), ("kernel_size", 1), ("width", 8)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise PoseError(f"{name} must be a whole number of at least {least}. Received: {name}={value!r}")
        if self.width % 2:
            raise PoseError(f"width must be even: block A halves it. Received: width={self.width}")

    def __call__(self, image: KerasTensor, num_maps: int, policy: keras.DTypePolicy) -> list[KerasTensor]:
        check_sides(image.shape[1:], STRIDE)
        features = stem(image.shape[1:], self.width, policy)(image)
        maps = []
        for k in range(1, self.num_blocks + 1):
            shape, last = features.shape[1:], k == self.num_blocks
            features = block_a(shape, self.kernel_size, policy, name=f"block_a_{k}")(features)
            predict = block_b(shape, self.kernel_size, num_maps, policy, last=last, name=f"block_b_{k}")
            heatmaps, features = (predict(features), None) if last else predict(features)
            maps.append(heatmaps)
        return maps


def check_sides(shape: tuple[int, ...], stride: int) -> None:
    """`PoseError` unless an image's height and width are multiples of `stride`."""
    if any(side < stride or side % stride for side in shape[:2]):
        raise PoseError(
            f"input_shape must be (height, width, 3) with sides that are multiples of {stride}. "
            f"Received: input_shape={tuple(shape)}"
        )


def stem(input_shape: tuple[int, int, int], width: int, policy: keras.DTypePolicy) -> keras.Model:
    """Entry flow, "partially based on Inception-v4": (H, W, 3) -> (H/8, W/8, width).

    The channel counts are those of width 576, scaled with `width` and rounded to multiples of 16, as matrix units want
    them: with counts such as 8 and 24, a network of width 192 takes twice as long to train.
    """
    conv, separable_residual = _conv_bn(policy), _separable_residual(policy)

    def scaled(channels: int) -> int:
        return max(16, 16 * round(channels * width / 576 / 16))

    def pool(x, size, padding):
        return keras.layers.MaxPooling2D(size, 2, padding, data_format="channels_last", dtype=policy)(x)

    def concatenate(*branches):
        return keras.layers.Concatenate(dtype=policy)(branches)

    image = keras.Input(input_shape)
    x = conv(image, scaled(32), 3, strides=2, name="conv_1")
    x = conv(x, scaled(32), 3, name="conv_2")
    x = conv(x, scaled(64), 3, name="conv_3")
    x = concatenate(conv(x, scaled(96), 3, strides=2, name="conv_4"), pool(x, 3, "same"))
    a = conv(x, scaled(64), 1, name="conv_5a")
    a = conv(a, scaled(96), 3, relu=False, name="conv_6a")
    b = conv(x, scaled(64), 1, name="conv_5b")
    b = conv(b, scaled(64), (5, 1), name="conv_6b")
    b = conv(b, scaled(64), (1, 5), name="conv_7b")
    b = conv(b, scaled(96), 3, relu=False, name="conv_8b")
    x = concatenate(a, b)
    y = keras.layers.ReLU(dtype=policy)(x)
    x = concatenate(conv(y, scaled(192), 3, strides=2, relu=False, name="conv_9"), pool(x, 2, "valid"))
    x = separable_residual(x, width, 3, name="separable_1")
    return keras.Model(image, x, name="stem")


def block_a(shape: tuple[int, int, int], kernel_size: int, policy: keras.DTypePolicy, *, name: str) -> keras.Model:
    """Block A: an hourglass of residual separable convolutions over three resolutions, shape kept."""
    conv, residual = _conv_bn(policy), _separable_residual(policy)
    width, low = shape[-1], shape[-1] // 2

    def pool(x):
        return keras.layers.MaxPooling2D(2, data_format="channels_last", dtype=policy)(x)

    def upsample(x):
        return keras.layers.UpSampling2D(2, interpolation="nearest", data_format="channels_last", dtype=policy)(x)

    def add(a, b):
        return keras.layers.Add(dtype=policy)([a, b])

    x = keras.Input(shape)
    full = residual(x, width, kernel_size, name="full_1")
    half = keras.layers.ReLU(dtype=policy)(pool(x))
    half = conv(half, low, 1, relu=False, name="reduce")
    half = residual(half, low, kernel_size, name="half_1")
    quarter = pool(half)
    half = residual(half, low, kernel_size, name="half_2")
    for i in (1, 2, 3):
        quarter = residual(quarter, low, kernel_size, name=f"quarter_{i}")
    half = residual(add(half, upsample(quarter)), width, kernel_size, name="half_3")
    return keras.Model(x, add(full, upsample(half)), name=name)


def block_b(
    shape: tuple[int, int, int], kernel_size: int, num_maps: int, policy: keras.DTypePolicy, *, last: bool, name: str
) -> keras.Model:
    """Block B: features -> heat maps, and (but for the last block) features for the next block.

    The logits are computed in float32: everything after them is sensitive to their rounding.
    """
    conv = _conv_bn(policy)
    x = keras.Input(shape)
    y = keras.layers.ReLU(dtype=policy)(x)
    y = _separable(y, shape[-1], kernel_size, policy, name="separable")
    y = BatchNormalization(scale=False, dtype=policy, name="separable_bn")(y)
    heatmaps = keras.layers.ReLU(dtype=policy)(y)
    heatmaps = keras.layers.Conv2D(
        num_maps, 1, use_bias=False, data_format="channels_last", dtype="float32", name="heatmaps"
    )(heatmaps)
    if last:
        return keras.Model(x, heatmaps, name=name)
    back = keras.layers.ReLU(dtype=policy)(heatmaps)
    back = conv(back, shape[-1], 1, relu=False, name="project")
    return keras.Model(x, [heatmaps, keras.layers.Add(dtype=policy)([x, y, back])], name=name)


def _conv_bn(policy) -> Callable:
    """Convolution, batch norm and, unless told otherwise, ReLU."""

    def conv(x, channels, kernel_size, *, strides=1, relu=True, name):
        x = keras.layers.Conv2D(
            channels, kernel_size, strides, "same", use_bias=False, data_format="channels_last", dtype=policy, name=name
        )(x)  # fmt: skip
        x = BatchNormalization(scale=False, dtype=policy, name=f"{name}_bn")(x)
        return keras.layers.ReLU(dtype=policy)(x) if relu else x

    return conv


def _separable(x, channels, kernel_size, policy, *, name):
    return SeparableConv2D(
        channels, kernel_size, padding="same", use_bias=False, data_format="channels_last", dtype=policy, name=name
    )(x)  # fmt: skip


def _separable_residual(policy) -> Callable:
    """Pre-activated residual separable convolution; the shortcut is projected where the channel count changes."""

    def residual(x, channels, kernel_size, *, name):
        y = keras.layers.ReLU(dtype=policy)(x)
        if x.shape[-1] != channels:
            x = keras.layers.Conv2D(
                channels, 1, use_bias=False, data_format="channels_last", dtype=policy, name=f"{name}_shortcut"
            )(y)
            x = BatchNormalization(scale=False, dtype=policy, name=f"{name}_shortcut_bn")(x)
        y = _separable(y, channels, kernel_size, policy, name=name)
        y = BatchNormalization(scale=False, dtype=policy, name=f"{name}_bn")(y)
        return keras.layers.Add(dtype=policy)([x, y])

    return residual
