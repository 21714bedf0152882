"""What the commands that serve share: options, where to listen, what they say about it."""

import argparse
import socket
import sys
from typing import Any

from pose_regression.errors import PoseError
from pose_regression.inference.limits import is_local


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


def listen(app: Any, host: str, port: int, *, server: str) -> None:
    """Serve an application until Ctrl-C; say where, and whether others can reach it."""
    from pose_regression.inference.reception import http_server

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family) as listening:
        if not is_local(host):
            print(f"Whoever can reach {host}:{port} can use the {server}: it has no password.", file=sys.stderr)
        print(f"http://{host}:{port}  (Ctrl-C ends it)", flush=True)
        http_server(app).run(sockets=[listening])


def upload_limit(megabytes: float) -> int:
    """The bytes of `--max-upload-mb`. `PoseError` if it makes no sense."""
    if not 0 < megabytes <= 1000:
        raise PoseError(f"--max-upload-mb must be over 0 and at most 1000. Received: {megabytes:g}")
    return round(megabytes * 1e6)
