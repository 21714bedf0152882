"""A predictor behind HTTP: `POST /predict` with a photograph, `GET /health`, and the page `/docs` that describes both.

One prediction at a time; who comes when too many wait, asks too often or sends too much is told so in one sentence,
`{"error": "..."}`. Photographs are kept in no file or log. Needs the extra `serve`.
"""

from typing import Annotated, Any
from urllib.parse import parse_qsl

from fastapi import FastAPI, HTTPException, Query, Request

from pose_regression.inference.limits import PER_MINUTE, WAITING, as_file
from pose_regression.inference.predictor import PosePredictor
from pose_regression.inference.reception import SECONDS, Reception, tell_in_sentences

MAX_BOXES = 50
"""People in one request."""


def create_app(
    predictor: PosePredictor, *, max_bytes: int, per_minute: int = PER_MINUTE, waiting: int = WAITING,
    seconds: float = SECONDS,
) -> FastAPI:  # fmt: skip
    """The application, for any ASGI server.

    Args:
        predictor: finds the poses.
        max_bytes, per_minute, waiting, seconds: as `Reception` has them.
    """
    app = FastAPI(title="Human poses", description=__doc__)
    tell_in_sentences(app, addresses="/predict, /health, /docs")
    reception = Reception(max_bytes=max_bytes, per_minute=per_minute, waiting=waiting, seconds=seconds)

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
        reception.check(request)
        boxes = boxes_of(request.url.query)
        return {"poses": await reception.answer(request, lambda content: _poses(predictor, content, boxes))}

    return app


def _poses(predictor: PosePredictor, content: bytes, boxes: list[list[float]] | None) -> list[dict[str, Any]]:
    with as_file(content, "The image") as path:
        return [pose.to_dict() for pose in predictor.predict(path, boxes)]


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
