"""The network for use without this package: folded, frozen, in the format of a serving runtime; checked there.

    model --fold_batch_norms--> network --write--> directory --load_runtime--> callable, compared with the model

An export is a directory: the model in its format, and `model.json` with the joint names and the conventions.

format      dtypes                file                     what low precision means
savedmodel  float32, bfloat16     1/ (a version)           weights and features bfloat16
onnx        float32, int8         model.onnx               convolutions int8, calibrated on crops
litert      float32, int8         model.tflite             weights int8, features by each image's own range
openvino    float32, bfloat16     model.xml, model.bin     features bfloat16, weights stored as float16

The convolutions that give heat maps, the softmax and all after it stay float32 in every one of them, but for the
former's weights in LiteRT int8 and their inputs in bfloat16.
"""

import json
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from pose_regression.data.crop import crop, normalize
from pose_regression.errors import PoseError
from pose_regression.files import atomic_path
from pose_regression.geometry import BOX_MARGIN
from pose_regression.inference.loaders import DESCRIPTION, Runtime, load_runtime, package
from pose_regression.model.folding import fold_batch_norms
from pose_regression.model.network import PoseRegressor
from pose_regression.skeleton import PA16J, Skeleton

__all__ = [
    "BOUNDS", "DTYPES", "Deviation", "answer_in_float32", "check_deviation", "deviation_from", "export_model",
    "serving_function", "write_export",
]  # fmt: skip

BATCH = "batch"
"""Name of the first axis, whose length is free."""

DTYPES = {
    "savedmodel": ("float32", "bfloat16"),
    "onnx": ("float32", "int8"),
    "litert": ("float32", "int8"),
    "openvino": ("float32", "bfloat16"),
}
"""Format -> the dtypes it can be written in."""


@dataclass(frozen=True)
class Deviation:
    """How far an export is from the network it was made of, the worst over all crops and joints."""

    pixels: float
    """Distance of a joint, pixels of the crop."""
    probability: float
    """Difference of a joint's probability."""


BOUNDS = {
    "float32": Deviation(pixels=0.01, probability=1e-3),
    "bfloat16": Deviation(pixels=4.0, probability=0.1),
    "int8": Deviation(pixels=8.0, probability=0.2),
}
"""dtype -> the largest deviation that an export may have. A cell of a heat map is 8 pixels: int8 may be off by one,
where a map has two peaks of nearly equal height; the mean is a fraction of a pixel. Scores say more."""


# ------------------------------------------------------------------------------------------------------------ export


def export_model(
    model: PoseRegressor,
    directory: str | Path,
    *,
    format: str,
    crops: np.ndarray,
    dtype: str = "float32",
    skeleton: Skeleton = PA16J,
    force: bool = False,
    answer: dict[str, np.ndarray] | None = None,
) -> Deviation:
    """Write the network in a runtime's format, load it again there, and compare.

    The directory appears when all of that went well, or not at all.

    Args:
        model: the trained network, of square images.
        directory: where to; new, unless `force`.
        format: a key of `DTYPES`.
        crops: (N, S, S, 3) float32 in [-1, 1], what to compare on. For int8 ONNX, which is calibrated, every other
            crop serves for that, and photographs of the kind to come are needed.
        dtype: one of `DTYPES[format]`.
        skeleton: the joints of the model.
        force: replace an earlier export. Other directories are never replaced.
        answer: `answer_in_float32(model, crops)` if it is known; not for int8 ONNX, which compares on half of them.

    Returns:
        The deviation from `model` in float32.

    Raises:
        PoseError: an argument out of range, a missing package, a deviation over `BOUNDS[dtype]`, a directory that
            exists or cannot be written.
    """
    directory = Path(directory)
    _check(model, directory, format=format, dtype=dtype, crops=crops, skeleton=skeleton, force=force)
    calibration, crops = (crops[::2], crops[1::2]) if (format, dtype) == ("onnx", "int8") else (crops[:0], crops)
    with atomic_path(directory) as temporary:
        try:
            temporary.mkdir()
            write_export(model, temporary, format=format, dtype=dtype, calibration=calibration, skeleton=skeleton)
            expected = answer_in_float32(model, crops) if answer is None else answer
            deviation = deviation_from(expected, load_runtime(format, temporary), crops)
            check_deviation(deviation, dtype, f"The {format} {dtype} export")
            description = json.loads((temporary / DESCRIPTION).read_text("utf-8"))
            _describe(temporary, description | {"deviation": asdict(deviation)})
            if directory.exists():
                shutil.rmtree(directory)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    return deviation


def write_export(
    model: PoseRegressor,
    directory: Path,
    *,
    format: str,
    dtype: str = "float32",
    calibration: np.ndarray | None = None,
    skeleton: Skeleton = PA16J,
) -> None:
    """Write the network and its description into an existing directory, without looking at the result.

    Args:
        model, format, dtype, skeleton: as for `export_model`.
        directory: empty, or what it holds is overwritten file by file.
        calibration: (N, S, S, 3) crops for int8 ONNX.
    """
    network = fold_batch_norms(model, dtype="bfloat16" if (format, dtype) == ("savedmodel", "bfloat16") else "float32")
    size = model.input_shape[1]
    shapes = {name: tuple(output.shape[1:]) for name, output in network.output.items()}
    _write(network, directory, format=format, dtype=dtype, calibration=calibration)
    _describe(
        directory,
        {
            "format": format,
            "dtype": dtype,
            "input": f"(N, {size}, {size}, 3) RGB in [-1, 1]",
            "inputs": [_tensor("image", (size, size, 3), (-1, 1), format)],
            "outputs": [_tensor(name, _served_shape(name, shape), (0, 1), format) for name, shape in shapes.items()],
            "size": size,
            "crop": f"square about the box's centre, side {BOX_MARGIN} times the box's longer side, black outside",
            "box_margin": BOX_MARGIN,
            "joints": skeleton.names,
            "learned": [name for name, known in zip(skeleton.names, skeleton.known, strict=True) if known],
            "derived": {
                skeleton.names[joint]: [skeleton.names[end] for end in ends] for joint, ends in skeleton.derived.items()
            },
            "limbs": skeleton.limbs,
        },
    )


def _tensor(name: str, shape: tuple[int, ...], values: tuple[int, int], format: str) -> dict[str, Any]:
    """An input or output as the description has it; LiteRT takes one image at a time."""
    first = 1 if format == "litert" else BATCH
    return {"name": name, "shape": [first, *shape], "dtype": "float32", "range": list(values)}


def _served_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """(J, 2) of a pose; (J,) of what the network itself gives as (J, 1)."""
    return shape if name == "pose" else shape[:-1]


def _describe(directory: Path, description: dict[str, Any]) -> None:
    (directory / DESCRIPTION).write_text(json.dumps(description, indent=1) + "\n", "utf-8")


def answer_in_float32(model: PoseRegressor, crops: np.ndarray) -> dict[str, np.ndarray]:
    """What exports are held to: `pose` and `probability` of the last block, whatever the model's outputs and policy."""
    with _exact_products():
        return model.with_outputs("last", "float32").predict(crops, batch_size=8, verbose=0)


def deviation_from(expected: dict[str, np.ndarray], runtime: Runtime, crops: np.ndarray) -> Deviation:
    """The largest deviation of `runtime` from `expected`, of `answer_in_float32`, on (N, S, S, 3) crops."""
    with _exact_products():
        answers = [runtime(crops[i : i + 8]) for i in range(0, len(crops), 8)]
    pose, probability = (np.concatenate([answer[name] for answer in answers]) for name in ("pose", "probability"))
    distance = np.linalg.norm(pose - expected["pose"], axis=-1).max() * crops.shape[1]
    return Deviation(float(distance), float(np.abs(probability - expected["probability"]).max()))


@contextmanager
def _exact_products() -> Iterator[None]:
    """TensorFlow multiplies float32 in full meanwhile, where GPUs since Ampere else round factors to 11 bits (TF32).

    What is compared is the network, not two ways of rounding, which alone may be over the bound.
    """
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


def _check(
    model: PoseRegressor,
    directory: Path,
    *,
    format: str,
    dtype: str,
    crops: np.ndarray,
    skeleton: Skeleton,
    force: bool,
) -> None:
    if keras.backend.backend() != "tensorflow":
        raise PoseError(
            f"Export needs Keras' TensorFlow backend (KERAS_BACKEND=tensorflow). Received: {keras.backend.backend()}"
        )
    if format not in DTYPES:
        raise PoseError(f"format must be one of {', '.join(DTYPES)}. Received: format={format!r}")
    if dtype not in DTYPES[format]:
        raise PoseError(f"{format} can be written in {' or '.join(DTYPES[format])}. Received: dtype={dtype!r}")
    height, width = model.input_shape[1:3]
    if height != width:
        raise PoseError(f"The crops are square, but the model takes images of {width} x {height} pixels.")
    joints = model.output["pose"].shape[-2]
    if joints != len(skeleton):
        raise PoseError(f"The model has {joints} joints; the skeleton has {len(skeleton)}.")
    if crops.ndim != 4 or crops.shape[1:] != (height, width, 3) or len(crops) < 2:
        raise PoseError(f"crops must be at least 2, ({height}, {width}, 3) each. Received: crops.shape={crops.shape}")
    if directory.exists() and not (directory / DESCRIPTION).is_file():
        raise PoseError(f"{directory} exists and is no earlier export; it is left alone.")
    if directory.exists() and not force:
        raise PoseError(f"{directory} holds an earlier export; --force replaces it.")


def check_deviation(deviation: Deviation, dtype: str, name: str) -> None:
    """Raise a `PoseError` about `name` if a deviation is over the bound of `dtype`."""
    bound = BOUNDS[dtype]
    # `not <=`: NaN is over any bound.
    if not (deviation.pixels <= bound.pixels and deviation.probability <= bound.probability):
        raise PoseError(
            f"{name} deviates by {deviation.pixels:.3g} pixels of the crop and {deviation.probability:.3g} "
            f"of probability, over the bound of {bound.pixels:g} and {bound.probability:g}; nothing was kept."
        )


def _write(network: keras.Model, directory: Path, *, format: str, dtype: str, calibration: np.ndarray | None) -> None:
    if format == "savedmodel":
        _write_savedmodel(network, directory)
    elif format == "onnx":
        _write_onnx(network, directory, calibration if dtype == "int8" else None)
    elif format == "litert":
        _write_litert(network, directory, int8=dtype == "int8")
    else:
        _write_openvino(network, directory, bfloat16=dtype == "bfloat16")


def _write_savedmodel(network: keras.Model, directory: Path) -> None:
    size = network.input_shape[1]

    def cut(encoded: tf.Tensor, center: tf.Tensor, side: tf.Tensor) -> tf.Tensor:
        # `geometry.crop_affine` without rotation.
        x, y = tf.unstack(0.5 - center / side)
        affine = tf.reshape(tf.stack([1 / side, 0, x, 0, 1 / side, y, 0, 0, 1]), (3, 3))
        return normalize(crop(encoded, affine, size))

    def predict_jpeg(image_bytes: tf.Tensor, boxes: tf.Tensor) -> dict[str, tf.Tensor]:
        extent = boxes[:, 2:] - boxes[:, :2]
        tf.debugging.Assert(
            tf.reduce_all((extent >= 1) & (extent < 1e6) & (tf.abs(boxes[:, :2]) < 1e6)),
            ["boxes must be x0 y0 x1 y1 in pixels, at least a pixel wide and high. Received:", boxes],
            summarize=16,
        )
        center, side = (boxes[:, :2] + boxes[:, 2:]) / 2, BOX_MARGIN * tf.reduce_max(extent, axis=1)
        crops = tf.map_fn(
            lambda person: cut(*person),
            (image_bytes, center, side),
            fn_output_signature=tf.TensorSpec((size, size, 3), tf.float32),
        )
        answer = _answer(network, crops)
        pixels = center[:, None] + (answer["pose"] - 0.5) * side[:, None, None]
        return {"pixels": pixels} | {name: value for name, value in answer.items() if name != "pose"}

    bytes_and_boxes = [tf.TensorSpec([None], tf.string, "image_bytes"), tf.TensorSpec([None, 4], tf.float32, "boxes")]
    signatures = {
        "serving_default": serving_function(network, batch=None),
        "predict_jpeg": tf.function(predict_jpeg, input_signature=bytes_and_boxes).get_concrete_function(),
    }
    _save(network, directory / "1", signatures)


def _answer(network: keras.Model, image: tf.Tensor) -> dict[str, tf.Tensor]:
    output = network(image, training=False)
    return {name: value if name == "pose" else value[..., 0] for name, value in output.items()}


def serving_function(network: keras.Model, *, batch: int | None) -> Any:
    """The network as a concrete function: image (batch, S, S, 3) -> pose (batch, J, 2), probability and confidence
    (batch, J).

    With all blocks as outputs there is no confidence, and the others have an axis K before J.
    """
    specification = tf.TensorSpec((batch, *network.input_shape[1:]), tf.float32, "image")
    return tf.function(lambda image: _answer(network, image), input_signature=[specification]).get_concrete_function()


def _save(network: keras.Model, directory: Path, signatures: Any) -> None:
    # Only the variables: whoever loads the file then needs no Keras.
    module = tf.Module()
    module.weights = [weight.value for weight in network.weights]
    try:
        tf.saved_model.save(module, str(directory), signatures=signatures)
    except tf.errors.OpError as error:  # "...; No space left on device [Op:SaveV2]"
        raise OSError(error.message.rpartition("; ")[2].partition(" [Op:")[0]) from error


def _write_onnx(network: keras.Model, directory: Path, calibration: np.ndarray | None) -> None:
    package("tf2onnx", "onnx")
    outputs = {k: value if k == "pose" else ops.squeeze(value, axis=-1) for k, value in network.output.items()}
    squeezed = keras.Model(network.inputs, outputs)
    image = keras.InputSpec(shape=network.input_shape, dtype="float32", name="image")
    path = directory / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # Keras' own use of np.object
        squeezed.export(str(path), format="onnx", input_signature=[image], verbose=False)
    if calibration is not None:
        _quantise_onnx(path, calibration)
    _name_batch_axis(path)


def _name_batch_axis(path: Path) -> None:
    """The converter calls the first axis of every input and output "unk__" and a number."""
    onnx = package("onnx", "onnx")
    model = onnx.load(str(path))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = BATCH
    onnx.save(model, str(path))


def _quantise_onnx(path: Path, calibration: np.ndarray) -> None:
    """Make the convolutions of an ONNX file int8, but for those that give heat maps and the depthwise ones.

    Those are no faster in int8 (6.2 ms an image instead of 5.7 with K = 4, width 288, 128 pixels).
    """
    onnx = package("onnx", "onnx")
    quantization = package("onnxruntime.quantization", "onnx")
    preprocess = package("onnxruntime.quantization.shape_inference", "onnx").quant_pre_process

    class Calibration(quantization.CalibrationDataReader):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            self.crops = iter(calibration)

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self.crops, None)
            return None if image is None else {"image": image[None]}

    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder, "model.onnx")
        preprocess(str(path), str(prepared), skip_symbolic_shape=True)
        convolutions = [node for node in onnx.load(str(prepared)).graph.node if node.op_type == "Conv"]
        kept = [
            node.name
            for node in convolutions
            if "heatmaps" in node.name or any(a.name == "group" and a.i > 1 for a in node.attribute)
        ]
        quantization.quantize_static(
            str(prepared),
            str(path),
            Calibration(),
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=kept,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )


def _write_litert(network: keras.Model, directory: Path, *, int8: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        # One image: a batch of unknown size keeps the runtime from its fast kernels.
        _save(network, Path(folder), serving_function(network, batch=1))
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        if int8:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]  # without calibration data: dynamic range
        (directory / "model.tflite").write_bytes(converter.convert())


def _write_openvino(network: keras.Model, directory: Path, *, bfloat16: bool) -> None:
    openvino = package("openvino", "openvino")
    with tempfile.TemporaryDirectory() as folder:
        _save(network, Path(folder), serving_function(network, batch=None))
        model = openvino.convert_model(folder)
    try:
        openvino.save_model(model, str(directory / "model.xml"), compress_to_fp16=bfloat16)
    except RuntimeError as error:  # "basic_ios::clear: iostream error"
        raise OSError("OpenVINO failed to write its files; the disk may be full") from error
