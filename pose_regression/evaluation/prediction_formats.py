"""Formats of predicted poses: JSON, HDF5, MATLAB and NumPy, each to and from plain arrays."""

import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pose_regression import skeleton
from pose_regression.container import MAGIC, check_seal, stored
from pose_regression.data.matlab import read_variables
from pose_regression.errors import PoseError
from pose_regression.skeleton import LSP, MPII, Skeleton

_MOST_PEOPLE = 1_000_000  # A damaged or hostile header must not make us reserve more memory than any data set needs.

Fields = tuple[np.ndarray, np.ndarray | None, tuple[str, ...] | None, tuple[int, ...] | None]
"""Pixels (N, J, 2), probability (N, J), image names and people, as the fields of `Predictions`."""


def to_json(
    joints: Skeleton,
    pixels: np.ndarray,
    probability: np.ndarray | None,
    images: Sequence[str] | None,
    people: Sequence[int] | None,
) -> dict[str, Any]:
    """The content of a `.json`; arguments as the fields of `Predictions`."""
    entries = []
    for row, pose in enumerate(pixels):
        entry: dict[str, Any] = {"pixels": _null(pose)}
        if images is not None and people is not None:
            entry |= {"image": images[row], "person": people[row]}
        if probability is not None:
            entry["probability"] = _null(probability[row])
        entries.append(entry)
    content = {"joints": list(joints.names), "people": entries}
    return with_checksum(content)


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


def from_json(path: Path, joints: Skeleton) -> Fields:
    """The content of a `.json`, put into the order of `joints` by name."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        content = without_checksum(content)
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
        found = (
            skeleton.reorder(pixels, source, joints),
            None if probability is None else skeleton.reorder(probability, source, joints, axis=-1),
            tuple(Path(str(person["image"])).name for person in people) if named else None,
            tuple(int(person["person"]) for person in people) if named else None,
        )
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError, OSError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise PoseError(f"{path} is not a file of predictions as this package writes it ({reason}).") from error
    if not set(source.names) & set(joints.names):
        raise PoseError(f"{path} has none of the expected joints {', '.join(joints.names)}.")
    return found


def to_mat(path: Path, joints: Skeleton, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """The variables of a `.mat` in the layout of the data set with these joints."""
    if joints == MPII:
        return {"preds": pixels.astype(np.float64)}
    if joints == LSP:
        return {"pred": pixels.astype(np.float64).transpose(2, 1, 0)}
    raise PoseError(
        f"{path}: .mat has a layout for the joints of MPII or LSP only; reorder them or choose .json or .h5."
    )


def read_mat(path: Path) -> tuple[str, np.ndarray]:
    try:
        return "preds", read_variables(path, ("preds",))[0]
    except PoseError:  # Either there is no `preds`, or the file is damaged and the next line says so again.
        return "pred", read_variables(path, ("pred",))[0]


def read_h5(path: Path, joints: Skeleton) -> np.ndarray:
    try:
        content = path.read_bytes()
        if content.startswith(MAGIC):  # of this package
            check_seal(path, content)
        with h5py.File(io.BytesIO(content), "r") as file:
            if "preds" not in list(file):
                raise PoseError(f"{path} holds {', '.join(file) or 'nothing'}; expected a data set 'preds'.")
            data = stored(file, "preds")
            _check(path, data.shape or (), data.dtype, joints)
            return people_first(path, data[()], joints)
    except PoseError:
        raise
    except Exception as error:  # h5py raises OSError, KeyError, RuntimeError or ValueError, as the damage falls.
        raise PoseError(f"{path} is damaged or not an HDF5 file ({' '.join(str(error).split())}).") from error


def read_npy(path: Path) -> np.ndarray:
    try:
        # Mapped, so that a header promising more than the file holds fails instead of reserving memory. This never
        # unpickles.
        return np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # ValueError mostly; a damaged header is parsed as Python and can fail in many ways.
        reason = " ".join(str(error).split())
        raise PoseError(f"{path} is damaged, pickled or not a .npy file ({reason}).") from error


def people_first(path: Path, value: np.ndarray, joints: Skeleton, *, matlab: bool = False) -> np.ndarray:
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
