"""Files that are whole or absent: written to a temporary name, fsynced, renamed; and JSON that may be anything."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pose_regression.errors import PoseError


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block ends well, fsync it and rename it to `path`.

    When the block fails, or the process dies, `path` keeps its old content. The temporary name is
    `.NAME.tmp-PID` followed by the suffix of `path`, since some writers choose the format by suffix.
    An `OSError` (no space, no permission) becomes a `PoseError` naming `path`.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.tmp-{os.getpid()}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _fsync(temporary)
        os.replace(temporary, path)
        _fsync(path.parent)
    except OSError as error:
        raise PoseError(f"{path} could not be written: {error.strerror or error}.") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def read_json(path: Path) -> Any:
    """The content of a JSON file from anywhere.

    Raises:
        PoseError: the file cannot be read, is not JSON, or is nested too deeply.
    """
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise PoseError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise PoseError(f"{path} is not JSON: {error}.") from error


def shown(row: Sequence[str]) -> str:
    """A line of CSV for a message: after a quotation mark that nothing closes it is the rest of the file."""
    text = ",".join(row)
    return text if len(text) <= 200 and text.isprintable() else ascii(text[:100]) + "..."


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
