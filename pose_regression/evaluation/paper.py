"""Numbers quoted from the literature, to print beside ours: never measured here.

The paper is Luvizon, Tabia and Picard, "Human Pose Regression by Combining Indirect Part Detection and Contextual
Information", arXiv 1710.02322. Only what could be traced is here: rows of its tables that are missing below are
missing because their numbers could not be verified, not because they do not matter.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["SPEED", "TABLE_1", "TABLE_2", "TABLE_3", "TABLE_4", "Quoted", "format_table", "with_quoted"]


@dataclass(frozen=True)
class Quoted:
    """A row of somebody's table."""

    method: str
    scores: Mapping[str, float]
    source: str
    """Where the numbers were read."""


def _rows(source: str, columns: str, rows: Mapping[str, tuple[float, ...]]) -> tuple[Quoted, ...]:
    names = [name.replace("_", " ") for name in columns.split()]
    return tuple(Quoted(method, dict(zip(names, row, strict=True)), source) for method, row in rows.items())


_LSP = (
    "the paper, {table}; columns also at github.com/farrajota/human-pose-benchmark@0228bb3, "
    "and recomputed from the published predictions"
)
_HRNET = "Sun et al., Deep High-Resolution Representation Learning for Human Pose Estimation, CVPR 2019, Table 3"

TABLE_1: tuple[Quoted, ...] = _rows(
    "the paper, Table 1; 89.1 also in the README of github.com/dluvizon/deephar",
    "Total",
    {
        "Simple argmax": (85.3,),
        "Soft-argmax, no context": (86.9,),
        "Soft-argmax, context, alpha = 0.9": (88.7,),
        "Soft-argmax, context, alpha = 0.8": (89.1,),
    },
)
"""MPII validation, PCKh@0.5, single crop."""

TABLE_2: tuple[Quoted, ...] = _rows(
    _LSP.format(table="Table 2"),
    "Head Sho. Elb. Wri. Hip Knee Ank. PCK",
    {
        "Pishchulin et al., ICCV'13": (87.2, 56.7, 46.7, 38.0, 61.0, 57.5, 52.7, 57.1),
        "Wei et al., CVPR'16": (97.8, 92.5, 87.0, 83.9, 91.5, 90.8, 89.9, 90.5),
        "Bulat and Tzimiropoulos, ECCV'16": (97.2, 92.1, 88.1, 85.2, 92.2, 91.4, 88.7, 90.7),
    },
) + _rows("the paper, Table 2", "PCK", {"Earlier regression method, trained on MPII too": (73.1,)})
"""LSP test, PCK@0.2, person-centric. The paper's own row could not be traced."""

TABLE_3: tuple[Quoted, ...] = _rows(
    _LSP.format(table="Table 3"),
    "Torso Upper_leg Lower_leg Upper_arm Forearm Head PCP",
    {
        "Pishchulin et al., ICCV'13": (88.7, 63.6, 58.4, 46.0, 35.2, 85.1, 58.0),
        "Wei et al., CVPR'16": (98.0, 92.2, 89.1, 85.8, 77.9, 95.0, 88.3),
        "Bulat and Tzimiropoulos, ECCV'16": (97.7, 92.4, 89.3, 86.7, 79.7, 95.2, 88.9),
    },
)
"""LSP test, strict PCP, person-centric. The paper's own row could not be traced."""

TABLE_4: tuple[Quoted, ...] = _rows(
    _HRNET,
    "Head Shoulder Elbow Wrist Hip Knee Ankle Total",
    {
        "Insafutdinov et al., ECCV'16": (96.8, 95.2, 89.3, 84.4, 88.4, 83.4, 78.0, 88.5),
        "Wei et al., CVPR'16": (97.8, 95.0, 88.7, 84.0, 88.4, 82.8, 79.4, 88.5),
        "Bulat and Tzimiropoulos, ECCV'16": (97.9, 95.1, 89.9, 85.3, 89.4, 85.7, 81.7, 89.7),
        "Newell et al., ECCV'16": (98.2, 96.3, 91.2, 87.1, 90.1, 87.4, 83.6, 90.9),
        "Luvizon et al. (the paper)": (98.1, 96.6, 92.0, 87.5, 90.6, 88.0, 82.7, 91.2),
        "Chu et al., CVPR'17": (98.5, 96.3, 91.9, 88.1, 90.6, 88.0, 85.0, 91.5),
        "Chen et al., ICCV'17": (98.1, 96.5, 92.5, 88.5, 90.2, 89.6, 86.0, 91.9),
    },
)
"""MPII test, PCKh@0.5; the paper's row with several crops and flip. Which other rows its Table 4 has is not known
here; these are the benchmark's."""

SPEED: tuple[Quoted, ...] = _rows(
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
