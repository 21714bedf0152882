"""Numbers quoted from the literature, to print beside ours: never measured here.

The paper is Luvizon, Tabia and Picard, "Human Pose Regression by Combining Indirect Part Detection and Contextual
Information", arXiv 1710.02322. Only what could be traced is here: rows of its tables that are missing below are
missing because their numbers could not be verified, not because they do not matter.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Quoted:
    """A row of somebody's table."""

    method: str
    scores: Mapping[str, float]
    source: str
    """Where the numbers were read."""


def quoted_rows(source: str, columns: str, rows: Mapping[str, tuple[float, ...]]) -> tuple[Quoted, ...]:
    """Rows of one table.

    Args:
        source: where all of them were read.
        columns: their names, between spaces; an underscore stands for a space within a name.
        rows: method -> its scores, one for each column.
    """
    names = [name.replace("_", " ") for name in columns.split()]
    return tuple(Quoted(method, dict(zip(names, row, strict=True)), source) for method, row in rows.items())


SPEED: tuple[Quoted, ...] = quoted_rows(
    "the paper",
    "FPS MB",
    {"Luvizon et al. (the paper)": (29.3, 58.0), "Stacked hourglass, 8 stacks": (18.3, 183.0)},
)
"""Frames per second on the authors' GPU and size of the weight file (58 is in MiB: 59.9e6 bytes)."""


def with_quoted(
    table: Sequence[Quoted], ours: Mapping[str, Mapping[str, float]]
) -> list[tuple[str, Mapping[str, float]]]:
    """Rows for `format_table`: those of `table`, marked as quoted, then `ours`."""
    return [(f"{row.method} (quoted)", row.scores) for row in table] + list(ours.items())


def format_table(rows: Sequence[tuple[str, Mapping[str, float]]], *, digits: int = 1) -> str:
    """A Markdown table, aligned so that it reads well on a terminal too.

    Args:
        rows: label and scores of each row; columns come in the order of the row that has most, and then of first
            appearance. A score that is absent or NaN is printed as "-".
        digits: after the decimal point.

    Returns:
        Lines without a final newline: header, rule, rows.
    """
    longest = max((scores for _, scores in rows), key=len, default={})
    columns = list(dict.fromkeys([*longest, *(column for _, scores in rows for column in scores)]))
    cells = [["", *columns]]
    for label, scores in rows:
        values = [scores.get(column, math.nan) for column in columns]
        cells.append([label, *("-" if math.isnan(value) else f"{value:.{digits}f}" for value in values)])
    widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
    cells.insert(1, ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])])
    return "\n".join(
        "| " + " | ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) + " |" for row in cells
    )
