"""The files in which predictions travel, always in pixels of the original image.

| suffix | content | read by |
|---|---|---|
| `.json` | images, people, joint names, pixels, probabilities | this package |
| `.h5` | data set `preds` (N, J, 2) | the hourglass tools, anibali/eval-mpii-pose |
| `.mat` | MPII: `preds` (N, 16, 2), the same tools; LSP: `pred` 2 x 14 x N, the public LSP evaluation | |
| `.mat` | MPII test: struct array `pred`, `save_mpii_submission` | evalMPII, the benchmark's submission |

Only JSON and the submission say which person is whose; in the others the order is that of the benchmark's split.
Coordinates are those of the annotation files, unchanged: MPII's and LSP's count the first pixel as 1, and so do
predictions of a network that learned from them.

JSON and `.h5` as written here carry a SHA-256, `.mat` MATLAB's own checksum; files of other tools need none. Who
changes a JSON file takes its `sha256` out.
"""

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from scipy.io import savemat

from pose_regression.container import BLOCK, MAGIC, check_seal, hdf5, sealed, stored
from pose_regression.data.matlab import read_variables
from pose_regression.data.sample import Sample
from pose_regression.errors import PoseError
from pose_regression.evaluation.submission import read_submission, write_submission
from pose_regression.files import atomic_path, write_file
from pose_regression.skeleton import LSP, MPII, Skeleton, reorder

_SUFFIXES = (".json", ".h5", ".mat", ".npy")

_MOST_PEOPLE = 1_000_000  # A damaged or hostile header must not make us reserve more memory than any data set needs.


@dataclass(frozen=True, eq=False)
class Predictions:
    """Poses of N people."""

    joints: Skeleton
    """The order of the joints."""
    pixels: np.ndarray
    """(N, J, 2) float64 in pixels of the original image; NaN where nothing is predicted."""
    probability: np.ndarray | None = None
    """(N, J) in [0, 1], if known."""
    images: tuple[str, ...] | None = None
    """N names of image files without their folder, if known."""
    people: tuple[int, ...] | None = None
    """N 0-based indices of the person within the image's annotation, if known; given whenever `images` is."""

    def __post_init__(self) -> None:
        shape = (len(self.pixels), len(self.joints))
        if self.pixels.shape != (*shape, 2):
            raise PoseError(f"Expected pixels of shape (N, {len(self.joints)}, 2). Received: {self.pixels.shape}")
        if self.probability is not None and self.probability.shape != shape:
            raise PoseError(f"Expected probability of shape {shape}. Received: {self.probability.shape}")
        if (self.images is None) != (self.people is None):
            raise PoseError("Expected images and people together, or neither.")
        if self.images is not None and self.people is not None and not shape[0] == len(self.images) == len(self.people):
            raise PoseError(
                f"Expected {shape[0]} images and people. Received: {len(self.images)} and {len(self.people)}"
            )


def save_predictions(path: str | Path, predictions: Predictions) -> None:
    """Write `predictions` in the format that the suffix of `path` asks for; see the table of this module.

    Args:
        path: ends in `.json`, `.h5` or `.mat`; a file there is replaced.
        predictions: for `.mat` in the order of `skeleton.MPII` or `skeleton.LSP`.

    Raises:
        PoseError: the suffix is another, `.mat` has no layout for these joints, or `path` cannot be written.
    """
    path = Path(path)
    if path.suffix == ".json":
        write_file(path, json.dumps(with_checksum(_to_json(predictions)), allow_nan=False))
    elif path.suffix == ".h5":
        file = hdf5({"preds": predictions.pixels.astype(np.float64)}, block=BLOCK)
        write_file(path, sealed(file))
    elif path.suffix == ".mat":
        variables = _to_mat(path, predictions)
        with atomic_path(path) as temporary:
            savemat(temporary, variables, do_compression=True)  # Compressed variables carry a checksum.
    else:
        raise PoseError(f"{path} has the suffix {path.suffix!r}; predictions are written as .json, .h5 or .mat.")


def load_predictions(path: str | Path, joints: Skeleton) -> Predictions:
    """Read predictions in any format of this module's table, or a plain `.npy` array (N, J, 2).

    Args:
        path: ends in `.json`, `.h5`, `.mat` or `.npy`. Arrays may be (N, J, 2) or 2 x J x N, under `preds` or `pred`.
        joints: the order to return. JSON is put into it by joint name; an array must already be in it.

    Returns:
        Predictions with `images` and `people` where the file tells them: JSON and MPII's submission format.

    Raises:
        PoseError: the file is absent, damaged, of another kind or shape, or holds Python objects or links.
    """
    path = Path(path)
    if path.suffix not in _SUFFIXES:
        raise PoseError(f"{path} has the suffix {path.suffix!r}; predictions are read from {', '.join(_SUFFIXES)}.")
    if not path.is_file():
        raise PoseError(f"{path} does not exist; expected a file of predictions.")
    if path.suffix == ".json":
        return _from_json(path, joints)
    if path.suffix == ".h5":
        return Predictions(joints, _read_h5(path, joints))
    if path.suffix == ".npy":
        return Predictions(joints, _people_first(path, _read_npy(path), joints))
    name, value = _read_mat(path)
    if value.dtype.names is not None:
        return Predictions(joints, *read_submission(path, value, joints))
    return Predictions(joints, _people_first(path, value, joints, matlab=name == "pred"))


def identities(samples: Sequence[Sample]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """File name and person within the image, of every sample."""
    return tuple(Path(sample.image).name for sample in samples), tuple(sample.person for sample in samples)


def match(predictions: Predictions, images: Sequence[str], people: Sequence[int]) -> Predictions:
    """Put predictions into the order of a benchmark's people, so that row i belongs to annotation i.

    Args:
        predictions: with `images` and `people`, matched by both; or without, taken to be in order already.
        images: N image file names, with or without folder.
        people: N 0-based indices within the image's annotation.

    Returns:
        Predictions of length N.

    Raises:
        PoseError: a person has no prediction, or two, or an unnamed list has another length.
    """
    wanted = [(Path(image).name, int(person)) for image, person in zip(images, people, strict=True)]
    index = _rows(predictions)
    if index is None:
        if len(predictions.pixels) != len(wanted):
            raise PoseError(
                f"The predictions are of {len(predictions.pixels)} unnamed people; expected the {len(wanted)} of the "
                "benchmark, in its order."
            )
        rows = list(range(len(wanted)))
    else:
        missing = [person for person in wanted if person not in index]
        if missing:
            raise PoseError(
                f"The predictions lack {len(missing)} of {len(wanted)} people; the first is person {missing[0][1]} "
                f"(0-based) of {missing[0][0]}."
            )
        rows = [index[person] for person in wanted]
    return Predictions(
        predictions.joints,
        predictions.pixels[rows],
        None if predictions.probability is None else predictions.probability[rows],
        tuple(image for image, _ in wanted),
        tuple(person for _, person in wanted),
    )


def save_mpii_submission(path: str | Path, predictions: Predictions, annotation: str | Path) -> None:
    """Write the `pred_keypoints_mpii.mat` that MPII's evaluation server and evaluatePCKh.m take.

    evalMPII pairs people by counting, so `pred` has every test image of the annotation (MPII's official file) and every
    person in it, in their order, predicted or not. The predictions are in MPII's order, with `images` and `people`.

    Raises:
        PoseError: `annotation` is no such file, a prediction is of nobody in its test images, or `path` cannot be
            written.

    Source: README.md and flatten_annolist.m of evalMPII.
    """
    path = Path(path)
    if path.suffix != ".mat":
        raise PoseError(f"{path} has the suffix {path.suffix!r}; MPII's submission is a .mat file.")
    rows = _rows(predictions)
    if predictions.joints != MPII or rows is None:
        raise PoseError("Expected predictions in MPII's joint order with images and people for MPII's submission.")
    write_submission(path, predictions.pixels, rows, annotation)


def _rows(predictions: Predictions) -> dict[tuple[str, int], int] | None:
    """The row of each (image, person), None if the predictions don't name them."""
    if predictions.images is None or predictions.people is None:
        return None
    rows: dict[tuple[str, int], int] = {}
    for row, (image, person) in enumerate(zip(predictions.images, predictions.people, strict=True)):
        if rows.setdefault((image, person), row) != row:
            raise PoseError(f"The predictions hold person {person} of {image} twice; expected each once.")
    return rows


def _to_json(predictions: Predictions) -> dict[str, Any]:
    entries = []
    for row, pose in enumerate(predictions.pixels):
        entry: dict[str, Any] = {"pixels": _null(pose)}
        if predictions.images is not None and predictions.people is not None:
            entry |= {"image": predictions.images[row], "person": predictions.people[row]}
        if predictions.probability is not None:
            entry["probability"] = _null(predictions.probability[row])
        entries.append(entry)
    return {"joints": list(predictions.joints.names), "people": entries}


def with_checksum(content: dict[str, Any]) -> dict[str, Any]:
    """The content of a file of predictions, with the entry `sha256` over the others."""
    return content | {"sha256": hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()}


def without_checksum(content: dict[str, Any]) -> dict[str, Any]:
    """The content less its entry `sha256`; without one, it is taken as it is.

    Raises:
        ValueError: the entry belongs to another content.
    """
    bare = {name: value for name, value in content.items() if name != "sha256"}
    said = content.get("sha256")
    if said is not None and said != with_checksum(bare)["sha256"]:
        raise ValueError("it is damaged: its content is not that of its 'sha256', which who changes it takes out")
    return bare


def _null(values: np.ndarray) -> list:
    """Nested lists in which whatever is no finite number is None, as JSON has no NaN."""
    result = values.astype(object)
    result[~np.isfinite(values)] = None
    return result.tolist()


def _from_json(path: Path, joints: Skeleton) -> Predictions:
    """The content of a `.json`, put into the order of `joints` by name."""
    try:
        content = without_checksum(json.loads(path.read_text(encoding="utf-8")))
        source = Skeleton(tuple(map(str, content["joints"])))
        people = content["people"]
        pixels = np.array([person["pixels"] for person in people], np.float64)
        if people and pixels.shape[1:] != (len(source), 2):
            raise ValueError(f"pixels of shape {pixels.shape} for {len(source)} joints")
        pixels = pixels.reshape(-1, len(source), 2)
        probability = None
        if any("probability" in person for person in people):
            probability = np.array([person["probability"] for person in people], np.float64)
        named = any("image" in person for person in people)
        found = Predictions(
            joints,
            reorder(pixels, source, joints),
            None if probability is None else reorder(probability, source, joints, axis=-1),
            tuple(Path(str(person["image"])).name for person in people) if named else None,
            tuple(int(person["person"]) for person in people) if named else None,
        )
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError, OSError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise PoseError(f"{path} is not a file of predictions as this package writes it ({reason}).") from error
    if not set(source.names) & set(joints.names):
        raise PoseError(f"{path} has none of the expected joints {', '.join(joints.names)}.")
    return found


def _to_mat(path: Path, predictions: Predictions) -> dict[str, np.ndarray]:
    """The variables of a `.mat` in the layout of the data set with these joints."""
    pixels = predictions.pixels.astype(np.float64)
    if predictions.joints == MPII:
        return {"preds": pixels}
    if predictions.joints == LSP:
        return {"pred": pixels.transpose(2, 1, 0)}
    raise PoseError(
        f"{path}: .mat has a layout for the joints of MPII or LSP only; reorder them or choose .json or .h5."
    )


def _read_mat(path: Path) -> tuple[str, np.ndarray]:
    try:
        return "preds", read_variables(path, ("preds",))[0]
    except PoseError:  # Either there is no `preds`, or the file is damaged and the next line says so again.
        return "pred", read_variables(path, ("pred",))[0]


def _read_h5(path: Path, joints: Skeleton) -> np.ndarray:
    try:
        content = path.read_bytes()
        if content.startswith(MAGIC):  # of this package
            check_seal(path, content)
        with h5py.File(io.BytesIO(content), "r") as file:
            if "preds" not in list(file):
                raise PoseError(f"{path} holds {', '.join(file) or 'nothing'}; expected a data set 'preds'.")
            data = stored(file, "preds")
            _check(path, data.shape or (), data.dtype, joints)
            return _people_first(path, data[()], joints)
    except PoseError:
        raise
    except Exception as error:  # h5py raises OSError, KeyError, RuntimeError or ValueError, as the damage falls.
        raise PoseError(f"{path} is damaged or not an HDF5 file ({' '.join(str(error).split())}).") from error


def _read_npy(path: Path) -> np.ndarray:
    try:
        # Mapped, so that a header promising more than the file holds fails instead of reserving memory. This never
        # unpickles.
        return np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # ValueError mostly; a damaged header is parsed as Python and can fail in many ways.
        reason = " ".join(str(error).split())
        raise PoseError(f"{path} is damaged, pickled or not a .npy file ({reason}).") from error


def _people_first(path: Path, value: np.ndarray, joints: Skeleton, *, matlab: bool = False) -> np.ndarray:
    """(N, J, 2) float64 from that or from MATLAB's 2 x J x N, which `matlab` prefers where both would fit (N = 2)."""
    count = len(joints)
    _check(path, value.shape, value.dtype, joints)
    if value.shape == (2, count):  # MATLAB drops the last axis of a single person.
        value = value[..., None]
    if value.shape[1:] != (count, 2) or (matlab and value.shape == (2, count, 2)):
        value = np.transpose(value, (2, 1, 0))
    return np.array(value, np.float64)


def _check(path: Path, shape: tuple[int, ...], dtype: np.dtype, joints: Skeleton) -> None:
    count = len(joints)
    if dtype.kind not in "fiu":
        raise PoseError(f"{path} holds values of type {dtype}; expected numbers.")
    rows_first = len(shape) == 3 and shape[1:] == (count, 2) and shape[0] <= _MOST_PEOPLE
    people_last = shape == (2, count) or (len(shape) == 3 and shape[:2] == (2, count) and shape[2] <= _MOST_PEOPLE)
    if not (rows_first or people_last):
        raise PoseError(f"{path} holds an array of shape {shape}; expected (N, {count}, 2) or 2 x {count} x N.")
