"""People's boxes from files of person detectors and annotations in COCO's format, and which picture each belongs to.

What is left out is counted by its reason, and costs nothing but itself: boxes of other categories than people, below
the score, of crowds, and those that are no box (`data.entries`).
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pose_regression.data.entries import FARTHEST, annotated_size, bbox_of, is_crowd, is_number, key, number
from pose_regression.data.identity import matched, parts
from pose_regression.data.orientation import Labelled, Labels, judge, to_upright
from pose_regression.errors import PoseError
from pose_regression.files import read_json
from pose_regression.geometry import invert, transform_points

__all__ = ["Boxes", "EveryPicture", "People", "read_boxes"]

PERSON = 1
"""COCO's category, which lists of detections without `categories` mean."""
PEOPLE = ("person", "people", "persons", "human", "pedestrian")
"""Names of the category in files that have several."""

CATEGORY, SCORE, CROWD, UNUSABLE, NAMELESS, UNLISTED, OUTSIDE = (
    "of other categories", "below the score", "of crowds", "without a usable bbox", "without image_id and file_name",
    "of an image_id without a file_name in the file", "outside their picture",
)  # fmt: skip
"""Why a box is left out."""


@dataclass
class People:
    """Those of one picture."""

    boxes: list[list[float]] = field(default_factory=list)
    """x0, y0, x1, y1 in pixels of the picture; where it is shown turned, `Boxes.upright` says of which."""
    id: int | str | None = None
    """What the file calls the picture, where it does."""
    size: tuple[Any, Any] = (None, None)
    """The picture's width and height as the file has them."""


@dataclass
class Boxes:
    """What a file of boxes says."""

    path: Path
    people: dict[str, People]
    """By the picture's name, or its id as text; a video's frame is NAME#NUMBER."""
    category: tuple[int | str, str] = (PERSON, "person")
    """Id and name of the person's category."""
    skipped: Counter[str] = field(default_factory=Counter)
    """Boxes left out, by reason."""
    unnamed: int = 0
    """Pictures asked for that the file does not name."""
    elsewhere: int = 0
    """Pictures that lie in a folder of another name than the file says, and may be others."""
    labels: Labels | None = None
    """In which pixels the boxes of pictures and videos are that are shown turned, as the user says."""
    turned: list[str] = field(default_factory=list)
    """The same as it was found: sentences without their subject."""

    def of_pictures(self, pictures: Sequence[Path]) -> list[People | None]:
        """The people of each picture; None for those that the file does not name.

        Raises:
            PoseError: a name that is ambiguous.
        """
        names = matched(pictures, self.people, where=str(self.path))
        self.unnamed += len(pictures) - len(names)
        folders = ((parts(name)[:-1], parts(os.path.abspath(pictures[i]))[:-1]) for i, name in names.items())
        self.elsewhere += sum(bool(said) and said[-1] != real[-1] for said, real in folders if real)
        return [self.people[names[i]] if i in names else None for i in range(len(pictures))]

    def of_frames(self, videos: Sequence[Path | str]) -> list[Mapping[int, People]]:
        """The people of each video's frames, by the frames' numbers from 0."""
        by_video: dict[str, dict[int, People]] = {}
        for name, people in self.people.items():
            video, _, number = name.rpartition("#")
            if video and number.isdecimal():
                by_video.setdefault(video, {})[int(number)] = people
        names = matched(videos, by_video, where=str(self.path))
        return [by_video[names[i]] if i in names else {} for i in range(len(videos))]

    def upright(
        self, people: Sequence[People], headers: Sequence[tuple[tuple[int, int], np.ndarray]]
    ) -> list[tuple[list[list[float]], np.ndarray | None]]:
        """Boxes in pixels of the upright pictures, those left out of which nothing lies in its picture.

        Args:
            people: of each picture.
            headers: width and height of each in its file, and `turn_of` it.

        Returns:
            For each picture x0, y0, x1, y1 of its people; and (3, 3), pixels of the upright picture -> those that the
            boxes were in, None if they are the same.
        """
        pictures = [
            Labelled(of_picture.size, stored, turn, np.reshape(of_picture.boxes, (-1, 2)))
            for of_picture, (stored, turn) in zip(people, headers, strict=True)
        ]
        answers, sentence = judge(pictures, self.labels)
        self.turned += [sentence] if sentence else []
        placed = []
        for of_picture, picture, answer in zip(people, pictures, answers, strict=True):
            boxes, to_labels = of_picture.boxes, None
            if answer == "file":
                affine = to_upright(picture.turn, picture.stored)
                boxes, to_labels = _moved(boxes, affine), invert(affine)
            placed.append((self.inside(boxes, *picture.upright), to_labels))
        return placed

    def upright_frames(
        self, people: Mapping[int, People], stored: tuple[int, int], turn: np.ndarray
    ) -> tuple[Callable[[int], list[list[float]]], np.ndarray | None]:
        """Boxes in pixels of a video's upright frames, as `upright` does; all frames' boxes are in the same pixels.

        Args:
            people: of the frames, by number.
            stored: width and height of the frames in the file.
            turn: where their stored axes point, as `turn_of` gives it.

        Returns:
            What gives x0, y0, x1, y1 of a frame's people by its number; and (3, 3), pixels of the upright frame ->
            those that the boxes were in, None if they are the same.
        """
        said = next((of_frame.size for of_frame in people.values()), (None, None))
        corners = np.reshape([box for of_frame in people.values() for box in of_frame.boxes], (-1, 2))
        video = Labelled(said, stored, turn, corners)
        (answer,), sentence = judge([video], self.labels, kind="video")
        self.turned += [sentence] if sentence and len(corners) else []
        affine = to_upright(turn, stored) if answer == "file" else None

        def of_number(number: int) -> list[list[float]]:
            boxes = people[number].boxes if number in people else []
            return self.inside(boxes if affine is None else _moved(boxes, affine), *video.upright)

        return of_number, None if affine is None else invert(affine)

    def inside(self, boxes: Iterable[list[float]], width: int, height: int) -> list[list[float]]:
        """The boxes of which something lies in a picture of that many pixels; the others are counted."""
        boxes = list(boxes)
        kept = [b for b in boxes if b[2] > 0 and b[3] > 0 and b[0] < width and b[1] < height]
        self.skipped[OUTSIDE] += len(boxes) - len(kept)
        return kept


def _moved(boxes: Sequence[Sequence[float]], affine: np.ndarray) -> list[list[float]]:
    """The upright boxes about boxes that an affine (3, 3) moves and turns."""
    corners = transform_points(affine, np.reshape(boxes, (-1, 2, 2)).astype(np.float64))
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1).tolist()


class EveryPicture(Boxes):
    """The same people in every picture and in every frame."""

    def __init__(self, boxes: Sequence[Sequence[float]]):
        """`boxes`: x0, y0, x1, y1 in pixels; `PoseError` for one without area."""
        super().__init__(Path("--box"), {}, labels="upright")
        for box in boxes:
            x0, y0, x1, y1 = box
            if not (all(map(is_number, box)) and x1 - x0 >= 1 and y1 - y0 >= 1 and max(map(abs, box)) <= FARTHEST):
                shown = " ".join(f"{value:g}" for value in box)
                raise PoseError(f"A box is X0 Y0 X1 Y1 in pixels, at least one wide and high. Received: {shown}")
        self.boxes = [list(map(float, box)) for box in boxes]

    def of_pictures(self, pictures: Sequence[Path]) -> list[People | None]:
        return [People(self.boxes) for _ in pictures]

    def of_frames(self, videos: Sequence[Path | str]) -> list[Mapping[int, People]]:
        return [_EveryFrame(People(self.boxes)) for _ in videos]


class _EveryFrame(Mapping[int, People]):
    def __init__(self, people: People):
        self.people = people

    def __getitem__(self, number: int) -> People:
        return self.people

    def __iter__(self) -> Iterator[int]:
        return iter((0,))

    def __len__(self) -> int:
        return 1


def read_boxes(
    path: Path, *, min_score: float = 0.5, category: str | None = None, labels: Labels | None = None
) -> Boxes:
    """Read a list of detections, or an object with `images`, `annotations` and `categories`.

    Args:
        path: the JSON file. An entry has "image_id" or "file_name", "bbox" [x, y, width, height] (or what
            `data.entries` takes for it), and perhaps "category_id", "score" and "iscrowd".
        min_score: detections below this are left out.
        category: the people's category, by its name, or its id as text; None finds it in `categories`: the one called
            person, or the only one. Without `categories` it is COCO's, 1.
        labels: in which pixels boxes of pictures are that EXIF turns, and of videos that their metadata turns; None
            lets `judge` say.

    Raises:
        PoseError: no such file, no detections in COCO's format, an id of two pictures, or the people's category cannot
            be told.
    """
    content = read_json(path)
    images: dict[str, str] = {}
    people: dict[str, People] = {}
    person, title = None, "person"
    if isinstance(content, dict):
        for image in _objects(content.get("images")):
            _name(images, key(image.get("id")), key(image.get("file_name")), path)
            if isinstance(image.get("file_name"), str):
                people.setdefault(image["file_name"], People(id=image.get("id"), size=annotated_size(image)))
        person, title = _category(_objects(content.get("categories")), category, path)
        content = content.get("annotations")
    elif category is not None:
        person = category
    if not isinstance(content, list):
        raise PoseError(f"{path} holds no COCO detections; expected a list, or an object with a list 'annotations'.")
    person = key(PERSON if person is None else person)
    skipped: Counter[str] = Counter()
    for entry in content:
        name, box = _read(entry, images, person, min_score)
        if name:
            picture = entry.get("image_id")
            of_picture = people.setdefault(name, People(id=picture if key(picture) else None))
        if isinstance(box, str):
            skipped[box] += 1
        else:
            of_picture.boxes.append(box)
    category_id = int(person) if person.isdecimal() else person
    return Boxes(path, people, (category_id, title), skipped, labels=labels)


def _name(images: dict[str, str], id: str, name: str, path: Path) -> None:
    """Add a picture; `PoseError` if another has its id."""
    if images.setdefault(id, name) != name and id:
        raise PoseError(f"{path}: the id {id} is of two pictures, {images[id]!r} and {name!r}.")


def _read(entry: Any, images: Mapping[str, str], person: str, min_score: float) -> tuple[str, Any]:
    """An entry's picture, empty if it has none; and its box x0, y0, x1, y1, or why it is left out."""
    if not isinstance(entry, dict):
        return "", UNUSABLE
    picture = key(entry.get("image_id"))
    name = key(entry.get("file_name")) or images.get(picture, "" if images else picture)
    if not name:
        return "", UNLISTED if picture else NAMELESS
    if "category_id" in entry and key(entry["category_id"]) != person:
        return name, CATEGORY
    if is_crowd(entry):
        return name, CROWD
    bbox, score = bbox_of(entry), entry.get("score")
    score = 1.0 if score is None else number(score)
    if bbox is None or not is_number(score):
        return name, UNUSABLE
    if score < min_score:
        return name, SCORE
    x, y, width, height = bbox
    return name, [x, y, x + width, y + height]


def _category(categories: Iterable[dict], wanted: str | None, path: Path) -> tuple[Any, str]:
    """Id and name of the people's category; None if the file has no categories and nothing is wanted."""
    names = {entry.get("id"): str(entry.get("name", "")) for entry in categories if key(entry.get("id"))}
    if wanted is not None:
        for title_id, name in names.items():
            if wanted.strip().casefold() == name.strip().casefold() or wanted == key(title_id):
                return title_id, name
        if names:
            raise PoseError(f"{path} has no category {wanted!r}; expected one of {', '.join(names.values())}.")
        return wanted, wanted
    if len(names) == 1:
        return next(iter(names.items()))
    for title_id, name in names.items():
        if name.strip().casefold() in PEOPLE:
            return title_id, name
    if names:
        raise PoseError(f"{path}: which category are people? Choose with --category: {', '.join(names.values())}.")
    return None, "person"


def _objects(entries: Any) -> Iterator[dict]:
    return (entry for entry in entries if isinstance(entry, dict)) if isinstance(entries, list) else iter(())
