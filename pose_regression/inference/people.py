"""People in photographs: detectors by name, and what of their boxes is kept.

    photograph --detector--> boxes, scores --look_for--> people, each once, the surest first

A `Detector` is any function from a picture to boxes and scores together with the margin that its boxes need. The one
that ships with the project, MoveNet MultiPose, looks at the picture at 256 pixels, its longer side, and finds up to six
people (weights/README.md has the measurements).
"""

import os
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pose_regression.errors import PoseError
from pose_regression.geometry import BOX_MARGIN
from pose_regression.inference.loaders import cores, litert_interpreter
from pose_regression.model.hub import shipped_file

__all__ = ["MAX_PEOPLE", "Detector", "find_detector", "keras_hub_detector", "look_for", "once", "shipped"]

MAX_PEOPLE = 20
"""People of one picture that are kept at most, the surest ones, unless asked otherwise."""

OVERLAP = 0.6
"""Of two boxes whose intersection is more than this part of their union only the surer one is kept. People who embrace
stay below it; a detector's second answer to one person lies above."""

SAME_POSE = 0.75
"""Of two poses more alike than this (`alikeness`) only the one whose person is surer is kept."""

SPREAD = 0.1
"""In square roots of the box's area: at this distance of two joints their alikeness has fallen to 0.61."""

SHIPPED_SCORE = 0.15
"""Answers of the shipped detector below this are no people."""

SHIPPED_MARGIN = 1.05
"""Side of the window in longer sides of the shipped detector's boxes, which are wider than the joints' own."""

KERAS_HUB_SCORE = 0.4
"""Answers of a KerasHub detector below this are no people."""

Find = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""(H, W, 3) uint8, upright -> boxes (n, 4), x0 y0 x1 y1 in its pixels, and their scores (n,), the higher the surer."""


@dataclass(frozen=True, eq=False)
class Detector:
    """A way to find people."""

    name: str
    find: Find
    margin: float = BOX_MARGIN
    """Side of the network's window in longer sides of a box."""


def find_detector(people: str | Find | Detector) -> Detector | None:
    """The detector of that name; None if the whole picture is to be taken as one person.

    Args:
        people: "shipped"; "whole"; "keras-hub:PRESET", a KerasHub object detector such as "keras-hub:dfine_nano_coco";
            "auto", the shipped one if this installation can run it, else the whole picture, with a warning; or a
            function of one's own, see `Find`.

    Raises:
        PoseError: no such detector, or it is not installed.
    """
    if isinstance(people, Detector):
        return people
    if callable(people):
        return Detector(getattr(people, "__name__", type(people).__name__), people)
    if people == "whole":
        return None
    if people == "auto":
        return _automatic()
    if people == "shipped":
        return shipped()
    kind, _, preset = str(people).partition(":")
    if kind == "keras-hub" and preset:
        return keras_hub_detector(preset)
    raise PoseError(
        f"people must be auto, whole, shipped, keras-hub:PRESET or a function of a picture. Received: {people!r}"
    )


@cache
def _automatic() -> Detector | None:
    try:
        return shipped()
    except PoseError as error:
        warnings.warn(f"Each whole picture is taken as one person: {error}", stacklevel=2)
        return None


def look_for(detector: Detector, image: np.ndarray, *, max_people: int = MAX_PEOPLE) -> tuple[np.ndarray, np.ndarray]:
    """The people of one picture.

    Args:
        detector: who looks.
        image: (H, W, 3) uint8, upright.
        max_people: how many are kept at most.

    Returns:
        Boxes (n, 4) float32, x0 y0 x1 y1 in pixels, cut at the picture's edge, and scores (n,) float32, the surest
        first; of boxes that overlap by more than `OVERLAP` the surest alone.

    Raises:
        PoseError: the detector's answer is no boxes and scores.
    """
    boxes, scores = _checked(detector, detector.find(image))
    height, width = image.shape[:2]
    boxes = np.clip(boxes, 0, [width, height, width, height])
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    for i in order[(boxes[order, 2:] - boxes[order, :2] >= 1).all(axis=1)]:
        if len(kept) == max_people:
            break
        if not len(kept) or overlap(boxes[i], boxes[kept]).max() <= OVERLAP:
            kept.append(int(i))
    return boxes[kept].astype(np.float32), scores[kept].astype(np.float32)


def _checked(detector: Detector, answer: Any) -> tuple[np.ndarray, np.ndarray]:
    try:
        boxes, scores = (np.asarray(part, np.float64) for part in answer)
        boxes, scores = boxes.reshape(-1, 4), scores.reshape(-1)
    except (TypeError, ValueError):
        boxes, scores = np.full((1, 4), np.nan), np.zeros(1)
    if len(boxes) != len(scores) or not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise PoseError(f"The detector {detector.name} must give finite boxes (n, 4) and scores (n,) of a picture.")
    return boxes, scores


def overlap(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(n,) intersection over union of a box (4,) with each of (n, 4)."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    common = np.prod(np.clip(high - low, 0, None), axis=1)
    return common / (np.prod(box[2:] - box[:2]) + np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) - common)


def alikeness(a: np.ndarray, b: np.ndarray, area: float) -> float:
    """How alike two poses (J, 2) are, 1 if equal: the mean over joints that both have of exp(-d² / (2 area `SPREAD`²)).

    COCO's object keypoint similarity with one spread for all joints; `area` is that of the smaller person's box.
    """
    distance = np.sum((np.asarray(a, np.float64) - b) ** 2, axis=-1)
    distance = distance[np.isfinite(distance)]
    return float(np.exp(-distance / (2 * area * SPREAD**2)).mean()) if len(distance) else 0.0


def once(poses: np.ndarray, boxes: np.ndarray) -> list[int]:
    """Which of n poses (n, J, 2), the surest first, are not those of a person seen before; `boxes` (n, 4)."""
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    kept: list[int] = []
    for i in range(len(poses)):
        if all(alikeness(poses[i], poses[k], min(areas[i], areas[k])) <= SAME_POSE for k in kept):
            kept.append(i)
    return kept


# --------------------------------------------------------------------------------------------------------- detectors


def shipped(path: str | os.PathLike[str] | None = None) -> Detector:
    """MoveNet MultiPose Lightning, which comes with the project.

    Args:
        path: another LiteRT file of that network; None is the project's.

    Raises:
        PoseError: nothing here can run it, or the file is absent or not that network.
    """
    return _movenet(shipped_file("people.tflite") if path is None else Path(path))


@cache
def _movenet(path: Path) -> Detector:
    if not path.is_file():
        raise PoseError(f"The detector of people is not shipped with this version: {path} does not exist.")
    _open(path, os.getpid())  # fails now rather than at the first picture

    def find(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        run = _open(path, os.getpid())
        seen, scale = _letterboxed(image, run.side)
        answer = run(seen)
        kept = answer[answer[:, 55] >= SHIPPED_SCORE]
        return kept[:, [52, 51, 54, 53]] * scale, kept[:, 55]

    return Detector("shipped", find, SHIPPED_MARGIN)


class _MoveNet:
    """The network in LiteRT; several threads may call it, which waits for one at a time."""

    def __init__(self, path: Path):
        try:
            self.interpreter = litert_interpreter()(str(path), num_threads=cores())
            (taken,), (given,) = self.interpreter.get_input_details(), self.interpreter.get_output_details()
        except (ValueError, RuntimeError) as error:
            raise PoseError(f"{path} is no LiteRT file of one picture and one answer: {_first_line(error)}") from error
        self.side = int(taken["shape"][1])
        shapes = taken["shape"].tolist(), given["shape"].tolist()
        if shapes != ([1, self.side, self.side, 3], [1, 6, 56]) or taken["dtype"] != np.uint8:
            raise PoseError(
                f"{path} is not MoveNet MultiPose as converted here: it takes {shapes[0]}, gives {shapes[1]}."
            )
        self.taken, self.given, self.turn = taken["index"], given["index"], threading.Lock()

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """(6, 56) of (side, side, 3) uint8: 17 joints, y0 x0 y1 x1 in [0, 1] of the side, score."""
        with self.turn:
            self.interpreter.set_tensor(self.taken, image[None])
            self.interpreter.invoke()
            return self.interpreter.get_tensor(self.given)[0].astype(np.float64)


@cache
def _open(path: Path, process: int) -> _MoveNet:
    """One for each process: the threads of an interpreter do not come along when a process forks."""
    return _MoveNet(path)


def _letterboxed(image: np.ndarray, side: int) -> tuple[np.ndarray, float]:
    """(side, side, 3) uint8 with the picture in its upper left corner, and the picture's pixels in one such square."""
    height, width = image.shape[:2]
    longer = max(height, width)
    size = max(1, round(width * side / longer)), max(1, round(height * side / longer))
    small = Image.fromarray(image).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    square = np.zeros((side, side, 3), np.uint8)
    square[: size[1], : size[0]] = np.asarray(small)
    return square, float(longer)


@cache
def keras_hub_detector(preset: str) -> Detector:
    """A KerasHub object detector that knows people as COCO's class 0.

    Args:
        preset: such as "dfine_nano_coco"; fetched by KerasHub, or the folder of a preset on this machine.

    Raises:
        PoseError: KerasHub is not installed, or has no such preset.
    """
    try:
        import keras_hub
    except ImportError as error:
        raise PoseError("keras-hub: detectors need the package keras-hub: pip install -e '.[keras-hub]'.") from error
    try:
        model = keras_hub.models.ObjectDetector.from_preset(preset)
    except Exception as error:  # KerasHub, Kaggle and the file system each have their own
        raise PoseError(f"KerasHub cannot load the object detector {preset!r}: {_first_line(error)}") from error
    return of_keras_hub(model, name=f"keras-hub:{preset}")


def of_keras_hub(model: Any, *, name: str = "keras-hub", person: int = 0) -> Detector:
    """A KerasHub `ObjectDetector` as a detector of people.

    The picture is given to it in the size that it works at, in the upper left corner, so that its boxes are in pixels
    of that size whatever its own preprocessing would do to other sizes.

    Args:
        model: its `predict` takes a batch of pictures and gives "boxes" (1, n, 4), "confidence" and "labels" (1, n),
            padded with labels of -1; boxes in its `bounding_box_format`, "xyxy" or "yxyx", in pixels or ("rel_")
            relative to the side.
        name: for messages.
        person: the class of people.

    Raises:
        PoseError: boxes in another format, or no size of its own.
    """
    form = str(model.bounding_box_format)
    axes = {"xyxy": [0, 1, 2, 3], "yxyx": [1, 0, 3, 2]}.get(form.removeprefix("rel_"))
    if axes is None:
        raise PoseError(f"{name} gives boxes as {form}; expected xyxy or yxyx, or rel_ with one of them.")
    height, width = getattr(getattr(model, "preprocessor", None), "image_size", None) or model.backbone.image_shape[:2]
    if not height or height != width:
        raise PoseError(f"{name} works at {height} x {width} pixels; expected a fixed square.")

    def find(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        seen, longer = _letterboxed(image, height)
        answer = {key: np.asarray(value)[0] for key, value in model.predict(seen[None], verbose=0).items()}
        kept = (answer["labels"] == person) & (answer["confidence"] >= KERAS_HUB_SCORE)
        scale = longer if form.startswith("rel_") else longer / height
        return answer["boxes"][kept][:, axes] * scale, answer["confidence"][kept]

    return Detector(name, find)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
