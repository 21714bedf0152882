"""Millions of pictures on a Ray cluster: Ray Data hands them to workers, each with a network of its own.

A worker that dies is replaced, as is one whose machine dies, and what it had not answered is done again elsewhere. The
process that asked keeps the account and writes the files, so every picture is there once, and no other disk is
needed; the pictures themselves lie where every machine finds them under the same name.

Needs the extra `ray`.
"""

import logging
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
import ray.data

from pose_regression.data.entries import is_number
from pose_regression.data.orientation import Labels, upright_size
from pose_regression.errors import PoseError
from pose_regression.inference.boxes import Boxes, People
from pose_regression.inference.coco_files import Found, Picture
from pose_regression.inference.parquet_files import ROWS, Parts, write_coco
from pose_regression.inference.people import MAX_PEOPLE
from pose_regression.inference.photographs import stored_size_and_turn
from pose_regression.inference.predictor import PosePredictor
from pose_regression.inference.video import VIDEOS, Source
from pose_regression.model.load import load_model

TASK = 64
"""Pictures handed to a worker at a time: what is done again when it dies."""
CPUS = 2
"""Of a worker. The network gains little from more, and each worker takes about 1 GB of memory."""


class FindPoses:
    """What a worker does; for `map_batches` of any data set with a column `image` of paths.

    Args:
        weights: as `PosePredictor` takes them: a name, or a file that every machine finds.
        runtime: as for `PosePredictor`.
        batch_size: as for `PosePredictor`.
        people: who looks for people, as for `PosePredictor.predict`, by name.
        max_people: as for `PosePredictor.predict`.
        flip: as for `PosePredictor.predict`.
        crops: as for `PosePredictor.predict`.
        labels: in which pixels boxes are of pictures that EXIF turns; None judges each picture by itself
            (`data.orientation`).

    Example:
        pictures = ray.data.from_items([{"image": path} for path in paths])
        poses = pictures.map_batches(
            FindPoses, fn_constructor_kwargs={"weights": "small"}, batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=4), num_cpus=2,
        )
        poses.write_parquet("poses")
    """

    def __init__(
        self, weights: str = "small", *, runtime: str = "keras", batch_size: int = 8, people: str = "auto",
        max_people: int = MAX_PEOPLE, flip: bool = False, crops: int = 1, labels: Labels | None = None,
    ):  # fmt: skip
        self.labels = labels
        self.predictor = PosePredictor(weights, runtime=runtime, batch_size=batch_size)
        self.how: dict[str, Any] = {"people": people, "max_people": max_people, "flip": flip, "crops": crops}

    def __call__(self, rows: pa.Table) -> pa.Table:
        """The columns given and, for each picture, those of `parquet_files`.

        Args:
            rows: `image`, and perhaps `boxes`: a list of x0, y0, x1, y1 for each picture, null to look for people; and
                `annotated`: the width and height that the boxes' file says, where it does. Boxes that lie outside of
                their picture are left out.
        """
        paths = rows["image"].to_pylist()
        boxes, annotated = (
            rows[name].to_pylist() if name in rows.column_names else [None] * len(paths)
            for name in ("boxes", "annotated")
        )  # fmt: skip
        sizes: list[tuple[int | None, int | None]] = []
        given: list[list[list[float]] | None] = []
        errors: dict[int, str] = {}
        for position, (path, of_picture, said) in enumerate(zip(paths, boxes, annotated, strict=True)):
            try:
                size, of_picture = self._upright(path, of_picture, said)
                sizes.append(size)
            except PoseError as error:
                sizes.append((None, None))
                errors[position] = str(error)
            given.append(of_picture)
        readable = [position for position in range(len(paths)) if position not in errors]

        def broken(at: int, error: PoseError) -> None:
            errors[readable[at]] = str(error)

        found: list[list[dict[str, Any]]] = [[] for _ in paths]
        answers = self.predictor.stream(
            [paths[i] for i in readable], [given[i] for i in readable], **self.how, on_error=broken
        )
        for position, poses in zip(readable, answers, strict=True):
            found[position] = [pose.to_coco() for pose in poses]
        answered = {
            "width": [width for width, _ in sizes], "height": [height for _, height in sizes],
            "error": [errors.get(position) for position in range(len(paths))], "people": found,
        }  # fmt: skip
        for name, values in answered.items():
            rows = rows.append_column(ROWS.field(name), pa.array(values, ROWS.field(name).type))
        return rows

    def _upright(
        self, path: str, boxes: list[list[float]] | None, said: list[float] | None
    ) -> tuple[tuple[int, int], list[list[float]] | None]:
        """Width and height of the upright picture, and the boxes in its pixels; `PoseError` for no readable header."""
        stored, turn = stored_size_and_turn(path)
        if boxes is not None:
            people = People(boxes, size=(said[0], said[1]) if said else (None, None))
            ((boxes, _),) = Boxes(Path(path), {}, labels=self.labels).upright([people], [(stored, turn)])
        return upright_size(turn, stored), boxes


@dataclass(frozen=True)
class Resources:
    """How many workers there are at most, and what each takes."""

    workers: int
    cpus: int
    gpus: int


def resources_of(machines: Sequence[dict[str, float]]) -> Resources:
    """One worker for each GPU where there are any, else one for every `CPUS` processors of a machine.

    Args:
        machines: what each has, as Ray calls it: `CPU`, `GPU`.

    Raises:
        PoseError: no machine has a processor to spare.
    """
    gpus = sum(math.floor(machine.get("GPU", 0)) for machine in machines)
    if gpus:
        return Resources(gpus, 1, 1)
    processors = [math.floor(machine.get("CPU", 0)) for machine in machines]
    cpus = min(CPUS, max(processors, default=0))
    if not cpus:
        raise PoseError("The Ray cluster has no machine with a processor for a worker.")
    return Resources(sum(number // cpus for number in processors), cpus, 0)


def connect(address: str) -> Resources:
    """Join a cluster, or start one of this machine's own.

    Args:
        address: "local"; "auto", the cluster of this machine; or HOST:PORT.

    Raises:
        PoseError: there is none.
    """
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    how: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **how)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise PoseError(f"--ray {address}: no Ray cluster answers ({str(error).splitlines()[0]}).") from error
    return resources_of([machine["Resources"] for machine in ray.nodes() if machine["Alive"]])


@dataclass(frozen=True)
class Answer:
    """What a run left."""

    parts: Parts
    workers: int
    """At most."""
    seconds: float
    """The start of the workers included."""


def predict_files(
    paths: Sequence[Source],
    boxes: Boxes | None,
    folder: Path,
    *,
    address: str,
    progress: Callable[[int], None],
    weights: str = "small",
    **how: Any,
) -> Answer:
    """Predict pictures on a cluster; writes `poses-parquet/` and `poses.json` into `folder`.

    Args:
        paths: pictures that every machine finds under the same absolute name.
        boxes: None has people looked for.
        folder: gets the files.
        address: as for `connect`.
        progress: called with the number of pictures that are done, from time to time.
        weights: as for `FindPoses`.
        how: the other arguments of `FindPoses`.

    Raises:
        PoseError: a video among the paths, no such weights or cluster, a worker that cannot begin, or a picture that is
            missing in the end. What was answered until then is in `poses-parquet/`.
    """
    pictures = [_picture(path) for path in paths]
    given: list[People | None] = [None] * len(pictures)
    if boxes is not None:
        given = [of or People() for of in boxes.of_pictures(pictures)]
    parts = Parts(folder / "poses-parquet", [str(path) for path in pictures])
    source = str(Path(weights).absolute()) if Path(weights).is_file() else weights
    skeleton = load_model(source)[1]
    resources = connect(address)
    started = time.monotonic()
    try:
        _predict(pictures, given, parts, resources, progress=progress, weights=source, **how)
    finally:
        parts.write()
        ray.shutdown()
    named = [Picture(name, 0, 0, of.id if of else None) for name, of in zip(parts.names, given, strict=True)]
    write_coco(
        folder / "poses.json", parts.files, skeleton,
        category=boxes.category if boxes else (1, "person"), ids=Found(skeleton, pictures=named).ids(),
    )  # fmt: skip
    return Answer(parts, resources.workers, time.monotonic() - started)


def _predict(
    pictures: Sequence[Path],
    given: Sequence[People | None],
    parts: Parts,
    resources: Resources,
    *,
    progress: Callable[[int], None],
    **how: Any,
) -> None:
    """The pictures through the workers; `parts` has the answers as they come."""
    ray.data.DataContext.get_current().enable_progress_bars = False
    rows = pa.table({
        "index": pa.array(range(len(pictures)), pa.int64()),
        "image": pa.array([str(path.absolute()) for path in pictures], pa.string()),
        "boxes": pa.array([of and of.boxes for of in given], pa.list_(pa.list_(pa.float64()))),
        "annotated": pa.array([of and _annotated(of) for of in given], pa.list_(pa.float64())),
    })  # fmt: skip
    tasks = [rows.slice(start, TASK) for start in range(0, rows.num_rows, TASK)]
    poses = ray.data.from_arrow(tasks).map_batches(
        FindPoses, fn_constructor_kwargs=how, batch_format="pyarrow", batch_size=None,
        compute=ray.data.ActorPoolStrategy(min_size=resources.workers, max_size=None),
        num_cpus=resources.cpus, num_gpus=resources.gpus,
        runtime_env={"env_vars": _environment(resources.cpus)},
    )  # fmt: skip
    try:
        for answered in poses.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=1):
            parts.add(answered)
            progress(parts.done)
    except ray.exceptions.RayError as error:
        raise PoseError(f"The workers gave up: {_last_line(error)}") from error
    if missing := len(pictures) - parts.done:
        raise PoseError(f"{missing} of {len(pictures)} pictures were not answered.")


def _annotated(people: People) -> list[float] | None:
    """The picture's width and height, if the file of boxes says both."""
    return list(people.size) if all(map(is_number, people.size)) else None


def _picture(path: Source) -> Path:
    if isinstance(path, str) or path.suffix.lower() in VIDEOS:
        raise PoseError(f"{path} is a video: a cluster takes pictures. Give it to predict without --ray.")
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError as error:
        raise PoseError(f"{str(path)!a}: on a cluster, names of pictures must be UTF-8.") from error
    return path


def _environment(cpus: int) -> dict[str, str]:
    """Nothing of TensorFlow's log, and as many threads as a worker has processors."""
    threads = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
    return {"TF_CPP_MIN_LOG_LEVEL": "3"} | dict.fromkeys(threads, str(cpus))


def _last_line(error: Exception) -> str:
    """Of an error that came from another process: what happened there."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
