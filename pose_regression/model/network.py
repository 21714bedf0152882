"""The network of the paper: heat maps of a `backbone`, then the regression stage; `network.py` of the authors."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import KerasTensor, ops

from pose_regression.errors import PoseError
from pose_regression.model.backbone import PredictionBlocks
from pose_regression.model.confidence import UNCALIBRATED, JointConfidence
from pose_regression.model.named_weights import check_names
from pose_regression.model.regression import ContextAggregation, JointProbability, SoftArgmax, register
from pose_regression.model.weights import load_weights, read_weights
from pose_regression.skeleton import PA16J, Skeleton

OUTPUTS = ("last", "all", "maps", "every_map")

Backbone = Callable[[KerasTensor, int, keras.DTypePolicy], list[KerasTensor]]
"""Image, number of maps and dtype policy -> logits (B, h, w, maps) of every block, float32; see `PredictionBlocks`."""

DEFAULTS: dict[str, Any] = {
    "input_shape": (256, 256, 3), "num_joints": 16, "num_context": 2, "alpha": 0.8, "num_blocks": 8, "kernel_size": 5,
    "width": 576, "grid": "endpoints", "backbone": None, "calibration": UNCALIBRATED,
}  # fmt: skip
"""The paper's network, where neither an argument nor a weight file says otherwise."""


@register
class PoseRegressor(keras.Model):
    """Human pose from one image crop: a functional model of backbone and regression stage.

    Without `weights` an argument that is not given has the paper's value, in brackets below; with them, that of the
    network in the file.

    Args:
        input_shape: (height, width, 3), multiples of 32 (256, 256, 3).
        num_joints: N_J (16).
        num_context: N_c, context maps per joint; 0 builds the network without context (2).
        alpha: weight of the direct detection in eq. 6 (0.8).
        num_blocks: K (8).
        kernel_size: of the separable convolutions in the blocks (5).
        width: number of features; the stem's channels are scaled in proportion (576).
        grid: coordinates of the heat maps' cells, see `regression.coordinate_ramp` ("endpoints").
        outputs: what the model returns, a dictionary:
            `"last"`: `pose` (B, N_J, 2) in [0, 1] of the crop, `probability` (B, N_J, 1) that the joint is in the crop
            and `confidence` (B, N_J, 1) that it is right;
            `"all"`: pose and probability of every block, (B, K, N_J, 2) and (B, K, N_J, 1);
            `"maps"`: as `"last"`, with `heatmaps` (B, h, w, N_J) and `context_heatmaps` (B, h, w, N_c·N_J), the logits
            of the last block (h is a block's height, H/8 in the paper's);
            `"every_map"`: as `"all"`, with the logits of every block, (B, K, h, w, N_J) and (B, K, h, w, N_c·N_J).
            The same weights fit all four.
        weights: a weight file or the name of weights that ship with the project, see `weights.load_weights`.
        backbone: another way from the image to heat maps than the paper's blocks, such as `hourglass.Stacks`; it
            takes the place of `num_blocks`, `kernel_size` and `width`. Its layers with weights have names of their own.
        calibration: slope and offset of the confidence, see `confidence.JointConfidence` (1, 3).
        skeleton: the joints, and which were learned; None is that of the weights, else MPII's where there are 16.
        dtype: policy of the convolutions (`"mixed_bfloat16"`); None takes Keras' global one. The regression stage
            is float32 under any policy.

    Input: (B, height, width, 3) in [-1, 1], RGB.

    Raises:
        PoseError: an argument out of range, one that contradicts the weights, or a layer of the backbone whose name
            Keras made up.

    Example:
    >>> model = PoseRegressor((64, 64, 3), num_blocks=2, width=144)
    >>> model(keras.ops.zeros((1, 64, 64, 3)))["pose"].shape
    (1, 16, 2)
    """

    def __init__(
        self,
        input_shape: tuple[int, int, int] | None = None,
        *,
        num_joints: int | None = None,
        num_context: int | None = None,
        alpha: float | None = None,
        num_blocks: int | None = None,
        kernel_size: int | None = None,
        width: int | None = None,
        grid: str | None = None,
        outputs: str = "last",
        weights: str | Path | None = None,
        backbone: Backbone | dict | None = None,
        calibration: tuple[float, float] | None = None,
        skeleton: Skeleton | dict | None = None,
        name: str = "pose_regressor",
        dtype: str | keras.DTypePolicy | None = None,
        trainable: bool = True,
    ):
        given = {
            "input_shape": input_shape, "num_joints": num_joints, "num_context": num_context, "alpha": alpha,
            "num_blocks": num_blocks, "kernel_size": kernel_size, "width": width, "grid": grid, "backbone": backbone,
            "calibration": calibration,
        }  # fmt: skip
        file = None if weights is None else read_weights(weights)
        config = _complete(given, file.network if file else {}, outputs)
        config["skeleton"] = _skeleton(skeleton, config["num_joints"])
        policy, image = _policy(dtype), keras.Input(config["input_shape"], name="image", dtype="float32")
        build = config["backbone"] or PredictionBlocks(config["num_blocks"], config["kernel_size"], config["width"])
        maps = build(image, config["num_joints"] * (1 + config["num_context"]), policy)
        super().__init__(inputs=image, outputs=answers(maps, config, outputs), name=name, trainable=trainable)
        built = {"num_blocks": len(maps), "outputs": outputs, "name": name, "dtype": policy, "trainable": trainable}
        self._config = config | built
        self._looked = False
        if config["backbone"] is not None:
            check_names(self)
        if file:
            file.load_into(self)
            if skeleton is None:
                self._config["skeleton"] = file.skeleton

    @property
    def skeleton(self) -> Skeleton | None:
        """The joints, in the order of the output; None where nobody has said."""
        return self._config["skeleton"]

    def get_config(self) -> dict:
        """The arguments that build this model again, `weights` apart."""
        backbone = self._config["backbone"]
        unused = () if backbone is None else ("kernel_size", "width")
        return {name: value for name, value in self._config.items() if name not in unused} | {
            "backbone": None if backbone is None else keras.saving.serialize_keras_object(backbone),
            "skeleton": self.skeleton and self.skeleton.to_config(),
            "dtype": keras.dtype_policies.serialize(self._config["dtype"]),
            "trainable": self.trainable,
        }

    @classmethod
    def from_preset(cls, preset: str | Path, **arguments: Any) -> "PoseRegressor":
        """The network of a weight file, or by name ("small", "full", "mpii"): `PoseRegressor(weights=preset, ...)`."""
        return cls(weights=preset, **arguments)

    def load_weights(self, filepath: str | Path, **options: Any) -> None:
        """As Keras' method, which reads the files of `save_weights`; and the project's own files and names too."""
        if options:
            super().load_weights(filepath, **options)
        else:
            load_weights(self, filepath)

    def predict(self, x: Any, *arguments: Any, **options: Any) -> Any:
        """As Keras' method."""
        self._look_at(x)
        return super().predict(x, *arguments, **options)

    def fit(self, x: Any = None, *arguments: Any, **options: Any) -> Any:
        """As Keras' method."""
        self._look_at(x)
        return super().fit(x, *arguments, **options)

    def _look_at(self, images: Any) -> None:
        """Warn, once, of pixels that were not brought to [-1, 1]."""
        if self._looked:
            return
        largest = largest_value(images)
        self._looked = largest is not None
        if largest is not None and largest > 2:
            warnings.warn(
                f"PoseRegressor takes pixels in [-1, 1]; these reach {largest:g}: give preprocess_input(images).",
                stacklevel=3,
            )  # fmt: skip

    def with_outputs(self, outputs: str, dtype: str | keras.DTypePolicy | None = None) -> "PoseRegressor":
        """The same network with the same weight values (copied), returning something else, maybe of another policy."""
        model = PoseRegressor(**self._config | {"outputs": outputs, "dtype": dtype or self._config["dtype"]})
        model.set_weights(self.get_weights())
        return model


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


def answers(maps: list[KerasTensor], config: dict[str, Any], outputs: str) -> dict[str, KerasTensor]:
    """What a `PoseRegressor` of this configuration returns, of the heat maps of every block."""
    regress = regression_stage(**{name: config[name] for name in ("num_joints", "num_context", "alpha", "grid")})
    confidence = JointConfidence(calibration=config["calibration"], name="joint_confidence")
    num_joints = config["num_joints"]
    if outputs in ("all", "every_map"):
        poses, probabilities = zip(*map(regress, maps), strict=True)
        result = {"pose": ops.stack(poses, axis=1), "probability": ops.stack(probabilities, axis=1)}
        logits = ops.stack(maps, axis=1)
    else:
        pose, probability = regress(maps[-1])
        logits = maps[-1]
        result = {"pose": pose, "probability": probability, "confidence": confidence(logits[..., :num_joints])}
    if outputs in ("maps", "every_map"):
        result |= {"heatmaps": logits[..., :num_joints], "context_heatmaps": logits[..., num_joints:]}
    return result


def preprocess_input(images: Any) -> Any:
    """Pixels in [0, 255], RGB, of any shape and type -> what `PoseRegressor` takes, float32 in [-1, 1]."""
    return ops.cast(images, "float32") * (2 / 255) - 1


def largest_value(images: Any) -> float | None:
    """Of up to 16 images of an array, or of a `tf.data.Dataset`'s first batch; None of what cannot be looked at."""
    if hasattr(images, "element_spec"):
        first = next(iter(images.take(1)), None)
        images = first[0] if isinstance(first, tuple) else first
    if isinstance(images, dict | list | tuple) or not hasattr(images, "shape") or not len(images.shape):
        return None
    try:
        return float(np.max(ops.convert_to_numpy(images[:16])))
    except (TypeError, ValueError, NotImplementedError, AttributeError, RuntimeError):  # symbolic, or empty
        return None


def _skeleton(given: Skeleton | dict | None, joints: int) -> Skeleton | None:
    """The skeleton in the argument of that name, or MPII's where that fits."""
    try:
        skeleton = Skeleton.from_config(given) if isinstance(given, dict) else given
    except (KeyError, TypeError, ValueError) as error:
        raise PoseError(f"skeleton must describe joints. Received: skeleton={given!r}") from error
    if skeleton is not None and len(skeleton) != joints:
        raise PoseError(f"The model has {joints} joints; the skeleton has {len(skeleton)}.")
    return PA16J if skeleton is None and joints == len(PA16J) else skeleton


def _policy(dtype) -> keras.DTypePolicy:
    try:
        return keras.dtype_policies.get(dtype or keras.config.dtype_policy())
    except (TypeError, ValueError) as error:
        raise PoseError(f"dtype must name a Keras dtype policy. Received: dtype={dtype!r}") from error


def _complete(given: dict[str, Any], stored: dict[str, Any], outputs: str) -> dict[str, Any]:
    """Arguments as the model keeps them: what is None comes from a weight file, else is the paper's."""
    config = DEFAULTS | stored | {argument: value for argument, value in given.items() if value is not None}
    if unknown := config.keys() - DEFAULTS.keys():
        raise PoseError(f"A network of this version has no {', '.join(sorted(map(str, unknown)))}.")
    shape = config["input_shape"]
    sides = shape[:2] if isinstance(shape, tuple | list) and len(shape) == 3 and shape[2] == 3 else (0,)
    if not all(isinstance(side, int) and side > 0 for side in sides):
        raise PoseError(f"input_shape must be (height, width, 3). Received: input_shape={shape}")
    for name, least in (("num_joints", 1), ("num_context", 0)):
        if not isinstance(config[name], int) or config[name] < least:
            raise PoseError(f"{name} must be a whole number of at least {least}. Received: {name}={config[name]!r}")
    if outputs not in OUTPUTS:
        raise PoseError(f"outputs must be one of {', '.join(OUTPUTS)}. Received: outputs={outputs!r}")
    alpha = ContextAggregation(alpha=config["alpha"]).alpha
    calibration = JointConfidence(calibration=config["calibration"]).calibration
    SoftArgmax(grid=config["grid"])
    backbone = config["backbone"]
    if isinstance(backbone, dict):
        backbone = keras.saving.deserialize_keras_object(backbone)
    return config | {"input_shape": tuple(shape), "alpha": alpha, "calibration": calibration, "backbone": backbone}
