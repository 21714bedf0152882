"""How servers take strangers' photographs in: one is worked on at a time, the others wait or are told why not.

A refusal is `{"error": "..."}`, one sentence. Photographs are kept in no file or log. Needs FastAPI and uvicorn.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException
from uvicorn.protocols.http.h11_impl import H11Protocol

from pose_regression.errors import PoseError
from pose_regression.inference.limits import PER_MINUTE, WAITING, RateLimit, is_local, refused_length

SECONDS = 20.0
"""For a request to arrive in."""

CONNECTIONS = 32
"""At a time; more are told to come again. Each may hold one image in memory."""

T = TypeVar("T")


class Reception:
    """Takes photographs in and has them worked on; whatever it refuses is an `HTTPException` of one sentence.

    Args:
        max_bytes: of an image.
        per_minute: requests of each address but this machine's own.
        waiting: requests that wait for their turn, one being worked on.
        seconds: for a body to arrive in.
    """

    def __init__(
        self, *, max_bytes: int, per_minute: int = PER_MINUTE, waiting: int = WAITING, seconds: float = SECONDS
    ):
        self.max_bytes, self.waiting, self.seconds = max_bytes, waiting, seconds
        self.worker, self.limit, self.inside = ThreadPoolExecutor(1), RateLimit(per_minute, seconds=60), 0

    def check(self, request: Request) -> None:
        """Refuse unread who asks too often (429), what is no image (415), says no length (411) or is too long (413)."""
        client = "" if request.client is None else request.client.host.removeprefix("::ffff:")
        if not is_local(client):
            with _told(429):
                self.limit.check(client, time.monotonic())
        if not request.headers.get("content-type", "").startswith("image/"):
            raise HTTPException(415, "The body must be an image, with a header such as Content-Type: image/jpeg.")
        length = "" if "transfer-encoding" in request.headers else request.headers.get("content-length", "")
        if (refusal := refused_length(length, max_body=self.max_bytes)) is not None:
            raise HTTPException(*refusal)

    async def answer(self, request: Request, work: Callable[[bytes], T]) -> T:
        """What `work` makes of the request's body, in the one thread that works; its `PoseError` is told (400)."""
        try:
            async with asyncio.timeout(self.seconds):
                content = await request.body()
        except TimeoutError:
            raise HTTPException(408, f"The request did not arrive within {self.seconds:g} seconds.") from None
        if self.inside > self.waiting:
            raise HTTPException(503, "Too many requests are waiting; try again later.")
        self.inside += 1
        try:
            with _told(400):
                return await asyncio.wrap_future(self.worker.submit(work, content))
        finally:
            self.inside -= 1


@contextmanager
def _told(status: int) -> Iterator[None]:
    """A `PoseError` of the block is told to the client."""
    try:
        yield
    except PoseError as error:
        raise HTTPException(status, str(error)) from None


def tell_in_sentences(app: FastAPI, *, addresses: str) -> None:
    """Every error of the application is answered by `{"error": "..."}`; `addresses` are those that there are."""

    @app.exception_handler(StarletteHTTPException)
    async def refused(request: Request, error: StarletteHTTPException) -> JSONResponse:
        sentence = {
            404: f"There is no such address; expected one of {addresses}.",
            405: f"{request.url.path} does not take {request.method}.",
        }.get(error.status_code, error.detail)
        return JSONResponse({"error": sentence}, error.status_code, {**(error.headers or {}), "Connection": "close"})

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:  # the ASGI server logs it
        return JSONResponse({"error": "The server has failed."}, 500)


class _Impatient(H11Protocol):
    """A connection on which no whole request header arrives in time is closed, a drop now and then or not."""

    seconds = SECONDS

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.loop.call_later(self.seconds, lambda: self.cycle is None and transport.close())


def http_server(app: FastAPI, *, seconds: float = SECONDS) -> uvicorn.Server:
    """What listens for an application, in one process: `http_server(app).run(sockets=[socket])`."""
    protocol = type("Impatient", (_Impatient,), {"seconds": seconds})
    config = uvicorn.Config(
        app, http=protocol, ws="none", log_level="error", access_log=False, server_header=False,
        limit_concurrency=CONNECTIONS, h11_max_incomplete_event_size=65536,
    )  # fmt: skip
    return uvicorn.Server(config)
