"""The network in another runtime, for a predictor: exported once, kept in the cache, checked every time it is loaded.

    model --export_model--> cache --load_runtime--> callable --check against the model's kept answers--> used

The cache is keyed by the network's weights, arguments and joints.
"""

import hashlib
import json
import logging
import shutil
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from pose_regression.errors import PoseError
from pose_regression.files import atomic_path
from pose_regression.inference.export import (
    answer_in_float32,
    check_deviation,
    deviation_from,
    export_model,
    serving_function,
)
from pose_regression.inference.loaders import Runtime, as_runtime, load_runtime
from pose_regression.model.hub import cache_folder
from pose_regression.model.named_weights import named_weights
from pose_regression.model.network import PoseRegressor
from pose_regression.skeleton import Skeleton

FORMATS = {"savedmodel": "savedmodel", "onnxruntime": "onnx", "openvino": "openvino", "litert": "litert"}
"""Runtime -> the format of `export` that it runs."""

PACKAGES = {
    "savedmodel": (),
    "onnxruntime": ("onnxruntime", "tf2onnx"),
    "openvino": ("openvino",),
    "litert": (),
}
"""What each runtime needs beside TensorFlow, to export and to run."""

RUNTIMES = ("keras", *FORMATS)

PREFERRED = ("litert", "onnxruntime")
"""Runtimes that "auto" tries, the fastest for one picture first (docs/results/speed_cpu.md). A race between exports to
all of them would take a minute for each new file of weights."""

CROPS = 4
"""Pictures on which an export must agree with the network, within `export.BOUNDS`."""
CACHE_LAYOUT = 3
"""Part of the key of the cache: raise it when the same network is exported, or computed, in another way."""
_log = logging.getLogger(__name__)


class _Kept(NamedTuple):
    """What an export is held to."""

    crops: np.ndarray
    """(N, S, S, 3) float32 in [-1, 1]."""
    answer: dict[str, np.ndarray]
    """`pose` (N, J, 2) and `probability` (N, J, 1), of `export.answer_in_float32`."""


def open_runtime(model: PoseRegressor, skeleton: Skeleton, runtime: str) -> Runtime:
    """The network as a callable in a runtime, in float32; the first time for these weights it is exported.

    Args:
        model: any outputs, of square images.
        skeleton: its joints.
        runtime: one of `RUNTIMES`; "keras" is the model itself, under its own dtype policy.

    Raises:
        PoseError: no such runtime, a missing package, a cache that cannot be written, or an answer that is farther
            from the network's than `export.BOUNDS` allows.
    """
    if runtime == "keras":
        return _keras(model)
    if runtime not in FORMATS:
        raise PoseError(f"runtime must be auto, {', '.join(RUNTIMES)}. Received: runtime={runtime!r}")
    for package in missing_packages(runtime):
        raise PoseError(
            f"The runtime {runtime!r} needs the package {package}: in the project's clone, pip install -e '.[export]'."
        )
    folder = _folder(model, skeleton)
    return _open_export(model, skeleton, runtime, folder, _kept(model, folder))


def automatic_runtime(model: PoseRegressor, skeleton: Skeleton) -> tuple[str, Runtime]:
    """The first of `PREFERRED` that is installed and gives the network's answers, and the network in it; else "keras".

    Keras also where the export would be the slower one, on a GPU, or where there is none, on other backends.
    """
    exported = keras.backend.backend() == "tensorflow" and not tf.config.list_physical_devices("GPU")
    for name in PREFERRED if exported else ():
        if missing_packages(name):
            continue
        try:
            return name, open_runtime(model, skeleton, name)
        except PoseError as error:
            _log.info("Not %s: %s", name, error)
    return "keras", open_runtime(model, skeleton, "keras")


def _keras(model: PoseRegressor) -> Runtime:
    """The model, whose answer to a crop does not depend on what it was asked before.

    `predict_on_batch` compiles for the first batch's size, and for any size from the second on; TensorFlow computes the
    two in different order, and the last digits differ.
    """
    if keras.backend.backend() != "tensorflow":
        return model.predict_on_batch
    network = serving_function(model, batch=None)

    def run(crops: np.ndarray) -> dict[str, np.ndarray]:
        return {name: value.numpy() for name, value in network(tf.constant(crops)).items()}

    return as_runtime(run)


def missing_packages(runtime: str) -> list[str]:
    """The packages that a runtime needs and this environment lacks."""
    return [package for package in PACKAGES[runtime] if find_spec(package) is None]


def _open_export(model: PoseRegressor, skeleton: Skeleton, runtime: str, folder: Path, kept: _Kept) -> Runtime:
    directory, format = folder / runtime, FORMATS[runtime]
    with suppress(PoseError):  # none yet, or damaged since
        return _checked(load_runtime(format, directory), runtime, kept)
    shutil.rmtree(directory, ignore_errors=True)
    _log.info("Exporting to %s, once for these weights.", runtime)
    try:
        export_model(model, directory, format=format, crops=kept.crops, skeleton=skeleton, answer=kept.answer)
    except PoseError:
        if not directory.exists():  # else another process was first
            raise
    return _checked(load_runtime(format, directory), runtime, kept)


def _checked(network: Runtime, runtime: str, kept: _Kept) -> Runtime:
    check_deviation(deviation_from(kept.answer, network, kept.crops), "float32", f"The runtime {runtime!r}")
    return network


def _kept(model: PoseRegressor, folder: Path) -> _Kept:
    """Crops and the network's answers, computed once: Keras would take seconds for them at every start."""
    path = folder / "answers.npz"
    with suppress(OSError, ValueError, KeyError, BadZipFile), np.load(path) as arrays:
        return _Kept(arrays["crops"], {name: arrays[name] for name in ("pose", "probability")})
    crops = probe_crops(CROPS, model.input_shape[1])
    answer = answer_in_float32(model, crops)
    with atomic_path(path) as temporary:
        np.savez(temporary, crops=crops, pose=answer["pose"], probability=answer["probability"])
    return _Kept(crops, answer)


def probe_crops(count: int, size: int) -> np.ndarray:
    """(count, size, size, 3) float32 in [-1, 1], always the same: soft colours, and over them discs with sharp edges.

    What is compared on them are two ways of computing the same sums, for which a picture needs contrast at every scale
    and no people.
    """
    random = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size] / size
    crops = np.empty((count, size, size, 3), np.float32)
    for crop in crops:
        colours = Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8))
        crop[:] = np.asarray(colours.resize((size, size), Image.Resampling.BICUBIC)) / np.float32(127.5) - 1
        for _ in range(12):
            (left, top), radius = random.uniform(0, 1, 2), random.uniform(0.02, 0.2)
            crop[np.hypot(x - left, y - top) < radius] = random.uniform(-1, 1, 3)
    return crops


def _folder(model: PoseRegressor, skeleton: Skeleton) -> Path:
    """The cache of these weights in this network."""
    arguments = {
        name: value
        for name, value in model.get_config().items()
        if name not in ("name", "outputs", "dtype", "skeleton")
    }
    key = [CACHE_LAYOUT, arguments, skeleton.names, skeleton.limbs]
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode())
    for name, variable in sorted(named_weights(model).items()):
        digest.update(name.encode() + np.ascontiguousarray(keras.ops.convert_to_numpy(variable.value)).tobytes())
    return cache_folder() / "runtimes" / digest.hexdigest()[:32]
