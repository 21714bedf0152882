"""Labels believed to be wrong, as a CSV that a person can read and edit, and samples without them.

The columns are `image` (file name), `joint` (name), `kind`, `residual` and `suggestion`. Two kinds are known:

- "swap": the joint and its mirror image have each other's position; `without` exchanges them;
- "misplaced": the position is wrong; `without` takes the joint for not annotated.

`residual` (distance to the prediction in torso lengths) and `suggestion` (the other joint's name, or the predicted
"x y" in pixels) are for people; nothing reads them.
"""

import csv
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path

import numpy as np

from pose_regression.data.sample import Sample
from pose_regression.errors import PoseError
from pose_regression.files import atomic_path, shown
from pose_regression.skeleton import PA16J, Skeleton

__all__ = ["KINDS", "Correction", "read", "without", "write"]

KINDS = ("swap", "misplaced")


@dataclass(frozen=True)
class Correction:
    """One line of the file; the module's docstring says what the fields are."""

    image: str
    joint: str
    kind: str
    residual: float
    suggestion: str


_COLUMNS = tuple(field.name for field in fields(Correction))


def write(path: str | Path, corrections: Sequence[Correction]) -> None:
    """Write the CSV, residuals to three decimals, whole or not at all; `PoseError` if it cannot be written."""
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(_COLUMNS)
        lines.writerows(astuple(replace(line, residual=round(line.residual, 3))) for line in corrections)


def read(path: str | Path, skeleton: Skeleton = PA16J) -> list[Correction]:
    """Read the CSV.

    Args:
        path: the file.
        skeleton: the joints that may be named.

    Raises:
        PoseError: the file cannot be read, or a line has another form, an unknown joint, an unknown kind, or a swap of
            a joint without a mirror image.
    """
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise PoseError(f"{path} is no readable CSV file of corrections ({error}).") from error
    header, *rows = rows or [[]]
    if tuple(header) != _COLUMNS:
        raise PoseError(f"{path} must begin with the line {','.join(_COLUMNS)}. Received: {shown(header)}")
    return [_parse(row, f"{path}, line {i}", skeleton) for i, row in enumerate(rows, start=2)]


def without(samples: Sequence[Sample], path: str | Path, *, skeleton: Skeleton = PA16J) -> list[Sample]:
    """The samples with the labels in the file put right: swapped ones exchanged, misplaced ones not annotated (NaN).

    Images go by file name, so this comes before the images are prepared under other names, and fits data sets with
    one person an image. Images that are not among `samples` are passed over, as `samples` may be a part of the data
    set; centre and side stay as they are.

    Args:
        samples: people with joints in the order of `skeleton`.
        path: file of `write`.
        skeleton: the joints.

    Returns:
        As many samples in the same order; those without corrections are the very same objects.

    Raises:
        PoseError: as for `read`; or the file has lines, and none is of any of these images.
    """
    lines = defaultdict(list)
    for line in read(path, skeleton):
        lines[line.image].append(line)
    if lines and lines.keys().isdisjoint(Path(sample.image).name for sample in samples):
        raise PoseError(f"{path} corrects {next(iter(lines))} and others, none of which is among the images given.")
    return [
        replace(sample, joints=_corrected(sample.joints, found, skeleton))
        if (found := lines.get(Path(sample.image).name))
        else sample
        for sample in samples
    ]


def _corrected(joints: np.ndarray, lines: Sequence[Correction], skeleton: Skeleton) -> np.ndarray:
    """(J, 2) joints after the exchanges, then with the misplaced ones NaN."""
    order = list(range(len(skeleton)))
    for line in lines:
        if line.kind == "swap":  # Usually named from both its ends: set, not exchanged, so that twice is once.
            joint = skeleton.index(line.joint)
            other = skeleton.flip[joint]
            order[joint], order[other] = other, joint
    result = joints[order]
    result[[skeleton.index(line.joint) for line in lines if line.kind == "misplaced"]] = np.nan
    return result


def _parse(row: Sequence[str], where: str, skeleton: Skeleton) -> Correction:
    try:
        image, joint, kind, residual, suggestion = row
        line = Correction(image, joint, kind, float(residual), suggestion)
    except ValueError:
        line = None
    if line is None or not math.isfinite(line.residual):
        raise PoseError(f"{where}: expected {','.join(_COLUMNS)}, residual a number. Received: {shown(row)}")
    if kind not in KINDS:
        raise PoseError(f"{where}: the kinds are {', '.join(KINDS)}. Received: {shown([kind])}")
    if joint not in skeleton.names:
        raise PoseError(f"{where}: no joint is called {shown([joint])!r}; the joints are {', '.join(skeleton.names)}.")
    if kind == "swap" and skeleton.flip[skeleton.index(joint)] == skeleton.index(joint):
        raise PoseError(f"{where}: {joint} has no left and right that could be swapped.")
    return line
