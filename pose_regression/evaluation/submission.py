"""MPII's official submission, `pred_keypoints_mpii.mat`: written for evalMPII, and read back."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from scipy.io import savemat

from pose_regression.data.matlab import read_variables
from pose_regression.errors import PoseError
from pose_regression.files import atomic_path
from pose_regression.skeleton import MPII, Skeleton

_EMPTY = np.zeros((0, 0))  # MATLAB's [].


def write_submission(
    path: str | Path, pixels: np.ndarray, rows: Mapping[tuple[str, int], int], annotation: str | Path
) -> None:
    """What `save_mpii_submission` writes: `pixels` (N, 16, 2) in MPII's order, `rows` (image, person) -> row."""
    left = dict(rows)
    elements = []
    for image, centers in _test_people(Path(annotation)):
        rects = np.zeros(len(centers), [("annopoints", object), ("objpos", object)])
        for person, center in enumerate(centers):
            row = left.pop((image, person), None)
            rects[person] = (_EMPTY if row is None else {"point": _points(pixels[row])}, center)
        elements.append(({"name": image}, rects.reshape(1, -1) if len(rects) else _EMPTY))
    if left:
        image, person = next(iter(left))
        raise PoseError(f"{annotation} has no person {person} (0-based) in a test image {image}; check the split.")
    pred = np.array(elements, [("image", object), ("annorect", object)]).reshape(1, -1)
    with atomic_path(path) as temporary:
        savemat(temporary, {"pred": pred}, do_compression=True)


def read_submission(
    path: Path, pred: np.ndarray, joints: Skeleton
) -> tuple[np.ndarray, None, tuple[str, ...], tuple[int, ...]]:
    """Pixels (N, 16, 2), no probability, image names and people of the struct array `pred` in the file at `path`."""
    if joints != MPII:
        raise PoseError(f"{path} holds MPII's people and joints; expected {len(joints)} joints of another data set.")
    pixels, images, people = [], [], []
    try:
        for element in pred.ravel():
            for person, rect in enumerate(_elements(element["annorect"])):
                if "annopoints" not in rect.dtype.names:  # MATLAB keeps no field that nobody in the image has.
                    continue
                points = [p for a in _elements(rect["annopoints"]) for p in _elements(a["point"])]
                if not points:
                    continue
                pose = np.full((len(joints), 2), np.nan)
                for point in points:
                    joint = _number(point["id"])
                    if joint not in range(len(joints)):
                        raise ValueError(f"joint id {joint}")
                    pose[int(joint)] = _number(point["x"]), _number(point["y"])
                pixels.append(pose)
                images.append(_text(element["image"]))
                people.append(person)
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise PoseError(f"{path} is not laid out as MPII's submission ({error}).") from error
    return np.array(pixels).reshape(-1, len(joints), 2), None, tuple(images), tuple(people)


def _points(pixels: np.ndarray) -> np.ndarray:
    points = np.zeros((1, len(pixels)), [("x", object), ("y", object), ("id", object)])
    for joint, (x, y) in enumerate(pixels):
        points[0, joint] = (x, y, float(joint))
    return points


def _test_people(annotation: Path) -> list[tuple[str, list[np.ndarray | dict[str, float]]]]:
    """Name of every test image, with every person's `objpos`, empty where the annotation's is."""
    (release,) = read_variables(annotation, ("RELEASE",))
    try:
        release = release[0, 0]
        images, train = release["annolist"].ravel(), np.asarray(release["img_train"], float).ravel()
        if len(train) != len(images):
            raise ValueError(f"{len(train)} marks img_train for {len(images)} images")
        return [
            (_text(element["image"]), [_center(rect) for rect in _elements(element["annorect"])])
            for element in images[train == 0]
        ]
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise PoseError(f"{annotation} is not laid out as MPII's annotation ({error}).") from error


def _center(rect: np.void) -> np.ndarray | dict[str, float]:
    names = rect.dtype.names or ()
    center = _elements(rect["objpos"]) if "objpos" in names else []
    return {axis: _number(center[0][axis]) for axis in "xy"} if len(center) else _EMPTY


def _elements(value: np.ndarray) -> np.ndarray | list:
    """The elements of a struct array as scipy gives it, none for MATLAB's empty []."""
    return value.ravel() if value.dtype.names is not None else []


def _number(value: np.ndarray) -> float:
    return float(np.asarray(value).item())


def _text(image: np.ndarray) -> str:
    return str(np.asarray(image.ravel()[0]["name"]).item())
