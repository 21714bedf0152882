"""A predictor behind HTTP: `POST /predict` with a photograph, `GET /health`, and the page `/docs` that describes both.

One prediction at a time; who comes when too many wait, asks too often or sends too much is told so in one sentence,
`{"error": "..."}`. Photographs are kept in no file or log. Needs the extra `serve`.
"""

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Annotated, Any
from urllib.parse import parse_qsl

import uvicorn
from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException
from uvicorn.protocols.http.h11_impl import H11Protocol

from pose_regression.errors import PoseError
from pose_regression.inference.limits import PER_MINUTE, WAITING, RateLimit, as_file, is_local, refused_length
from pose_regression.inference.predictor import PosePredictor

SECONDS = 20.0
"""For a request to arrive in."""
MAX_BOXES = 50
"""People in one request."""

CONNECTIONS = 32
"""At a time; more are told to come again. Each may hold one image in memory."""

ADDRESSES = "/predict, /health, /docs"


def create_app(
    predictor: PosePredictor, *, max_bytes: int, per_minute: int = PER_MINUTE, waiting: int = WAITING,
    seconds: float = SECONDS,
) -> FastAPI:  # fmt: skip
    """The application, for any ASGI server.

    Args:
        predictor: finds the poses.
        max_bytes: of an image.
        per_minute: requests of each address but this machine's own.
        waiting: requests that wait for their turn, one being worked on.
        seconds: for a body to arrive in.
    """
    app = FastAPI(title="Human poses", description=__doc__)
    worker, limit, inside = ThreadPoolExecutor(1), RateLimit(per_minute, seconds=60), [0]

    @app.exception_handler(StarletteHTTPException)
    async def refused(request: Request, error: StarletteHTTPException) -> JSONResponse:
        sentence = {
            404: f"There is no such address; expected one of {ADDRESSES}.",
            405: f"{request.url.path} does not take {request.method}.",
        }.get(error.status_code, error.detail)
        return JSONResponse({"error": sentence}, error.status_code, {**(error.headers or {}), "Connection": "close"})

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:  # the ASGI server logs it
        return JSONResponse({"error": "The server has failed."}, 500)

    @app.head("/health", include_in_schema=False)
    @app.get("/health")
    async def health() -> dict[str, str]:
        """Whether the server answers."""
        return {"status": "ok"}

    image = {"image/*": {"schema": {"type": "string", "format": "binary"}}}

    @app.post("/predict", openapi_extra={"requestBody": {"required": True, "content": image}})
    async def predict(
        request: Request,
        box: Annotated[list[str] | None, Query(description="x0,y0,x1,y1 in pixels; once for each person")] = None,
    ) -> dict[str, list[dict[str, Any]]]:
        """The poses of the people in an image, one for each box; without a box, of those who are found."""
        client = "" if request.client is None else request.client.host.removeprefix("::ffff:")
        if not is_local(client):
            with _told(429):
                limit.check(client, time.monotonic())
        if not request.headers.get("content-type", "").startswith("image/"):
            raise HTTPException(415, "The body must be an image, with a header such as Content-Type: image/jpeg.")
        length = "" if "transfer-encoding" in request.headers else request.headers.get("content-length", "")
        if (refusal := refused_length(length, max_body=max_bytes)) is not None:
            raise HTTPException(*refusal)
        boxes = boxes_of(request.url.query)
        try:
            async with asyncio.timeout(seconds):
                content = await request.body()
        except TimeoutError:
            raise HTTPException(408, f"The request did not arrive within {seconds:g} seconds.") from None
        if inside[0] > waiting:
            raise HTTPException(503, "Too many requests are waiting; try again later.")
        inside[0] += 1
        try:
            with _told(400):
                return {"poses": await asyncio.wrap_future(worker.submit(_poses, predictor, content, boxes))}
        finally:
            inside[0] -= 1

    return app


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


def _poses(predictor: PosePredictor, content: bytes, boxes: list[list[float]] | None) -> list[dict[str, Any]]:
    with as_file(content, "The image") as path:
        return [pose.to_dict() for pose in predictor.predict(path, boxes)]


@contextmanager
def _told(status: int) -> Iterator[None]:
    """A `PoseError` of the block is told to the client."""
    try:
        yield
    except PoseError as error:
        raise HTTPException(status, str(error)) from None


def boxes_of(query: str) -> list[list[float]] | None:
    """The boxes of `box=x0,y0,x1,y1&box=...`; None if there are none; anything else is refused."""
    try:
        fields = parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_BOXES)
        boxes = [[float(number) for number in value.split(",")] for _, value in fields]
        if any(name != "box" for name, _ in fields) or any(len(box) != 4 for box in boxes):
            raise ValueError
    except ValueError:
        sentence = f"The query must be box=x0,y0,x1,y1 in pixels, once for each person, {MAX_BOXES} at most."
        raise HTTPException(400, sentence) from None
    return boxes or None
