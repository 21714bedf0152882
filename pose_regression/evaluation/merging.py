"""Parts that several processes or machines made: who does what, and the whole out of the parts' files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pose_regression.errors import PoseError
from pose_regression.evaluation.prediction_formats import with_checksum, without_checksum
from pose_regression.files import read_json

T = TypeVar("T")


def shard(items: Sequence[T], text: str) -> list[T]:
    """The items of a part.

    Args:
        items: all of them, in an order that every process sees alike.
        text: "I/N", 1 <= I <= N.

    Raises:
        PoseError: not such a text, or a part without items.
    """
    number, _, parts = text.partition("/")
    if not (number.isdecimal() and parts.isdecimal() and 1 <= int(number) <= int(parts)):
        raise PoseError(f"--shard must be I/N with 1 <= I <= N, such as 1/3. Received: {text}")
    first, step = int(number) - 1, int(parts)
    if len(items) <= first:
        raise PoseError(f"--shard {text} is empty: there are {len(items)}.")
    return list(items[first::step])


def merged(paths: Sequence[Path]) -> dict[str, Any]:
    """The content of the whole, of files of predictions or of poses; `PoseError` for parts that do not fit."""
    parts = [(path, _read_part(path)) for path in paths]
    kinds = {_kind(path, content) for path, content in parts}
    if len(kinds) > 1:
        raise PoseError(f"The parts are of two kinds, predictions and poses: {', '.join(map(str, paths))}.")
    try:
        whole = _merge_predictions(parts) if kinds == {"predictions"} else _merge_poses(parts)
    except (AttributeError, KeyError, TypeError) as error:
        raise PoseError(f"A part of {', '.join(map(str, paths))} lacks {error}.") from error
    return whole


def _read_part(path: Path) -> Any:
    """The content of a file; `PoseError` if it is not JSON, or not that of its own checksum."""
    content = read_json(path)
    try:
        return without_checksum(content) if isinstance(content, dict) else content
    except ValueError as error:
        raise PoseError(f"{path} cannot be merged: {error}.") from error


def _kind(path: Path, content: Any) -> str:
    """Which of the two formats a file has."""

    def has(*names: str) -> bool:
        return isinstance(content, dict) and all(isinstance(content.get(name), list) for name in names)

    if has("joints", "people"):
        return "predictions"
    if has("images", "annotations", "categories"):
        return "poses"
    raise PoseError(f"{path} holds neither predictions of evaluate nor poses of predict.")


def _merge_predictions(parts: Sequence[tuple[Path, dict]]) -> dict[str, Any]:
    """Of files as `predictions.save_predictions` writes them, with images and people."""
    people: dict[tuple[str, int], dict] = {}
    for path, content in parts:
        if content["joints"] != parts[0][1]["joints"]:
            raise PoseError(f"{path} has other joints than {parts[0][0]}.")
        for person in content["people"]:
            place = person["image"], person["person"]
            if place in people:
                raise PoseError(f"{path} holds person {place[1]} of {place[0]}, whom another part holds too.")
            people[place] = person
    return with_checksum({"joints": parts[0][1]["joints"], "people": [people[place] for place in sorted(people)]})


def _merge_poses(parts: Sequence[tuple[Path, dict]]) -> dict[str, Any]:
    """Of files as `predict` writes them; images and people are numbered anew."""
    pictures: dict[str, tuple[dict, list[dict]]] = {}
    for path, content in parts:
        if content["categories"] != parts[0][1]["categories"]:
            raise PoseError(f"{path} has other joints than {parts[0][0]}.")
        names = {image["id"]: image["file_name"] for image in content["images"]}
        for image in content["images"]:
            if image["file_name"] in pictures:
                raise PoseError(f"{path} holds {image['file_name']}, which another part holds too.")
            pictures[image["file_name"]] = image, []
        for person in content["annotations"]:
            pictures[names[person["image_id"]]][1].append(person)
    images: list[dict] = []
    people: list[dict] = []
    for number, name in enumerate(sorted(pictures), 1):
        image, found = pictures[name]
        images.append(image | {"id": number})
        people += [person | {"id": len(people) + i, "image_id": number} for i, person in enumerate(found, 1)]
    first = parts[0][1]
    return {"info": first.get("info", {}), "images": images, "annotations": people, "categories": first["categories"]}
