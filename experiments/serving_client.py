"""Poses from a TensorFlow Serving that serves an export (`experiments.export --format savedmodel`), over REST.

    python -m experiments.serving_client photo.jpg
    python -m experiments.serving_client photos/*.jpg --boxes detections.json --model-json exports/small/model.json \\
        --url http://127.0.0.1:8501/v1/models/pose

Cost: what the server takes; this needs Python's standard library alone, but for --boxes, which `experiments.predict`
reads. Prints a line of JSON for each person: `file`, `box` (x0, y0, x1, y1), and `joints`: a list of {"x", "y",
"probability"} in the order of the export's joints, or with --model-json an object with their names.

Photographs are JPEG or PNG. Boxes and joints are in pixels of the picture as it is stored: its EXIF orientation is not
applied, unlike in `experiments.predict`. Without --boxes each whole picture is one person. A photograph that cannot be
read, or that the server refuses, is reported and the command then ends with 1; with 2 if there is no such server.
"""

import argparse
import base64
import http.client
import json
import struct
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

URL = "http://127.0.0.1:8501/v1/models/pose"

MARGIN = 1.25
"""Side of the crop in longer sides of a box, as the export's `box_margin`."""

Box = list[float]


class Refused(ValueError):
    """A photograph that cannot be sent or that the server refuses; the others may do."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="+", type=Path, metavar="PHOTO", help="JPEG or PNG")
    parser.add_argument("--url", default=URL, help=f"of the model (default: {URL})")
    parser.add_argument("--boxes", type=Path, metavar="FILE", help="COCO detections of people, .json")
    parser.add_argument("--min-score", type=float, default=0.5, help="leave out detections below this (default: 0.5)")
    parser.add_argument("--model-json", type=Path, metavar="FILE", help="the export's model.json, to name the joints")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds to wait for an answer (default: 60)")
    options = parser.parse_args()
    check_url(options.url)
    names = None if options.model_json is None else joint_names(options.model_json)
    detected = None if options.boxes is None else detections(options.boxes, options.photos, options.min_score)
    refused = []
    for path in options.photos:
        try:
            photo = read(path)
            boxes = [whole_picture(photo, path)] if detected is None else detected[path]
            answer = predict(options.url, photo, boxes, timeout=options.timeout) if boxes else []
            people = [named(joints, names) for joints in answer]
        except Refused as error:
            refused.append(f"{path}: {error}")
            continue
        for box, joints in zip(boxes, people, strict=True):
            print(json.dumps({"file": str(path), "box": box, "joints": joints}), flush=True)
    for message in refused:
        print(message, file=sys.stderr)
    return 1 if refused else 0


def check_url(url: str) -> None:
    try:
        parts = urllib.parse.urlsplit(url)
        valid = parts.scheme in ("http", "https") and parts.hostname is not None and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise ValueError(f"--url must be like {URL}. Received: {url}")


def predict(url: str, photo: bytes, boxes: list[Box], *, timeout: float = 60.0) -> list[list[dict[str, float]]]:
    """Ask the server's signature `predict_jpeg` for the people of one photograph.

    Args:
        url: of the model, `http://HOST:8501/v1/models/NAME`.
        photo: a JPEG or PNG file.
        boxes: x0, y0, x1, y1 of each person in pixels of the picture as stored.
        timeout: seconds.

    Returns:
        For each box, J joints `{"x": ..., "y": ..., "probability": ...}`, pixels of the picture as stored.

    Raises:
        Refused: the server refuses the request, with its reason.
        ValueError: no server, or none that serves such a model.
    """
    encoded = {"b64": base64.b64encode(photo).decode()}
    body = {"signature_name": "predict_jpeg", "inputs": {"image_bytes": [encoded] * len(boxes), "boxes": boxes}}
    outputs = post(f"{url.rstrip('/')}:predict", body, timeout=timeout)
    try:
        return [
            [{"x": x, "y": y, "probability": p} for (x, y), p in zip(pixels, probability, strict=True)]
            for pixels, probability in zip(outputs["pixels"], outputs["probability"], strict=True)
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{url} answers, but not as an export's predict_jpeg does.") from error


def post(url: str, body: dict[str, Any], *, timeout: float) -> Any:
    """The `outputs` of TensorFlow Serving's answer to a request."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            return json.load(response)["outputs"]
    except urllib.error.HTTPError as error:
        reason = server_error(error)
        if error.code == 404:
            raise ValueError(f"{url} is not served: {reason}") from error
        raise Refused(f"the server refuses it ({error.code}): {reason}") from error
    except (urllib.error.URLError, OSError) as error:
        raise ValueError(f"{url} cannot be reached: {getattr(error, 'reason', None) or error}.") from error
    except (KeyError, TypeError, ValueError, RecursionError, http.client.HTTPException) as error:
        raise ValueError(f"{url} does not answer as TensorFlow Serving does: {error}.") from error


def server_error(error: urllib.error.HTTPError) -> str:
    """What the server says is wrong, on one line."""
    text = error.read(10_000).decode(errors="replace")
    try:
        text = str(json.loads(text)["error"])
    except (ValueError, RecursionError, KeyError, TypeError):
        pass
    return " ".join(text.split())[:300] or str(error.reason)


def whole_picture(photo: bytes, path: Path) -> Box:
    """The box whose crop is the square about the picture's centre with its longer side, black beyond the picture."""
    width, height = size(photo)
    half = max(width, height) / MARGIN / 2
    return [width / 2 - half, height / 2 - half, width / 2 + half, height / 2 + half]


def size(photo: bytes) -> tuple[int, int]:
    """Width and height of a JPEG or PNG, from its header."""
    if photo.startswith(b"\x89PNG\r\n\x1a\n") and len(photo) >= 24:
        return struct.unpack(">II", photo[16:24])
    position = 2
    while photo.startswith(b"\xff\xd8") and position + 9 <= len(photo) and photo[position] == 0xFF:
        marker, length = photo[position + 1], int.from_bytes(photo[position + 2 : position + 4])
        if marker == 0xFF:  # padding
            position += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # a frame's header
            height, width = struct.unpack(">HH", photo[position + 5 : position + 9])
            return width, height
        else:
            position += 2 + length
    raise Refused("it is not a JPEG or PNG, or damaged.")


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Refused(f"it cannot be read: {error.strerror}.") from error


def detections(path: Path, photos: list[Path], min_score: float) -> dict[Path, list[Box]]:
    """Each photograph's boxes, from the file that `experiments.predict --boxes` takes."""
    from experiments.predict import boxes_of, read_boxes

    boxes = read_boxes(path, photos, min_score=min_score)
    return {photo: boxes_of(photo, boxes) or [] for photo in photos}


def joint_names(path: Path) -> list[str]:
    try:
        return [str(name) for name in json.loads(path.read_bytes())["joints"]]
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not the model.json of an export.") from error


def named(joints: list[dict[str, float]], names: list[str] | None) -> Any:
    """One person's joints under their names, if those are known."""
    if names is None:
        return joints
    if len(names) != len(joints):
        raise ValueError(f"The model answers with {len(joints)} joints; --model-json names {len(names)}.")
    return dict(zip(names, joints, strict=True))


if __name__ == "__main__":
    # Not experiments.command: that would load TensorFlow, which the server has and the client does without.
    try:
        sys.exit(main())
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
