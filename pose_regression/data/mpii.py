"""MPII Human Pose: annotation files -> samples.

Three files are understood, each by one reader:

- `mpii_human_pose_v1_u12_1.mat`, the official release: everything but who is for validation (`read_release`);
- `mpii_annotations.mat` of the method's authors: training and validation people, no test (`read_authors`);
- `valid.h5`, the 2,958 validation people as passed around since the stacked hourglass, coordinates cut to integers
  (`read_validation_h5`).

`load` puts them together. Whatever the file, the crop has its centre 15 s below MPII's rough centre of the person and
its side is 200 * 1.25 s, s being the person's height / 200 px (authors' `get_data`); an occluded joint is present, one
whose id is not listed is missing; PCKh's unit is 0.6 of the head box's diagonal (official evalMPII). Coordinates are
the files', unshifted, as in the authors' code.
"""

import csv
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from pose_regression import skeleton
from pose_regression.container import stored
from pose_regression.data.matlab import read_variables
from pose_regression.data.sample import Sample
from pose_regression.errors import PoseError
from pose_regression.files import shown

SPLITS = ("train", "val", "test")
RELEASE_NAMES = ("mpii_human_pose_v1_u12_1.mat",)
AUTHORS_NAMES = ("mpii_annotations.mat", "annotations.mat")
VALIDATION_NAMES = ("valid.h5", "validation.csv")

_RELEASE_SOURCE = "mpii_human_pose_v1_u12_1.mat and the images from http://human-pose.mpi-inf.mpg.de"
_AUTHORS_SOURCE = "mpii_annotations.mat from https://github.com/dluvizon/deephar/releases/tag/v0.1"

OFFSET_Y = 15.0
"""The crop's centre lies this many times `scale` below `objpos`."""

SIDE = 200.0 * 1.25
"""The crop's side is this many times `scale`."""

HEAD_SIZE = 0.6
"""PCKh's unit as part of the head box's diagonal."""

_MOST_PEOPLE = 1_000_000
"""A validation file that claims more is damaged; reading it might fill the memory."""


def load(directory: str | Path, split: str, *, annotation: str | Path | None = None) -> list[Sample]:
    """Read one split of MPII, or of a data set in its layout.

    `directory` holds `images/` and, itself or in its folder `annot/`:

    - train, val: the authors' `mpii_annotations.mat` (or `annotations.mat`), which says who is who; else the official
      release, whose listed people are "val" and whose other annotated people are "train". They are listed by
      `valid.h5` or by `validation.csv` (`read_validation_csv`). "val" alone can do with `valid.h5` alone.
    - test: the official release; the people whom it calls sufficiently separated, with their joints where the file
      has them (those of the test images were published in 2021, the file of 2014 lacks them).

    Args:
        directory: folder of the data set; nothing looks at the images yet.
        split: "train", "val" or "test".
        annotation: a file in the official layout, in place of both the official and the authors'. It may hold fewer
            of the validation people than listed; the official one must hold all.

    Returns:
        Samples in the network's order PA16J, all 16 joints supervised; NaN joints where missing. "val" is in the order
        of the file that lists it. `person` counts from 0 in the official release. People without `objpos` or `scale`
        have no crop and are left out.

    Raises:
        PoseError: a file is absent (with its source), damaged or of another layout, or `split` is unknown.
    """
    if split not in SPLITS:
        raise PoseError(f"MPII has the splits {', '.join(SPLITS)}. Received: split={split!r}")
    directory = Path(directory)
    images = directory / "images"
    release = Path(annotation) if annotation else find_release(directory)
    authors = None if annotation else _find(directory, AUTHORS_NAMES)
    listing = _find(directory, VALIDATION_NAMES)

    if split == "test":
        if release is None:
            raise PoseError(f"{directory} has no MPII test annotation; download {_RELEASE_SOURCE} to {directory}.")
        return read_release(release, images)["test"]
    if authors:
        return read_authors(authors, images)[split]
    if release and listing:
        everybody, chosen = read_release(release, images)["train"], _listed(listing)
        people = {_key(sample): sample for sample in everybody}
        absent = [key for key in chosen if key not in people]
        if absent and (annotation is None or len(absent) == len(chosen)):
            raise PoseError(
                f"{listing} lists person {absent[0][1]} (from 0) of {absent[0][0]}, whom {release} does not annotate."
            )
        if split == "val":
            return [people[key] for key in chosen if key in people]
        validation = set(chosen)
        return [sample for sample in everybody if _key(sample) not in validation]
    if release:
        raise PoseError(
            f"{release} does not say who is for validation; download {_AUTHORS_SOURCE} to {directory}, "
            "or put valid.h5 or validation.csv there."
        )
    if split == "val" and listing and listing.suffix == ".h5":
        return read_validation_h5(listing, images)
    raise PoseError(
        f"{directory} has no MPII annotation; download {_RELEASE_SOURCE}, and {_AUTHORS_SOURCE}, to {directory}, "
        "the pictures into its folder images."
    )


def read_release(path: str | Path, images: str | Path = ".") -> dict[str, list[Sample]]:
    """Read a file in the layout of the official release.

    Args:
        path: MATLAB file with the struct `RELEASE`.
        images: folder of the images, for the samples' paths.

    Returns:
        "train": all people with joints in images with `img_train` = 1, validation people among them;
        "test": people of `single_person` in the other images, joints NaN if the file does not annotate them.
        People without `objpos` or `scale` are left out. `head_size` is NaN where there is no head box.

    Raises:
        PoseError: the file is absent, damaged or in another layout.
    """
    (release,) = read_variables(path, ("RELEASE",))
    people: dict[str, list[_Person]] = {"train": [], "test": []}
    with layout(path, "the struct RELEASE of MPII"):
        release = release[0, 0]
        images_of = release["annolist"].ravel()
        img_train, single_person = release["img_train"].ravel(), release["single_person"].ravel()
        if not len(images_of) == len(img_train) == len(single_person):
            raise ValueError("annolist, img_train and single_person differ in length")
        for i, (image, rects) in enumerate(zip(images_of["image"], images_of["annorect"], strict=True)):
            name = image_name(image[0, 0]["name"])
            split = "train" if img_train[i] else "test"
            separated = {int(number) - 1 for number in single_person[i].ravel()}
            for person, rect in enumerate(records(rects)):
                if split == "test" and person not in separated:
                    continue
                pose = release_pose(rect)
                if pose is None and split == "test":
                    pose = np.full((len(skeleton.MPII), 2), np.nan)
                if pose is not None:
                    head = [scalar(rect, corner) for corner in ("x1", "y1", "x2", "y2")]
                    objpos = field(rect, "objpos")
                    center = [scalar(objpos[0, 0], axis) for axis in ("x", "y")] if objpos.size else [np.nan, np.nan]
                    people[split].append(_Person(name, person, head, center, scalar(rect, "scale"), pose))
        return {split: _to_samples(found, images) for split, found in people.items()}


def read_authors(path: str | Path, images: str | Path = ".") -> dict[str, list[Sample]]:
    """Read `mpii_annotations.mat` of the method's authors.

    Args:
        path: MATLAB file with the 3 x N cells `annot_tr` and `annot_val`; the rows are the numbers of the people to
            use, the image's name, and per person the structs head, objpos, scale and pose (2 x 16, MPII's order).
        images: folder of the images, for the samples' paths.

    Returns:
        "train" and "val" in the file's order.

    Raises:
        PoseError: the file is absent, damaged or in another layout.

    Source: the layout is that of `deephar/data/mpii.py`, the authors' reader.
    """
    result = {}
    for split, cells in zip(("train", "val"), read_variables(path, ("annot_tr", "annot_val")), strict=True):
        people = []
        with layout(path, "the authors' 3 x N cells annot_tr and annot_val"):
            for numbers, name, structs in cells.T:
                for person in (int(number) - 1 for number in numbers.ravel()):
                    if not 0 <= person < structs.size:
                        raise ValueError(f"{image_name(name)} has no person {person + 1}")
                    record = structs.ravel()[person][0, 0]
                    head, objpos = record["head"].ravel(), record["objpos"].ravel()
                    pose, scale = record["pose"].T, scalar(record, "scale")
                    people.append(_Person(image_name(name), person, head, objpos, scale, pose))
            result[split] = _to_samples(people, images)
    return result


def read_validation_h5(path: str | Path, images: str | Path = ".") -> list[Sample]:
    """Read `valid.h5`, the usual 2,958 validation people.

    Args:
        path: HDF5 file with `imgname` (N), `person` (N, from 0), `part` (N, 16, 2) in MPII's order,
            (0, 0) where missing, `center` (N, 2) = objpos + (0, 15 s), `scale` (N) = 1.25 s, `normalize` (N) the
            head size.
        images: folder of the images, for the samples' paths.

    Returns:
        N samples in the file's order. Joints lack their fractions, which the file has cut off: the official release
        is to be preferred for scores.

    Raises:
        PoseError: the file is absent, damaged, in another layout, or has links to other files.
    """
    shapes = {"imgname": (), "person": (), "part": (16, 2), "center": (2,), "scale": (), "normalize": ()}
    path = Path(path)
    if not path.is_file():
        raise PoseError(f"{path} does not exist; expected MPII's valid.h5.")
    try:
        with h5py.File(path) as file:
            data = {name: _read_dataset(file, name, shape) for name, shape in shapes.items()}
        if len({len(value) for value in data.values()}) != 1:
            raise ValueError("data sets of different lengths")
        names = [image_name(name) for name in data.pop("imgname")]
        number = {name: value.astype(np.float64) for name, value in data.items()}
        if not all(np.isfinite(number[name]).all() for name in ("person", "center", "scale")):
            raise ValueError("person, center or scale is not finite")
        persons = number["person"].astype(np.int64).tolist()
    except Exception as error:  # h5py raises OSError, RuntimeError, KeyError, TypeError, MemoryError, ...
        raise PoseError(f"{path} is damaged or not MPII's valid.h5 ({_reason(error)}).") from error
    missing = (number["part"] == 0).all(axis=-1, keepdims=True)
    joints = skeleton.reorder(np.where(missing, np.nan, number["part"]), skeleton.MPII, skeleton.PA16J)
    sides = 200.0 * number["scale"]
    return _samples(images, names, persons, number["center"], sides, joints, number["normalize"])


def read_validation_csv(path: str | Path) -> list[tuple[str, int]]:
    """Read a list of validation people: a line `image,person`, then one line per person.

    `image` is the file name and `person` counts from 0 within the image's annotation, for example `005808361.jpg,1`.

    Raises:
        PoseError: the file cannot be read or a line is malformed.
    """
    try:
        with open(path, encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
    except (OSError, ValueError, csv.Error) as error:
        raise PoseError(f"{path} is no readable CSV file ({error}).") from error
    if header != ["image", "person"]:
        raise PoseError(f"{path} must begin with the line image,person. Received: {shown(header)}")
    for i, row in enumerate(rows, start=2):
        if len(row) != 2 or not row[1].isdecimal():
            raise PoseError(f"{path}, line {i}: expected image,person (from 0). Received: {shown(row)}")
    return [(image, int(person)) for image, person in rows]


class _Person(NamedTuple):
    """What the MATLAB files say of one person, in their numbers and MPII's joint order."""

    image: str
    person: int
    head: Sequence[float]
    """x1, y1, x2, y2; NaN where there is no head box."""
    objpos: Sequence[float]
    """Rough centre (x, y); empty or NaN where there is none."""
    scale: float
    pose: np.ndarray
    """(16, 2), NaN where missing."""


def _to_samples(people: list[_Person], images: str | Path) -> list[Sample]:
    """Samples of those who have a centre and a scale, all arithmetic in float64.

    On disk whole numbers are uint8 or uint16 and as such would wrap round in a difference.
    """
    people = [person for person in people if np.size(person.objpos) == 2 and person.scale > 0]
    if not people:
        return []
    names, persons, heads, centers, scales, poses = zip(*people, strict=True)
    head, center, scale = np.array(heads, np.float64), np.array(centers, np.float64), np.array(scales, np.float64)
    joints = skeleton.reorder(np.array(poses, np.float64), skeleton.MPII, skeleton.PA16J)
    head_size = HEAD_SIZE * np.linalg.norm(head[:, 2:] - head[:, :2], axis=1)
    center[:, 1] += OFFSET_Y * scale
    return _samples(images, names, persons, center, SIDE * scale, joints, head_size)


def _samples(
    images: str | Path,
    names: Sequence[str],
    persons: Sequence[int],
    centers: np.ndarray,
    sides: np.ndarray,
    joints: np.ndarray,
    head_sizes: np.ndarray,
) -> list[Sample]:
    """One sample per row; rows whose crop is not finite are left out."""
    supervised = np.ones(joints.shape[1], bool)
    paths = {name: str(Path(images) / name) for name in set(names)}
    usable = np.isfinite(centers).all(axis=1) & np.isfinite(sides) & (sides > 0)
    return [
        Sample(
            paths[names[i]],
            centers[i],
            float(sides[i]),
            joints[i],
            supervised,
            head_size=float(head_sizes[i]),
            person=persons[i],
        )
        for i in np.flatnonzero(usable).tolist()
    ]


def release_pose(rect: np.void) -> np.ndarray | None:
    """(16, 2) in MPII's order from one annorect element; None if the person has no joints annotated."""
    annopoints = field(rect, "annopoints")
    points = field(annopoints[0, 0], "point") if annopoints.size else annopoints
    if not points.size:
        return None
    pose = np.full((len(skeleton.MPII), 2), np.nan)
    for point in points.ravel():
        joint = scalar(point, "id")
        if joint not in range(len(skeleton.MPII)):
            raise ValueError(f"joint id {joint}")
        pose[int(joint)] = scalar(point, "x"), scalar(point, "y")
    return pose


def records(value: np.ndarray) -> np.ndarray | tuple[()]:
    """The elements of a struct array; none of the empty matrix that is in its place where there are none."""
    return value.ravel() if value.dtype.names else ()


def field(record: np.void, name: str) -> np.ndarray:
    """A field of a MATLAB struct; an empty array where the struct does not have it."""
    return record[name] if name in (record.dtype.names or ()) else np.empty((0, 0))


def scalar(record: np.void, name: str) -> float:
    """A scalar field as float; NaN where it is absent or []. Digits stored as text are numbers too."""
    value = field(record, name)
    return float(value.item()) if value.size else math.nan


def image_name(value: Any) -> str:
    """A file name out of MATLAB's char array or HDF5's bytes; `ValueError` if it would lead out of the image folder."""
    name = value.item() if isinstance(value, np.ndarray) else value
    name = name.decode() if isinstance(name, bytes) else name
    if not isinstance(name, str) or name in ("", "..") or Path(name).name != name or "\\" in name or "\0" in name:
        raise ValueError(f"image name {name!r}")
    return name


def _read_dataset(file: h5py.File, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A data set (N, *shape) that lies in this very file; `ValueError` otherwise."""
    dataset = stored(file, name)
    if dataset.shape is None or dataset.shape[1:] != shape or not 0 < dataset.shape[:1][0] <= _MOST_PEOPLE:
        raise ValueError(f"{name} has shape {dataset.shape}, expected {('N', *shape)}")
    return dataset[()]


def find_release(directory: str | Path) -> Path | None:
    """The official annotation in a folder of MPII or its folder annot/; None if there is none."""
    return _find(Path(directory), RELEASE_NAMES)


def _find(directory: Path, names: tuple[str, ...]) -> Path | None:
    """The first of `names` that exists in `directory` or its folder annot/."""
    paths = [folder / name for folder in (directory, directory / "annot") for name in names]
    return next((path for path in paths if path.is_file()), None)


def _listed(path: Path) -> list[tuple[str, int]]:
    """Image name and person of every validation person."""
    return read_validation_csv(path) if path.suffix == ".csv" else [_key(s) for s in read_validation_h5(path)]


def _key(sample: Sample) -> tuple[str, int]:
    return Path(sample.image).name, sample.person


@contextmanager
def layout(path: str | Path, expected: str) -> Iterator[None]:
    """Turn what goes wrong while walking through a MATLAB structure into a `PoseError` naming the file."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise PoseError(f"{path} does not hold {expected} ({_reason(error)}).") from error


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
