"""MPII's official submission, `pred_keypoints_mpii.mat`: written for evalMPII, and read back."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from scipy.io import savemat

from pose_regression.data.matlab import read_variables
from pose_regression.data.mpii import field, image_name, layout, records, release_pose, scalar
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
    with layout(path, "MPII's submission"):
        for element in pred.ravel():
            for person, rect in enumerate(records(element["annorect"])):
                pose = release_pose(rect)
                if pose is not None:
                    pixels.append(pose)
                    images.append(image_name(element["image"][0, 0]["name"]))
                    people.append(person)
    return np.array(pixels).reshape(-1, len(joints), 2), None, tuple(images), tuple(people)


def _points(pixels: np.ndarray) -> np.ndarray:
    points = np.zeros((1, len(pixels)), [("x", object), ("y", object), ("id", object)])
    for joint, (x, y) in enumerate(pixels):
        points[0, joint] = (x, y, float(joint))
    return points


def _test_people(annotation: Path) -> list[tuple[str, list[np.ndarray | dict[str, float]]]]:
    """Name of every test image, with every person's `objpos`, empty where the annotation's is."""
    (release,) = read_variables(annotation, ("RELEASE",))
    with layout(annotation, "MPII's annotation"):
        release = release[0, 0]
        images, train = release["annolist"].ravel(), np.asarray(release["img_train"], float).ravel()
        if len(train) != len(images):
            raise ValueError(f"{len(train)} marks img_train for {len(images)} images")
        return [
            (image_name(element["image"][0, 0]["name"]), [_center(rect) for rect in records(element["annorect"])])
            for element in images[train == 0]
        ]


def _center(rect: np.void) -> np.ndarray | dict[str, float]:
    objpos = field(rect, "objpos")
    return {axis: scalar(objpos[0, 0], axis) for axis in "xy"} if objpos.size else _EMPTY
