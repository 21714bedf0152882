"""Exports as callables, each in its own runtime: what `export` wrote, with the network's own interface."""

import importlib
import os
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial, wraps
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import Any

import numpy as np
import psutil
import tensorflow as tf

from pose_regression.errors import PoseError
from pose_regression.files import read_json
from pose_regression.quiet import is_quiet, unheard

Runtime = Callable[[np.ndarray], dict[str, np.ndarray]]
"""Images (N, S, S, 3) float32 in [-1, 1] -> what the network gives: `pose` (N, J, 2), `probability` (N, J, 1) and, but
for exports of version 0.1, `confidence` (N, J, 1), float32. Several threads may call it."""

DESCRIPTION = "model.json"
"""The file of an export that says what it is."""

_Run = Callable[[np.ndarray], dict[str, np.ndarray]]


def load_runtime(kind: str, directory: str | Path, *, threads: int | None = None) -> Runtime:
    """An export as a callable with the network's own interface.

    Args:
        kind: the format, a key of `DTYPES`.
        directory: what `export_model` wrote.
        threads: to compute with; None is all CPU cores that the process may use. A SavedModel has TensorFlow's.

    Raises:
        PoseError: no export of that format, a damaged one, or the runtime's package is missing.
    """
    loaders = {
        "savedmodel": _load_savedmodel, "onnx": _load_onnx, "litert": _load_litert, "openvino": _load_openvino
    }  # fmt: skip
    if kind not in loaders:
        raise PoseError(f"kind must be one of {', '.join(loaders)}. Received: kind={kind!r}")
    directory = Path(directory)
    try:
        description = read_json(directory / DESCRIPTION)
        found, dtype = description["format"], description["dtype"]
    except (PoseError, KeyError, TypeError) as error:
        raise PoseError(f"{directory} holds no export: {DESCRIPTION} is missing or damaged.") from error
    if found != kind:
        raise PoseError(f"{directory} holds an export for {found}, not for {kind}.")
    try:
        run = loaders[kind](directory, dtype, threads or cores())
    except PoseError:
        raise
    except Exception as error:  # each runtime has its own
        raise PoseError(
            f"{directory} cannot be loaded by {kind}, {type(error).__name__}: {str(error)[:200]}"
        ) from error

    return as_runtime(run)


def as_runtime(run: _Run) -> Runtime:
    """A function that gives `probability` and `confidence` (N, J), as exports do, with the network's own interface."""

    def network(images: np.ndarray) -> dict[str, np.ndarray]:
        answer = run(np.ascontiguousarray(images, np.float32))
        return {name: value if name == "pose" else value[..., None] for name, value in answer.items()}

    return network


def package(name: str, format: str) -> ModuleType:
    """An optional module, which a format needs.

    Raises:
        PoseError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise PoseError(
            f"{format} needs the package {name.split('.')[0]}: in the project's clone, pip install -e '.[export]'."
        ) from error


def cores() -> int:
    """CPU cores that this process may use; all of the machine's where the system does not say."""
    with suppress(AttributeError):  # psutil has it where the system has it: not on macOS
        return len(psutil.Process().cpu_affinity())
    return os.cpu_count() or 1


def _load_savedmodel(directory: Path, dtype: str, threads: int) -> _Run:
    model = tf.saved_model.load(str(directory / "1"))

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        answer = model.signatures["serving_default"](image=tf.constant(images))
        return {name: value.numpy() for name, value in answer.items()}

    return run


def _load_onnx(directory: Path, dtype: str, threads: int) -> _Run:
    onnxruntime = package("onnxruntime", "onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        str(directory / "model.onnx"), options, providers=["CPUExecutionProvider"]
    )  # fmt: skip
    names = [output.name for output in session.get_outputs()]
    return lambda images: dict(zip(names, session.run(names, {"image": images}), strict=True))


def _load_litert(directory: Path, dtype: str, threads: int) -> _Run:
    interpreter = litert_interpreter()(str(directory / "model.tflite"), num_threads=threads)
    signature, turn = interpreter.get_signature_runner("serving_default"), Lock()

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        with turn:  # an interpreter serves one thread at a time
            answers = [signature(image=image[None]) for image in images]
        return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}

    return run


def litert_interpreter() -> Callable[..., Any]:
    """LiteRT's interpreter, which comes with its tensors allocated: its own package, or what TensorFlow brings along.

    Raises:
        PoseError: there is neither.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        try:
            from tensorflow.lite.python.interpreter import Interpreter
        except ImportError as error:
            raise PoseError("LiteRT needs the package ai-edge-litert; pip install it.") from error

    @wraps(Interpreter)
    def allocated(*arguments: Any, **keywords: Any) -> Any:
        with warnings.catch_warnings():  # TensorFlow's own says that it will move, which is seen to here
            warnings.simplefilter("ignore")
            interpreter = Interpreter(*arguments, **keywords)
        interpreter.allocate_tensors()
        return interpreter

    # Once it is allocated an interpreter has said what it says.
    return partial(unheard, allocated) if is_quiet() else allocated


def _load_openvino(directory: Path, dtype: str, threads: int) -> _Run:
    openvino = package("openvino", "openvino")
    core = openvino.Core()
    # Left to itself, OpenVINO computes in bfloat16 wherever the processor can.
    options = {
        "INFERENCE_PRECISION_HINT": "bf16" if dtype == "bfloat16" else "f32",
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
    }
    model = core.read_model(str(directory / "model.xml"))
    names, turn = [output.any_name for output in model.outputs], Lock()

    @cache
    def compiled(batch: int) -> Any:
        # A fixed batch is a third faster than an unknown one.
        fixed = model.clone()
        fixed.reshape({"image": [batch, *(int(n.get_length()) for n in list(model.input("image").partial_shape)[1:])]})
        return core.compile_model(fixed, "CPU", options)

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        with turn:  # a compiled model has one request, which is busy until it is answered
            answer = compiled(len(images))(images)
        return {name: answer[name] for name in names}

    compiled(1)
    return run
