"""What one or several trainings learned, as one self-contained HTML page.

    python -m experiments.report runs/lsp_small --benchmark lsp --data datasets/lsp --output report.html
    python -m experiments.report runs/a runs/b --benchmark synthetic --data datasets/synthetic --output report.html
    python -m experiments.report runs/* --output curves.html

From every run's `history.csv`: loss, validation score, learning rate, loss and score per block, score per joint. With
`--benchmark`, its `best.weights.h5` also predicts the benchmark's people (LSP: the test half; MPII and synthetic: the
validation people), single crop: PCK over thresholds with the area under the curve, accuracy of each of the K blocks,
calibration of the joint probability, and the worst and the best cases. Several runs lie in the same diagrams.

Cost: without a benchmark seconds. With one, two passes over its people: 1,000 people and a small network at 128 px
take about a minute on two CPU cores. The page holds the photographs of the cases: keep it where the photographs may be.
"""

import argparse
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from experiments.command import run
from pose_regression.data.sample import Sample
from pose_regression.errors import PoseError
from pose_regression.evaluation import metrics
from pose_regression.evaluation.benchmarks import BENCHMARKS, Benchmark
from pose_regression.files import atomic_path
from pose_regression.page import numbers, page, paragraph, photographs, picture, section, table
from pose_regression.training import curves
from pose_regression.training.curves import History
from pose_regression.training.experiment import read_options
from pose_regression.wording import quantity

if TYPE_CHECKING:  # with TensorFlow, which takes seconds
    from pose_regression.evaluation.analysis import Analysis

CASES = 12
"""People on either contact sheet."""

STEPS = 51
"""Thresholds of a PCK curve, as evalMPII's 0, 0.01 ... 0.5."""


@dataclass(frozen=True)
class Run:
    """A training's directory."""

    directory: Path
    history: History
    options: dict
    """Its `options.json`, see `training.experiment.read_options`."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="directory of a training")
    parser.add_argument("--benchmark", choices=tuple(BENCHMARKS), help="also predict its people")
    parser.add_argument("--data", type=Path, metavar="DIR", help="of the benchmark, see datasets/README.md")
    parser.add_argument("--count", type=int, metavar="N", help="predict the first N people only, for a quick look")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="page to write, such as report.html")
    options = parser.parse_args()
    from pose_regression.evaluation.analysis import analyse

    if (options.benchmark is None) != (options.data is None):
        raise PoseError("--benchmark and --data go together: give both, or neither for the curves alone.")
    if options.count is not None and options.count < 1:
        raise PoseError(f"--count must be at least 1. Received: {options.count}")

    runs = {label: read_run(path) for label, path in labels(options.runs).items()}
    parts = [overview(runs), *training_curves({label: run.history for label, run in runs.items()})]
    if options.benchmark:
        benchmark = BENCHMARKS[options.benchmark]
        samples = benchmark.load(options.data)[: options.count]
        benchmark.require_images(samples)
        analyses = {}
        for label, run_ in runs.items():
            print(f"{label}: predicting {quantity(len(samples), 'person')} ...", flush=True)
            analyses[label] = analyse(run_.directory / "best.weights.h5", benchmark, samples)
        parts += results(analyses, benchmark, samples)
    with atomic_path(options.output) as temporary:
        temporary.write_text(page(", ".join(runs), parts), encoding="utf-8")
    print(f"{options.output}: {options.output.stat().st_size / 1e6:.1f} MB")


def labels(paths: Sequence[Path]) -> dict[str, Path]:
    """A short name for each run: its directory's, or the path where two directories are called the same."""
    unique = list(dict.fromkeys(paths))
    names = [path.resolve().name for path in unique]
    return {name if names.count(name) == 1 else str(path): path for name, path in zip(names, unique, strict=True)}


def read_run(directory: Path) -> Run:
    """The history and the options of a training; `PoseError` if `directory` is not one's."""
    if not (directory / "history.csv").is_file():
        raise PoseError(f"{directory} holds no history.csv; expected the --output of a training after its first epoch.")
    options = read_options(directory / "options.json")
    return Run(directory, curves.read_history(directory / "history.csv"), options)


# ------------------------------------------------------------------------------------------------ parts of the page


def overview(runs: Mapping[str, Run]) -> str:
    """What was run and what came of it, a row for each run, and the commands."""
    rows = {}
    for label, run_ in runs.items():
        options, recipe = run_.options["experiment"]["network"], run_.options["experiment"]["recipe"]
        history = run_.history
        best = int(np.nanargmax(history["score"])) if np.isfinite(history["score"]).any() else 0
        rows[label] = [
            f"{options.get('blocks', '-')} × {options.get('width', '-')}",
            f"{options.get('input_size', '-')} px",
            f"{options.get('context', '-')}",
            f"{recipe.get('optimizer', '-')}, batch {recipe.get('batch_size', '-')}",
            f"{history['epoch'][-1]:.0f} of {recipe.get('epochs', '-')}",
            f"{history['score'][best]:.1f} (epoch {history['epoch'][best]:.0f})",
            f"{history['score'][-1]:.1f}",
        ]
    header = ("blocks × width", "input", "context maps", "optimizer", "epochs", "best validation, %", "last, %")
    commands = "".join(
        f"<dt>{html.escape(label)}</dt><dd><code>{html.escape(str(run_.options.get('command', '-')))}</code></dd>"
        for label, run_ in runs.items()
    )
    return section("Runs", table(header, rows), f"<dl>{commands}</dl>")


def training_curves(histories: Mapping[str, History]) -> list[str]:
    """Sections with the curves of the histories."""
    figure = Figure((11, 3.3), layout="constrained")
    axes = figure.subplots(1, 3)
    columns = {"loss": "training loss", "score": "validation score, %", "learning_rate": "learning rate"}
    for axis, (column, title) in zip(axes, columns.items(), strict=True):
        curves.draw_runs(axis, histories, column)
        axis.set_title(title)
    axes[0].legend(fontsize=8)
    parts = [section("Training", picture(figure, "loss, score and learning rate over the epochs"))]

    figure = Figure((11, 3.1 * len(histories)), layout="constrained")
    axes = figure.subplots(len(histories), 2, squeeze=False, sharey="col")
    prefixes, titles = ("block_", "score_block_"), ("training loss (eq. 7)", "validation score, %")
    for row, (label, history) in zip(axes, histories.items(), strict=True):
        for axis, prefix, title in zip(row, prefixes, titles, strict=True):
            curves.draw_blocks(axis, history, prefix)
            axis.set_title(f"{label}: {title}" if len(histories) > 1 else title)
    parts.append(section("Every block over the epochs", picture(figure, "loss and score of every block")))

    names = list(dict.fromkeys(name for history in histories.values() for name in curves.joints_of(history)))
    if len(histories) == 1:
        figure = Figure((11, 4), layout="constrained")
        curves.draw_joints(figure.subplots(), next(iter(histories.values())))
    elif names:
        rows = -(-len(names) // 4)
        figure = Figure((11, 2.5 * rows), layout="constrained")
        axes = figure.subplots(rows, 4, squeeze=False, sharex=True, sharey=True).flat
        for axis, name in zip(axes, names, strict=False):
            curves.draw_runs(axis, histories, name)
            axis.set_title(name)
        axes[0].legend(fontsize=8)
        for axis in axes[len(names) :]:
            axis.set_axis_off()
    return [
        *parts,
        section("Every joint over the epochs", picture(figure, "validation score of every joint, per cent")),
    ]


def results(analyses: Mapping[str, "Analysis"], benchmark: Benchmark, samples: Sequence[Sample]) -> list[str]:
    """Sections on the predictions of the best weights."""
    split = benchmark.splits[0]
    chose = "" if split == "test" else ", which also chose the weights"
    intro = paragraph(
        f"best.weights.h5 on {quantity(len(samples), 'person')} of {benchmark.title} {split}{chose}; "
        "single crop, no flip. "
        f"{benchmark.metric}: a joint is right within {benchmark.threshold} {benchmark.unit} of its annotation."
    )
    return [
        section("Accuracy", intro, accuracy(analyses, benchmark)),
        section("Every block", *every_block(analyses, benchmark)),
        section("Joint probability", *probability(analyses)),
        *(cases(label, analysis, benchmark, samples) for label, analysis in analyses.items()),
    ]


def accuracy(analyses: Mapping[str, "Analysis"], benchmark: Benchmark) -> str:
    """Table of the scores, and PCK over thresholds."""
    thresholds = np.linspace(0, benchmark.threshold, STEPS)
    figure = Figure((7, 4), layout="constrained")
    axis = figure.subplots()
    rows = {}
    for i, (label, analysis) in enumerate(analyses.items()):
        rates = metrics.pck_curve(analysis.distances, thresholds)
        area = metrics.area_under_curve(thresholds, rates)
        axis.plot(thresholds, rates, label=f"{label}: area {area:.1f}", **curves.style(i))
        rows[label] = [f"{analysis.parameters:,}", *numbers(analysis.blocks[-1].values()), f"{area:.1f}"]
    axis.set(xlabel=f"threshold, {benchmark.unit}", ylabel="joints within it, %")
    axis.set(xlim=(0, benchmark.threshold), ylim=(0, 100))
    axis.grid(alpha=0.3)
    axis.legend(loc="upper left", fontsize=9)
    names = next(iter(analyses.values())).blocks[-1]
    header = ("parameters", *names, "area under curve")
    return table(header, rows) + picture(figure, "PCK over thresholds")


def every_block(analyses: Mapping[str, "Analysis"], benchmark: Benchmark) -> list[str]:
    """What each further block adds: all are supervised, the last one is the answer."""
    figure = Figure((7, 3.6), layout="constrained")
    axis = figure.subplots()
    tables = []
    for i, (label, analysis) in enumerate(analyses.items()):
        totals = [scores[benchmark.total] for scores in analysis.blocks]
        axis.plot(range(1, len(totals) + 1), totals, marker="o", label=label, **curves.style(i))
        gains = ["", *(f"{gain:+.1f}" for gain in np.diff(totals))]
        rows = {
            f"block {k}": [*numbers(scores.values()), gain]
            for k, (scores, gain) in enumerate(zip(analysis.blocks, gains, strict=True), start=1)
        }
        heading = f"<h3>{html.escape(label)}</h3>" if len(analyses) > 1 else ""
        tables.append(heading + table((*analysis.blocks[0], "gained"), rows))
    axis.set(xlabel="block", ylabel=f"{benchmark.metric}, %")
    axis.set_xticks(range(1, 1 + max(len(analysis.blocks) for analysis in analyses.values())))
    axis.grid(alpha=0.3)
    axis.legend(fontsize=9)
    return [picture(figure, "accuracy of every block"), *tables]


def probability(analyses: Mapping[str, "Analysis"]) -> list[str]:
    """Reliability diagrams, one for each window, and the calibration errors."""
    windows = list(next(iter(analyses.values())).calibration)
    figure = Figure((9.5, 4.2), layout="constrained")
    axes = figure.subplots(1, len(windows), sharey=True)
    rows: dict[str, list[str]] = {}
    for axis, window in zip(axes, windows, strict=True):
        axis.plot((0, 1), (0, 1), color="0.6", linewidth=1)
        for i, (label, analysis) in enumerate(analyses.items()):
            filled = [row for row in analysis.calibration[window] if row["count"]]
            count = sum(row["count"] for row in filled)
            given, found = ([row[name] for row in filled] for name in ("probability", "frequency"))
            axis.plot(given, found, linewidth=1, label=label, **curves.style(i))
            # Area as count, but never too small to see.
            sizes = [max(200 * row["count"] / count, 6) for row in filled]
            axis.scatter(given, found, s=sizes, color=curves.style(i)["color"], alpha=0.7)
            rows[f"{label}, {window}"] = [
                f"{count:,}",
                f"{100 * np.average(given, weights=[row['count'] for row in filled]):.1f}",
                f"{100 * np.average(found, weights=[row['count'] for row in filled]):.1f}",
                f"{100 * metrics.calibration_error(filled):.1f}",
            ]
        axis.set(title=window, xlabel="probability given", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("joints that are inside and annotated, frequency")
    axes[0].legend(fontsize=8)
    text = paragraph(
        "Of the joints given a probability, how many really are in the window. The benchmark's own window has nearly "
        f"all joints inside; {windows[1]} cuts off more. A dot's area is its number of joints."
    )
    header = ("joints", "mean probability, %", "really inside, %", "calibration error, %")
    return [text, picture(figure, "calibration of the joint probability"), table(header, rows)]


def cases(label: str, analysis: "Analysis", benchmark: Benchmark, samples: Sequence[Sample]) -> str:
    """Contact sheets of the worst and of the best people."""
    from pose_regression.evaluation.sheets import choose, draw_people, mean_errors

    joints = benchmark.skeleton
    errors = mean_errors(analysis.distances)
    parts = []
    for title, badness in (("Worst", errors), ("Best", -errors)):
        shown = choose(badness, worst=True, count=CASES)
        captions = [f"{Path(samples[i].image).stem}  {errors[i]:.2f}" for i in shown]
        sheet = draw_people([samples[i] for i in shown], analysis.pixels[shown], joints, captions, columns=6)
        parts.append(f"<h3>{title}</h3>{photographs(sheet, f'{title.lower()} cases of {label}')}")
    text = f"Mean distance to the annotation (white) in {benchmark.unit}; the person's right is orange, the left blue."
    return section(f"Cases: {label}", paragraph(text), *parts)


if __name__ == "__main__":
    run(main)
