"""The demo's page as a FastAPI application: it sends itself, takes photographs in, and fetches nothing from elsewhere.

    GET /                        the page, with demo.css, demo.js, example.jpg
    GET /example                 the answer to example.jpg, computed when the application is made
    POST /people?name=[&people=] a photograph -> `answers.answer`
    POST /maps?name=&people=     a photograph and one person -> `maps.maps_of`

The photograph stays in the browser, which sends it anew with every question: nothing is kept between two of them.
"""

from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response

from pose_regression.errors import PoseError
from pose_regression.inference.demo.answers import answer, read_people
from pose_regression.inference.demo.maps import maps_of
from pose_regression.inference.limits import PER_MINUTE
from pose_regression.inference.predictor import PosePredictor
from pose_regression.inference.reception import Reception, tell_in_sentences

HERE = Path(__file__).parent

FILES = {"index.html": "text/html", "demo.css": "text/css", "demo.js": "text/javascript", "example.jpg": "image/jpeg"}

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

SECONDS = 60.0
"""For a photograph to arrive in."""


def create_page(predictor: PosePredictor, *, max_bytes: int, per_minute: int = 2 * PER_MINUTE) -> FastAPI:
    """The application, warm: it has answered its example when this returns.

    Args:
        predictor: of any weights.
        max_bytes: of a photograph; the page sends no larger one.
        per_minute: requests of each address but this machine's own; a click is two, the pose's and the maps'.
    """
    example = answer(predictor, (HERE / "example.jpg").read_bytes(), "example.jpg")
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    tell_in_sentences(app, addresses="/, /people, /maps")
    reception = Reception(max_bytes=max_bytes, per_minute=per_minute, seconds=SECONDS)

    @app.middleware("http")
    async def with_policy(request: Request, follow: Any) -> Response:
        response = await follow(request)
        response.headers.update(HEADERS)
        return response

    @app.get("/example")
    async def example_answered() -> dict[str, Any]:
        return example

    @app.post("/people")
    async def people_of(request: Request, name: str = "", people: str | None = None) -> dict[str, Any]:
        reception.check(request)
        return await reception.answer(request, lambda content: _people(predictor, content, file_name(name), people))

    @app.post("/maps")
    async def maps(request: Request, people: str, name: str = "") -> dict[str, Any]:
        reception.check(request)
        return await reception.answer(request, lambda content: _maps(predictor, content, file_name(name), people))

    _add_files(app, max_bytes)
    return app


def _add_files(app: FastAPI, max_bytes: int) -> None:
    """The page's own files, which know how large a photograph may be."""
    for file, kind in FILES.items():
        content = (HERE / file).read_bytes().replace(b"MAX_BYTES", str(max_bytes).encode())
        app.add_api_route("/" if file == "index.html" else f"/{file}", _sender(content, kind), methods=["GET", "HEAD"])


def _people(predictor: PosePredictor, content: bytes, name: str, people: str | None) -> dict[str, Any]:
    return answer(predictor, content, name, None if people is None else read_people(people))


def _maps(predictor: PosePredictor, content: bytes, name: str, people: str) -> dict[str, Any]:
    chosen = read_people(people)
    if len(chosen) != 1:
        raise PoseError(f"Maps are of one person. Received: {len(chosen)}")
    return maps_of(predictor, content, name, chosen[0])


def _sender(content: bytes, kind: str) -> Any:
    async def send() -> Response:
        return Response(content, media_type=kind, headers={"Cache-Control": "no-cache"})

    return send


def file_name(name: str) -> str:
    """What messages and files call a photograph: the last part of its name, printable and not too long."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return "".join(letter for letter in last if letter.isprintable())[:100] or "The photograph"
