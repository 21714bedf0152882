"""Weights that have a name: those that ship with the project, and published ones, fetched once; and the cache for both.

Everything cached lies under `cache_folder()`, `~/.keras/pose_regression` unless KERAS_HOME says otherwise, and may be
deleted at any time.
"""

import hashlib
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import keras

from pose_regression.errors import PoseError

SHIPPED = ("small", "full")
"""Names of the weights in `weights/`."""


@dataclass(frozen=True)
class Published:
    """A file that others have published."""

    url: str
    md5: str
    notes: str
    """Where it comes from, for the file it is converted to."""

    @property
    def file_name(self) -> str:
        """The last part of the address."""
        return self.url.rpartition("/")[2]


PUBLISHED = {
    "mpii": Published(
        "https://github.com/dluvizon/pose-regression/releases/download/0.1.1/reception_mpii_weights_tf_ch_last_v1.h5",
        "0f41d21e6c049ca590b520367f950f7f",
        "Luvizon, Tabia, Picard: weights trained on MPII, release 0.1.1 of github.com/dluvizon/pose-regression, MIT.",
    ),
}
"""Name -> the authors' published weights."""

TIMEOUT = 60.0
"""Seconds without a byte after which a download is given up."""


def cache_folder() -> Path:
    """Where downloads and exports are kept: `pose_regression` in KERAS_HOME, or in `~/.keras`; need not exist."""
    return Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser() / "pose_regression"


def shipped_weights(name: str) -> Path:
    """The file of weights that ship with the project, in a clone or in an installed package.

    Raises:
        PoseError: this version has no such weights.
    """
    package = Path(__file__).parent
    folders = (package / "shipped_weights", package.parent / "weights")
    paths = [folder / f"{name}.weights.h5" for folder in folders]
    found = next((path for path in paths if path.is_file()), None)
    if found is None:
        raise PoseError(f"The weights {name!r} are not shipped with this version: {paths[-1]} does not exist.")
    return found


@contextmanager
def published_file(name: str) -> Iterator[Path]:
    """The published file of this name, its MD5 checked: one put in the cache by hand, else downloaded for the block.

    Args:
        name: a key of `PUBLISHED`.

    Raises:
        PoseError: a wrong MD5, no connection, or a cache that cannot be written. The sentence names the URL and the
            place for a file fetched by hand.
    """
    published, folder = PUBLISHED[name], cache_folder()
    by_hand = folder / published.file_name
    if by_hand.is_file():
        _check_md5(by_hand, published.md5)
        yield by_hand
        return
    with _download_folder(folder) as temporary:
        try:
            _download(published, temporary)
        except Exception as error:  # Keras raises bare exceptions
            raise PoseError(
                f"The weights {name!r} could not be downloaded ({_reason(error)}): fetch {published.url} by hand and "
                f"save it as {by_hand}."
            ) from error
        yield temporary / published.file_name


@contextmanager
def _download_folder(parent: Path) -> Iterator[Path]:
    """A folder for a download, on the disk of the cache, that goes with whatever lies in it."""
    try:
        parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(prefix=".download-", dir=parent)
    except OSError as error:
        raise PoseError(f"{parent} could not be written: {error.strerror}. KERAS_HOME names another place.") from error
    with folder as name:
        yield Path(name)


def _download(published: Published, folder: Path) -> None:
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)  # `get_file` has none: a server that falls silent would be waited for for ever
    try:
        keras.utils.get_file(
            published.file_name,
            published.url,
            file_hash=published.md5,
            hash_algorithm="md5",
            cache_dir=str(folder),
            cache_subdir="",
        )
    finally:
        socket.setdefaulttimeout(timeout)


def _reason(error: Exception) -> str:
    """What Keras' message says, without the URL it begins with."""
    text = str(error)
    if text.startswith("URL fetch failure on "):
        return text.partition(": ")[2].removeprefix("None -- ")
    return text.rstrip(".")


def _check_md5(path: Path, expected: str) -> None:
    try:
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise PoseError(f"{path} could not be read: {error.strerror}.") from error
    if found != expected:
        raise PoseError(f"{path} is not the published file, or damaged: its MD5 is {found}, expected {expected}.")
