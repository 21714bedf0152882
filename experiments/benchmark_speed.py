"""How fast the network answers, how large it is, and the same of the 8-stack hourglass.

    python -m experiments.benchmark_speed [--device cpu|gpu] [--batch N] [--dtype float32|bfloat16] [--threads N]
                                          [--blocks 1 2 4 8] [--runtime keras savedmodel openvino ...]

Cost: about 5 minutes on 2 cores. The weights are random: speed does not depend on them.

Networks: ours with each K of --blocks, and the stacked hourglass that the paper compares its speed with
(`pose_regression.hourglass`). Runtimes:

keras        `model.predict_on_batch`
savedmodel   an exported TensorFlow graph, without Keras
onnxruntime  openvino  litert     other engines, on the CPU (`pip install -e .[export]`)

All contenders take turns, one call each per round, so that other load on the machine meets all of them; so does a
float32 matrix product by TensorFlow on the same threads (sgemm), the limit for float32: "% of sgemm" is the network's
multiply-accumulates per second against the product's. With --dtype bfloat16 it may pass 100. Peak memory is that of a
process which does nothing but load one network in one runtime and call it; beside it, what Python and TensorFlow hold
before that.

The paper has 29.3 frames per second against the hourglass's 18.3 (1.60 x) on a GPU. Expected on 2 cores: 2.8 x.
"""

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from experiments.command import run
from experiments.measuring import grow_gpu_memory, in_own_process, peak_memory, write_json
from pose_regression.errors import PoseError
from pose_regression.paper import SPEED, format_table, with_quoted

WARM_UP = 3
"""Calls of each contender before the timed ones."""

PACKAGES = {"onnxruntime": ("onnxruntime", "tf2onnx"), "openvino": ("openvino",), "litert": ("ai_edge_litert",)}
"""What a runtime needs beside TensorFlow."""


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

    def file(self, folder: Path, suffix: str) -> Path:
        """Where the network lies in `folder` in the format of `suffix`."""
        return folder / f"{self.kind}_{self.depth}{suffix}"


Call = Callable[[np.ndarray], Any]
"""(B, H, W, 3) float32 in [-1, 1] -> the network's answer, complete when the call returns."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--batch", type=int, default=1, help="images per call (default: 1)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--threads", type=int, help="default: all cores")
    parser.add_argument("--runtime", nargs="+", choices=tuple(RUNTIMES), default=["keras", "savedmodel"])
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
    networks = [Network("ours", k) for k in dict.fromkeys(arguments.blocks)] + [Network("hourglass", arguments.stacks)]
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

    with TemporaryDirectory() as name:
        folder = Path(name)
        facts = in_own_process(prepare, settings, networks, runtimes, folder)
        times = in_own_process(measure_times, settings, networks, runtimes, folder)
        rows = []
        for network in networks:
            for runtime in runtimes:
                seconds = times["networks"][network, runtime]
                memory = in_own_process(measure_memory, settings, network, runtime, folder)
                rows.append(row(network, runtime, facts[network], seconds, times["sgemm"], memory, settings))
    figures = {
        "settings": asdict(settings) | {"threads": settings.threads or len(os.sched_getaffinity(0))},
        "sgemm_gmacs_per_second": times["sgemm"] / 1e9,
        "networks": rows,
        "ratios": ratios(times["networks"], facts, networks, runtimes),
    }
    print(report(figures))
    write_json(arguments.output, figures)


def check_runtime(runtime: str, settings: Settings) -> None:
    """Refuse a runtime that is not installed, or that does not do what is asked."""
    if runtime in PACKAGES and settings.device == "gpu":
        raise PoseError(f"--runtime {runtime} runs on the CPU here; with --device gpu: keras, savedmodel.")
    if runtime in ("onnxruntime", "litert") and settings.dtype == "bfloat16":
        raise PoseError(f"--runtime {runtime} computes in float32; with --dtype bfloat16: keras, savedmodel, openvino.")
    missing = [package for package in PACKAGES.get(runtime, ()) if find_spec(package) is None]
    if missing:
        raise PoseError(f"--runtime {runtime} needs the package {missing[0]}: pip install -e .[export]")


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

    from pose_regression.hourglass import Hourglass
    from pose_regression.network import PoseRegressor

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


def prepare(settings: Settings, networks: list[Network], runtimes: list[str], folder: Path) -> dict[Network, dict]:
    """Write every network to `folder` in the formats of `runtimes`; return what does not depend on the runtime.

    Returns:
        `parameters`, `macs` (per image) and `bytes` (of Keras' weight file) of each network.
    """
    import keras

    from pose_regression.macs import count_macs

    set_up(settings)
    facts = {}
    for network in networks:
        model = build(network, settings, policy_of(settings))
        weights = network.file(folder, ".weights.h5")
        model.save_weights(weights)
        facts[network] = {
            "parameters": model.count_params(),
            "macs": sum(count_macs(model).values()),
            "bytes": weights.stat().st_size,
        }
        signature = [keras.InputSpec(shape=(settings.batch, *model.input_shape[1:]), dtype="float32")]
        options: dict[str, Any] = {"verbose": False, "input_signature": signature}
        if "savedmodel" in runtimes:
            model.export(network.file(folder, ""), format="tf_saved_model", **options)
        if FORMATS.keys() & runtimes:  # their graphs are float32; OpenVINO rounds to bfloat16 by itself
            single = build(network, settings, "float32")
            for runtime, (form, suffix) in FORMATS.items():
                if runtime in runtimes:
                    single.export(str(network.file(folder, suffix)), format=form, **options)
        keras.backend.clear_session()
    return facts


FORMATS = {
    "onnxruntime": ("onnx", ".onnx"),
    "openvino": ("openvino", ".xml"),
    "litert": ("litert", ".tflite"),
}  # fmt: skip


def load_keras(network: Network, folder: Path, settings: Settings) -> Call:
    return build(network, settings, policy_of(settings)).predict_on_batch


def load_savedmodel(network: Network, folder: Path, settings: Settings) -> Call:
    import tensorflow as tf

    loaded = tf.saved_model.load(network.file(folder, ""))
    return lambda images: tf.nest.map_structure(np.asarray, loaded.serve(tf.constant(images)))


def load_onnxruntime(network: Network, folder: Path, settings: Settings) -> Call:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings.threads or 0
    session = onnxruntime.InferenceSession(network.file(folder, ".onnx"), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: session.run(None, {name: images})


def load_openvino(network: Network, folder: Path, settings: Settings) -> Call:
    import openvino

    precision = {"float32": "f32", "bfloat16": "bf16"}[settings.dtype]
    options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
    if settings.threads:
        options["INFERENCE_NUM_THREADS"] = str(settings.threads)
    compiled = openvino.Core().compile_model(network.file(folder, ".xml"), "CPU", options)
    return lambda images: compiled([images])


def load_litert(network: Network, folder: Path, settings: Settings) -> Call:
    from ai_edge_litert.interpreter import Interpreter

    threads = settings.threads or len(os.sched_getaffinity(0))
    interpreter = Interpreter(str(network.file(folder, ".tflite")), num_threads=threads)
    interpreter.allocate_tensors()
    position = interpreter.get_input_details()[0]["index"]
    answers = [detail["index"] for detail in interpreter.get_output_details()]

    def call(images: np.ndarray) -> list[np.ndarray]:
        interpreter.set_tensor(position, images)
        interpreter.invoke()
        return [interpreter.get_tensor(answer) for answer in answers]

    return call


RUNTIMES = {
    "keras": load_keras,
    "savedmodel": load_savedmodel,
    "onnxruntime": load_onnxruntime,
    "openvino": load_openvino,
    "litert": load_litert,
}


def measure_times(settings: Settings, networks: list[Network], runtimes: list[str], folder: Path) -> dict[str, Any]:
    """Seconds of every timed call of every (network, runtime), under "networks"; "sgemm", MACs per second."""
    set_up(settings)
    images = random_images(settings)
    calls: dict[Any, Callable[[], Any]] = {}
    for network in networks:
        for runtime in runtimes:
            calls[network, runtime] = partial(RUNTIMES[runtime](network, folder, settings), images)
    size = 8192 if settings.device == "gpu" else 2048
    calls["sgemm"] = sgemm(size)
    for answer in calls.values():
        for _ in range(WARM_UP):
            answer()
    seconds: dict[Any, list[float]] = {name: [] for name in calls}
    for _ in range(settings.repeats):
        for name, answer in calls.items():
            start = time.perf_counter()
            answer()
            seconds[name].append(time.perf_counter() - start)
    return {"sgemm": size**3 / median(seconds.pop("sgemm")), "networks": seconds}


def sgemm(size: int) -> Callable[[], Any]:
    """A call that multiplies two float32 matrices of `size` x `size`."""
    import tensorflow as tf

    a, b = tf.random.normal((size, size)), tf.random.normal((size, size))
    # Only one element is copied back, which waits for the product.
    product = tf.function(lambda: tf.matmul(a, b)[0, 0])
    return lambda: product().numpy()


def measure_memory(settings: Settings, network: Network, runtime: str, folder: Path) -> dict[str, float]:
    """Peak memory in MiB of a process that loads `network` in `runtime` and calls it, and what it began with."""
    images = random_images(settings)
    if runtime not in PACKAGES:
        set_up(settings)
    idle = peak_memory()
    call = RUNTIMES[runtime](network, folder, settings)
    for _ in range(WARM_UP):
        call(images)
    return {"memory_mib": peak_memory(), "idle_memory_mib": idle}


def random_images(settings: Settings) -> np.ndarray:
    shape = (settings.batch, settings.input_size, settings.input_size, 3)
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)


def row(
    network: Network,
    runtime: str,
    facts: dict[str, int],
    seconds: list[float],
    sgemm_rate: float,
    memory: dict[str, float],
    settings: Settings,
) -> dict[str, Any]:
    """The figures of one network in one runtime."""
    p50, p95 = (float(np.percentile(seconds, q)) for q in (50, 95))
    frames = settings.batch / p50
    return {
        "network": str(network),
        "runtime": runtime,
        "fps": frames,
        "p50_ms": 1000 * p50,
        "p95_ms": 1000 * p95,
        **facts,
        "of_sgemm": facts["macs"] * frames / sgemm_rate,
        **memory,
    }


def ratios(seconds: dict, facts: dict, networks: list[Network], runtimes: list[str]) -> list[dict[str, Any]]:
    """Ours against the hourglass: speed (median over rounds) and size of the weight file."""
    *ours, hourglass = networks
    return [
        {
            "network": str(network),
            "runtime": runtime,
            "speed": median(
                h / o for h, o in zip(seconds[hourglass, runtime], seconds[network, runtime], strict=True)
            ),
            "bytes": facts[network]["bytes"] / facts[hourglass]["bytes"],
        }
        for network in ours
        for runtime in runtimes
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
            "% of sgemm": 100 * row["of_sgemm"],
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
        "",
        f"Against the hourglass (paper: {paper['FPS'] / hourglass['FPS']:.2f} x its speed, "
        f"{paper['MB'] / hourglass['MB']:.2f} x its size):",
    ]
    for ratio in figures["ratios"]:
        speed, size = ratio["speed"], ratio["bytes"]
        lines.append(f"{ratio['network']}, {ratio['runtime']}: {speed:.2f} x the speed, {size:.2f} x the size")
    return "\n".join(lines)


if __name__ == "__main__":
    run(main)
