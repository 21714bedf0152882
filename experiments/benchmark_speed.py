"""How fast the network answers, how large it is, and the same of the 8-stack hourglass.

    python -m experiments.benchmark_speed [--device cpu|gpu] [--batch N] [--dtype float32|bfloat16|int8] [--threads N]
                                          [--blocks 1 2 4 8] [--runtime keras savedmodel onnxruntime openvino litert]

Cost: about 5 minutes on 2 cores, twice that with every runtime. The weights are random: speed does not depend on them.

Networks: ours with each K of --blocks, and the stacked hourglass that the paper compares its speed with
(`pose_regression.model.hourglass`), which is measured in Keras alone. Runtimes:

keras        `model.predict_on_batch`
savedmodel  onnxruntime  openvino  litert     what `experiments.export` writes: batch norms folded; on the CPU the last
                                              three (`pip install -e .[export]`)

bfloat16 is for keras, savedmodel and openvino, int8 for onnxruntime and litert.

All contenders take turns, one call each per round, so that other load on the machine meets all of them; so does a
float32 matrix product by TensorFlow on the same threads (sgemm), the limit for float32. "x sgemm" is a network's time
over the product's for as many multiply-adds, the median over rounds: 1 is the limit, and less needs fewer bits. Peak
memory is that of a process which does nothing but load one network in one runtime and call it; beside it, what Python
and TensorFlow hold before that.

The paper has 29.3 frames per second against the hourglass's 18.3 (1.60 x) on a GPU. Expected on 2 cores: 2.8 x.
"""

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from experiments.command import run
from experiments.measuring import grow_gpu_memory, in_own_process, peak_memory
from pose_regression.errors import PoseError
from pose_regression.evaluation.paper import SPEED, format_table, with_quoted
from pose_regression.files import write_json
from pose_regression.inference.export import DTYPES
from pose_regression.inference.loaders import cores, load_runtime
from pose_regression.inference.runtimes import FORMATS, RUNTIMES, missing_packages

WARM_UP = 3
"""Calls of each contender before the timed ones."""

SGEMM = {"cpu": 2048, "gpu": 8192}
"""Side of the matrices by device."""


@dataclass(frozen=True)
class Settings:
    """The options of the command."""

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


Contender = tuple[Network, str]
"""A network and its runtime."""

Call = Callable[[np.ndarray], Any]
"""(B, H, W, 3) float32 in [-1, 1] -> the network's answer, complete when the call returns."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--batch", type=int, default=1, help="images per call (default: 1)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "int8"), default="float32")
    parser.add_argument("--threads", type=int, help="default: all cores")
    parser.add_argument("--runtime", nargs="+", choices=RUNTIMES, default=["keras", "savedmodel"])
    parser.add_argument("--blocks", type=int, nargs="+", default=[1, 2, 4, 8], help="K (default: 1 2 4 8)")
    parser.add_argument("--stacks", type=int, default=8, help="of the hourglass (default: 8)")
    parser.add_argument("--input-size", type=int, default=256, help="side in pixels, a multiple of 64 (default: 256)")
    parser.add_argument("--width", type=int, default=576, help="features of ours (default: 576)")
    parser.add_argument("--repeats", type=int, default=20, help="timed calls of each contender (default: 20)")
    parser.add_argument("--output", type=Path, help="write the figures to this JSON file")
    arguments = parser.parse_args()
    for name in ("batch", "threads", "repeats"):
        if (value := getattr(arguments, name)) is not None and value < 1:
            raise PoseError(f"--{name} must be at least 1. Received: {value}")
    if min(*arguments.blocks, arguments.stacks) < 1:
        raise PoseError(f"--blocks and --stacks must be at least 1. Received: {arguments.blocks}, {arguments.stacks}")
    if arguments.input_size < 64 or arguments.input_size % 64:
        raise PoseError(f"--input-size must be a multiple of 64, for the hourglass. Received: {arguments.input_size}")
    settings = Settings(**{name: getattr(arguments, name) for name in Settings.__dataclass_fields__})
    runtimes = list(dict.fromkeys(arguments.runtime))
    for runtime in runtimes:
        check_runtime(runtime, settings)
    contenders = [(Network("ours", k), runtime) for k in dict.fromkeys(arguments.blocks) for runtime in runtimes]
    if "keras" in runtimes:
        contenders.append((Network("hourglass", arguments.stacks), "keras"))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

    with TemporaryDirectory() as name:
        folder = Path(name)
        facts = in_own_process(prepare, settings, contenders, folder)
        times = in_own_process(measure_times, settings, contenders, folder)
        rows = []
        for contender in contenders:
            memory = in_own_process(measure_memory, settings, contender, folder)
            rows.append(row(contender, facts[contender[0]], times, memory, settings))
    figures = {
        "settings": asdict(settings) | {"threads": settings.threads or cores()},
        "sgemm_gmacs_per_second": SGEMM[settings.device] ** 3 / median(times["sgemm"]) / 1e9,
        "networks": rows,
        "ratios": ratios(times, facts, contenders),
    }
    print(report(figures))
    if arguments.output:
        write_json(arguments.output, figures)


def check_runtime(runtime: str, settings: Settings) -> None:
    """Refuse a runtime that is not installed, or that does not do what is asked."""
    if runtime in ("onnxruntime", "openvino", "litert") and settings.device == "gpu":
        raise PoseError(f"--runtime {runtime} runs on the CPU here; with --device gpu: keras, savedmodel.")
    dtypes = ("float32", "bfloat16") if runtime == "keras" else DTYPES[FORMATS[runtime]]
    if settings.dtype not in dtypes:
        raise PoseError(f"--runtime {runtime} computes in {' or '.join(dtypes)}. Received: --dtype {settings.dtype}")
    for package in () if runtime == "keras" else missing_packages(runtime):
        raise PoseError(f"--runtime {runtime} needs the package {package}: pip install -e .[export]")


def set_up(settings: Settings) -> None:
    """Devices and threads of TensorFlow in a fresh process."""
    import tensorflow as tf

    if settings.device == "cpu":
        if tf.config.list_physical_devices("GPU"):
            tf.config.set_visible_devices([], "GPU")
    elif not tf.config.list_physical_devices("GPU"):
        raise PoseError("--device gpu: TensorFlow finds no GPU on this machine.")
    else:
        grow_gpu_memory()
    if settings.threads:
        tf.config.threading.set_intra_op_parallelism_threads(settings.threads)
        tf.config.threading.set_inter_op_parallelism_threads(settings.threads)


def build(network: Network, settings: Settings, dtype: str) -> Any:
    """The Keras model under the dtype policy `dtype`, with random weights."""
    import keras

    from pose_regression.model.hourglass import Hourglass
    from pose_regression.model.network import PoseRegressor

    shape = (settings.input_size, settings.input_size, 3)
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype)
    try:
        if network.kind == "ours":
            return PoseRegressor(shape, num_blocks=network.depth, width=settings.width)
        return Hourglass(shape, num_stacks=network.depth)
    finally:
        keras.config.set_dtype_policy(policy)


def policy_of(settings: Settings) -> str:
    return "mixed_bfloat16" if settings.dtype == "bfloat16" else "float32"


def prepare(settings: Settings, contenders: list[Contender], folder: Path) -> dict[Network, dict]:
    """Export to `folder` what does not run in Keras; return what does not depend on the runtime.

    Returns:
        `parameters`, `macs` (per image) and `bytes` (of Keras' weight file) of each network.
    """
    import keras

    from pose_regression.inference.export import write_export
    from pose_regression.model.macs import count_macs

    set_up(settings)
    facts = {}
    for network in dict.fromkeys(network for network, _ in contenders):
        model = build(network, settings, "float32")
        weights = folder / "network.weights.h5"
        model.save_weights(weights)
        facts[network] = {
            "parameters": model.count_params(),
            "macs": sum(count_macs(model).values()),
            "bytes": weights.stat().st_size,
        }
        for runtime in (runtime for other, runtime in contenders if other == network and runtime != "keras"):
            directory = network.folder(folder, runtime)
            directory.mkdir()
            calibration = random_images(settings)[:1]
            write_export(model, directory, format=FORMATS[runtime], dtype=settings.dtype, calibration=calibration)
        keras.backend.clear_session()
    return facts


def load(contender: Contender, folder: Path, settings: Settings) -> Call:
    """A network in a runtime, ready to be called."""
    network, runtime = contender
    if runtime == "keras":
        return build(network, settings, policy_of(settings)).predict_on_batch
    return load_runtime(FORMATS[runtime], network.folder(folder, runtime), threads=settings.threads)


def measure_times(settings: Settings, contenders: list[Contender], folder: Path) -> dict[Any, list[float]]:
    """Seconds of every timed call of every contender, round by round, and of the product under "sgemm"."""
    set_up(settings)
    images = random_images(settings)
    calls: dict[Any, Callable[[], Any]] = {
        contender: partial(load(contender, folder, settings), images) for contender in contenders
    }
    calls["sgemm"] = sgemm(SGEMM[settings.device])
    for answer in calls.values():
        for _ in range(WARM_UP):
            answer()
    seconds: dict[Any, list[float]] = {name: [] for name in calls}
    for _ in range(settings.repeats):
        for name, answer in calls.items():
            start = time.perf_counter()
            answer()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def sgemm(size: int) -> Callable[[], Any]:
    """A call that multiplies two float32 matrices of `size` x `size`."""
    import tensorflow as tf

    a, b = tf.random.normal((size, size)), tf.random.normal((size, size))
    # Only one element is copied back, which waits for the product.
    product = tf.function(lambda: tf.matmul(a, b)[0, 0])
    return lambda: product().numpy()


def measure_memory(settings: Settings, contender: Contender, folder: Path) -> dict[str, float]:
    """Peak memory in MiB of a process that loads a contender and calls it, and what it began with."""
    images = random_images(settings)
    set_up(settings)
    idle = peak_memory()
    call = load(contender, folder, settings)
    for _ in range(WARM_UP):
        call(images)
    return {"memory_mib": peak_memory(), "idle_memory_mib": idle}


def random_images(settings: Settings) -> np.ndarray:
    shape = (settings.batch, settings.input_size, settings.input_size, 3)
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)


def row(
    contender: Contender,
    facts: dict[str, int],
    seconds: dict[Any, list[float]],
    memory: dict[str, float],
    settings: Settings,
) -> dict[str, Any]:
    """The figures of one network in one runtime."""
    p50, p95 = (float(np.percentile(seconds[contender], q)) for q in (50, 95))
    products = facts["macs"] * settings.batch / SGEMM[settings.device] ** 3
    return {
        "network": str(contender[0]),
        "runtime": contender[1],
        "fps": settings.batch / p50,
        "p50_ms": 1000 * p50,
        "p95_ms": 1000 * p95,
        **facts,
        "of_sgemm": median(s / (products * g) for s, g in zip(seconds[contender], seconds["sgemm"], strict=True)),
        **memory,
    }


def ratios(
    seconds: dict[Any, list[float]], facts: dict[Network, dict], contenders: list[Contender]
) -> list[dict[str, Any]]:
    """Ours against the hourglass, both in Keras: speed (median over rounds) and size of the weight file."""
    in_keras = [network for network, runtime in contenders if runtime == "keras"]
    if not in_keras:
        return []
    *ours, hourglass = in_keras
    return [
        {
            "network": str(network),
            "speed": median(
                h / o for h, o in zip(seconds[hourglass, "keras"], seconds[network, "keras"], strict=True)
            ),
            "bytes": facts[network]["bytes"] / facts[hourglass]["bytes"],
        }
        for network in ours
    ]  # fmt: skip


def report(figures: dict[str, Any]) -> str:
    """The figures as Markdown, with the paper's."""
    settings = figures["settings"]
    ours = {
        f"{row['network']}, {row['runtime']}": {
            "FPS": row["fps"],
            "MB": row["bytes"] / 2**20,
            "p50, ms": row["p50_ms"],
            "p95, ms": row["p95_ms"],
            "M parameters": row["parameters"] / 1e6,
            "GMAC": row["macs"] / 1e9,
            "x sgemm": row["of_sgemm"],
            "peak memory, MiB": row["memory_mib"],
            "before loading": row["idle_memory_mib"],
        }
        for row in figures["networks"]
    }
    paper, hourglass = (row.scores for row in SPEED)
    lines = [
        f"{settings['device'].upper()}, {settings['threads']} threads, {settings['dtype']}, batch {settings['batch']}, "
        f"{settings['input_size']} px, median of {settings['repeats']}; "
        f"sgemm {figures['sgemm_gmacs_per_second']:.1f} GMAC/s; MB: weight file, in 2^20 bytes as the paper's.",
        "",
        format_table(with_quoted(SPEED, ours), digits=2),
    ]
    if figures["ratios"]:
        lines += [
            "",
            f"Against the hourglass (paper: {paper['FPS'] / hourglass['FPS']:.2f} x its speed, "
            f"{paper['MB'] / hourglass['MB']:.2f} x its size):",
        ]
    for ratio in figures["ratios"]:
        lines.append(f"{ratio['network']}: {ratio['speed']:.2f} x the speed, {ratio['bytes']:.2f} x the size")
    return "\n".join(lines)


if __name__ == "__main__":
    run(main)
