"""Files that are whole or absent: written to a temporary name, fsynced, renamed; and JSON that may be anything."""

import errno
import hashlib
import json
import logging
import os
import platform
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import psutil

from pose_regression.errors import PoseError

MAX_PIXELS = 210_000_000
"""Images whose header announces more are refused and not decoded, by every command. Phones of 108 and 200 megapixels
pass; one of the latter, decoded whole, takes 0.6 GB, and as much again while it is converted or turned upright."""

_NOT_OFFERED = {
    errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF, errno.EACCES, errno.EPERM, errno.EISDIR
}  # fmt: skip
"""What systems and file systems without an fsync of some file or folder answer to it."""

_log = logging.getLogger(__name__)


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block ends well, fsync it and rename it to `path`.

    When the block fails, or the process dies, `path` keeps its old content. The temporary name is
    `.NAME.tmp-HOST-PID` followed by the suffix of `path`, since some writers choose the format by suffix; a digest
    stands for a long NAME. The first time that a process writes into a folder, it removes what others that were killed
    on this host left there. Where the file system has no fsync, it is done without, and that is said once.
    An `OSError` (no space, no permission) becomes a `PoseError` naming `path`.
    """
    path = Path(path)
    temporary = path.with_name(_temporary_name(path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path.parent.absolute())
        yield temporary
        _fsync(temporary)
        os.replace(temporary, path)
        _fsync(path.parent)
    except OSError as error:
        raise PoseError(f"{path} could not be written: {error.strerror or error}.") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


@cache
def _remove_leftovers(folder: Path) -> None:
    """Remove what processes of this host that have ended left in `folder`; once, as it may hold many files."""
    temporary = re.compile(rf"\..+\.tmp-{re.escape(platform.node())}-(\d{{1,9}})(\..*)?", re.DOTALL)
    for entry in folder.iterdir():
        match = temporary.fullmatch(entry.name)
        if match is None or psutil.pid_exists(int(match[1])):
            continue
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


def read_json(path: Path) -> Any:
    """The content of a JSON file from anywhere.

    Raises:
        PoseError: the file cannot be read, is not JSON, or is nested too deeply.
    """
    try:
        content = path.read_bytes()
        if content.startswith(b"\x1f\x8b"):
            raise PoseError(f"{path} is compressed; unpack it first (gunzip).")
        return json.loads(content)
    except OSError as error:
        raise PoseError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise PoseError(f"{path} is not JSON: {error}.") from error


def write_file(path: str | Path, content: str | bytes) -> None:
    """Write a whole file, text in UTF-8, by `atomic_path`."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def write_json(path: str | Path, content: Any) -> None:
    """Write `content` as JSON, by `atomic_path`."""
    write_file(path, json.dumps(content, indent=1) + "\n")


def shown(row: Sequence[str]) -> str:
    """A line of CSV for a message: after a quotation mark that nothing closes it is the rest of the file."""
    text = ",".join(row)
    return text if len(text) <= 200 and text.isprintable() else ascii(text[:100]) + "..."


def _temporary_name(path: Path) -> str:
    """No longer than `path`'s own name, or than every file system takes: the shortest limit in use is 143 bytes."""
    suffix = path.suffix if len(os.fsencode(path.suffix)) <= 20 else ""
    mark = f".tmp-{platform.node()}-{os.getpid()}{suffix}"
    plain = f".{path.stem}{mark}"
    if len(os.fsencode(plain)) <= max(len(os.fsencode(path.name)), 140):
        return plain
    return f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}{mark}"


def _fsync(path: Path) -> None:
    """Have the system write a file, or a folder's list of files, to its disk, where the system can."""
    try:
        # Windows wants a descriptor that may write, and has none of folders.
        descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NOT_OFFERED:
            raise
        if os.name == "posix":
            _warn_of_fsync(error.strerror)


@cache
def _warn_of_fsync(reason: str) -> None:
    _log.warning("This file system has no fsync (%s): what was just written may be lost if the power fails.", reason)
