"""Which picture is meant: names in annotation files and the paths of pictures, matched by one rule for everybody.

A name means the picture with which it has the longest common end, folder by folder: `video1/img001.png` in a file means
`/data/video1/img001.png`, and not `/data/video2/img001.png`. Unicode is normalised, as macOS writes é in two characters
and others in one; a backslash counts as a slash. A name without a suffix, or an id, means the picture whose name
without its suffix it is, leading zeros aside: COCO's `000000000139.jpg` has the id 139.

What no picture is called exactly may be written as in an address (`a%20b.jpg?size=2`), with blanks at its ends, or in
other case (`IMG.jpg` for `IMG.JPG`).
"""

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from urllib.parse import unquote

from pose_regression.errors import PoseError


def parts(name: str | os.PathLike[str]) -> tuple[str, ...]:
    """The folders and the file name of a path written on any system, normalised."""
    text = unicodedata.normalize("NFC", os.fspath(name)).replace("\\", "/")
    return tuple(part for part in text.split("/") if part not in ("", "."))


def matched(pictures: Sequence[str | os.PathLike[str]], names: Iterable[str], *, where: str) -> dict[int, str]:
    """The name that means each picture, by the picture's position; pictures that no name means are not in it.

    Args:
        pictures: paths of existing files, each once.
        names: what a file calls its pictures.
        where: the file, for messages.

    Raises:
        PoseError: a name that means two pictures equally well, or a picture that two names mean equally well.
    """
    paths = [parts(os.path.abspath(picture)) for picture in pictures]
    known = _by_last_part(paths)
    best_of_picture: dict[int, tuple[int, list[str]]] = {}
    for name in dict.fromkeys(names):
        written = parts(name)
        candidates = _candidates(written[-1], known) if written else []
        common = [_common_end(written, paths[index]) for index in candidates]
        for index, length in zip(candidates, common, strict=True):
            longest, of_picture = best_of_picture.get(index, (0, []))
            if length == max(common) and length >= longest:
                best_of_picture[index] = length, [name] if length > longest else [*of_picture, name]
    meant: dict[str, int] = {}
    for index, (_, of_picture) in sorted(best_of_picture.items()):
        name, *others = of_picture
        if others and parts(others[0]) != parts(name):
            raise PoseError(f"{where}: {pictures[index]} may be {name!r} or {others[0]!r}; give it with its folder.")
        if name in meant:
            raise PoseError(
                f"{where}: {name!r} may be {pictures[meant[name]]} or {pictures[index]}; "
                "the file must name it with its folder."
            )
        meant[name] = index
    return {index: name for name, index in meant.items()}


def _by_last_part(paths: Sequence[tuple[str, ...]]) -> tuple[dict[str, list[int]], ...]:
    """Positions by file name, by that without its suffix, by that without leading zeros, in any case; surest first."""
    tables: tuple[dict[str, list[int]], ...] = tuple(defaultdict(list) for _ in range(4))
    for index, path in enumerate(paths):
        stem = os.path.splitext(path[-1])[0]
        for table, key in zip(tables, (path[-1], stem, stem.lstrip("0") or "0", path[-1].casefold()), strict=True):
            table[key].append(index)
    return tables


def _candidates(last: str, known: Sequence[dict[str, list[int]]]) -> list[int]:
    ways = dict.fromkeys((last, last.strip(), unquote(last), unquote(last.partition("?")[0])))
    exact = (table[way] for table in known[:-1] for way in ways if way in table)
    return next(exact, known[-1].get(last.strip().casefold(), []))


def _common_end(name: tuple[str, ...], path: tuple[str, ...]) -> int:
    """How many parts are the same from the end, the file's own name counting in any case."""
    length = 1
    for mine, other in zip(name[-2::-1], path[-2::-1], strict=False):
        if mine != other:
            break
        length += 1
    return length
