"""The entries of COCO files from anywhere, read by one rule for everybody: ids, numbers, crowds, boxes.

Files go through tables, texts and other languages: 1, 1.0 and "1" are one id, true and "1" one crowd, "0.9" is a
number. A person without a `bbox` has that of its outline (`segmentation`, as polygons or as a mask), or else of its
labelled joints.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from pose_regression.data.masks import box_of_mask

FARTHEST = 1e6
"""Pixels; what is said to lie farther is wrong."""


def key(value: Any) -> str:
    """An id or name as text; nothing for what is neither."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else ""


def number(value: Any) -> Any:
    """What a text says as a number, where it says one."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def is_number(value: Any) -> bool:
    """Whether it is a finite one."""
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(float(value))
    except OverflowError:
        return False


def is_crowd(entry: Mapping[str, Any]) -> bool:
    """Whether an annotation is of a crowd, or to be ignored: `iscrowd` or `ignore` is anything but a no."""
    return any(_is_yes(number(entry.get(flag))) for flag in ("iscrowd", "ignore"))


def _is_yes(value: Any) -> bool:
    return bool(value) and not (isinstance(value, str) and value.strip().casefold() in ("", "false", "no", "none"))


def annotated_size(image: Mapping[str, Any]) -> tuple[Any, Any]:
    """Width and height of an entry of `images`; None for what it does not know."""
    return number(image.get("width")) or None, number(image.get("height")) or None


def bbox_of(entry: Mapping[str, Any]) -> list[float] | None:
    """An annotation's box x, y, width, height in pixels, at least one wide and high; None if it has no such."""
    given = entry.get("bbox")
    bbox = [number(value) for value in given] if isinstance(given, list) and given else _around_person(entry)
    if len(bbox) != 4 or not all(map(is_number, bbox)):
        return None
    x, y, width, height = map(float, bbox)
    inside = max(map(abs, (x, y, x + width, y + height))) <= FARTHEST
    return [x, y, width, height] if width >= 1 and height >= 1 and inside else None


def _around_person(entry: Mapping[str, Any]) -> list[Any]:
    """x, y, width, height of the outline; of the labelled joints if there is none; else empty."""
    outline = entry.get("segmentation")
    if isinstance(outline, dict):
        box = box_of_mask(outline)
    elif isinstance(outline, list) and any(outline):
        polygons = outline if isinstance(outline[0], list) else [outline]
        box = _around(pair for polygon in polygons for pair in zip(polygon[::2], polygon[1::2], strict=False))
    else:
        box = []
    return box or _around(_labelled(entry.get("keypoints")))


def _labelled(joints: Any) -> Iterable[tuple[Any, Any]]:
    """x, y of the joints that are labelled."""
    triples = zip(joints[::3], joints[1::3], joints[2::3], strict=False) if isinstance(joints, list) else []
    return [(x, y) for x, y, v in triples if is_number(v) and v > 0]


def _around(points: Iterable[tuple[Any, Any]]) -> list[Any]:
    places = [pair for pair in points if all(map(is_number, pair))]
    if not places:
        return []
    low, high = np.min(places, axis=0).astype(float), np.max(places, axis=0).astype(float)
    return [*low.tolist(), *(high - low).tolist()]
