"""Put together what `--shard` took apart: predictions of `evaluate`, or poses of `predict`.

    python -m experiments.merge runs/part*/predictions.json --output runs/predictions.json
    python -m experiments.merge poses_*/poses.json --output poses.json

The order of the parts makes no difference: people come sorted by image. A person, or an image, that is in two parts is
an error. Whether any are missing, `evaluate --predictions` says. Cost: a second.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.command import run
from pose_regression.errors import PoseError
from pose_regression.evaluation.predictions import with_checksum, without_checksum
from pose_regression.files import atomic_path, read_json


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", type=Path, metavar="PART", help="predictions.json or poses.json")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the whole, .json")
    options = parser.parse_args()
    if options.output.exists():
        raise PoseError(f"{options.output} exists; choose another --output.")
    parts = [(path, read_part(path)) for path in options.parts]
    kinds = {kind(path, content) for path, content in parts}
    if len(kinds) > 1:
        raise PoseError(f"The parts are of two kinds, predictions and poses: {', '.join(map(str, options.parts))}.")
    try:
        whole = merge_predictions(parts) if kinds == {"predictions"} else merge_poses(parts)
    except (AttributeError, KeyError, TypeError) as error:
        raise PoseError(f"A part of {', '.join(map(str, options.parts))} lacks {error}.") from error
    with atomic_path(options.output) as temporary:
        temporary.write_text(json.dumps(whole, allow_nan=False), encoding="utf-8")
    print(f"{len(whole.get('people', whole.get('annotations', [])))} people, written to {options.output}.")


def read_part(path: Path) -> Any:
    """The content of a file; `PoseError` if it is not JSON, or not that of its own checksum."""
    content = read_json(path)
    try:
        return without_checksum(content) if isinstance(content, dict) else content
    except ValueError as error:
        raise PoseError(f"{path} cannot be merged: {error}.") from error


def kind(path: Path, content: Any) -> str:
    """Which of the two formats a file has."""

    def has(*names: str) -> bool:
        return isinstance(content, dict) and all(isinstance(content.get(name), list) for name in names)

    if has("joints", "people"):
        return "predictions"
    if has("images", "annotations", "categories"):
        return "poses"
    raise PoseError(f"{path} holds neither predictions of evaluate nor poses of predict.")


def merge_predictions(parts: Sequence[tuple[Path, dict]]) -> dict[str, Any]:
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


def merge_poses(parts: Sequence[tuple[Path, dict]]) -> dict[str, Any]:
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


if __name__ == "__main__":
    run(main)
