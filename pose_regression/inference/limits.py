"""What servers for strangers' photographs share: how much and how often may be asked, and where the photograph lies."""

import ipaddress
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
