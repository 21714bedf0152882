"""Pictures that EXIF turns: where their stored axes point, and in which pixels their annotation is.

Viewers and most labelling tools show such a picture upright; those that read the file alone label it as it is stored.
The annotated width and height tell which, where turning exchanges them; otherwise the labels are taken as upright.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from PIL import Image

__all__ = ["Labelling", "Labels", "to_upright", "turn_of"]

Labels = Literal["upright", "file"]

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


def to_upright(turn: np.ndarray, stored: tuple[int, int]) -> np.ndarray:
    """(3, 3) float64 pixels of a stored picture of that width and height -> pixels of the upright one."""
    affine = np.eye(3)
    affine[:2, :2] = turn
    affine[:2, 2] = np.maximum(-turn, 0) @ stored  # moves the turned rectangle's corner back to the origin
    return affine


@dataclass
class Labelling:
    """In which pixels the labels of one file are, and how many of its pictures were turned."""

    wanted: Labels | None = None
    """What the user says; None asks each picture's annotated width and height."""
    upright: int = 0
    file: int = 0
    unsaid: int = 0
    """Pictures whose width and height do not tell, taken as upright."""

    def of(self, said: tuple[Any, Any], stored: tuple[int, int], turn: np.ndarray) -> Labels:
        """In which pixels a picture's labels are.

        Args:
            said: the annotated width and height (`entries.annotated_size`).
            stored: the file's own.
            turn: `turn_of` the picture.
        """
        if (turn == _TURNS[1]).all():
            return "upright"
        across = tuple(np.abs(turn) @ stored)
        told = self.wanted
        if told is None and across != stored and said in (across, stored):
            told = "upright" if said == across else "file"
        self.upright += told == "upright"
        self.file += told == "file"
        self.unsaid += told is None
        return told or "upright"

    def __str__(self) -> str:
        """A sentence without its subject, the file; nothing if no picture was turned."""
        if not (count := self.upright + self.file + self.unsaid):
            return ""
        how = "" if self.wanted else ", as their width and height say"
        parts = [f"labels of {n} {what}{how}" for n, what in
                 ((self.upright, "upright"), (self.file, "in the file's pixels")) if n]  # fmt: skip
        if self.unsaid:
            parts.append(
                f"labels of {self.unsaid} taken as upright, which width and height do not tell "
                "(--labels file if they are in the file's pixels)"
            )
        return f"EXIF turns {count} picture{'s' if count > 1 else ''}: {'; '.join(parts)}."
