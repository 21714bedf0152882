"""Read MATLAB 5 files that may be missing, damaged or of another kind."""

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

from scipy.io import loadmat

from pose_regression.errors import PoseError

_COMPRESSED = 15
"""MATLAB's type number of a zlib stream."""

_REWRITE = """
import io, sys
from scipy.io import loadmat, savemat
content = {name: value for name, value in loadmat(sys.argv[1]).items() if not name.startswith("_")}
buffer = io.BytesIO()
savemat(buffer, content, long_field_names=True)
sys.stdout.buffer.write(buffer.getvalue())
"""
"""Reads a file and writes what it understood as a sound one."""

_TIMEOUT = 300.0
"""Seconds; MPII's whole release takes a fraction of it."""


def read_variables(path: str | Path, names: tuple[str, ...]) -> tuple[Any, ...]:
    """Read the variables `names` of the MATLAB 5 file `path`, in that order, as `scipy.io.loadmat` gives them.

    Raises:
        PoseError: `path` is absent, no readable MATLAB 5 file, or lacks one of `names`.
    """
    path = Path(path)
    if not path.is_file():
        raise PoseError(f"{path} does not exist; expected a MATLAB file with {' and '.join(names)}.")
    try:
        # scipy's parser kills the process with a segmentation fault on some damaged files. What carries a checksum
        # is verified first; what does not is parsed by another process, which writes it anew.
        content = loadmat(path) if _checksums_hold(path) else _load_in_other_process(path)
    except Exception as error:  # scipy raises over a dozen kinds, zlib.error and MemoryError among them.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise PoseError(f"{path} is damaged or not a MATLAB 5 file ({reason}).") from error
    absent = [name for name in names if name not in content]
    if absent:
        found = ", ".join(name for name in content if not name.startswith("__")) or "nothing"
        raise PoseError(f"{path} holds {found}; expected the variable {absent[0]}.")
    return tuple(content[name] for name in names)


def _checksums_hold(path: Path) -> bool:
    """True if every variable is compressed and intact, False if one is not compressed; `zlib.error` if damaged."""
    with open(path, "rb") as file:
        file.seek(128)  # the header
        while tag := file.read(8):
            kind, size = struct.unpack("<II", tag)
            if kind != _COMPRESSED:
                return False
            stream = zlib.decompressobj()
            while size > 0 and (chunk := file.read(min(size, 1 << 16))):
                stream.decompress(chunk)
                size -= len(chunk)
            if size or not stream.eof:
                raise ValueError("truncated")
    return True


def _load_in_other_process(path: Path) -> dict[str, Any]:
    command = [sys.executable, "-W", "ignore", "-c", _REWRITE, str(path)]
    done = subprocess.run(command, capture_output=True, timeout=_TIMEOUT, check=False)
    if done.returncode:
        last_line = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise ValueError(last_line if done.returncode > 0 and last_line else "its structure is broken")
    return loadmat(io.BytesIO(done.stdout))
