"""A small HTTP server around one predictor, with Python's standard library alone.

    python -m experiments.serve
    python -m experiments.serve --weights runs/synthetic/best.weights.h5 --port 8600 --max-upload-mb 10

    curl -H "Content-Type: image/jpeg" --data-binary @photo.jpg "http://127.0.0.1:8600/predict?box=40,10,200,380"
    {"poses": [{"box": [40.0, 10.0, 200.0, 380.0], "joints": {"pelvis": {"x": 118.2, "y": 204.9, ...

Cost: seconds to start, then a fraction of a second for each box on a CPU. Ctrl-C ends it. docs/serving.md has the
limits and all answers.

Only this machine can reach the server. --host 0.0.0.0 opens it to the network, without a password: then each other
address may ask 30 times a minute. Photographs are kept in no file or log.
"""

import argparse
import ctypes
import io
import json
import socket
import socketserver
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from experiments.command import run
from experiments.web import (
    PER_MINUTE,
    WAITING,
    RateLimit,
    add_options,
    announce,
    as_file,
    check_address,
    is_local,
    refused_length,
    upload_limit,
)
from pose_regression.errors import PoseError

if TYPE_CHECKING:  # importing TensorFlow takes seconds, and a mistake in the arguments should not wait for it
    from pose_regression.inference.predictor import PosePredictor

SECONDS = 20.0
"""To send a whole request, and to take its answer."""

LINGER = 2.0
"""Seconds for which a client that is still sending what was refused may go on."""

CONNECTIONS = 32
"""At a time; more are closed unread. Each may hold one image in memory."""

MAX_BOXES = 50
"""People in one request."""

ROUTES = {"/predict": "POST", "/health": "GET"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, port=8600, megabytes=10)
    parser.add_argument(
        "--per-minute", type=int, default=PER_MINUTE, metavar="N",
        help=f"requests of each address but this machine's own (default: {PER_MINUTE})",
    )  # fmt: skip
    options = parser.parse_args()
    check_address(options.host, options.port, server="The server")
    max_bytes = upload_limit(options.max_upload_mb)
    if options.per_minute < 1:
        raise PoseError(f"--per-minute must be at least 1. Received: {options.per_minute}")

    share_memory()
    import numpy as np

    from pose_regression.inference.predictor import PosePredictor

    predictor = PosePredictor(options.weights)
    predictor.predict(np.zeros((64, 64, 3), np.uint8))  # the first one is slow: nobody shall wait for it
    limit = RateLimit(options.per_minute, seconds=60)
    with PoseServer(predictor, (options.host, options.port), max_bytes=max_bytes, limit=limit) as server:
        announce(options.host, options.port, server="server")
        server.serve_forever()


def share_memory() -> None:
    """Let all threads take memory from the same two pools, where the C library is glibc. Call it before TensorFlow.

    It would give every new thread another pool, up to eight for each core, and each keeps what the largest image in it
    ever needed: 400 requests of 8 clients added 250 MiB, and with this 37.
    """
    arena_max = -8
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(arena_max, 2)


class PoseServer(ThreadingHTTPServer):
    """Answers `POST /predict` and `GET /health`; a thread for each connection, one prediction at a time.

    Args:
        predictor: finds the poses.
        address: host and port to listen at; port 0 takes a free one, see `server_port`.
        max_bytes: of an image.
        limit: on the requests of each address but this machine's own.
        seconds: to send a whole request, and to take its answer.
        waiting: requests that wait for their turn, one being worked on.

    Raises:
        PoseError: nothing can listen there.
    """

    request_queue_size = CONNECTIONS

    def __init__(
        self, predictor: "PosePredictor", address: tuple[str, int], *, max_bytes: int, limit: RateLimit,
        seconds: float = SECONDS, waiting: int = WAITING,
    ):  # fmt: skip
        self.predictor, self.max_bytes, self.limit, self.seconds = predictor, max_bytes, limit, seconds
        self.worker = ThreadPoolExecutor(1)
        self.places = threading.BoundedSemaphore(waiting + 1)
        self.connections = threading.BoundedSemaphore(CONNECTIONS)
        host, port = address
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise PoseError(f"The server cannot listen at {host}:{port}: {error.strerror}.") from error

    def server_bind(self) -> None:
        """Without HTTPServer's look-up of the machine's name, which may ask the network."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        if self.connections.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.close_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.connections.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients may go whenever they like; anything else is the program's fault, and is logged."""
        if not isinstance(sys.exception(), OSError):
            traceback.print_exc()

    def server_close(self) -> None:
        super().server_close()
        self.worker.shutdown(cancel_futures=True)

    def poses(self, content: bytes, boxes: Sequence[Sequence[float]] | None) -> list[dict[str, Any]]:
        """`Pose.to_dict` of everybody in an encoded image, as the predictor's thread comes round to it.

        Raises:
            PoseError: as `PosePredictor.predict`, the image being called "The image".
        """

        def predict() -> list[dict[str, Any]]:
            with as_file(content, "The image") as path:
                return [pose.to_dict() for pose in self.predictor.predict(path, boxes)]

        return self.worker.submit(predict).result()


class _Refusal(Exception):
    """A request that is not answered as asked: status and sentence."""

    def __init__(self, status: int, sentence: str):
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


class _Handler(BaseHTTPRequestHandler):
    """One connection, one request."""

    protocol_version = "HTTP/1.1"  # for "Expect: 100-continue", which curl sends before large bodies
    server: PoseServer

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self.rfile = io.BufferedReader(_Incoming(self.connection, self.server.seconds))
        self.unread = 0

    def do_GET(self) -> None:
        self._respond()

    def do_POST(self) -> None:
        self._respond()

    def _respond(self) -> None:
        try:
            status, content = HTTPStatus.OK, self._answer()
        except _Refusal as refusal:
            status, content = HTTPStatus(refusal.status), {"error": refusal.sentence}
        except ConnectionError:
            raise
        except Exception:
            traceback.print_exc()
            status, content = HTTPStatus.INTERNAL_SERVER_ERROR, {"error": "The server has failed."}
        self._send(status, content)

    def _answer(self) -> dict[str, Any]:
        parts = urlsplit(self.path)
        if parts.path not in ROUTES:
            raise _Refusal(404, f"There is no such address; expected one of {', '.join(ROUTES)}.")
        if ROUTES[parts.path] != self.command:
            raise _Refusal(405, f"{parts.path} takes {ROUTES[parts.path]} only.")
        if parts.path == "/health":
            return {"status": "ok"}
        return {"poses": self._predict(parts.query)}

    def _predict(self, query: str) -> list[dict[str, Any]]:
        client = self.client_address[0].removeprefix("::ffff:")
        if not is_local(client):
            try:
                self.server.limit.check(client, time.monotonic())
            except PoseError as error:
                raise _Refusal(429, str(error)) from None
        if not self.headers.get_content_type().startswith("image/"):
            raise _Refusal(415, "The body must be an image, with a header such as Content-Type: image/jpeg.")
        length = self.headers.get("Content-Length", "")
        if "Transfer-Encoding" in self.headers:
            length = ""
        if (refusal := refused_length(length, max_body=self.server.max_bytes)) is not None:
            self.unread = self.server.max_bytes
            raise _Refusal(*refusal)
        self.unread = int(length)
        boxes = boxes_of(query)
        content = self._body()
        if not self.server.places.acquire(blocking=False):
            raise _Refusal(503, "Too many requests are waiting; try again later.")
        try:
            return self.server.poses(content, boxes)
        except PoseError as error:
            raise _Refusal(400, str(error)) from None
        finally:
            self.server.places.release()

    def _body(self) -> bytes:
        parts = []
        try:
            while self.unread and (part := self.rfile.read1(self.unread)):
                parts.append(part)
                self.unread -= len(part)
        except TimeoutError:
            self.unread = 0
            raise _Refusal(408, f"The request did not arrive within {self.server.seconds:g} seconds.") from None
        if self.unread:
            raise ConnectionResetError
        return b"".join(parts)

    def _send(self, status: HTTPStatus, content: dict[str, Any]) -> None:
        body = json.dumps(content, allow_nan=False).encode()
        self.connection.settimeout(self.server.seconds)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", ROUTES[urlsplit(self.path).path])
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def finish(self) -> None:
        super().finish()
        if self.unread:  # closing now would reset the connection, and the client might never see the answer
            rest = _Incoming(self.connection, LINGER)
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_WR)
                while rest.readinto(bytearray(65536)):
                    pass

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What `http.server` itself refuses, such as a malformed request: JSON too, and no echo."""
        self._send(HTTPStatus(code), {"error": f"{HTTPStatus(code).phrase}."})

    def version_string(self) -> str:
        return "pose_regression"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing about who asks what is kept."""


class _Incoming(io.RawIOBase):
    """What a connection sends within `seconds` from now, all in all: a drop now and then does not hold a thread."""

    def __init__(self, connection: socket.socket, seconds: float):
        self.connection, self.deadline = connection, time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.connection.settimeout(left)
        return self.connection.recv_into(buffer)


def boxes_of(query: str) -> list[list[float]] | None:
    """The boxes of `box=x0,y0,x1,y1&box=...`; None, the whole image, if there are none.

    Raises:
        _Refusal: anything else.
    """
    boxes = []
    try:
        for name, value in parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_BOXES):
            box = [float(number) for number in value.split(",")]
            if name != "box" or len(box) != 4:
                raise ValueError
            boxes.append(box)
    except ValueError:
        raise _Refusal(
            400, f"The query must be box=x0,y0,x1,y1 in pixels, once for each person, {MAX_BOXES} at most."
        ) from None
    return boxes or None


if __name__ == "__main__":
    run(main)
