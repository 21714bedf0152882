"""Table 1 of the paper: what soft-argmax, context maps and alpha each bring, under one recipe, over several seeds.

    python -m experiments.ablation_table1 --benchmark mpii --data datasets/mpii --output runs/table1
    python -m experiments.ablation_table1 --benchmark lsp --data datasets/lsp --extra datasets/lspet --seeds 3 \\
        --recipe quick --blocks 2 --width 144 --input-size 96 --output runs/table1_lsp
    python -m experiments.ablation_table1 --benchmark synthetic --data datasets/synthetic --recipe quick --epochs 4 \\
        --blocks 1 --width 72 --input-size 64 --output runs/table1_synthetic

Four networks are trained for each seed, with equal budgets: without context, without context on Gaussian heat maps,
with context and alpha = 0.9, and alpha = 0.8. They give five rows, for the paper does not describe its "simple
argmax": (a1) reads the maxima of the first network's maps, (a2) those of the second's. The paper's MPII validation
PCKh@0.5: 85.3 (simple argmax), 86.9, 88.7 and 89.1.

MPII and the synthetic people are scored on the validation people, single crop, as in the paper; LSP on its test half,
looked at once, while the last `--holdout` of its training people choose the weights to keep.

Writes `table1_BENCHMARK.json`, `.md` and `.png` to --output, where every training has its folder. A sweep that was
interrupted goes on with --resume: finished trainings are kept, the one that was cut off continues where it was, and a
larger --seeds adds to it. Cost: four times the recipe for each seed; the first command is weeks of one GPU's time,
the last a few minutes on a laptop.
"""

import argparse
import json
import math
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.measuring import write_json
from experiments.training_run import (
    add_options,
    by_coordinates,
    keep_options,
    main_of,
    recipe_of,
    set_up,
    train_network,
)
from pose_regression.errors import PoseError
from pose_regression.files import atomic_path, read_json

ALPHAS = tuple(i / 10 for i in range(11))
"""At which trained networks with context are evaluated."""


@dataclass(frozen=True)
class Benchmark:
    """People to train on, to choose weights by, and to score."""

    title: str
    total: str
    """The entry of `score` that the table is about."""
    score: Callable[[Sequence, np.ndarray], dict[str, float]]
    training: Sequence
    validation: Sequence
    test: Sequence


@dataclass(frozen=True)
class Training:
    """One of the networks to train."""

    context: bool
    alpha: float
    supervise: Callable[..., tuple[Any, dict[str, Any]]]
    readers: tuple[str, ...]
    """How its answers are read: by the network itself, or from the maxima of its maps."""


@dataclass(frozen=True)
class Row:
    """A row of the table."""

    label: str
    quoted: str
    """The paper's row."""
    training: str
    reader: str
    color: str
    marker: str


def with_argmax(network, recipe, *, steps_per_epoch: int):
    """Train as the paper does; in validation the maxima of the maps are read too."""
    from pose_regression.training.heatmap_regression import argmax_decoder

    model, answering = by_coordinates(network, recipe, steps_per_epoch=steps_per_epoch)
    return model, answering | {"argmax": argmax_decoder(network)}


def by_heatmaps(network, recipe, *, steps_per_epoch: int):
    """Train on Gaussian heat maps, whose maxima are read in validation."""
    from pose_regression.training.heatmap_regression import HeatmapRegressor, argmax_decoder, compile_heatmaps

    model = HeatmapRegressor(network)
    compile_heatmaps(model, recipe, steps_per_epoch=steps_per_epoch)
    return model, {"argmax": argmax_decoder(network)}


TRAININGS = {
    "no_context": Training(False, 1.0, with_argmax, ("network", "argmax")),
    "heatmaps": Training(False, 1.0, by_heatmaps, ("argmax",)),
    "alpha_0.9": Training(True, 0.9, by_coordinates, ("network",)),
    "alpha_0.8": Training(True, 0.8, by_coordinates, ("network",)),
}

_CONTEXT = "Soft-argmax, context, alpha = "
# Colours of Okabe and Ito, which the colour-blind tell apart; the markers do so in print.
ROWS = {
    "a1": Row("Simple argmax: maxima of the maps of (b)", "Simple argmax", "no_context", "argmax", "#E69F00", "s"),
    "a2": Row("Simple argmax: trained on Gaussian heat maps", "Simple argmax", "heatmaps", "argmax", "#CC79A7", "v"),
    "b": Row("Soft-argmax, no context", "Soft-argmax, no context", "no_context", "network", "#0072B2", "o"),
    "c": Row(_CONTEXT + "0.9", _CONTEXT + "0.9", "alpha_0.9", "network", "#009E73", "D"),
    "d": Row(_CONTEXT + "0.8", _CONTEXT + "0.8", "alpha_0.8", "network", "#000000", "^"),
}

COMPARED = (("b", "a1"), ("b", "a2"), ("c", "b"), ("d", "b"), ("d", "c"))
"""Pairs of rows of which the paper has the first above the second."""


def main() -> None:
    options = parse()
    if options.hosts:
        raise PoseError("--hosts is for the training commands; here, give each machine a --seed and --seeds 1.")
    from pose_regression.data.cache import prepare_crops
    from pose_regression.data.images import without_broken
    from pose_regression.training.checkpoint import run_directory

    recipe = recipe_of(options)
    benchmark = load(options)
    with run_directory(options.output, resume=options.resume, force=options.force) as directory:
        scope = set_up(options)
        training: Sequence | None = None  # read only if something is left to train
        results: dict[str, list[dict[str, Any]]] = {name: [] for name in TRAININGS}
        for seed in range(options.seed, options.seed + options.seeds):
            for name in TRAININGS:
                folder = directory / f"{name}_seed_{seed}"
                if not (folder / "result.json").exists() and training is None:
                    training = without_broken(benchmark.training)
                    if options.cache:
                        size = 448 * options.input_size // 256
                        training = prepare_crops(training, options.cache, augmentation=recipe.augmentation, size=size)
                print(f"\n{name}, seed {seed}", flush=True)
                own = options_of(options, name, seed)
                results[name].append(train_one(own, TRAININGS[name], folder, scope, benchmark, training or ()))
        figures = summary(options, benchmark, results)
        name = f"table1_{options.benchmark}"
        write_json(directory / f"{name}.json", figures)
        plot(directory / f"{name}.png", figures)
        text = report(figures, picture=f"{name}.png")
        with atomic_path(directory / f"{name}.md") as temporary:
            temporary.write_text(text)
    print(f"\n{text}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--benchmark", choices=("mpii", "lsp", "synthetic"), default="mpii")
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="of the benchmark; synthetic people are rendered there"
    )
    parser.add_argument("--extra", type=Path, metavar="DIR", help="LSPET, to train on beside LSP")
    parser.add_argument("--limit", type=int, metavar="N", help="of --extra, the first N images only")
    parser.add_argument(
        "--holdout", type=int, default=200, metavar="N", help="LSP's training images kept for validation"
    )
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="trainings of each row, from --seed on")
    add_options(parser, recipe="paper")
    parser.set_defaults(alpha=None)
    options = parser.parse_args()
    options.output = options.output or Path(f"runs/table1_{options.benchmark}")
    if options.alpha is not None:
        raise PoseError("--alpha is what the rows differ in; it cannot be chosen here.")
    if options.context < 1:
        raise PoseError(f"--context is of the rows with context, at least 1. Received: {options.context}")
    if options.seeds < 1:
        raise PoseError(f"--seeds must be at least 1. Received: {options.seeds}")
    if options.benchmark != "lsp" and options.extra:
        raise PoseError(f"--extra goes with --benchmark lsp. Received: --benchmark {options.benchmark}")
    if options.limit is not None and (options.limit < 1 or not options.extra):
        raise PoseError(f"--limit must be positive and goes with --extra. Received: {options.limit}")
    return options


def load(options: argparse.Namespace) -> Benchmark:
    """The people of `--benchmark`."""
    from pose_regression.data import lsp
    from pose_regression.evaluation import benchmarks

    if options.benchmark == "lsp":
        people = lsp.load(options.data, "train")
        if not 0 < options.holdout < len(people):
            raise PoseError(f"--holdout must lie between 1 and {len(people) - 1}. Received: {options.holdout}")
        extra = lsp.load_extended(options.extra)[: options.limit] if options.extra else []
        return Benchmark(
            "LSP test, PCK@0.2, person-centric, single crop", "PCK", benchmarks.LSP.score,
            people[: -options.holdout] + extra, people[-options.holdout :], lsp.load(options.data, "test"),
        )  # fmt: skip
    rules = benchmarks.BENCHMARKS[options.benchmark]
    training, validation = rules.load(options.data, "train"), rules.load(options.data, "val")
    rules.require_images([*training, *validation])
    title = f"{rules.title}, validation, {rules.metric}, single crop"
    return Benchmark(title, rules.total, rules.score, training, validation, validation)


def options_of(options: argparse.Namespace, name: str, seed: int) -> argparse.Namespace:
    """The options of one training of the sweep; the number of seeds is none of its business."""
    training = TRAININGS[name]
    changes = {
        "seed": seed, "context": options.context if training.context else 0, "alpha": training.alpha,
        "training": name, "resume": True, "force": False,
    }  # fmt: skip
    kept = {key: value for key, value in vars(options).items() if key != "seeds"}
    return argparse.Namespace(**kept | changes)


def train_one(
    options: argparse.Namespace,
    training: Training,
    directory: Path,
    scope: Callable[[], AbstractContextManager],
    benchmark: Benchmark,
    people: Sequence,
) -> dict[str, Any]:
    """Train one network, or go on with it, and score it; of a finished one, only read the result.

    Args:
        options: of `options_of`.
        training: what is trained.
        directory: of this training.
        scope: of `set_up`.
        benchmark: to validate and score on.
        people: to train on; none where the training has finished.

    Returns:
        What `result.json` holds: `scores` by reader, `totals` at `ALPHAS` (of networks with context), `history`,
        `parameters`, `minutes`, `commit`.
    """
    import keras

    from pose_regression.training.checkpoint import run_directory, states

    with run_directory(directory, resume=True, force=False):
        keep_options(directory / "options.json", options, asdict(recipe_of(options)))
        path = directory / "result.json"
        if path.exists():
            print("finished before", flush=True)
            return read_json(path)
        started, resumed = time.monotonic(), bool(states(directory))
        keras.utils.clear_session()  # which also forgets the dtype
        keras.config.set_dtype_policy(options.dtype)
        keras.utils.set_random_seed(options.seed)
        train_network(
            options, directory, scope, training=people, validation=benchmark.validation, score=benchmark.score,
            total=benchmark.total, supervise=training.supervise,
        )  # fmt: skip
        trained = time.monotonic()
        result = scored(directory / "best.weights.h5", training, benchmark) | {
            "history": read_history(directory / "history.csv"),
            "training_people": len(people),
            "minutes": (trained - started) / 60,
            "resumed": resumed,
            "commit": commit(),
        }
        write_json(path, result)
    total = {reader: round(scores[benchmark.total], 1) for reader, scores in result["scores"].items()}
    print(f"{benchmark.total} {total}, {result['minutes']:.1f} min and {time.monotonic() - trained:.0f} s of scoring")
    return result


def scored(weights: Path, training: Training, benchmark: Benchmark) -> dict[str, Any]:
    """Scores of a weight file by reader; and, with context, the total at each of `ALPHAS`."""
    from pose_regression.evaluation.windows import predict
    from pose_regression.model.network import PoseRegressor
    from pose_regression.model.weights import load_model, load_weights
    from pose_regression.training.heatmap_regression import argmax_decoder

    model, _ = load_model(weights, dtype="float32")
    models = {"network": model, "argmax": argmax_decoder(model)}
    result: dict[str, Any] = {"parameters": model.count_params(), "scores": {}}
    for reader in training.readers:
        result["scores"][reader] = benchmark.score(benchmark.test, predict(models[reader], benchmark.test).pixels)
    if training.context:
        ends = []
        for alpha in (0.0, 1.0):
            other = PoseRegressor(**model.get_config() | {"alpha": alpha})
            load_weights(other, weights)
            ends.append(predict(other, benchmark.test).pixels)
        # Equation 6 is linear in alpha, and so is the way from the crop to the image's pixels.
        blends = [(1 - alpha) * ends[0] + alpha * ends[1] for alpha in ALPHAS]
        result["totals"] = [benchmark.score(benchmark.test, pixels)[benchmark.total] for pixels in blends]
    return result


def read_history(path: Path) -> dict[str, list[float]]:
    """Columns of a `history.csv`."""
    names, *rows = (line.split(",") for line in path.read_text().split())
    return {name: [float(row[i]) for row in rows] for i, name in enumerate(names)}


def summary(
    options: argparse.Namespace, benchmark: Benchmark, results: Mapping[str, Sequence[dict[str, Any]]]
) -> dict[str, Any]:
    """Everything the report and the figure show, as JSON takes it."""
    from pose_regression.evaluation.benchmarks import mean_pose

    rows: dict[str, dict[str, Any]] = {}
    for key, row in ROWS.items():
        runs = results[row.training]
        scores = [run["scores"][row.reader] for run in runs]
        history = "score_argmax" if row.reader == "argmax" and row.training == "no_context" else "score"
        rows[key] = {
            "label": row.label,
            "paper": quoted(row.quoted),
            "seeds": scores,
            "mean": {name: float(np.mean([s[name] for s in scores])) for name in scores[0]},
            "spread": spread([s[benchmark.total] for s in scores]),
            "validation": [run["history"][history] for run in runs],
        }
    totals = {key: [s[benchmark.total] for s in row["seeds"]] for key, row in rows.items()}
    compared = [
        {"first": a, "second": b, "paper": rows[a]["paper"] - rows[b]["paper"]} | difference(totals[a], totals[b])
        for a, b in COMPARED
    ]
    cells = options.input_size // 8
    every = [run for runs in results.values() for run in runs]
    baselines = {
        "Mean pose of the training people": mean_pose(benchmark.training, benchmark.test),
        f"True joints moved to the nearest of {cells} x {cells} cells": on_grid(benchmark.test, cells),
    }
    return {
        "title": benchmark.title,
        "total": benchmark.total,
        "command": shlex.join(["python", "-m", "experiments.ablation_table1", *sys.argv[1:]]),
        "commit": sorted({run["commit"] for run in every}),
        "hardware": hardware(),
        "minutes": sum(run["minutes"] for run in every),
        "resumed": sum(run["resumed"] for run in every),
        "people": {
            "training": every[0]["training_people"],
            "validation": len(benchmark.validation),
            "test": len(benchmark.test),
        },
        "network": {name: getattr(options, name) for name in ("blocks", "width", "input_size", "context", "dtype")},
        "parameters": {name: runs[0]["parameters"] for name, runs in results.items()},
        "recipe": json.loads(json.dumps(asdict(recipe_of(options)))),
        "rows": rows,
        "compared": compared,
        "baselines": {name: benchmark.score(benchmark.test, pixels) for name, pixels in baselines.items()},
        "alphas": ALPHAS,
        "alpha_sweep": {name: [run["totals"] for run in runs] for name, runs in results.items() if name[:5] == "alpha"},
    }


def quoted(method: str) -> float:
    """The paper's total for one of its rows."""
    from pose_regression.evaluation.benchmarks import MPII

    return next(row.scores[MPII.total] for row in MPII.quoted["val", MPII.metric] if row.method == method)


def spread(values: Sequence[float]) -> float | None:
    """Sample standard deviation; None of a single value."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def difference(first: Sequence[float], second: Sequence[float]) -> dict[str, Any]:
    """Mean of first - second, paired by seed, with Student's 95 % interval of the mean.

    Both trainings of a seed see the same people in the same order with the same augmentation.

    Returns:
        `difference`, `low`, `high` (None of one pair) and `verdict`: "clear", "reversed" or "inside the spread".
    """
    from scipy.stats import t

    pairs = [a - b for a, b in zip(first, second, strict=True)]
    mean, deviation, n = float(np.mean(pairs)), spread(pairs), len(pairs)
    if deviation is None:
        return {"difference": mean, "low": None, "high": None, "verdict": "one seed tells no spread"}
    half = float(t.ppf(0.975, n - 1)) * deviation / math.sqrt(n)
    verdict = "clear" if mean > half else "reversed" if mean < -half else "inside the spread"
    return {"difference": mean, "low": mean - half, "high": mean + half, "verdict": verdict}


def on_grid(samples: Sequence, cells: int) -> np.ndarray:
    """(N, 16, 2) pixels: every annotated joint moved to the nearest cell of a square heat map over its crop.

    No argmax can do better than these.
    """
    from pose_regression.geometry import crop_affine, invert, transform_points
    from pose_regression.model.layers import coordinate_ramp

    affine = crop_affine(np.stack([s.center for s in samples]), np.array([s.side for s in samples]))
    pose = transform_points(affine, np.stack([s.joints for s in samples]))
    ramp = coordinate_ramp(cells)
    nearest = ramp[np.abs(pose[..., None] - ramp).argmin(axis=-1)]
    return transform_points(invert(affine), np.where(np.isfinite(pose), nearest, np.nan))


def commit() -> str:
    """Short hash of the code's commit, marked where tracked files were changed since; "unknown" without git."""
    try:
        return subprocess.run(
            ["git", "describe", "--always", "--dirty", "--exclude=*"],  # noqa: S607
            cwd=Path(__file__).parent, capture_output=True, text=True, check=True,
        ).stdout.strip()  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def hardware() -> str:
    """Processor and GPUs of this machine."""
    import tensorflow as tf

    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        processor = platform.processor() or platform.machine()
    gpus = [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU")]
    names = [gpu.get("device_name", "GPU") for gpu in gpus]
    return ", ".join([f"{len(os.sched_getaffinity(0))} cores of {processor}", *names])


def report(figures: Mapping[str, Any], *, picture: str) -> str:
    """The figures as Markdown."""
    from pose_regression.evaluation.paper import format_table

    rows, total, count = figures["rows"], figures["total"], len(figures["rows"]["b"]["seeds"])
    table = [
        (f"({key}) {row['label']}", {"Paper": row["paper"], **row["mean"], "±": row["spread"] or math.nan})
        for key, row in rows.items()
    ]
    table += [(name, {"Paper": math.nan, **scores}) for name, scores in figures["baselines"].items()]
    sweep = [
        (f"trained with alpha = {name[6:]}", dict(zip(map(str, figures["alphas"]), np.mean(runs, axis=0), strict=True)))
        for name, runs in figures["alpha_sweep"].items()
    ]
    network, recipe, people = figures["network"], figures["recipe"], figures["people"]
    parameters = figures["parameters"]
    lines = [
        f"# Table 1 on {figures['title']}",
        "",
        format_table(table),
        "",
        f"Mean of {count} seeds; ± is the standard deviation of {total} over them. The column Paper is quoted:",
        "MPII validation, PCKh@0.5, single crop, 256 x 256 and K = 8. The paper does not describe its simple argmax:",
        "(a1) is decoding without training of its own, (a2) the same network trained to draw Gaussians of one cell's",
        "width. The last two rows are no method: a guess that sees no picture, and the most that a maximum on the grid",
        "can reach.",
        "",
        "## Does the paper's order show?",
        "",
        *(compared(pair, rows) for pair in figures["compared"]),
        "",
        "In brackets Student's 95 % interval of the mean, paired by seed. A difference whose interval holds 0 is",
        "inside the spread: these trainings do not tell the two rows apart.",
        "",
        f"## {total} of the networks with context at other values of alpha",
        "",
        format_table(sweep),
        "",
        "alpha = 0 is the context maps' answer alone, alpha = 1 the part maps'.",
        "",
        f"![validation and alpha]({picture})",
        "",
        "## How",
        "",
        f"    {figures['command']}",
        "",
        f"- commit {', '.join(figures['commit'])}; {figures['hardware']}; {figures['minutes']:.0f} minutes of training"
        + (f", not counting those before {figures['resumed']} interruptions" if figures["resumed"] else ""),
        f"- {people['training']} people to train on, {people['validation']} to choose the best epoch by, "
        f"{people['test']} to score",
        f"- K = {network['blocks']}, width {network['width']}, {network['input_size']} px, {network['dtype']}; "
        f"{parameters['no_context']:,} parameters without context, {parameters['alpha_0.8']:,} with "
        f"{network['context']} context maps per joint",
        f"- {recipe['epochs']} epochs of batch {recipe['batch_size']}, {recipe['optimizer']} at "
        f"{recipe['learning_rate']:g} ({recipe['schedule']}), the same for every row",
        "- (a1) has the weights of the epoch at which (b) was best",
    ]
    return "\n".join(lines) + "\n"


def compared(pair: Mapping[str, Any], rows: Mapping[str, Any]) -> str:
    """One difference as an item of a list."""
    verdict = {"clear": "the paper's order shows", "reversed": "the reverse of the paper's order"}
    first, second = pair["first"], pair["second"]
    interval = "" if pair["low"] is None else f" [{pair['low']:+.1f} to {pair['high']:+.1f}]"
    return (
        f"- ({first}) - ({second}): {pair['difference']:+.1f}{interval}, in the paper {pair['paper']:+.1f}: "
        f"{verdict.get(pair['verdict'], pair['verdict'])}"
    )


def plot(path: Path, figures: Mapping[str, Any]) -> None:
    """Left, validation after each epoch: mean over the seeds in the band of all of them; right, alpha in the test."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.6), layout="constrained", width_ratios=(3, 2))

    def band(axis, x, values, row: Row, label: str) -> None:
        mean = np.mean(values, axis=0)
        axis.fill_between(x, np.min(values, axis=0), np.max(values, axis=0), color=row.color, alpha=0.15, linewidth=0)
        axis.plot(
            x, mean, color=row.color, marker=row.marker, markersize=4, markevery=max(1, len(x) // 12),
            linestyle="--" if row.reader == "argmax" else "-", label=label,
        )  # fmt: skip

    for key, row in ROWS.items():
        values = figures["rows"][key]["validation"]
        band(left, range(1, len(values[0]) + 1), values, row, f"({key}) {row.label}")
    left.set(title="Validation after each epoch", xlabel="epoch", ylabel=f"{figures['total']}, %")
    left.legend(fontsize=8)
    for key in ("c", "d"):
        row = ROWS[key]
        label = f"({key}) trained with {row.label[-11:]}"
        band(right, figures["alphas"], figures["alpha_sweep"][row.training], row, label)
    without = figures["rows"]["b"]["mean"][figures["total"]]
    right.axhline(without, color=ROWS["b"].color, linestyle=":", label="(b) without context")
    right.set(title="Test, alpha changed after training", xlabel="alpha", ylabel=f"{figures['total']}, %")
    right.legend(fontsize=8)
    for axis in (left, right):
        axis.grid(alpha=0.3)
    count = len(figures["rows"]["b"]["seeds"])
    figure.suptitle(f"{figures['title']}: mean of {count} seeds, band from the lowest to the highest", fontsize=11)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)
    pyplot.close(figure)


if __name__ == "__main__":
    main_of(main)
