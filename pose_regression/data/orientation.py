"""Pictures that EXIF turns, and videos that their metadata turns: where their stored axes point, and in which pixels
their labels are.

Viewers and most labelling tools show such a picture upright; those that read the file alone label it as it is stored.
`judge` asks, picture by picture, which of both the labels fit into; then the annotated width and height. Those are not
believed where labels of the same file mostly contradict them: there are tools that label upright pictures and write
the size of the file. What nothing tells is as the rest of the file, and upright if that is divided.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from PIL import Image

from pose_regression.wording import quantity

Labels = Literal["upright", "file"]

_TURNED_BY = {"picture": "EXIF", "video": "Metadata"}

_TAG = 0x0112

# EXIF orientation -> where the stored x and y axes point in the upright picture, as columns.
_TURNS = {
    1: np.array([[1, 0], [0, 1]]),
    2: np.array([[-1, 0], [0, 1]]),
    3: np.array([[-1, 0], [0, -1]]),
    4: np.array([[1, 0], [0, -1]]),
    5: np.array([[0, 1], [1, 0]]),
    6: np.array([[0, -1], [1, 0]]),
    7: np.array([[0, -1], [-1, 0]]),
    8: np.array([[0, 1], [-1, 0]]),
}


def turn_of(picture: Image.Image) -> np.ndarray:
    """(2, 2) where the stored axes point in the upright picture, as columns: the identity if nothing is said."""
    try:
        exif = Image.Image.getexif(picture)  # that of PNG's class would decode the image first
        return _TURNS.get(exif.get(_TAG, 1), _TURNS[1])
    except Exception:  # PIL raises struct.error, SyntaxError, ...; without a readable tag the photo is taken as it is
        return _TURNS[1]


def upright_size(turn: np.ndarray, stored: tuple[int, int]) -> tuple[int, int]:
    """Width and height of the upright picture of a stored one; and of the stored picture of an upright one."""
    width, height = np.abs(turn) @ stored
    return int(width), int(height)


def to_upright(turn: np.ndarray, stored: tuple[int, int]) -> np.ndarray:
    """(3, 3) float64 pixels of a stored picture of that width and height -> pixels of the upright one."""
    affine = np.eye(3)
    affine[:2, :2] = turn
    affine[:2, 2] = np.maximum(-turn, 0) @ stored  # moves the turned rectangle's corner back to the origin
    return affine


@dataclass(frozen=True, eq=False)
class Labelled:
    """A picture, or a video, and its labels."""

    said: tuple[Any, Any]
    """The annotated width and height (`entries.annotated_size`)."""
    stored: tuple[int, int]
    """The file's own."""
    turn: np.ndarray
    """`turn_of` the picture."""
    points: np.ndarray
    """(N, 2) x, y of the labels; NaN where there is none."""

    def by_place(self) -> Labels | None:
        """The only one of both pictures that all labels fit into."""
        upright, file = (self._fit(size) for size in (self.upright, self.stored))
        return None if upright == file else "upright" if upright else "file"

    def by_size(self) -> Labels | None:
        if self.upright == self.stored or self.said not in (self.upright, self.stored):
            return None
        return "upright" if self.said == self.upright else "file"

    @property
    def upright(self) -> tuple[int, int]:
        """Width and height of the upright picture."""
        return upright_size(self.turn, self.stored)

    def _fit(self, size: tuple[int, int]) -> bool:
        """Labels reach over the edge by some pixels in many files."""
        beyond = np.maximum(-self.points, self.points - size)
        return not np.nanmax(beyond, initial=0) > 1 + 0.02 * max(size)


def judge(
    pictures: Sequence[Labelled], wanted: Labels | None = None, *, kind: Literal["picture", "video"] = "picture"
) -> tuple[list[Labels], str]:
    """In which pixels the labels of each picture of a file are, "upright" where nothing turns it.

    Args:
        pictures: those of one file.
        wanted: what the user says.
        kind: what the sentence calls them.

    Returns:
        An answer for each picture; and a sentence without its subject, the file, nothing if no picture is turned.
    """
    turned = [picture for picture in pictures if (picture.turn != _TURNS[1]).any()]
    place, size = [p.by_place() for p in turned], [p.by_size() for p in turned]
    both = [a == b for a, b in zip(place, size, strict=True) if a and b]
    believed = 2 * sum(both) >= len(both)
    told = [wanted or a or (b if believed else None) for a, b in zip(place, size, strict=True)]
    rest: Labels = "file" if set(told) - {None} == {"file"} else "upright"
    answers = dict(zip(map(id, turned), (answer or rest for answer in told), strict=True))
    said = _sentence(list(answers.values()), told.count(None), rest, wanted, kind) if turned else ""
    return [answers.get(id(picture), "upright") for picture in pictures], said


def _sentence(answers: Sequence[Labels], untold: int, rest: Labels, wanted: Labels | None, kind: str) -> str:
    texts: dict[Labels, str] = {"upright": "upright", "file": "in the file's pixels"}
    parts = [f"labels of {answers.count(answer)} are {text}" for answer, text in texts.items() if answer in answers]
    asked = "" if wanted else "; say --labels upright or --labels file if not"
    if untold:
        asked = f" ({untold} of these do not tell and are taken as {texts[rest]}){asked}"
    return f"{_TURNED_BY[kind]} turns {quantity(len(answers), kind)}: {', '.join(parts)}{asked}."
