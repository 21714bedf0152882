"""What servers for strangers' photographs share: options, where to listen, how much and how often may be asked."""

import argparse
import ipaddress
import socket
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pose_regression.errors import PoseError

PER_MINUTE = 30
"""Requests of one address, where others than this machine can reach the server."""

WAITING = 16
"""Requests that wait for their turn, one being worked on; more are sent away."""


class RateLimit:
    """No more than `count` requests from one client in `seconds`."""

    def __init__(self, count: int, *, seconds: float):
        self.count, self.seconds = count, seconds
        self.times: dict[str, deque[float]] = {}
        self.lock = threading.Lock()

    def check(self, client: str, now: float) -> None:
        """Count a request; `now` in seconds, of any clock that does not go back. `PoseError` if it is one too many."""
        with self.lock:
            # Forgetting everybody's old requests keeps the memory within what arrives in one span.
            for name in list(self.times):
                times = self.times[name]
                while times and times[0] <= now - self.seconds:
                    times.popleft()
                if not times:
                    del self.times[name]
            times = self.times.setdefault(client, deque())
            if len(times) >= self.count:
                wait = times[0] + self.seconds - now
                raise PoseError(
                    f"More than {self.count} requests in {self.seconds:g} seconds came from your address; "
                    f"try again in {wait:.0f} seconds."
                )
            times.append(now)


def is_local(host: str) -> bool:
    """Whether `host`, an address to listen at or that of a client, is of this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_address(host: str, port: int, *, server: str) -> None:
    """`PoseError`, in which `server` is the subject, if nothing can listen there."""
    if not 1 <= port <= 65535:
        raise PoseError(f"--port must be in 1 to 65535. Received: {port}")
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
    except OSError as error:
        raise PoseError(f"{server} cannot listen at {host}:{port}: {error.strerror}.") from error


def add_options(parser: argparse.ArgumentParser, *, port: int, megabytes: int) -> None:
    """The options of every server, with its own defaults."""
    parser.add_argument("--weights", default="small", metavar="NAME_OR_FILE", help="default: small")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: 127.0.0.1, this machine)")
    parser.add_argument("--port", type=int, default=port, help=f"default: {port}")
    parser.add_argument(
        "--max-upload-mb", type=float, default=megabytes, metavar="N", help=f"size of a file (default: {megabytes})"
    )


def announce(host: str, port: int, *, server: str) -> None:
    """Say where `server` listens, and whether others can reach it."""
    if not is_local(host):
        print(f"Whoever can reach {host}:{port} can use the {server}: it has no password.", file=sys.stderr)
    print(f"http://{host}:{port}  (Ctrl-C ends it)", flush=True)


def upload_limit(megabytes: float) -> int:
    """The bytes of `--max-upload-mb`. `PoseError` if it makes no sense."""
    if not 0 < megabytes <= 1000:
        raise PoseError(f"--max-upload-mb must be over 0 and at most 1000. Received: {megabytes:g}")
    return round(megabytes * 1e6)


def refused_length(length: str, *, max_body: int) -> tuple[int, str] | None:
    """Status and sentence for a body that is not let through, by its Content-Length; None for all others."""
    if not (length.isascii() and length.isdigit()):  # a body in chunks says no length; browsers send none
        return 411, "A request with a body must say its length."
    if len(length) > 18 or int(length) > max_body:
        return 413, f"The request has {length[:18]} bytes, more than {max_body}."
    return None


@contextmanager
def as_file(content: bytes, name: str) -> Iterator[Path]:
    """A file of `content` while the block runs, so that it goes the way of every other prediction.

    A `PoseError` of the block calls the file `name`.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "photograph"
        path.write_bytes(content)
        try:
            yield path
        except PoseError as error:
            raise PoseError(str(error).replace(str(path), name)) from None
