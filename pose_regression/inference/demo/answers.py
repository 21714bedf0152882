"""From a photograph, and people whom the page names, to what the page shows: poses, the overlay, the files to keep."""

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pose_regression.errors import PoseError
from pose_regression.geometry import BOX_MARGIN
from pose_regression.inference.coco_files import Found, write_csv, write_json
from pose_regression.inference.limits import as_file
from pose_regression.inference.people import MAX_PEOPLE, SHIPPED_MARGIN, find_detector
from pose_regression.inference.photographs import load_upright, open_photograph
from pose_regression.inference.pose import Pose, draw_people
from pose_regression.inference.predictor import PosePredictor
from pose_regression.visualize import joint_colors, person_color

VIEW = 1200
"""Longer side, in pixels, to which every photograph is scaled to be drawn on: lines are as fine on a small one."""

MARGINS = {"found": SHIPPED_MARGIN, "drawn": BOX_MARGIN, "whole": 1.0}
"""Side of the network's window in longer sides of a box, by where the box comes from. A box that was found and then
moved is still "found": its window must not jump."""


@dataclass(frozen=True)
class Person:
    """Somebody in the photograph, as the page names them."""

    number: int
    kind: str
    """Of `MARGINS`."""
    box: tuple[float, float, float, float]
    """Left, top, right, bottom in pixels of the upright photograph."""
    detection: float | None = None
    """The detector's score, while the box is as the detector gave it."""

    def window(self) -> list[float]:
        """The box, about the same centre, whose window by `BOX_MARGIN` is the one that this kind of box has."""
        box = np.array(self.box)
        center, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 * MARGINS[self.kind] / BOX_MARGIN
        return [*(center - half).tolist(), *(center + half).tolist()]


def read_people(text: str) -> list[Person]:
    """The people in the page's JSON, `[{"number", "kind", "box", "detection"}, ...]`.

    Raises:
        PoseError: a box that is not four numbers, or anything else that the page does not send.
    """
    try:
        people = [_person(**entry) for entry in json.loads(text)]
    except PoseError:
        raise
    except (TypeError, ValueError) as error:
        raise PoseError("The page sent people that cannot be read; load it again.") from error
    if len(people) > MAX_PEOPLE or len({person.number for person in people}) < len(people):
        raise PoseError(f"There can be {MAX_PEOPLE} people at most, each with a number of their own.")
    return people


def _person(number: int, kind: str, box: Any, detection: float | None = None) -> Person:
    if kind not in MARGINS or not 0 <= int(number) < 1000:
        raise ValueError
    if not isinstance(box, list) or len(box) != 4 or any(type(value) not in (int, float) for value in box):
        raise PoseError("A box needs four numbers: left, top, right, bottom.")
    left, top, right, bottom = box
    return Person(int(number), kind, (left, top, right, bottom), None if detection is None else float(detection))


def poses_of(predictor: PosePredictor, path: Path, people: Sequence[Person] | None) -> list[tuple[str, Pose]]:
    """The kind of box and the pose of each person; `people` None has them looked for.

    Raises:
        PoseError: as `PosePredictor.predict`, and in plain words a box of no use.
    """
    if people is None:
        kind = "whole" if find_detector("auto") is None else "found"
        return [(kind, pose) for pose in predictor.predict(path)]
    size = open_photograph(path, str(path)).size
    for person in people:
        check_box(person, size)
    poses = predictor.predict(path, [person.window() for person in people])
    return [
        (
            person.kind,
            replace(pose, box=np.array(person.box, np.float32), person=person.number, detection=person.detection),
        )
        for person, pose in zip(people, poses, strict=True)
    ]


def check_box(person: Person, size: tuple[int, int]) -> None:
    """`PoseError` if the box is too small or outside of a picture of that width and height."""
    left, top, right, bottom = person.box
    if max(map(abs, person.box)) >= 1e6:
        raise PoseError("A box's numbers must be below a million.")
    if not (right - left >= 2 and bottom - top >= 2):
        raise PoseError("A box must be at least two pixels wide and high: left, top, right, bottom, in this order.")
    if not (right > 0 and bottom > 0 and left < size[0] and top < size[1]):
        raise PoseError(f"The box lies outside of the photograph, which is {size[0]} pixels wide and {size[1]} high.")


def answer(
    predictor: PosePredictor, content: bytes, name: str, people: Sequence[Person] | None = None
) -> dict[str, Any]:
    """All that the page shows of a photograph but the maps, ready for JSON.

    Args:
        predictor: of any weights.
        content: the encoded photograph.
        name: of the file, for messages and in the files to keep.
        people: whom to find the poses of; None looks for everybody.

    Returns:
        `name`; `width` and `height` of the upright photograph; `picture`, its overlay, of `VIEW` pixels; `people`, see
        `entry`; `files`, the texts that `experiments.predict` would write, by suffix.

    Raises:
        PoseError: as `poses_of`, the photograph being called `name`.
    """
    with as_file(content, name) as path:
        kinds_and_poses = poses_of(predictor, path, people)
        photograph = load_upright(path)
        poses = [pose for _, pose in kinds_and_poses]
        found = Found(predictor.skeleton)
        found.add(name, photograph, poses)
        files = {"json": path.with_name("poses.json"), "csv": path.with_name("poses.csv")}
        write_json(files["json"], found)
        write_csv(files["csv"], found)
        texts = {suffix: file.read_text(encoding="utf-8") for suffix, file in files.items()}
    return {
        "name": name,
        "width": photograph.shape[1],
        "height": photograph.shape[0],
        "picture": data_uri(overlay(photograph, poses)),
        "people": [entry(kind, pose) for kind, pose in kinds_and_poses],
        "files": texts,
    }


def entry(kind: str, pose: Pose) -> dict[str, Any]:
    """A person for the page: what `Person` has, the colour, and each joint's name, colour and numbers."""
    about = pose.to_dict()
    colors = joint_colors(pose.skeleton).tolist()
    joints = [
        {"name": name.replace("_", " "), "color": color, **numbers}
        for (name, numbers), color in zip(about["joints"].items(), colors, strict=True)
    ]
    person = {"number": pose.person, "kind": kind, "box": about["box"], "detection": pose.detection}
    return person | {"color": person_color(pose.person), "joints": joints}


def overlay(photograph: np.ndarray, poses: Sequence[Pose]) -> np.ndarray:
    """The photograph (H, W, 3) with everybody in it, as `predict` draws them, its longer side `VIEW`."""
    height, width = photograph.shape[:2]
    ratio = VIEW / max(width, height)
    view = Image.fromarray(photograph).resize((max(1, round(width * ratio)), max(1, round(height * ratio))))
    return draw_people(view, [replace(pose, pixels=pose.pixels * ratio, box=pose.box * ratio) for pose in poses])


def data_uri(picture: np.ndarray, *, quality: int = 88) -> str:
    """(H, W, 3) uint8 within the page itself: no file on the server, and no address that another could open."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
