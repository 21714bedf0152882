"""The network of the paper: stem, K prediction blocks, regression stage (Figs. 2 and 3; `network.py` of the authors).

    image (256, 256, 3) --stem--> (32, 32, 576) --block A--block B--> ... K times
                                                             |
                                                             +--> heat maps --regression stage--> pose, probability

Every convolution is without bias and padded as TensorFlow's "same"; every batch norm is without scale.
"""

from collections.abc import Callable
from typing import Any

import keras
from keras import KerasTensor, ops

from pose_regression.errors import PoseError
from pose_regression.model.layers import (
    BatchNormalization,
    ContextAggregation,
    JointProbability,
    SeparableConv2D,
    SoftArgmax,
    register,
)

STRIDE = 32
"""The sides of the image are multiples of this: 1/8 in the stem, then two poolings in block A."""

OUTPUTS = ("last", "all", "maps", "every_map")


@register
class PoseRegressor(keras.Model):
    """Human pose from one image crop: a functional model of sub-models `stem`, `block_a_1`, `block_b_1`, ...

    Args:
        input_shape: (height, width, 3), multiples of 32.
        num_joints: N_J.
        num_context: N_c, context maps per joint; 0 builds the network without context.
        alpha: weight of the direct detection in eq. 6.
        num_blocks: K.
        kernel_size: of the separable convolutions in the blocks.
        width: number of features; the paper's 576 scales the stem's channels in proportion.
        grid: coordinates of the heat maps' cells, see `layers.coordinate_ramp`.
        outputs: what the model returns, a dictionary:
            `"last"`: `pose` (B, N_J, 2) in [0, 1] of the crop and `probability` (B, N_J, 1) in [0, 1];
            `"all"`: the same of every block, (B, K, N_J, 2) and (B, K, N_J, 1);
            `"maps"`: as `"last"`, with `heatmaps` (B, H/8, W/8, N_J) and `context_heatmaps` (B, H/8, W/8, N_c·N_J),
            the logits of the last block;
            `"every_map"`: as `"all"`, with the logits of every block, (B, K, H/8, W/8, N_J) and
            (B, K, H/8, W/8, N_c·N_J), for supervision. The same weights fit all four.
        weights: a weight file or the name of weights that ship with the project, see `weights.load_weights`.
        dtype: policy of the convolutions (`"mixed_bfloat16"`); None takes Keras' global one. The regression stage
            is float32 under any policy.

    Input: (B, height, width, 3) in [-1, 1], RGB.

    Raises:
        PoseError: an argument out of range.

    Example:
    >>> model = PoseRegressor((64, 64, 3), num_blocks=2, width=144)
    >>> model(keras.ops.zeros((1, 64, 64, 3)))["pose"].shape
    (1, 16, 2)
    """

    def __init__(
        self,
        input_shape: tuple[int, int, int] = (256, 256, 3),
        *,
        num_joints: int = 16,
        num_context: int = 2,
        alpha: float = 0.8,
        num_blocks: int = 8,
        kernel_size: int = 5,
        width: int = 576,
        grid: str = "endpoints",
        outputs: str = "last",
        weights: str | None = None,
        name: str = "pose_regressor",
        dtype=None,
        trainable: bool = True,
    ):
        config: dict[str, Any] = {
            "input_shape": input_shape, "num_joints": num_joints, "num_context": num_context, "alpha": alpha,
            "num_blocks": num_blocks, "kernel_size": kernel_size, "width": width, "grid": grid, "outputs": outputs,
        }  # fmt: skip
        _check(**config)
        config |= {"input_shape": tuple(input_shape), "alpha": float(alpha)}
        policy = _policy(dtype)
        image = keras.Input(config["input_shape"], name="image", dtype="float32")
        maps = prediction_blocks(
            image, num_maps=num_joints * (1 + num_context), num_blocks=num_blocks, kernel_size=kernel_size,
            width=width, policy=policy,
        )  # fmt: skip
        regress = regression_stage(num_joints=num_joints, num_context=num_context, alpha=alpha, grid=grid)
        super().__init__(inputs=image, outputs=answers(maps, regress, outputs), name=name, trainable=trainable)
        self._config = config | {"name": name, "dtype": policy, "trainable": trainable}
        if weights is not None:
            from pose_regression.model.weights import load_weights

            load_weights(self, weights)

    def get_config(self) -> dict:
        """The arguments that build this model again, `weights` apart."""
        dtype = keras.dtype_policies.serialize(self._config["dtype"])
        return self._config | {"dtype": dtype, "trainable": self.trainable}

    @classmethod
    def from_config(cls, config: dict, custom_objects=None) -> "PoseRegressor":
        """Build the model that `get_config` describes."""
        dtype = config.get("dtype")
        if isinstance(dtype, dict):
            config = config | {"dtype": keras.dtype_policies.deserialize(dtype)}
        return cls(**config)

    def with_outputs(self, outputs: str) -> "PoseRegressor":
        """The same network with the same weight values (copied), returning something else."""
        model = PoseRegressor(**self._config | {"outputs": outputs})
        model.set_weights(self.get_weights())
        return model


def prediction_blocks(
    image: KerasTensor, *, num_maps: int, num_blocks: int, kernel_size: int, width: int, policy: keras.DTypePolicy
) -> list[KerasTensor]:
    """Stem and K prediction blocks: image -> heat maps of every block, K logits (B, H/8, W/8, num_maps), float32."""
    height, wide = image.shape[1] // 8, image.shape[2] // 8
    features = stem(image.shape[1:], width, policy)(image)
    maps = []
    for k in range(1, num_blocks + 1):
        shape = (height, wide, width)
        features = block_a(shape, kernel_size, policy, name=f"block_a_{k}")(features)
        predict = block_b(shape, kernel_size, num_maps, policy, last=k == num_blocks, name=f"block_b_{k}")
        if k < num_blocks:
            heatmaps, features = predict(features)
        else:
            heatmaps = predict(features)
        maps.append(heatmaps)
    return maps


def stem(input_shape: tuple[int, int, int], width: int, policy: keras.DTypePolicy) -> keras.Model:
    """Entry flow, "partially based on Inception-v4": (H, W, 3) -> (H/8, W/8, width).

    The channel counts are those of width 576, scaled with `width` and rounded to multiples of 16, as matrix units want
    them: with counts such as 8 and 24, a network of width 192 takes twice as long to train.
    """
    conv, separable_residual = _conv_bn(policy), _separable_residual(policy)

    def scaled(channels: int) -> int:
        return max(16, 16 * round(channels * width / 576 / 16))

    def pool(x, size, padding):
        return keras.layers.MaxPooling2D(size, 2, padding, dtype=policy)(x)

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
        return keras.layers.MaxPooling2D(2, dtype=policy)(x)

    def upsample(x):
        return keras.layers.UpSampling2D(2, interpolation="nearest", dtype=policy)(x)

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
    heatmaps = keras.layers.Conv2D(num_maps, 1, use_bias=False, dtype="float32", name="heatmaps")(heatmaps)
    if last:
        return keras.Model(x, heatmaps, name=name)
    back = keras.layers.ReLU(dtype=policy)(heatmaps)
    back = conv(back, shape[-1], 1, relu=False, name="project")
    return keras.Model(x, [heatmaps, keras.layers.Add(dtype=policy)([x, y, back])], name=name)


def regression_stage(*, num_joints: int, num_context: int, alpha: float, grid: str) -> Callable:
    """The stage without trained parameters (section 3.3): heat maps -> pose and probability. One for all blocks."""
    part = SoftArgmax(grid=grid, name="part_soft_argmax")
    probability = JointProbability(name="joint_probability")
    if num_context:
        context = SoftArgmax(grid=grid, name="context_soft_argmax")
        context_probability = JointProbability(name="context_probability")
        aggregate = ContextAggregation(alpha=alpha, name="context_aggregation")

    def regress(maps: KerasTensor) -> tuple[KerasTensor, KerasTensor]:
        part_maps = maps[..., :num_joints]
        pose = part(part_maps)
        if num_context:
            context_maps = maps[..., num_joints:]
            pose = aggregate(pose, context(context_maps), context_probability(context_maps))
        return pose, probability(part_maps)

    return regress


def answers(maps: list[KerasTensor], regress: Callable, outputs: str) -> dict[str, KerasTensor]:
    """What a `PoseRegressor` returns, of the heat maps of every block and its `regression_stage`."""
    if outputs in ("all", "every_map"):
        poses, probabilities = zip(*map(regress, maps), strict=True)
        result = {"pose": ops.stack(poses, axis=1), "probability": ops.stack(probabilities, axis=1)}
        if outputs == "every_map":
            joints, stacked = poses[0].shape[1], ops.stack(maps, axis=1)
            result |= {"heatmaps": stacked[..., :joints], "context_heatmaps": stacked[..., joints:]}
        return result
    pose, probability = regress(maps[-1])
    result = {"pose": pose, "probability": probability}
    if outputs == "maps":
        num_joints = pose.shape[1]
        result |= {"heatmaps": maps[-1][..., :num_joints], "context_heatmaps": maps[-1][..., num_joints:]}
    return result


def _conv_bn(policy) -> Callable:
    """Convolution, batch norm and, unless told otherwise, ReLU."""

    def conv(x, channels, kernel_size, *, strides=1, relu=True, name):
        x = keras.layers.Conv2D(
            channels, kernel_size, strides, "same", use_bias=False, dtype=policy, name=name
        )(x)  # fmt: skip
        x = BatchNormalization(scale=False, dtype=policy, name=f"{name}_bn")(x)
        return keras.layers.ReLU(dtype=policy)(x) if relu else x

    return conv


def _separable(x, channels, kernel_size, policy, *, name):
    return SeparableConv2D(
        channels, kernel_size, padding="same", use_bias=False, dtype=policy, name=name
    )(x)  # fmt: skip


def _separable_residual(policy) -> Callable:
    """Pre-activated residual separable convolution; the shortcut is projected where the channel count changes."""

    def residual(x, channels, kernel_size, *, name):
        y = keras.layers.ReLU(dtype=policy)(x)
        if x.shape[-1] != channels:
            x = keras.layers.Conv2D(channels, 1, use_bias=False, dtype=policy, name=f"{name}_shortcut")(y)
            x = BatchNormalization(scale=False, dtype=policy, name=f"{name}_shortcut_bn")(x)
        y = _separable(y, channels, kernel_size, policy, name=name)
        y = BatchNormalization(scale=False, dtype=policy, name=f"{name}_bn")(y)
        return keras.layers.Add(dtype=policy)([x, y])

    return residual


def _policy(dtype) -> keras.DTypePolicy:
    try:
        return keras.dtype_policies.get(dtype or keras.config.dtype_policy())
    except (TypeError, ValueError) as error:
        raise PoseError(f"dtype must name a Keras dtype policy. Received: dtype={dtype!r}") from error


def _check(
    *, input_shape, num_joints, num_context, alpha, num_blocks, kernel_size, width, grid, outputs
) -> None:  # fmt: skip
    shape = tuple(input_shape) if isinstance(input_shape, tuple | list) else ()
    whole = all(isinstance(n, int) and n >= STRIDE and n % STRIDE == 0 for n in shape[:2])
    if len(shape) != 3 or shape[2] != 3 or not whole:
        raise PoseError(
            f"input_shape must be (height, width, 3) with sides that are multiples of {STRIDE}. "
            f"Received: input_shape={input_shape}"
        )
    for name, value, least in (
        ("num_joints", num_joints, 1), ("num_context", num_context, 0), ("num_blocks", num_blocks, 1),
        ("kernel_size", kernel_size, 1), ("width", width, 8),
    ):  # fmt: skip
        if not isinstance(value, int) or value < least:
            raise PoseError(f"{name} must be a whole number of at least {least}. Received: {name}={value!r}")
    if width % 2:
        raise PoseError(f"width must be even: block A halves it. Received: width={width}")
    if outputs not in OUTPUTS:
        raise PoseError(f"outputs must be one of {', '.join(OUTPUTS)}. Received: outputs={outputs!r}")
    ContextAggregation(alpha=alpha)
    SoftArgmax(grid=grid)
