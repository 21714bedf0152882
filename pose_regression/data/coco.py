"""One's own joints: an annotation file in the COCO keypoints format and a folder of pictures -> samples and skeleton.

Joints and limbs are those of `categories[].keypoints` and `categories[].skeleton` (pairs counted from 1), in that
order, and sides are the person's own. Two joints trade places in a mirrored picture if their names differ in their
side alone; `sides` says how that is told. In the skeleton, and so in weight files, such a pair is called `left_` and
`right_` with the rest as the left one writes it (`left_knee`, `left_Knee`); every other joint keeps its name, and so
does a pair like `front_left_paw` and `front_right_paw`.

Where names don't tell, `flip_pairs` in the category does, and nothing else counts then: [[left, right], ...] by name or
by number from 1; a pair whose names don't show a side is called after its left joint. Where a name shows a side and
has no partner, and there are no `flip_pairs`, pictures cannot be mirrored (`Annotated.lonely`).

`keypoints` are x, y, v with v 0 for not labelled, 1 for labelled but hidden and 2 for visible; both of the latter are
trained and scored. The crop is the square about the centre of `bbox`, `BOX_MARGIN` times its longer side wide, exactly
as `PosePredictor` cuts it. Positions are pixels, pixel i covering [i, i+1), of the upright picture or of the file where
EXIF turns it: `orientation` says how that is told. In samples they are pixels of the file.

Source of the format: cocodataset.org, "Data format".
"""

import reprlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pose_regression.data import sides
from pose_regression.data.entries import FARTHEST, annotated_size, bbox_of, is_crowd, is_number, key, number
from pose_regression.data.identity import matched
from pose_regression.data.orientation import Labelled, Labels, judge, to_upright, turn_of, upright_size
from pose_regression.data.sample import Sample
from pose_regression.errors import PoseError
from pose_regression.files import read_json
from pose_regression.geometry import invert, transform_points, window_of_box
from pose_regression.skeleton import Skeleton, mirrored
from pose_regression.wording import quantity

CROWD, UNLABELLED = "of crowds", "without keypoints"
OTHER, UNUSABLE = "of other categories", "that cannot be used"
MISSING = "in pictures that are missing or of another size"
"""Why an annotation is skipped."""

SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png")
"""Of pictures that are looked for by another name than the file's."""

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80


@dataclass(frozen=True, eq=False)
class Annotated:
    """What an annotation file says."""

    samples: list[Sample]
    """The people, in the order of the file's pictures; joints in the skeleton's order."""
    skeleton: Skeleton
    """The file's joints under the names that the module's docstring describes."""
    skipped: dict[str, int]
    """Number of annotations left out, by reason."""
    written: tuple[str, ...] = ()
    """The joints' names as the file has them."""
    lonely: tuple[str, ...] = ()
    """Joints whose names show a side, without a partner: no picture can be mirrored."""
    turned: str = ""
    """In which pixels the labels of pictures are that EXIF turns, as a sentence without its subject."""


def load(
    annotations: str | Path, images: str | Path, *, category: str | None = None, labels: Labels | None = None
) -> Annotated:
    """Read an annotation file in the COCO keypoints format.

    Args:
        annotations: the JSON file. Several categories may have keypoints if those are the same; those that no
            annotation uses do not count, and annotations of categories without keypoints are ignored.
        images: the folder that the pictures' `file_name` starts from.
        category: the name of the only category to take; None takes all that have keypoints.
        labels: in which pixels labels of pictures are that EXIF turns; None lets `orientation.judge` say.

    Returns:
        People, skeleton, and how many annotations were skipped: crowds, people without keypoints, of other categories
        than the one wanted, and entries that are wrong. A joint that no person in the file has is never supervised.

    Raises:
        PoseError: a missing, damaged or contradictory file; a picture that is missing, or has another size than the
            file says; or nobody left, with what is wrong with the first entry. Damaged pictures are
            `images.find_broken`'s business.
    """
    path, images = Path(annotations), Path(images)
    content = _read(path)
    pictures = _by_id(_entries(content, "images", path), path)
    categories = _by_id(_entries(content, "categories", path), path)
    entries = list(_entries(content, "annotations", path))
    wanted = _wanted(categories, entries, category, path)
    if not wanted:
        raise PoseError(f"{path} has no joints: none of its {len(categories)} categories has 'keypoints'.")
    skeleton = _common_skeleton(wanted)
    of_picture: dict[str, list[_Person]] = {picture: [] for picture in pictures}
    skipped = Counter({CROWD: 0, UNLABELLED: 0})
    first_wrong = ""
    for where, entry in entries:
        try:
            of = _known(entry, "image_id", pictures, where)
            category_id = _known(entry, "category_id", categories, where)
            if category_id not in wanted:
                if categories[category_id][1].get("keypoints"):
                    skipped[OTHER] += 1
            elif is_crowd(entry):
                skipped[CROWD] += 1
            elif (joints := _joints(entry, len(skeleton), where)) is None:
                skipped[UNLABELLED] += 1
            else:
                of_picture[of].append((where, _box(entry, where), joints))
        except PoseError as error:
            skipped[UNUSABLE] += 1
            first_wrong = first_wrong or str(error)

    labelled = np.reshape([joints for people in of_picture.values() for *_, joints in people], (-1, len(skeleton), 2))
    supervised = np.asarray(np.isfinite(labelled).all(axis=-1).any(axis=0))
    found: list[tuple[_Picture, list[_Person]]] = []
    for of, people in of_picture.items():
        try:
            if people:
                found.append((_picture(*pictures[of], images), people))
        except PoseError as error:
            skipped[MISSING] += len(people)
            first_wrong = first_wrong or str(error)
    answers, turned = judge([picture.labelled(people) for picture, people in found], labels)
    samples = []
    for (picture, people), answer in zip(found, answers, strict=True):
        to_file = invert(to_upright(picture.turn, picture.size)) if answer == "upright" else np.eye(3)
        low, high = np.sort(transform_points(invert(to_file), np.array([[0, 0], picture.size], np.float64)), axis=0)
        for where, box, joints in people:
            if picture.readable and ((box[2:] <= low).any() or (box[:2] >= high).any()):
                skipped[UNUSABLE] += 1
                size = " x ".join(f"{length:g}" for length in high - low)
                first_wrong = first_wrong or f"{where}: its bbox lies outside its picture of {size} pixels."
                continue
            center, side = window_of_box(box)
            points = transform_points(to_file, np.vstack([center, joints]))
            samples.append(Sample(picture.file, points[0], float(side), points[1:], supervised, turn=picture.turn))
    if not samples:
        received = left_out(skipped) + (first_wrong and f"; {first_wrong}")
        raise PoseError(f"{path} has nobody to train on. Received: {received}")
    kind = next(entry for _, entry in wanted.values())
    names = tuple(kind["keypoints"])
    alone = sides.lonely(names) if kind.get("flip_pairs") is None else ()
    return Annotated(samples, skeleton, dict(skipped), names, alone, turned)


def left_out(skipped: Mapping[str, int]) -> str:
    """What `Annotated.skipped` counts, in words."""
    return ", ".join(f"{quantity(count, 'annotation')} {reason}" for reason, count in skipped.items())


def _wanted(
    categories: Mapping[str, tuple[str, dict]], entries: list[tuple[str, dict]], name: str | None, path: Path
) -> dict[str, tuple[str, dict]]:
    """The categories with keypoints that annotations use, or the one of that name."""
    named = {
        number: found for number, found in categories.items()
        if name is None or _same(name, found[1].get("name"), number)
    }  # fmt: skip
    if not named and name is not None:
        known = ", ".join(str(entry.get("name")) for _, entry in categories.values())
        raise PoseError(f"{path} has no category {name!r}; expected one of {known}.")
    with_joints = {number: found for number, found in named.items() if found[1].get("keypoints")}
    used = {key(entry.get("category_id")) for _, entry in entries}
    return {number: found for number, found in with_joints.items() if number in used} or with_joints


def _same(wanted: str, name: Any, known: str) -> bool:
    return wanted == known or wanted.strip().casefold() == str(name).strip().casefold()


def skeleton_of(category: Mapping[str, Any], where: str) -> Skeleton:
    """The joints of one entry of `categories` that has keypoints.

    Args:
        category: the entry.
        where: what messages call it.

    Raises:
        PoseError: its `keypoints`, `skeleton` or `flip_pairs` is not what the format says.
    """
    names = category["keypoints"]
    if not isinstance(names, list) or not all(isinstance(name, str) and name and name.isprintable() for name in names):
        raise PoseError(f"{where}: 'keypoints' must be a list of names. Received: {_SHORT.repr(names)}")
    if len(set(names)) != len(names):
        raise PoseError(f"{where}: 'keypoints' must be different names. Received: {_SHORT.repr(names)}")
    limbs = _pairs(category, "skeleton", names, where) or []
    given = _pairs(category, "flip_pairs", names, where)
    pairs = sides.pairs(names) if given is None else [_left_first(pair, names) for pair in given]
    flip = list(range(len(names)))
    renamed = list(names)
    for left, right in pairs:
        if left == right or flip[left] != left or flip[right] != right:
            raise PoseError(
                f"{where}: {names[left]!r} and {names[right]!r} can't be mirrored joints; "
                "a joint is in one pair at most."
            )
        flip[left], flip[right] = right, left
        renamed[left], renamed[right] = _called(names[left], names[right])
    if len(set(renamed)) != len(renamed):
        twice = next(name for name, count in Counter(renamed).items() if count > 1)
        raise PoseError(f"{where}: two joints would be called {twice!r}; rename one of them in 'keypoints'.")
    skeleton = Skeleton(tuple(renamed), tuple((renamed[a], renamed[b]) for a, b in limbs))
    if skeleton.flip != tuple(flip):
        wrong = next(renamed[i] for i, j in enumerate(flip) if skeleton.flip[i] != j)
        raise PoseError(f"{where}: {wrong!r} is one of a pair by its name, but not in 'flip_pairs'; rename it.")
    return skeleton


def _called(left: str, right: str) -> tuple[str, str]:
    """What the two joints of a pair are called."""
    if mirrored(left) == right:
        return left, right
    rest = sides.rest_of_pair(left, right)
    rest = left if rest is None else rest
    return (f"left_{rest}", f"right_{rest}") if rest else ("left", "right")


def _left_first(pair: tuple[int, int], names: list[str]) -> tuple[int, int]:
    """A given pair in the order that its names show, if they do."""
    first, second = (names[i] for i in pair)
    swapped = sides.rest_of_pair(first, second) is None and sides.rest_of_pair(second, first) is not None
    return (pair[1], pair[0]) if swapped else pair


def _pairs(category: Mapping[str, Any], key: str, names: list[str], where: str) -> list[tuple[int, int]] | None:
    """The pairs of joints under `key`, each by name or by number from 1, as indices; None if there is no such key."""
    pairs = category.get(key)
    if pairs is None:
        return None
    numbers = {number: number - 1 for number in range(1, len(names) + 1)}
    known: dict[Any, int] = numbers | {name: i for i, name in enumerate(names)}
    if not isinstance(pairs, list):
        raise PoseError(f"{where}: {key!r} must be a list of pairs of joints. Received: {_SHORT.repr(pairs)}")
    for pair in pairs:
        if not (
            isinstance(pair, list) and len(pair) == 2 and all(_is_joint(joint) and joint in known for joint in pair)
        ):
            raise PoseError(
                f"{where}: {key!r} must have pairs of joints, by name or by number from 1 to {len(names)}. "
                f"Received: {_SHORT.repr(pair)}"
            )
    return [(known[a], known[b]) for a, b in pairs]


def _is_joint(value: Any) -> bool:
    return isinstance(value, (int, str)) and not isinstance(value, bool)


def _common_skeleton(categories: Mapping[str, tuple[str, dict]]) -> Skeleton:
    skeletons = {where: skeleton_of(entry, where) for where, entry in categories.values()}
    (first, skeleton), *others = skeletons.items()
    for where, other in others:
        if other != skeleton:
            raise PoseError(f"{where}: its joints are others than those of {first}; one network has one set of joints.")
    return skeleton


def _read(path: Path) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict):
        raise PoseError(f"{path} is no COCO annotation: expected an object. Received: {_SHORT.repr(content)}")
    return content


def _entries(content: Mapping[str, Any], key: str, path: Path) -> Iterable[tuple[str, dict]]:
    """The objects in the list under `key`, each with what messages call it."""
    entries = content.get(key)
    if not isinstance(entries, list):
        raise PoseError(f"{path} is no COCO annotation: expected a list {key!r}. Received: {_SHORT.repr(entries)}")
    for index, entry in enumerate(entries):
        where = f"{path}: {key}[{index}]"
        if not isinstance(entry, dict):
            raise PoseError(f"{where} must be an object. Received: {_SHORT.repr(entry)}")
        yield where, entry


def _by_id(entries: Iterable[tuple[str, dict]], path: Path) -> dict[str, tuple[str, dict]]:
    found: dict[str, tuple[str, dict]] = {}
    for where, entry in entries:
        name = key(entry.get("id"))
        if not name:
            raise PoseError(f"{where}: 'id' must be a whole number or text. Received: {_SHORT.repr(entry.get('id'))}")
        if name in found and found[name][1] != entry:
            first = found[name][0].removeprefix(f"{path}: ")
            raise PoseError(f"{where}: 'id' {_SHORT.repr(entry['id'])} is taken by {first}.")
        found.setdefault(name, (where, entry))
    return found


def _known(entry: Mapping[str, Any], name: str, entries: Mapping[str, Any], where: str) -> str:
    """The id under `name`, which must be one of `entries`."""
    value = key(entry.get(name))
    if value not in entries:
        received = _SHORT.repr(entry.get(name))
        raise PoseError(f"{where}: {name!r} must be the id of an entry of this file. Received: {received}")
    return value


def _joints(entry: Mapping[str, Any], count: int, where: str) -> np.ndarray | None:
    """(J, 2) float64 pixels, NaN where not labelled; None if no joint is."""
    given = entry.get("keypoints")
    if not given:
        return None
    values = [number(value) for value in given] if isinstance(given, list) else []
    if len(values) == 3 * count:
        for i in range(0, len(values), 3):  # some tools write NaN or null where a joint is not labelled
            values[i : i + 2] = values[i : i + 2] if values[i + 2] != 0 else (0, 0)
    if len(values) != 3 * count or not all(is_number(value) and abs(value) <= FARTHEST for value in values):
        received = f"{len(given)} entries, {_SHORT.repr(given)}" if isinstance(given, list) else _SHORT.repr(given)
        raise PoseError(
            f"{where}: 'keypoints' must be {3 * count} finite numbers of at most {FARTHEST:g}. Received: {received}"
        )
    triples = np.array(values, np.float64).reshape(count, 3)
    wrong = ~np.isin(triples[:, 2], (0, 1, 2))
    if wrong.any():
        joint = int(np.argmax(wrong))
        raise PoseError(f"{where}: v of keypoint {joint + 1} must be 0, 1 or 2. Received: {triples[joint, 2]:g}")
    labelled = triples[:, 2:] > 0
    return np.where(labelled, triples[:, :2], np.nan) if labelled.any() else None


def _box(entry: Mapping[str, Any], where: str) -> np.ndarray:
    """(4,) float64 x0, y0, x1, y1."""
    bbox = bbox_of(entry)
    if bbox is None:
        received = _SHORT.repr(entry.get("bbox"))
        raise PoseError(f"{where}: 'bbox' must be 4 numbers, at least a pixel wide and high. Received: {received}")
    x, y, width, height = bbox
    return np.array([x, y, x + width, y + height])


_Person = tuple[str, np.ndarray, np.ndarray]
"""What messages call the entry, its box (4,) x0, y0, x1, y1 and its joints (J, 2)."""


@dataclass(frozen=True, eq=False)
class _Picture:
    file: str
    size: tuple[int, int] = (0, 0)
    """Width and height as it is stored."""
    turn: np.ndarray = field(default_factory=lambda: np.eye(2))
    said: tuple[Any, Any] = (None, None)
    readable: bool = False

    def labelled(self, people: list[_Person]) -> Labelled:
        points = [np.vstack([box.reshape(2, 2), joints]) for _, box, joints in people]
        return Labelled(self.said, self.size, self.turn, np.concatenate(points))


def _picture(where: str, entry: Mapping[str, Any], images: Path) -> _Picture:
    name = entry.get("file_name")
    if not isinstance(name, str) or not name:
        raise PoseError(f"{where}: 'file_name' must be text. Received: {_SHORT.repr(name)}")
    file = _file(name, images)
    if file is None:
        raise PoseError(f"{where}: {_SHORT.repr(name)} is no file in {images}.")
    try:
        with Image.open(file) as picture:
            stored, turn = picture.size, turn_of(picture)
    except Exception:  # PIL raises OSError, SyntaxError, ValueError, struct.error, DecompressionBombError, ...
        return _Picture(str(file))
    said = annotated_size(entry)
    sizes = (stored, upright_size(turn, stored))
    if not any(all(a in (b, None) for a, b in zip(said, size, strict=True)) for size in sizes):
        raise PoseError(
            f"{where}: {_SHORT.repr(name)} has {stored[0]} x {stored[1]} pixels, "
            f"not {' x '.join(map(_SHORT.repr, said))}."
        )
    return _Picture(str(file), stored, turn, said, True)


def _file(name: str, images: Path) -> Path | None:
    """The picture of that name below a folder: as it is written, or the one that `identity` finds."""
    try:
        if (images / name).is_file():
            return images / name
        pictures = _files(images)
        return next((pictures[i] for i in matched(pictures, [name], where=str(images))), None)
    except (OSError, ValueError) as error:  # names that no file can have: too long, with a NUL or half a surrogate pair
        if isinstance(error, PoseError):
            raise
        return None


@cache
def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
