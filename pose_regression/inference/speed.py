"""How fast networks are in their runtimes: all take turns, and ratios are within a round.

contenders --prepare--> exports in a folder --time_contenders--> seconds, round by round --figures_of--> a row each
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import keras
import numpy as np
import tensorflow as tf

from pose_regression.errors import PoseError
from pose_regression.inference.export import DTYPES, write_export
from pose_regression.inference.loaders import load_runtime
from pose_regression.inference.processes import grow_gpu_memory, peak_memory
from pose_regression.inference.runtimes import FORMATS, missing_packages
from pose_regression.model.hourglass import Hourglass
from pose_regression.model.macs import count_macs
from pose_regression.model.network import PoseRegressor

WARM_UP = 3
"""Calls of each contender before the timed ones."""

SGEMM = {"cpu": 2048, "gpu": 8192}
"""Side of the matrices by device."""

_K = TypeVar("_K")


@dataclass(frozen=True)
class Settings:
    """What all contenders have in common."""

    device: str = "cpu"
    batch: int = 1
    dtype: str = "float32"
    threads: int | None = None
    input_size: int = 256
    width: int = 576
    repeats: int = 20


@dataclass(frozen=True)
class Network:
    """Ours with K = `depth` blocks, or the hourglass with `depth` stacks."""

    kind: str
    depth: int

    def __str__(self) -> str:
        return f"ours, K = {self.depth}" if self.kind == "ours" else f"hourglass, {self.depth} stacks"

    def folder(self, parent: Path, runtime: str) -> Path:
        """Where the network lies in `parent` for a runtime."""
        return parent / f"{self.kind}_{self.depth}_{runtime}"

    def build(self, settings: Settings, policy: str) -> keras.Model:
        """The Keras model with random weights, under a dtype policy."""
        shape = (settings.input_size, settings.input_size, 3)
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(policy)
        try:
            if self.kind == "ours":
                return PoseRegressor(shape, num_blocks=self.depth, width=settings.width)
            return Hourglass(shape, num_stacks=self.depth)
        finally:
            keras.config.set_dtype_policy(before)


Contender = tuple[Network, str]
"""A network and its runtime."""

Seconds = dict[Any, list[float]]
"""Of every timed call of each contender, round by round; of the matrix product under "sgemm"."""


def in_turns(calls: Mapping[_K, Callable[[], Any]], *, rounds: int, warm_up: int = WARM_UP) -> dict[_K, list[float]]:
    """Seconds of every call, one each per round, so that other load on the machine meets all of them."""
    seconds: dict[_K, list[float]] = {name: [] for name in calls}
    for i in range(-warm_up, rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if i >= 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def median_ratio(seconds: Sequence[float], base: Sequence[float]) -> float:
    """The median over rounds of the one's time in the other's."""
    return median(one / other for one, other in zip(seconds, base, strict=True))


def check_runtime(runtime: str, settings: Settings) -> None:
    """`PoseError` for a runtime that is not installed, or that does not do what is asked."""
    if settings.device == "gpu" and runtime not in ("keras", "savedmodel"):
        raise PoseError(f"--runtime {runtime} runs on the CPU here; with --device gpu: keras, savedmodel.")
    dtypes = ("float32", "bfloat16") if runtime == "keras" else DTYPES[FORMATS[runtime]]
    if settings.dtype not in dtypes:
        raise PoseError(f"--runtime {runtime} computes in {' or '.join(dtypes)}. Received: --dtype {settings.dtype}")
    for package in () if runtime == "keras" else missing_packages(runtime):
        raise PoseError(f"--runtime {runtime} needs the package {package}: pip install -e .[export]")


def prepare(settings: Settings, contenders: Sequence[Contender], folder: Path) -> dict[Network, dict[str, int]]:
    """Export to `folder` what does not run in Keras; return what does not depend on the runtime.

    Returns:
        `parameters`, `macs` (per image) and `bytes` (of Keras' weight file) of each network.
    """
    _set_up(settings)
    facts, weights = {}, folder / "network.weights.h5"
    for network in dict.fromkeys(network for network, _ in contenders):
        model = network.build(settings, "float32")
        model.save_weights(weights)
        macs = sum(count_macs(model).values())
        facts[network] = {"parameters": model.count_params(), "macs": macs, "bytes": weights.stat().st_size}
        for runtime in (runtime for other, runtime in contenders if other == network and runtime != "keras"):
            directory, calibration = network.folder(folder, runtime), _random_images(settings)[:1]
            directory.mkdir()
            write_export(model, directory, format=FORMATS[runtime], dtype=settings.dtype, calibration=calibration)
        keras.backend.clear_session()
    return facts


def load(contender: Contender, folder: Path, settings: Settings) -> Callable[[np.ndarray], Any]:
    """A network in a runtime, ready to be called; its answer is complete when the call returns."""
    network, runtime = contender
    if runtime == "keras":
        policy = "mixed_bfloat16" if settings.dtype == "bfloat16" else "float32"
        return network.build(settings, policy).predict_on_batch
    return load_runtime(FORMATS[runtime], network.folder(folder, runtime), threads=settings.threads)


def time_contenders(settings: Settings, contenders: Sequence[Contender], folder: Path) -> Seconds:
    """All contenders, and the product of two matrices, in one process."""
    _set_up(settings)
    images = _random_images(settings)
    calls: dict[Any, Callable[[], Any]] = {c: partial(load(c, folder, settings), images) for c in contenders}
    return in_turns(calls | {"sgemm": _sgemm(SGEMM[settings.device])}, rounds=settings.repeats)


def measure_memory(settings: Settings, contender: Contender, folder: Path) -> dict[str, float]:
    """Peak memory in MiB of a process that loads a contender and calls it, and what it began with."""
    _set_up(settings)
    idle, images = peak_memory(), _random_images(settings)
    call = load(contender, folder, settings)
    for _ in range(WARM_UP):
        call(images)
    return {"memory_mib": peak_memory(), "idle_memory_mib": idle}


def figures_of(contender: Contender, facts: Mapping[str, int], seconds: Seconds, settings: Settings) -> dict[str, Any]:
    """The figures of one network in one runtime."""
    p50, p95 = (float(np.percentile(seconds[contender], q)) for q in (50, 95))
    products = facts["macs"] * settings.batch / SGEMM[settings.device] ** 3
    of_sgemm = median_ratio(seconds[contender], seconds["sgemm"]) / products
    name = {"network": str(contender[0]), "runtime": contender[1]}
    return name | {
        "fps": settings.batch / p50,
        "p50_ms": 1000 * p50,
        "p95_ms": 1000 * p95,
        **facts,
        "of_sgemm": of_sgemm,
    }


def ratios(seconds: Seconds, facts: Mapping[Network, Mapping[str, int]]) -> list[dict[str, Any]]:
    """Ours against the hourglass, both in Keras: speed and size of the weight file."""
    in_keras = {c[0]: values for c, values in seconds.items() if c != "sgemm" and c[1] == "keras"}
    if not in_keras:
        return []
    hourglass, theirs = in_keras.popitem()
    return [
        {
            "network": str(network),
            "speed": median_ratio(theirs, ours),
            "bytes": facts[network]["bytes"] / facts[hourglass]["bytes"],
        }
        for network, ours in in_keras.items()
    ]


def _set_up(settings: Settings) -> None:
    """Devices and threads of TensorFlow in a fresh process."""
    gpus = tf.config.list_physical_devices("GPU")
    if settings.device == "gpu" and not gpus:
        raise PoseError("--device gpu: TensorFlow finds no GPU on this machine.")
    if settings.device == "gpu":
        grow_gpu_memory()
    elif gpus:
        tf.config.set_visible_devices([], "GPU")
    if settings.threads:
        tf.config.threading.set_intra_op_parallelism_threads(settings.threads)
        tf.config.threading.set_inter_op_parallelism_threads(settings.threads)


def _sgemm(size: int) -> Callable[[], Any]:
    """A call that multiplies two float32 matrices of `size` x `size`."""
    a, b = tf.random.normal((size, size)), tf.random.normal((size, size))
    # Only one element is copied back, which waits for the product.
    product = tf.function(lambda: tf.matmul(a, b)[0, 0])
    return lambda: product().numpy()


def _random_images(settings: Settings) -> np.ndarray:
    shape = (settings.batch, settings.input_size, settings.input_size, 3)
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
