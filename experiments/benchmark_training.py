"""How fast training goes: the step with our layers and with Keras' own, and the images that the data gives it.

    python -m experiments.benchmark_training [--output FILE.json]                             # the paper's network
    python -m experiments.benchmark_training --blocks 2 --input-size 128 --width 288 --rounds 5      # a small one
    python -m experiments.benchmark_training --only data --rounds 7

Cost: the first about half an hour on 2 cores and 6 GB of memory, minutes on a GPU; the second 5 minutes on 2 cores, the
third one.

plain    the network with `keras.layers.BatchNormalization` and `SeparableConv2D` in place of ours
ours     the network as it is trained

pil        decode, rotate with a grown canvas, crop, resize, mirror, channel power: the authors' loader, on one core
decoding   tf.data decoding whole JPEGs and doing nothing else, on all cores
pipeline   ours, on all cores
cache      ours from prepared crops (`--cache` of the training commands), on all cores

The step is `train_on_batch` of the model that `training.compile_model` compiled, on random images. Every visit to a
variant is a process of its own, one after another: so memory is that variant's, and never that of two. The variants
take turns in rounds and a ratio is the median over rounds, so that other load on the machine meets all of them.
CPU seconds stand beside wall seconds because such load disturbs them less. The slower of step and data limits a
training.

Expected on 2 cores at the paper's size, in CPU seconds: ours in float32 1.3 x plain float32, ours in mixed_bfloat16
2.1 x (with AMX instructions), plain mixed_bfloat16 0.85 x. Expected on one core (`taskset -c 0`): pipeline 4.8 x pil
and 0.65 x decoding, cache 9.1 x pil; on two free cores up to twice as much over pil, which uses one.
"""

import argparse
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import keras
import numpy as np

from experiments import data_rates
from experiments.command import run
from pose_regression.errors import PoseError
from pose_regression.files import write_json
from pose_regression.inference.processes import grow_gpu_memory, in_own_process, peak_memory
from pose_regression.model import backbone
from pose_regression.model.network import PoseRegressor
from pose_regression.training.experiment import RECIPES
from pose_regression.training.supervision import compile_model

VARIANTS = (
    ("plain", "float32"),
    ("ours", "float32"),
    ("plain", "mixed_bfloat16"),
    ("ours", "mixed_bfloat16"),
)  # fmt: skip


@dataclass(frozen=True)
class Step:
    """What is trained: see the options of the command."""

    blocks: int = 8
    width: int = 576
    input_size: int = 256
    batch_size: int = 16


@dataclass(frozen=True)
class Visit:
    """One visit to a variant, in its process."""

    wall: float
    """Median seconds of a step."""
    cpu: float
    """Median CPU seconds of a step, over all threads."""
    steps: int
    memory: float
    """Peak of the process, MiB."""
    idle_memory: float
    """Peak before the model was built: Python and TensorFlow themselves, MiB."""
    first: float
    """Seconds of the first step, which compiles."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=8, help="K (default: 8)")
    parser.add_argument("--width", type=int, default=576, help="features (default: 576)")
    parser.add_argument("--input-size", type=int, default=256, help="side of the crop in pixels (default: 256)")
    parser.add_argument("--batch-size", type=int, default=16, help="images in a step (default: 16)")
    parser.add_argument("--rounds", type=int, default=3, help="visits to each variant (default: 3)")
    parser.add_argument("--seconds", type=float, default=10, help="least time of a visit's steps (default: 10)")
    parser.add_argument("--only", choices=("step", "data"), help="measure one of the two")
    parser.add_argument("--output", type=Path, help="write the figures to this JSON file")
    arguments = parser.parse_args()
    for name in ("rounds", "batch_size"):
        if getattr(arguments, name) < 1:
            raise PoseError(f"--{name.replace('_', '-')} must be at least 1. Received: {getattr(arguments, name)}")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    figures: dict[str, Any] = {}
    if arguments.only != "data":
        step = Step(arguments.blocks, arguments.width, arguments.input_size, arguments.batch_size)
        figures |= measure_variants(step, arguments.rounds, arguments.seconds)
        print(report(figures))
    if arguments.only != "step":
        figures["data"] = data_rates.measure(rounds=arguments.rounds)
        print("\n" + data_rates.report(figures["data"]))
    if arguments.output:
        write_json(arguments.output, figures)


def measure_variants(step: Step, rounds: int, seconds: float) -> dict[str, Any]:
    """The figures of every variant."""
    visits: dict[tuple[str, str], list[Visit]] = {variant: [] for variant in VARIANTS}
    for i in range(rounds):
        for variant in VARIANTS:
            visit = in_own_process(measure_step, step, *variant, seconds)
            visits[variant].append(visit)
            print(f"round {i + 1}, {' '.join(variant)}: {visit.wall:.3f} s a step", flush=True)
    return {"step": asdict(step), "variants": [summary(v, visits) for v in VARIANTS]}


def measure_step(step: Step, layers: str, dtype: str, seconds: float) -> Visit:
    """Time the training step of one variant for at least `seconds`, after a step that compiles it."""
    grow_gpu_memory()
    idle = peak_memory()
    keras.utils.set_random_seed(0)
    size, joints = step.input_size, 16
    with plain_layers(layers == "plain"):
        model = PoseRegressor(
            (size, size, 3), num_blocks=step.blocks, width=step.width, outputs="all", dtype=dtype
        )  # fmt: skip
    compile_model(model, RECIPES["paper"], steps_per_epoch=1000)
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (step.batch_size, size, size, 3)).astype(np.float32)
    mask = np.ones((step.batch_size, joints, 1), np.float32)
    targets = {
        "pose": np.concatenate([rng.uniform(0, 1, (step.batch_size, joints, 2)).astype(np.float32), mask], axis=-1),
        "probability": np.concatenate([mask, mask], axis=-1),
    }
    first, _ = timed_step(model, images, targets)
    steps: list[tuple[float, float]] = []
    while not steps or sum(wall for wall, _ in steps) < seconds:
        steps.append(timed_step(model, images, targets))
    wall, cpu = (median(times) for times in zip(*steps, strict=True))
    return Visit(wall, cpu, len(steps), peak_memory(), idle, first)


def timed_step(model: Any, images: Any, targets: Any) -> tuple[float, float]:
    """Wall and CPU seconds of one step; the loss it returns is the sign that the step is complete."""
    wall, cpu = time.perf_counter(), time.process_time()
    model.train_on_batch(images, targets)
    return time.perf_counter() - wall, time.process_time() - cpu


@contextmanager
def plain_layers(plain: bool) -> Iterator[None]:
    """Within the block, `PoseRegressor` is built of Keras' own layers, if `plain`."""
    ours = backbone.BatchNormalization, backbone.SeparableConv2D
    if plain:
        backbone.BatchNormalization = keras.layers.BatchNormalization  # type: ignore[misc, assignment]
        backbone.SeparableConv2D = keras.layers.SeparableConv2D  # type: ignore[misc, assignment]
    try:
        yield
    finally:
        backbone.BatchNormalization, backbone.SeparableConv2D = ours  # type: ignore[misc]


def summary(variant: tuple[str, str], visits: dict[tuple[str, str], list[Visit]]) -> dict[str, Any]:
    """Medians over the visits to `variant`, and over the rounds of its speed relative to the first variant."""
    own, base = visits[variant], visits[VARIANTS[0]]
    return {
        "layers": variant[0],
        "dtype": variant[1],
        "seconds": median(visit.wall for visit in own),
        "cpu_seconds": median(visit.cpu for visit in own),
        "ratio": median(b.wall / o.wall for b, o in zip(base, own, strict=True)),
        "cpu_ratio": median(b.cpu / o.cpu for b, o in zip(base, own, strict=True)),
        "memory_mib": max(visit.memory for visit in own),
        "idle_memory_mib": median(visit.idle_memory for visit in own),
        "first_step_seconds": median(visit.first for visit in own),
        "visits": [asdict(visit) for visit in own],
    }


def report(figures: dict[str, Any]) -> str:
    """The figures as Markdown."""
    step = figures["step"]
    lines = [
        f"Training step, K = {step['blocks']}, {step['input_size']} px, width {step['width']}, "
        f"batch {step['batch_size']}; ratios to plain float32:",
        "",
        "| layers | dtype | images/s | ratio | CPU s/step | ratio | peak memory, MiB | first step, s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in figures["variants"]:
        row = row | {"rate": step["batch_size"] / row["seconds"]}
        lines.append(
            "| {layers} | {dtype} | {rate:.2f} | {ratio:.2f} | {cpu_seconds:.2f} | {cpu_ratio:.2f} | {memory_mib:.0f} "
            "| {first_step_seconds:.0f} |".format(**row)
        )
    idle = figures["variants"][0]["idle_memory_mib"]
    lines += ["", f"Python and TensorFlow alone hold {idle:.0f} MiB of the peak."]
    return "\n".join(lines)


if __name__ == "__main__":
    run(main)
