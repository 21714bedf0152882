"""Table 1 of the paper: four trainings a seed under one recipe, five rows, and what tells them apart.

The paper does not describe its "simple argmax": (a1) reads the maxima of the maps of the network without context, (a2)
those of one that was trained on Gaussian heat maps.
"""

import math
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import psutil
import tensorflow as tf
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import ttest_rel

from pose_regression.data.sample import Sample
from pose_regression.data.windows import windows_of_samples
from pose_regression.errors import PoseError
from pose_regression.evaluation.benchmarks import LSP, MPII, SYNTHETIC, Benchmark, mean_pose
from pose_regression.evaluation.paper import format_table
from pose_regression.evaluation.windows import predict
from pose_regression.files import atomic_path, read_json, write_json
from pose_regression.geometry import invert, transform_points
from pose_regression.model.load import load_model
from pose_regression.model.network import PoseRegressor
from pose_regression.model.regression import coordinate_ramp
from pose_regression.model.weights import load_weights
from pose_regression.training.argmax import argmax_decoder
from pose_regression.training.checkpoint import run_directory, states
from pose_regression.training.curves import read_history
from pose_regression.training.experiment import Experiment, Lsp, keep_experiment, to_json
from pose_regression.training.people import load_people
from pose_regression.training.run import run

ALPHAS = tuple(i / 10 for i in range(11))
"""At which trained networks with context are evaluated."""


@dataclass(frozen=True)
class Training:
    """What one of the networks to train differs in."""

    readers: tuple[str, ...]
    """How its answers are read: by the network itself, or from the maxima of its maps."""
    alpha: float = 1.0
    context: bool = False
    supervise: Literal["pose", "heatmaps"] = "pose"

    def of(self, experiment: Experiment, seed: int) -> Experiment:
        """The experiment of this training."""
        context = experiment.network.context if self.context else 0
        network = replace(experiment.network, context=context, alpha=self.alpha)
        recipe = replace(experiment.recipe, supervise=self.supervise)
        return replace(experiment, network=network, recipe=recipe, seed=seed)


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


TRAININGS = {
    "no_context": Training(("network", "argmax")),
    "heatmaps": Training(("argmax",), supervise="heatmaps"),
    "alpha_0.9": Training(("network",), 0.9, True),
    "alpha_0.8": Training(("network",), 0.8, True),
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


def sweep(experiment: Experiment, directory: Path, *, seeds: int, resume: bool = False, force: bool = False) -> str:
    """Train and score every row over `seeds` seeds, from the experiment's on.

    Args:
        experiment: what the trainings have in common; each changes alpha, context, supervision and seed.
        directory: gets a folder for every training and `table1_NAME.json`, `.md` and `.png`.
        seeds: trainings of each row.
        resume: finished trainings in `directory` are kept, and the one that was cut off goes on.
        force: what is in `directory` is deleted.

    Returns:
        The Markdown.
    """
    if seeds < 1:
        raise PoseError(f"--seeds must be at least 1. Received: {seeds}")
    if experiment.network.context < 1:
        raise PoseError(f"--context is of the rows with context, at least 1. Received: {experiment.network.context}")
    if experiment.machine.hosts:
        raise PoseError("--hosts is for the training commands; here, give each machine a --seed and --seeds 1.")
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in TRAININGS}
    with run_directory(directory, resume=resume, force=force):
        test = test_people(experiment)
        for seed in range(experiment.seed, experiment.seed + seeds):
            for name, training in TRAININGS.items():
                print(f"\n{name}, seed {seed}", flush=True)
                folder = directory / f"{name}_seed_{seed}"
                results[name].append(train_one(training.of(experiment, seed), training, folder, test))
        figures = summary(experiment, test, results)
        name = f"table1_{benchmark_of(experiment).name}"
        write_json(directory / f"{name}.json", figures)
        plot(directory / f"{name}.png", figures)
        text = report(figures, picture=f"{name}.png")
        with atomic_path(directory / f"{name}.md") as temporary:
            temporary.write_text(text, encoding="utf-8")
    return text


def benchmark_of(experiment: Experiment) -> Benchmark:
    """Of the experiment's data."""
    if isinstance(experiment.data, Lsp):
        return LSP
    return SYNTHETIC if str(experiment.data.folder) == "synthetic" else MPII  # type: ignore[union-attr]


def test_people(experiment: Experiment) -> list[Sample]:
    """LSP's test half; of MPII and rendered people those of the validation, as in the paper."""
    return benchmark_of(experiment).load(experiment.data.folder)  # type: ignore[union-attr]


def train_one(experiment: Experiment, training: Training, directory: Path, test: Sequence[Sample]) -> dict[str, Any]:
    """Train one network, or go on with it, and score it; of a finished one, only read the result.

    Returns:
        What `result.json` holds: `scores` by reader, `totals` at `ALPHAS` (of networks with context), `history`,
        `parameters`, `minutes`, `commit`.
    """
    path, total = directory / "result.json", benchmark_of(experiment).total
    if path.exists():
        keep_experiment(directory / "options.json", experiment, resume=True)
        print("finished before", flush=True)
        return read_json(path)
    started, resumed = time.monotonic(), bool(states(directory))
    keras.utils.clear_session()
    run(experiment, directory, resume=True)
    trained = time.monotonic()
    history = {name: column.tolist() for name, column in read_history(directory / "history.csv").items()}
    result = scored(directory / "best.weights.h5", training, benchmark_of(experiment), test) | {
        "history": history, "minutes": (trained - started) / 60, "resumed": resumed, "commit": commit(),
    }  # fmt: skip
    write_json(path, result)
    totals = {reader: round(scores[total], 1) for reader, scores in result["scores"].items()}
    print(f"{total} {totals}, {result['minutes']:.1f} min and {time.monotonic() - trained:.0f} s of scoring")
    return result


def scored(weights: Path, training: Training, benchmark: Benchmark, test: Sequence[Sample]) -> dict[str, Any]:
    """Scores of a weight file by reader; and, with context, the total at each of `ALPHAS`."""
    model, _ = load_model(weights, dtype="float32", outputs="every_map")
    models = {"network": load_model(weights, dtype="float32")[0], "argmax": argmax_decoder(model)}
    result: dict[str, Any] = {"parameters": model.count_params()}
    result["scores"] = {r: benchmark.score(test, predict(models[r], test).pixels) for r in training.readers}
    if training.context:
        ends = []
        for alpha in (0.0, 1.0):
            other = PoseRegressor(**models["network"].get_config() | {"alpha": alpha})
            load_weights(other, weights)
            ends.append(predict(other, test).pixels)
        # Equation 6 is linear in alpha, and so is the way from the crop to the image's pixels.
        blends = [(1 - alpha) * ends[0] + alpha * ends[1] for alpha in ALPHAS]
        result["totals"] = [benchmark.score(test, pixels)[benchmark.total] for pixels in blends]
    return result


def summary(
    experiment: Experiment, test: Sequence[Sample], results: Mapping[str, Sequence[dict[str, Any]]]
) -> dict[str, Any]:
    """Everything the report and the figure show, as JSON takes it."""
    benchmark, people = benchmark_of(experiment), load_people(experiment.data)
    total, cells = benchmark.total, experiment.network.input_size // 8
    rows = {key: _row(row, results[row.training], total) for key, row in ROWS.items()}
    baselines = {
        "Mean pose of the training people": mean_pose(people.training, test),
        f"True joints moved to the nearest of {cells} x {cells} cells": on_grid(test, cells),
    }
    every = [run_ for runs in results.values() for run_ in runs]
    content = to_json(experiment)
    where = benchmark.splits[0] if benchmark is LSP else "validation"
    return {
        "title": f"{benchmark.title} {where}, {benchmark.metric}, single crop",
        "total": total,
        "command": shlex.join(["python", "-m", "experiments.ablation_table1", *sys.argv[1:]]),
        "commit": sorted({run_["commit"] for run_ in every}),
        "hardware": hardware(),
        "minutes": sum(run_["minutes"] for run_ in every),
        "resumed": sum(run_["resumed"] for run_ in every),
        "people": {"training": len(people.training), "validation": len(people.validation), "test": len(test)},
        "network": content["network"] | {"dtype": experiment.machine.dtype},
        "parameters": {name: runs[0]["parameters"] for name, runs in results.items()},
        "recipe": content["recipe"],
        "rows": rows,
        "compared": [
            {
                "first": a,
                "second": b,
                "paper": rows[a]["paper"] - rows[b]["paper"],
                "scores": differences(rows[a], rows[b]),
            }
            for a, b in COMPARED
        ],
        "baselines": {name: benchmark.score(test, pixels) for name, pixels in baselines.items()},
        "alphas": ALPHAS,
        "alpha_sweep": {name: [r["totals"] for r in runs] for name, runs in results.items() if TRAININGS[name].context},
    }


def _row(row: Row, runs: Sequence[dict[str, Any]], total: str) -> dict[str, Any]:
    """The scores of a row over the seeds; `validation` after each epoch, of rows that were validated as they are."""
    scores = [run_["scores"][row.reader] for run_ in runs]
    validated = TRAININGS[row.training].readers[0] == row.reader
    return {
        "label": row.label,
        "paper": quoted(row.quoted),
        "seeds": scores,
        "mean": {name: float(np.mean([s[name] for s in scores])) for name in scores[0]},
        "spread": spread([s[total] for s in scores]),
        "validation": [run_["history"]["score"] for run_ in runs] if validated else [],
    }


def quoted(method: str) -> float:
    """The paper's total for one of its rows."""
    return next(row.scores[MPII.total] for row in MPII.quoted["val", MPII.metric] if row.method == method)


def spread(values: Sequence[float]) -> float | None:
    """Sample standard deviation; None of a single value."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """`difference` of each score of two rows."""
    names = first["seeds"][0]
    return {n: difference([s[n] for s in first["seeds"]], [s[n] for s in second["seeds"]]) for n in names}


def difference(first: Sequence[float], second: Sequence[float]) -> dict[str, Any]:
    """Mean of first - second, paired by seed, with Student's 95 % interval of the mean.

    Both trainings of a seed see the same people in the same order with the same augmentation.

    `low` and `high` are None of one pair; `verdict` is "clear", "reversed" or "inside the spread".
    """
    pairs = np.subtract(first, second)
    mean = float(pairs.mean())
    if len(pairs) < 2:
        return {"difference": mean, "low": None, "high": None, "verdict": "one seed tells no spread"}
    low = high = mean  # differences that are all alike
    if np.ptp(pairs) > 0:
        low, high = map(float, ttest_rel(first, second).confidence_interval(0.95))
    verdict = "clear" if low > 0 else "reversed" if high < 0 else "inside the spread"
    return {"difference": mean, "low": low, "high": high, "verdict": verdict}


def on_grid(samples: Sequence, cells: int) -> np.ndarray:
    """(N, 16, 2) pixels: every annotated joint moved to the nearest cell of a square heat map over its crop.

    No argmax can do better than these.
    """
    affine = windows_of_samples(samples).affine()
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
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        processor = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        processor = platform.processor() or platform.machine()
    gpus = [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU")]
    names = [gpu.get("device_name", "GPU") for gpu in gpus]
    return ", ".join([f"{psutil.cpu_count()} cores of {processor}", *names])


def report(figures: Mapping[str, Any], *, picture: str) -> str:
    """The figures as Markdown."""
    total, count = figures["total"], len(figures["rows"]["b"]["seeds"])
    lines = [
        f"# Table 1 on {figures['title']}",
        "",
        table_of_rows(figures),
        "",
        f"Mean of {count} seeds; ± is the standard deviation of {total} over them. The column Paper is quoted:",
        "MPII validation, PCKh@0.5, single crop, 256 x 256 and K = 8. The paper does not describe its simple argmax:",
        "(a1) is decoding without training of its own, (a2) the same network trained to draw Gaussians of one cell's",
        "width. The last two rows are no method: a guess that sees no picture, and the most that a maximum on the grid",
        "can reach.",
        "",
        "## Does the paper's order show?",
        "",
        *(compared(pair, total) for pair in figures["compared"]),
        "",
        "In brackets Student's 95 % interval of the mean, paired by seed. A difference whose interval holds 0 is",
        "inside the spread: these trainings do not tell the two rows apart. By joint, with half the interval's width:",
        "",
        table_of_differences(figures["compared"]),
        "",
        f"## {total} of the networks with context at other values of alpha",
        "",
        table_of_alphas(figures),
        "",
        "alpha = 0 is the context maps' answer alone, alpha = 1 the part maps'.",
        "",
        f"![validation and alpha]({picture})",
        "",
        "## How",
        "",
        *conditions(figures),
    ]
    return "\n".join(lines) + "\n"


def table_of_rows(figures: Mapping[str, Any]) -> str:
    """The rows beside the paper's, then the baselines."""
    rows = [
        (f"({key}) {row['label']}", {"Paper": row["paper"], **row["mean"], "±": row["spread"] or math.nan})
        for key, row in figures["rows"].items()
    ]
    return format_table(rows + [(n, {"Paper": math.nan, **scores}) for n, scores in figures["baselines"].items()])


def table_of_differences(pairs: Sequence[Mapping[str, Any]]) -> str:
    """Each pair's difference for every score."""
    names = list(pairs[0]["scores"])
    lines = ["| | " + " | ".join(names) + " |", "|---" + "|---:" * len(names) + "|"]
    for pair in pairs:
        cells = [
            f"{d['difference']:+.1f}" + ("" if d["low"] is None else f" ± {(d['high'] - d['low']) / 2:.1f}")
            for d in pair["scores"].values()
        ]
        lines.append(f"| ({pair['first']}) - ({pair['second']}) | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def table_of_alphas(figures: Mapping[str, Any]) -> str:
    """What the networks with context give at every alpha."""
    alphas = [f"{alpha}" for alpha in figures["alphas"]]
    rows = [
        (f"trained with alpha = {name[6:]}", dict(zip(alphas, np.mean(runs, axis=0), strict=True)))
        for name, runs in figures["alpha_sweep"].items()
    ]
    return format_table(rows)


def conditions(figures: Mapping[str, Any]) -> list[str]:
    """The command, and what the figures were measured with: lines of Markdown."""
    network, recipe, people = figures["network"], figures["recipe"], figures["people"]
    parameters = figures["parameters"]
    return [
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


def compared(pair: Mapping[str, Any], total: str) -> str:
    """One difference of the totals as an item of a list."""
    found = pair["scores"][total]
    verdict = {"clear": "the paper's order shows", "reversed": "the reverse of the paper's order"}
    first, second = pair["first"], pair["second"]
    interval = "" if found["low"] is None else f" [{found['low']:+.1f} to {found['high']:+.1f}]"
    return (
        f"- ({first}) - ({second}): {found['difference']:+.1f}{interval}, in the paper {pair['paper']:+.1f}: "
        f"{verdict.get(found['verdict'], found['verdict'])}"
    )


def plot(path: Path, figures: Mapping[str, Any]) -> None:
    """Left, validation after each epoch: mean over the seeds in the band of all of them; right, alpha in the test."""
    figure = Figure((11, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    for key, row in ROWS.items():
        if values := figures["rows"][key]["validation"]:
            _band(left, range(1, len(values[0]) + 1), values, row, f"({key}) {row.label}")
    for key in ("c", "d"):
        row = ROWS[key]
        label = f"({key}) trained with {row.label[-11:]}"
        _band(right, figures["alphas"], figures["alpha_sweep"][row.training], row, label)
    without = figures["rows"]["b"]["mean"][figures["total"]]
    right.axhline(without, color=ROWS["b"].color, linestyle=":", label="(b) without context")
    left.set(title="Validation after each epoch", xlabel="epoch", ylabel=f"{figures['total']}, %")
    right.set(title="Test, alpha changed after training", xlabel="alpha", ylabel=f"{figures['total']}, %")
    for axis in (left, right):
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    count = len(figures["rows"]["b"]["seeds"])
    figure.suptitle(f"{figures['title']}: mean of {count} seeds, band from the lowest to the highest", fontsize=11)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)


def _band(axis: Axes, x: Sequence[float], values: Sequence[Sequence[float]], row: Row, label: str) -> None:
    mean = np.mean(values, axis=0)
    axis.fill_between(x, np.min(values, axis=0), np.max(values, axis=0), color=row.color, alpha=0.15, linewidth=0)
    axis.plot(
        x, mean, color=row.color, marker=row.marker, markersize=4, markevery=max(1, len(x) // 12),
        linestyle="--" if row.reader == "argmax" else "-", label=label,
    )  # fmt: skip
