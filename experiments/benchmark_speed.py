"""How fast the network answers, how large it is, and the same of the 8-stack hourglass.

    python -m experiments.benchmark_speed [--device cpu|gpu] [--batch N] [--dtype float32|bfloat16|int8] [--threads N]
                                          [--blocks 1 2 4 8] [--runtime keras savedmodel onnxruntime openvino litert]
    python -m experiments.benchmark_speed --end-to-end datasets/lsp/images [--runtime keras litert]

Cost: about 5 minutes on 2 cores, twice that with every runtime; --end-to-end a minute. Without it the weights are
random: speed does not depend on them.

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

--end-to-end asks what a predictor of the shipped weights adds to its network: from the file of a picture to joints, one
at a time and many, and what it costs to look for three people beside posing them.

The paper has 29.3 frames per second against the hourglass's 18.3 (1.60 x) on a GPU. Expected on 2 cores: 2.8 x;
--end-to-end at most 1.2 x the fastest network's time for a file, 1.6 x the poses' for three people.
"""

import argparse
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from experiments.command import run
from pose_regression.errors import PoseError
from pose_regression.evaluation.paper import SPEED, format_table, with_quoted
from pose_regression.files import write_json
from pose_regression.inference import speed
from pose_regression.inference.end_to_end import file_to_joints, looking_for_three
from pose_regression.inference.loaders import cores
from pose_regression.inference.processes import in_own_process
from pose_regression.inference.runtimes import RUNTIMES
from pose_regression.inference.speed import SGEMM, Contender, Network, Settings

FILES = 16
"""Pictures of --end-to-end, the last of the folder: in LSP's they are of the test half."""

PER_NETWORK = {
    "FPS": ("fps", 1),
    "MB": ("bytes", 2**20),
    "p50, ms": ("p50_ms", 1),
    "p95, ms": ("p95_ms", 1),
    "M parameters": ("parameters", 1e6),
    "GMAC": ("macs", 1e9),
    "x sgemm": ("of_sgemm", 1),
    "peak memory, MiB": ("memory_mib", 1),
    "before loading": ("idle_memory_mib", 1),
}
"""Column -> figure, and its unit."""

PER_RUNTIME = {
    "network, ms": "network_ms",
    "file to joints, ms": "file_ms",
    "x network": "ratio",
    "x fastest network": "of_fastest",
    "many files, images/s": "many_per_second",
    "x network, many": "many_ratio",
}
"""Column -> figure of --end-to-end."""


def main() -> None:
    arguments = parsed()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    runtimes = list(dict.fromkeys(arguments.runtime or ["keras", "litert" if arguments.end_to_end else "savedmodel"]))
    settings = Settings(**{name: getattr(arguments, name) for name in Settings.__dataclass_fields__})
    for runtime in runtimes:
        speed.check_runtime(runtime, settings)
    if arguments.end_to_end:
        figures, text = end_to_end(arguments.end_to_end, runtimes, arguments.repeats)
    else:
        contenders = [(Network("ours", k), runtime) for k in dict.fromkeys(arguments.blocks) for runtime in runtimes]
        if "keras" in runtimes:
            contenders.append((Network("hourglass", arguments.stacks), "keras"))
        figures = measure(settings, contenders)
        text = report(figures)
    print(text)
    if arguments.output:
        write_json(arguments.output, figures)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--batch", type=int, default=1, help="images per call (default: 1)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "int8"), default="float32")
    parser.add_argument("--threads", type=int, help="default: all cores")
    parser.add_argument("--runtime", nargs="+", choices=RUNTIMES, help="default: keras savedmodel; end to end: litert")
    parser.add_argument("--blocks", type=int, nargs="+", default=[1, 2, 4, 8], help="K (default: 1 2 4 8)")
    parser.add_argument("--stacks", type=int, default=8, help="of the hourglass (default: 8)")
    parser.add_argument("--input-size", type=int, default=256, help="side in pixels, a multiple of 64 (default: 256)")
    parser.add_argument("--width", type=int, default=576, help="features of ours (default: 576)")
    parser.add_argument("--repeats", type=int, default=20, help="timed calls of each contender (default: 20)")
    parser.add_argument("--end-to-end", type=Path, metavar="FOLDER", help="of JPEGs: time from their files to joints")
    parser.add_argument("--output", type=Path, help="write the figures to this JSON file")
    arguments = parser.parse_args()
    for name in ("batch", "threads", "repeats"):
        if (value := getattr(arguments, name)) is not None and value < 1:
            raise PoseError(f"--{name} must be at least 1. Received: {value}")
    if min(*arguments.blocks, arguments.stacks) < 1:
        raise PoseError(f"--blocks and --stacks must be at least 1. Received: {arguments.blocks}, {arguments.stacks}")
    if arguments.input_size < 64 or arguments.input_size % 64:
        raise PoseError(f"--input-size must be a multiple of 64, for the hourglass. Received: {arguments.input_size}")
    return arguments


def measure(settings: Settings, contenders: Sequence[Contender]) -> dict[str, Any]:
    """The figures of all contenders, measured in processes of their own."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        facts = in_own_process(speed.prepare, settings, contenders, folder)
        seconds = in_own_process(speed.time_contenders, settings, contenders, folder)
        rows = [
            speed.figures_of(contender, facts[contender[0]], seconds, settings)
            | in_own_process(speed.measure_memory, settings, contender, folder)
            for contender in contenders
        ]
    return {
        "settings": asdict(settings) | {"threads": settings.threads or cores()},
        "sgemm_gmacs_per_second": SGEMM[settings.device] ** 3 / median(seconds["sgemm"]) / 1e9,
        "networks": rows,
        "ratios": speed.ratios(seconds, facts),
    }


def report(figures: dict[str, Any]) -> str:
    """The figures as Markdown, with the paper's."""
    settings = figures["settings"]
    ours = {
        f"{row['network']}, {row['runtime']}": {column: row[key] / unit for column, (key, unit) in PER_NETWORK.items()}
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
        against = f"{paper['FPS'] / hourglass['FPS']:.2f} x its speed, {paper['MB'] / hourglass['MB']:.2f} x its size"
        lines += ["", f"Against the hourglass (paper: {against}):"]
    for ratio in figures["ratios"]:
        lines.append(f"{ratio['network']}: {ratio['speed']:.2f} x the speed, {ratio['bytes']:.2f} x the size")
    return "\n".join(lines)


def end_to_end(folder: Path, runtimes: Sequence[str], repeats: int) -> tuple[dict[str, Any], str]:
    """The figures from files to joints, and as Markdown."""
    files = sorted(folder.glob("*.jpg"))[-FILES:]
    if not files:
        raise PoseError(f"--end-to-end needs a folder of pictures, *.jpg; there is none in {folder}.")
    rows = file_to_joints("small", files, runtimes, repeats=repeats)
    three = looking_for_three("small", repeats=repeats)
    table = [(name, {column: row[key] for column, key in PER_RUNTIME.items()}) for name, row in rows.items()]
    of_three = f"Three people looked for and posed: {three:.2f} x posing them in given boxes."
    return {"runtimes": rows, "three_people": three}, f"{format_table(table, digits=2)}\n\n{of_three}"


if __name__ == "__main__":
    run(main)
