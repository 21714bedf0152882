"""Weights that have a name: those that ship with the project, and published ones, fetched once; and the cache for both.

Everything cached lies under `cache_folder()`, `~/.keras/pose_regression` unless KERAS_HOME says otherwise, and may be
deleted at any time.
"""

import hashlib
import http.client
import os
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

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

LONGEST = 3600.0
"""Seconds after which it is given up in any case."""

LARGEST = 500_000_000
"""Bytes that no published file has; a server that sends more would fill the disk."""


def cache_folder() -> Path:
    """Where downloads and exports are kept: `pose_regression` in KERAS_HOME, or in `~/.keras`; need not exist."""
    return Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser() / "pose_regression"


def shipped_weights(name: str) -> Path:
    """The file of weights that ship with the project, in a clone or in an installed package.

    Raises:
        PoseError: this version has no such weights.
    """
    path = shipped_file(f"{name}.weights.h5")
    if not path.is_file():
        raise PoseError(f"The weights {name!r} are not shipped with this version: {path} does not exist.")
    return path


def shipped_file(name: str) -> Path:
    """Where a file of the project's `weights/` lies, in an installed package or a clone; in the clone if in neither."""
    package = Path(__file__).parents[1]
    installed, clone = package / "shipped_weights" / name, package.parent / "weights" / name
    return installed if installed.is_file() else clone


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
        _check_md5(by_hand, published.md5, called=by_hand)
        yield by_hand
        return
    with _download_folder(folder) as temporary:
        path = temporary / published.file_name
        try:
            _download(published.url, path)
            _check_md5(path, published.md5, called=published.url)
        except (OSError, ValueError, http.client.HTTPException) as error:  # a wrong MD5 is a PoseError, a ValueError
            raise PoseError(
                f"The weights {name!r} could not be downloaded ({_reason(error)}): fetch {published.url} by hand and "
                f"save it as {by_hand}."
            ) from error
        yield path


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


class _Redirects(urllib.request.HTTPRedirectHandler):
    """To any host, as the file's MD5 is checked, but never from HTTPS to what is not."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        if req.type == "https" and not newurl.startswith("https:"):
            raise urllib.error.URLError(f"redirected from https to {newurl}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _download(url: str, path: Path) -> None:
    """Fetch `url` into the file `path`; an `OSError`, `ValueError` or `HTTPException` says what is wrong."""
    print(f"Downloading {url} ...", flush=True)
    start = time.monotonic()
    opener = urllib.request.build_opener(_Redirects)
    with opener.open(url, timeout=TIMEOUT) as response, open(path, "wb") as file:
        announced = response.length
        while chunk := response.read1(1 << 16):
            file.write(chunk)
            if file.tell() > LARGEST:
                raise ValueError(f"it is longer than {LARGEST} bytes")
            if time.monotonic() - start > LONGEST:
                raise ValueError(f"not done after {LONGEST:g} seconds")
        if announced is not None and file.tell() < announced:
            raise ValueError(f"retrieval incomplete: got {file.tell()} of {announced} bytes")


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"{error.code} -- {error.msg}"
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    return " ".join(str(reason).split()).rstrip(".") or type(reason).__name__


def _check_md5(path: Path, expected: str, *, called: str | Path) -> None:
    try:
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise PoseError(f"{path} could not be read: {error.strerror}.") from error
    if found != expected:
        raise PoseError(f"{called} is not the published file, or damaged: its MD5 is {found}, expected {expected}.")
