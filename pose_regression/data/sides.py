"""Which joints are left and right of each other, told from names as people write them.

A side is the word left, right, l or r anywhere in the name (`front_left_paw`, `Left Knee`, `knee-L`, `kneeLeft`), or
left or right at the start of a word (`leftknee`): such a name shows its side. Other letters may be one where the
partner's name bears it out: `Lknee` beside `Rknee` or `right_knee`, `FL_paw` beside `FR_paw`. Case, blanks at the ends
and what separates words do not count. The words for left and right of some other languages are sides, too
(`main_gauche` beside `main_droite`, `pfote_links`, `左手`).
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

_WORD = re.compile(r"[LR](?=[A-Z][a-z])|[A-Z]?[^\W_A-Z]+|[A-Z]+(?![^\W_A-Z])|[A-Z]+")
_LEFT_RIGHT = {
    "left": "right", "l": "r", "gauche": "droite", "links": "rechts", "linke": "rechte", "linker": "rechter",
    "linkes": "rechtes", "izquierda": "derecha", "izquierdo": "derecho", "esquerda": "direita", "esquerdo": "direito",
    "sinistra": "destra", "sinistro": "destro", "левая": "правая", "левый": "правый", "левое": "правое", "左": "右",
}  # fmt: skip
_OPPOSITE = _LEFT_RIGHT | {right: left for left, right in _LEFT_RIGHT.items()} | {"droit": "gauche"}
_WHOLE = re.compile("|".join(sorted(_OPPOSITE, key=len, reverse=True)), re.IGNORECASE)
_START = re.compile("left|right|左|右", re.IGNORECASE)
_PERHAPS = re.compile(r"left|right|^[lr]|[lr]$", re.IGNORECASE)
_SEPARATORS = re.compile(r"[\s_.\-/]+")
_GRADES = range(4)


@dataclass(frozen=True)
class _Reading:
    """One way to see a side in a name."""

    left: bool
    sure: bool
    """The name shows it by itself."""
    rest: str
    """The name without its side, as it was written."""
    opposite: str
    """The comparable name of the other side, written alike."""


def pairs(names: Sequence[str]) -> list[tuple[int, int]]:
    """Left and right of the joints that have one partner by their names: the surest likeness first."""
    readings = [list(_readings(name)) for name in names]
    found: list[tuple[int, int]] = []
    for grade in _GRADES:
        free = [i for i in range(len(names)) if not any(i in pair for pair in found)]
        lefts = [i for i in free if any(reading.left for reading in readings[i])]
        alike = [
            (i, j) for i, j in product(lefts, free)
            if i != j and _match(readings[i], names[j], readings[j], grade) is not None
        ]  # fmt: skip
        times = Counter(joint for pair in alike for joint in pair)
        found += [(i, j) for i, j in alike if times[i] == times[j] == 1]
    return sorted(found)


def lonely(names: Sequence[str]) -> tuple[str, ...]:
    """The names that show a side and have no partner."""
    paired = {joint for pair in pairs(names) for joint in pair}
    return tuple(
        name for i, name in enumerate(names) if i not in paired and any(reading.sure for reading in _readings(name))
    )


def rest_of_pair(left: str, right: str) -> str | None:
    """What both names have beside their sides, as the left one writes it; None if they are not left and right."""
    first, second = list(_readings(left)), list(_readings(right))
    found = (_match(first, right, second, grade) for grade in _GRADES)
    return next((reading.rest for reading in found if reading is not None), None)


def _match(lefts: list[_Reading], right: str, rights: list[_Reading], grade: int) -> _Reading | None:
    """The reading of the left name that makes the other its partner.

    Grades: 0 written alike; 1 written differently; 2 and 3 the same where a side is none by itself.
    """
    for reading in lefts:
        if not reading.left:
            continue
        if grade in (0, 2) and reading.sure == (grade == 0) and reading.opposite == _comparable(right):
            return reading
        for other in rights if grade in (1, 3) else ():
            sure = reading.sure + other.sure
            if not other.left and sure == (2 if grade == 1 else 1) and _bare(reading.rest) == _bare(other.rest):
                return reading
    return None


def _readings(name: str) -> Iterator[_Reading]:
    text = name.strip()
    for word in _WORD.finditer(text):
        if side := _WHOLE.fullmatch(word[0]) or _START.match(word[0]):
            yield _reading(text, word.start() + side.start(), word.start() + side.end(), sure=True)
        else:
            for side in _PERHAPS.finditer(word[0]):
                yield _reading(text, word.start() + side.start(), word.start() + side.end(), sure=False)


def _reading(text: str, start: int, end: int, *, sure: bool) -> _Reading:
    before, side, after = text[:start], text[start:end].lower(), text[end:]
    first, last = _SEPARATORS.sub("_", before).rstrip("_"), _SEPARATORS.sub("_", after).lstrip("_")
    if first and last:  # one separator stays between what the side stood between
        rest = before + (_SEPARATORS.sub("", after[:1]) + after[1:] if before[-1:] in "_ .-/" else after)
    else:
        rest = re.sub(rf"^{_SEPARATORS.pattern}|{_SEPARATORS.pattern}$", "", before + after)
    return _Reading(side in _LEFT_RIGHT, sure, rest, _comparable(before + _OPPOSITE[side] + after))


def _comparable(text: str) -> str:
    return _SEPARATORS.sub("_", text.strip()).casefold()


def _bare(text: str) -> str:
    return _SEPARATORS.sub("", text).casefold()
