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
from pose_regression.files import atomic_path

MAGIC = b"pose_regression 1\nsha256 "
BLOCK = 512


def write_container(path: str | Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> None:
    """Write `arrays` (by name; `/` makes groups) and JSON-serializable `metadata` atomically to `path`.

    Any HDF5 reader opens the file; the metadata is the JSON text in the data set `metadata`.
    """
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", userblock_size=BLOCK) as file:
        text = json.dumps(metadata, sort_keys=True).encode()
        file.create_dataset("metadata", data=np.frombuffer(text, np.uint8))
        for name, array in arrays.items():
            file.create_dataset(f"arrays/{name}", data=array)
    content = buffer.getvalue()
    header = MAGIC + hashlib.sha256(content[BLOCK:]).hexdigest().encode() + b"\n"
    with atomic_path(path) as temporary:
        temporary.write_bytes(header.ljust(BLOCK, b"\0") + content[BLOCK:])


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
    digest = hashlib.sha256(content[BLOCK:]).hexdigest().encode()
    if content[:BLOCK] != (MAGIC + digest + b"\n").ljust(BLOCK, b"\0"):
        raise PoseError(f"{path} is damaged or truncated: its SHA-256 is not the one in its header.")
    arrays: dict[str, np.ndarray] = {}
    with h5py.File(io.BytesIO(content), "r") as file:
        metadata = json.loads(bytes(file["metadata"][()]))
        if "arrays" in file:  # visititems follows hard links only, and lists none that leave the file
            file["arrays"].visititems(lambda name, item: _collect(arrays, name, item))
    return arrays, metadata


def _collect(arrays: dict[str, np.ndarray], name: str, item: h5py.Dataset | h5py.Group) -> None:
    if isinstance(item, h5py.Dataset):
        arrays[name] = item[()]
