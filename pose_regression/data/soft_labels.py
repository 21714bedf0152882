"""People whom a stronger network labelled: a compressed CSV -> samples whose joints weigh less than a person's labels.

They stand beside the labels, not in their place: the same person is then two samples, and the losses find the middle.
Joints that people left out, and people whom nobody labelled, are learned from such a sample alone.

The columns are `image`, the first twelve hexadecimal digits of the SHA-256 of the image file, as copies of a data set
number their files differently; then `NAME_x`, `NAME_y` in pixels of the file and `NAME_weight` in [0, 1] for each
joint. A weight of 0 says nothing about the joint.
"""

import csv
import gzip
import hashlib
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from pose_regression.data.lsp import SMALLEST_BOX, person_box
from pose_regression.data.sample import Sample
from pose_regression.errors import PoseError
from pose_regression.files import shown, write_file
from pose_regression.skeleton import Skeleton, reorder

_PARTS = ("x", "y", "weight")


def digest(image: str | Path) -> str:
    """What the file calls an image: twelve digits of the SHA-256 of its content."""
    try:
        return hashlib.sha256(Path(image).read_bytes()).hexdigest()[:12]
    except OSError as error:
        raise PoseError(f"{image} cannot be read: {error.strerror}.") from error


def write(path: str | Path, images: Sequence[str], values: np.ndarray, skeleton: Skeleton) -> None:
    """Write the file.

    Args:
        path: customarily `NAME.csv.gz`.
        images: `digest` of the image of each of N people.
        values: (N, J, 3) x, y in pixels and weight; rounded to whole pixels and hundredths.
        skeleton: the J joints.
    """
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(_columns(skeleton.names))
    for image, person in zip(images, values, strict=True):
        lines.writerow([image, *(cell for x, y, w in person for cell in (round(x), round(y), f"{w:.2f}"))])
    # Without a time stamp: the same people give the same bytes.
    write_file(path, gzip.compress(text.getvalue().encode(), mtime=0))


def read(path: str | Path, images: Iterable[str | Path], *, skeleton: Skeleton, weight: float = 1.0) -> list[Sample]:
    """The people in those of the file's images that are among `images`, others are passed over.

    Args:
        path: file of `write`.
        images: image files; each is read, for its digest.
        skeleton: order of the samples' joints.
        weight: factor on every weight of the file.

    Returns:
        Samples with the window that LSP's rule gives from their joints (`lsp.person_box`), in the file's order; people
        of fewer than two labelled joints, or outside the picture, have none and are left out.

    Raises:
        PoseError: the file cannot be read or has another form, or none of its images is among `images`.
    """
    named, rows = _rows(Path(path))
    files = {digest(image): str(image) for image in images}
    of_these = [(files[row[0]], values) for row, values in rows if row[0] in files]
    if not of_these:
        raise PoseError(f"{path} names none of the {len(files)} images given; expected soft labels of these images.")
    samples = [_sample(*person, named, skeleton, weight) for person in of_these]
    return [sample for sample in samples if np.isfinite(sample.center).all()]


def _columns(names: Iterable[str]) -> list[str]:
    return ["image", *(f"{name}_{part}" for name in names for part in _PARTS)]


def _rows(path: Path) -> tuple[Skeleton, list[tuple[list[str], np.ndarray]]]:
    """The joints that the file names, and each line with its (J, 3) numbers."""
    try:
        header, *lines = csv.reader(io.StringIO(gzip.decompress(path.read_bytes()).decode("utf-8")))
    except (OSError, ValueError, EOFError, csv.Error) as error:
        raise PoseError(f"{path} is no readable compressed CSV of soft labels ({error}).") from error
    names = tuple(name.removesuffix("_x") for name in header[1::3])
    if header != _columns(names) or not names:
        raise PoseError(f"{path} must begin with image,NAME_x,NAME_y,NAME_weight,... Received: {shown(header)}")
    rows = []
    for number, line in enumerate(lines, 2):
        try:
            values = np.array(line[1:], np.float64).reshape(len(names), 3)
        except ValueError:
            values = np.full((1, 3), np.nan)
        if not (np.isfinite(values).all() and (0 <= values[:, 2]).all() and (values[:, 2] <= 1).all()):
            raise PoseError(
                f"{path}, line {number}: expected an image and, for each of {len(names)} joints, x, y and a weight "
                f"from 0 to 1. Received: {shown(line)}"
            )
        rows.append((line, values))
    return Skeleton(names), rows


def _sample(image: str, values: np.ndarray, source: Skeleton, target: Skeleton, factor: float) -> Sample:
    known = values[:, 2] > 0
    joints = reorder(np.where(known[:, None], values[:, :2], np.nan), source, target)
    weight = np.nan_to_num(reorder(values[:, 2] * factor, source, target, axis=0))
    box = person_box(joints, None)
    side = max(float((box[2:] - box[:2]).max()), SMALLEST_BOX)
    return Sample(image, (box[:2] + box[2:]) / 2, side, joints, np.isfinite(joints).all(axis=-1), weight=weight)
