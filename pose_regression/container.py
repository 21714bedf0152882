"""Arrays and metadata in one HDF5 file that is whole, or refused.

The first 512 bytes (HDF5's user block) hold the SHA-256 of all that follows. It is checked before HDF5 looks at the
file, so a truncated file, a flipped bit or a file of another kind never reaches the parser.
"""

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pose_regression.errors import PoseError
from pose_regression.files import write_file

MAGIC = b"pose_regression 1\nsha256 "
BLOCK = 512


def write_container(path: str | Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> None:
    """Write `arrays` (by name; `/` makes groups) and JSON-serializable `metadata` atomically to `path`.

    Any HDF5 reader opens the file; the metadata is the JSON text in the data set `metadata`.
    """
    text = np.frombuffer(json.dumps(metadata, sort_keys=True).encode(), np.uint8)
    content = hdf5({"metadata": text} | {f"arrays/{name}": array for name, array in arrays.items()}, block=BLOCK)
    write_file(path, sealed(content))


def read_container(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read back what `write_container` wrote: arrays by name, and the metadata.

    Raises:
        PoseError: no such file, not a file of this kind, or damaged.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise PoseError(f"{path} could not be read: {error.strerror}.") from error
    if not content.startswith(MAGIC):
        raise PoseError(f"{path} is not a file of this project: it lacks the header {MAGIC.split()[0].decode()!r}.")
    check_seal(path, content)
    arrays: dict[str, np.ndarray] = {}
    try:
        # Damage is out of the question now, but anybody can write a checksum.
        with h5py.File(io.BytesIO(content), "r") as file:
            for name in file:
                inside(file, name)
            metadata = json.loads(bytes(_values(stored(file, "metadata", size=len(content)))))
            if not isinstance(metadata, dict):
                raise ValueError("its metadata is no object")
            if "arrays" in file:  # visititems follows hard links only, and lists none that leave the file
                file["arrays"].visititems(lambda name, item: _collect(arrays, name, item, len(content)))
    except Exception as error:  # h5py raises OSError, KeyError, RuntimeError, ...; json ValueError, RecursionError
        reason = " ".join(str(error).split())
        raise PoseError(f"{path} does not hold arrays and metadata as this project writes them ({reason}).") from error
    return arrays, metadata


def inside(file: h5py.File, name: str) -> h5py.Dataset | h5py.Group:
    """The object called `name`, by links within the file alone; `ValueError` otherwise."""
    parts = name.strip("/").split("/")
    for i in range(1, len(parts) + 1):
        if not isinstance(file.get("/".join(parts[:i]), getlink=True), h5py.HardLink):
            raise ValueError(f"{name} is missing or leads out of the file")
    return file[name]


def stored(file: h5py.File, name: str, *, size: int | None = None) -> h5py.Dataset:
    """The data set called `name` if it lies in the file itself, as no more than `size` bytes; `ValueError` otherwise.

    HDF5 would follow links and external storage to other files, and reserve whatever a header claims.
    """
    data = inside(file, name)
    if not isinstance(data, h5py.Dataset) or data.is_virtual or data.external:
        raise ValueError(f"{name} is not stored in the file itself")
    if size is not None and data.nbytes > size:
        raise ValueError(f"{name} is not stored in the file itself: it claims {data.nbytes} bytes, the file has {size}")
    return data


def hdf5(arrays: Mapping[str, np.ndarray], *, block: int | None = None) -> bytes:
    """The HDF5 file that holds `arrays`, by name, behind a user block of `block` bytes.

    It is made in memory: on a full disk HDF5 itself would fail once more at every object that it lets go.
    """
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", userblock_size=block) as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array)
    return buffer.getvalue()


def sealed(content: bytes) -> bytes:
    """An HDF5 file that has a user block of `BLOCK` bytes, with the SHA-256 of the rest in that block."""
    rest = content[BLOCK:]
    return _seal(rest) + rest


def check_seal(path: str | Path, content: bytes) -> None:
    """Raise a `PoseError` naming `path` unless `content` is as `sealed` gave it."""
    if content[:BLOCK] != _seal(content[BLOCK:]):
        raise PoseError(f"{path} is damaged or truncated: its SHA-256 is not the one in its header.")


def _seal(rest: bytes) -> bytes:
    return (MAGIC + hashlib.sha256(rest).hexdigest().encode() + b"\n").ljust(BLOCK, b"\0")


def _collect(arrays: dict[str, np.ndarray], name: str, item: h5py.Dataset | h5py.Group, size: int) -> None:
    if isinstance(item, h5py.Dataset):
        arrays[name] = _values(stored(item.file, item.name, size=size))


def _values(data: h5py.Dataset) -> np.ndarray:
    """All of a data set of numbers."""
    if data.dtype.kind not in "biuf":
        raise ValueError(f"{data.name} is not stored as numbers")
    return data[()]
