"""Poses as files: all people in the COCO keypoints format, a list for COCO's `loadRes`, and a table.

Names of pictures may have any bytes: JSON gives them back exactly, the table shows what is no text as `\\udcXX`.
"""

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from pose_regression.files import atomic_path
from pose_regression.inference.pose import Pose
from pose_regression.skeleton import Skeleton

__all__ = ["Found", "Picture", "write_csv", "write_json", "write_results"]


@dataclass(frozen=True)
class Picture:
    """A picture, or a video's frame, that was predicted."""

    name: str
    width: int
    height: int
    id: int | str | None = None
    """What the input calls it; None gets a new number."""


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

    def add(self, name: str, picture: np.ndarray, people: Iterable[Pose], *, id: int | str | None = None) -> None:
        """One more (H, W, 3) picture and its people."""
        self.people += [(len(self.pictures), pose) for pose in people]
        self.pictures.append(Picture(name, picture.shape[1], picture.shape[0], id))

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
            yield {"id": number, "image_id": ids[picture]} | pose.to_coco() | {"category_id": self.category[0]}


def write_json(path: Path, found: Found) -> None:
    """All people as one file in the COCO keypoints format."""
    number, name = found.category
    content = {
        "info": {"description": "Poses found by pose_regression"},
        "images": [
            {"id": id, "file_name": picture.name, "width": picture.width, "height": picture.height}
            for id, picture in zip(found.ids(), found.pictures, strict=True)
        ],
        "annotations": list(found.annotations()),
        "categories": [
            {
                "id": number,
                "name": name,
                "supercategory": "person",
                "keypoints": list(found.skeleton.names),
                "skeleton": [[a + 1, b + 1] for a, b in found.skeleton.limb_indices],
            }
        ],
    }
    _dump(path, content)


def write_results(path: Path, found: Found) -> None:
    """The list that `loadRes` of COCO's tools reads; its `image_id` are those of the file of boxes."""
    kept = ("image_id", "category_id", "keypoints", "score")
    _dump(path, [{key: entry[key] for key in kept} for entry in found.annotations()])


def write_csv(path: Path, found: Found) -> None:
    """A row for each person: image, number within it, box, score, x, y and probability of each joint, and the
    detector's score, empty where no detector was asked.

    A picture without people has a row with its name alone.
    """
    header = ["image", "person", "x0", "y0", "x1", "y1", "score"]
    header += [f"{name}_{what}" for name in found.skeleton.names for what in ("x", "y", "probability")]
    header += [f"{name}_confidence" for name in found.skeleton.names]
    header.append("detection")
    people = {index: list(of_picture) for index, of_picture in groupby(found.people, key=lambda entry: entry[0])}
    with atomic_path(path) as temporary:
        with temporary.open("w", encoding="utf-8", newline="", errors="backslashreplace") as file:
            writer = csv.writer(file)
            writer.writerow(header)
            for index, picture in enumerate(found.pictures):
                for person, (_, pose) in enumerate(people.get(index, [])):
                    joints = np.column_stack([pose.pixels, pose.probability]).ravel()
                    sure = np.full(len(pose.names), np.nan) if pose.confidence is None else pose.confidence
                    numbers = [f"{number:.3f}" for number in (*pose.box, pose.score, *joints, *sure)]
                    detection = "" if pose.detection is None else f"{pose.detection:.3f}"
                    writer.writerow([picture.name, person, *numbers, detection])
                if index not in people:
                    writer.writerow([picture.name, *[""] * (len(header) - 1)])


def _dump(path: Path, content: Any) -> None:
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        json.dump(content, file)
