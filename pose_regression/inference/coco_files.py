"""Poses as files: all people in the COCO keypoints format, a list for COCO's `loadRes`, and a table, wide or long.

Names of pictures may have any bytes: JSON gives them back exactly, the table shows what is no text as `\\udcXX`.
"""

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pose_regression.files import atomic_path
from pose_regression.geometry import transform_points
from pose_regression.inference.pose import Pose
from pose_regression.skeleton import Skeleton

__all__ = ["Found", "Picture", "category_entry", "write_csv", "write_json", "write_results"]


@dataclass(frozen=True)
class Picture:
    """A picture, or a video's frame, that was predicted."""

    name: str
    width: int
    height: int
    id: int | str | None = None
    """What the input calls it; None gets a new number."""
    frame: int | None = None
    """A video frame's position, from 0."""
    seconds: float | None = None
    """A video frame's time, from the video's start."""
    to_labels: np.ndarray | None = None
    """(3, 3) pixels of the upright picture -> those of the input's boxes; None if they are the same."""


@dataclass
class Found:
    """What the output files will say."""

    skeleton: Skeleton
    category: tuple[int | str, str] = (1, "person")
    """Id and name of the people's category."""
    pictures: list[Picture] = field(default_factory=list)
    people: list[tuple[int, Pose]] = field(default_factory=list)
    """Index in `pictures` and the pose."""
    nobody: list[str] = field(default_factory=list)
    """Pictures in which a detector found nobody."""
    broken: list[str] = field(default_factory=list)
    """What is wrong with each file or frame that was skipped."""
    notes: list[str] = field(default_factory=list)
    """What else there is to say of each video."""

    def add(
        self,
        name: str,
        picture: np.ndarray,
        people: Iterable[Pose],
        *,
        id: int | str | None = None,
        frame: int | None = None,
        seconds: float | None = None,
        to_labels: np.ndarray | None = None,
    ) -> None:
        """One more (H, W, 3) picture and its people."""
        self.people += [(len(self.pictures), pose) for pose in people]
        self.pictures.append(Picture(name, picture.shape[1], picture.shape[0], id, frame, seconds, to_labels))

    def ids(self) -> list[int | str]:
        """The id of each picture: the input's own, once; new numbers, from 1, for the others."""
        given = {picture.id for picture in self.pictures}
        new = (number for number in range(1, 2 * len(self.pictures) + 1) if number not in given)
        used: set[int | str] = set()
        ids: list[int | str] = []
        for picture in self.pictures:
            ids.append(next(new) if picture.id is None or picture.id in used else picture.id)
            used.add(ids[-1])
        return ids

    def annotations(self) -> Iterator[dict[str, Any]]:
        """The people in COCO's format, numbered from 1."""
        ids = self.ids()
        for number, (picture, pose) in enumerate(self.people, 1):
            track = {} if self.pictures[picture].frame is None else {"track_id": pose.person}
            entry = {"id": number, "image_id": ids[picture]} | pose.to_coco() | track
            yield entry | {"category_id": self.category[0]}

    def by_picture(self) -> Iterator[tuple[Picture, list[Pose]]]:
        """Every picture with its people."""
        poses: dict[int, list[Pose]] = {}
        for index, pose in self.people:
            poses.setdefault(index, []).append(pose)
        return ((picture, poses.get(index, [])) for index, picture in enumerate(self.pictures))


def write_json(path: Path, found: Found) -> None:
    """All people as one file in the COCO keypoints format; videos' frames have `seconds`, their people `track_id`."""
    content = {
        "info": {"description": "Poses found by pose_regression"},
        "images": [
            {"id": id, "file_name": picture.name, "width": picture.width, "height": picture.height}
            | ({} if picture.seconds is None else {"seconds": round(picture.seconds, 4)})
            for id, picture in zip(found.ids(), found.pictures, strict=True)
        ],
        "annotations": list(found.annotations()),
        "categories": [category_entry(found.skeleton, found.category)],
    }
    _dump(path, content)


def category_entry(skeleton: Skeleton, category: tuple[int | str, str]) -> dict[str, Any]:
    """What `categories` says of the people; limbs count from 1."""
    number, name = category
    return {
        "id": number,
        "name": name,
        "supercategory": "person",
        "keypoints": list(skeleton.names),
        "skeleton": [[a + 1, b + 1] for a, b in skeleton.limb_indices],
    }


def write_results(path: Path, found: Found) -> None:
    """The list that `loadRes` of COCO's tools reads; image ids and pixels are those of the file of boxes."""
    kept = ("image_id", "category_id", "keypoints", "score")
    results = [{key: entry[key] for key in kept} for entry in found.annotations()]
    for result, (index, _) in zip(results, found.people, strict=True):
        if (affine := found.pictures[index].to_labels) is not None:
            triples = np.reshape(result["keypoints"], (-1, 3))
            places = transform_points(affine, triples[:, :2]).round(2).tolist()
            result["keypoints"] = [n for place, v in zip(places, triples[:, 2], strict=True) for n in (*place, int(v))]
    _dump(path, results)


def write_csv(path: Path, found: Found, *, form: str = "wide") -> None:
    """A table, whose form is "wide" or "long".

    Wide: a row for each person: image, number, box, score, x, y and probability of each joint, confidence of each, and
    the detector's score, empty where no detector was asked; if there are videos, `seconds` at the end. A picture
    without people has a row with its name and time alone.

    Long: a row for each joint: frame, seconds, person, joint, x, y, probability, confidence and image, which is the
    photograph or video. Photographs have no frame and no seconds. A picture without people has one row, without person
    and joint.
    """
    rows = _long_rows(found) if form == "long" else _wide_rows(found)
    with atomic_path(path) as temporary:
        with temporary.open("w", encoding="utf-8", newline="", errors="backslashreplace") as file:
            csv.writer(file).writerows(rows)


def _wide_rows(found: Found) -> Iterator[list[Any]]:
    header = ["image", "person", "x0", "y0", "x1", "y1", "score"]
    header += [f"{name}_{what}" for name in found.skeleton.names for what in ("x", "y", "probability")]
    header += [*(f"{name}_confidence" for name in found.skeleton.names), "detection"]
    timed = any(picture.seconds is not None for picture in found.pictures)
    yield [*header, *(["seconds"] if timed else [])]
    for picture, poses in found.by_picture():
        time = [_time(picture)] if timed else []
        if not poses:
            yield [picture.name, *[""] * (len(header) - 1), *time]
        for pose in poses:
            joints = np.column_stack([pose.pixels, pose.probability]).ravel()
            numbers = [f"{number:.3f}" for number in (*pose.box, pose.score, *joints, *_sure(pose))]
            detection = "" if pose.detection is None else f"{pose.detection:.3f}"
            yield [picture.name, pose.person, *numbers, detection, *time]


def _long_rows(found: Found) -> Iterator[list[Any]]:
    yield ["frame", "seconds", "person", "joint", "x", "y", "probability", "confidence", "image"]
    for picture, poses in found.by_picture():
        start = ["" if picture.frame is None else picture.frame, _time(picture)]
        image = picture.name if picture.frame is None else picture.name.rpartition("#")[0]
        if not poses:
            yield [*start, "", "", "", "", "", "", image]
        for pose in poses:
            columns = np.column_stack([pose.pixels, pose.probability, _sure(pose)])
            for name, values in zip(pose.names, columns, strict=True):
                yield [*start, pose.person, name, *(f"{value:.3f}" for value in values), image]


def _sure(pose: Pose) -> np.ndarray:
    """(J,) confidence, NaN where there is none."""
    return np.full(len(pose.names), np.nan) if pose.confidence is None else pose.confidence


def _time(picture: Picture) -> str:
    return "" if picture.seconds is None else f"{picture.seconds:.4f}"


def _dump(path: Path, content: Any) -> None:
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        json.dump(content, file)
