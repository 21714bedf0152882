"""Curves of training runs, drawn from the `history.csv` that a training writes after every epoch."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pose_regression.errors import PoseError
from pose_regression.files import atomic_path

History = dict[str, np.ndarray]
"""Column of `history.csv` -> its value in every epoch, (E,) float64."""

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31", "#000000")
"""Told apart by the colour-blind too (Okabe and Ito, yellow replaced by brown, which shows on white)."""

DASHES = ("-", "--", "-.", ":")


def read_history(path: Path) -> History:
    """The columns of a `history.csv`; `PoseError` if it is absent, empty or damaged."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, strict=True))
        columns = {name: np.array([float(row[name]) for row in rows]) for name in (rows[0] if rows else ())}
    except OSError as error:
        raise PoseError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, TypeError, KeyError, csv.Error) as error:
        raise PoseError(f"{path} is damaged: not every row has a number in every column.") from error
    missing = [name for name in ("epoch", "learning_rate", "loss", "score") if name not in columns]
    if missing:
        raise PoseError(f"{path} is no history of a training: it has no {', '.join(missing)}.")
    return columns


def total_of(history: History) -> str:
    """The column that sums up the validation: LSP's or MPII's."""
    return next((name for name in ("PCK", "Total") if name in history), "score")


def joints_of(history: History) -> list[str]:
    """The columns with a joint's validation score."""
    others = {
        *"epoch learning_rate loss pose_loss probability_loss heatmaps_loss score UBody".split(),
        total_of(history),
    }
    return [name for name in history if name not in others and not name.startswith(("block_", "score_block_"))]


def style(i: int) -> dict[str, Any]:
    """Colour and dashes of the i-th of several lines."""
    return {"color": COLORS[i % len(COLORS)], "linestyle": DASHES[i % len(DASHES)]}


def draw_blocks(axis: Axes, history: History, prefix: str) -> None:
    """A line for each block, from light to dark: the columns `prefix`1 ... `prefix`K."""
    names = [name for name in history if name.startswith(prefix)]
    shades = matplotlib.colormaps["viridis_r"](np.linspace(0.15, 1, len(names)))
    for name, shade in zip(names, shades, strict=True):
        axis.plot(
            history["epoch"], history[name], color=shade, label=f"block {name.removeprefix(prefix)}", **_mark(history)
        )
    _epochs(axis)
    if names:
        axis.legend(fontsize=8, ncols=2 if len(names) > 4 else 1)


def draw_joints(axis: Axes, history: History) -> None:
    """A line for each joint's validation score, and a heavy one for all together."""
    for i, name in enumerate(joints_of(history)):
        axis.plot(history["epoch"], history[name], label=name, **style(i), **_mark(history))
    total = total_of(history)
    axis.plot(history["epoch"], history["score"], color="black", linewidth=2.5, label=total, **_mark(history))
    _epochs(axis)
    axis.legend(fontsize=8, ncols=2)


def draw_runs(axis: Axes, histories: Mapping[str, History], column: str) -> None:
    """One column of several runs, a line each; a run without it is left out."""
    for i, (label, history) in enumerate(histories.items()):
        if column in history:
            axis.plot(history["epoch"], history[column], label=label, **style(i), **_mark(history))
    _epochs(axis)


def plot_history(history: Path, path: Path) -> None:
    """Write one run's curves as PNG: loss and score per block, score per joint, learning rate."""
    columns = read_history(history)
    figure = Figure((11, 7), layout="constrained")
    axes = figure.subplots(2, 2)
    draw_blocks(axes[0, 0], columns, "block_")
    draw_blocks(axes[0, 1], columns, "score_block_")
    draw_joints(axes[1, 0], columns)
    draw_runs(axes[1, 1], {"": columns}, "learning_rate")
    titles = ("training loss (eq. 7) per block", f"{total_of(columns)} per block, %", "validation, %", "learning rate")
    for axis, title in zip(axes.flat, titles, strict=True):
        axis.set_title(title)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)


def _epochs(axis: Axes) -> None:
    axis.set_xlabel("epoch")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.grid(alpha=0.3)


def _mark(history: History) -> dict[str, Any]:
    """A dot where there are too few epochs for a line to show."""
    return {"marker": "o", "markersize": 3} if len(history["epoch"]) < 3 else {}
