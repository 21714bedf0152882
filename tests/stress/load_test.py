"""Many photographs through one process, and many clients at one server: memory, speed, and the same answers always.

    python -m tests.stress.load_test --images 10000 --clients 8 --seconds 300

Renders 100 pictures of many sizes and kinds, with whole-picture and boxed people, into a temporary folder. Then

- one process predicts --images of them, over and over. Memory at the end is compared with that after the first 500
  pictures, and so is the speed;
- `experiments.serve` runs in a process of its own, and --clients ask it for --seconds, each as fast as it is answered.
  Every answer is compared with what a single call of `PosePredictor.predict` gives for the picture, to the last digit,
  and the server's memory at the end with that after the first 500 answers.

Where the clients get fewer answers than that, the server's memory is printed and not judged.

Cost: about half an hour on 2 cores. Prints a table. Exit code 1 if there was an error or a different answer, or if
memory grew by 5 % or more. The speeds are for reading: they depend on what else the machine does.
"""

import argparse
import http.client
import itertools
import json
import math
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

from experiments.command import run
from pose_regression.errors import PoseError
from pose_regression.inference.limits import WAITING
from pose_regression.inference.processes import in_own_process

PICTURES = 100
FIRST = 500
"""Predictions, and answers of the server, after which memory shall be flat: whole rounds of the pictures."""
GROWTH = 5.0
"""Per cent of memory that may be added after that."""
START = 120.0
"""Seconds that the server may take to start."""


@dataclass(frozen=True)
class Picture:
    """A file and the people to look for in it."""

    path: Path
    boxes: list[list[float]] | None

    @property
    def target(self) -> str:
        """Where to send it."""
        return "/predict?" + "&".join("box=" + ",".join(map(str, box)) for box in self.boxes or [])


@dataclass
class Memory:
    """Resident memory of a process, MiB."""

    first: float = float("nan")
    """Not a number if the process did not get so far."""
    last: float = float("nan")

    @property
    def growth(self) -> float:
        """Per cent."""
        return 100 * (self.last / self.first - 1)


@dataclass
class Predicted:
    """What became of the predictions of one process."""

    memory: Memory
    rates: tuple[float, float]
    """Images a second: the first `FIRST`, and the others."""
    expected: list[list[dict[str, Any]]]
    """For each picture, `Pose.to_dict` of everybody by a call of its own."""


@dataclass
class Answered:
    """What the clients met."""

    seconds: list[float] = field(default_factory=list)
    """Of each request."""
    errors: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)
    memory: Memory = field(default_factory=Memory)
    rate: float = 0.0
    """Requests a second."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="small", metavar="NAME_OR_FILE", help="default: small")
    parser.add_argument("--images", type=int, default=10_000, metavar="N", help="for one process (default: 10000)")
    parser.add_argument("--clients", type=int, default=8, metavar="N", help="of the server, at once (default: 8)")
    parser.add_argument("--seconds", type=float, default=300, metavar="S", help="that they ask (default: 300)")
    options = parser.parse_args()
    if options.images <= FIRST:
        raise PoseError(f"--images must be more than {FIRST}. Received: {options.images}")
    if not 1 <= options.clients <= WAITING:
        raise PoseError(
            f"--clients must be in 1 to {WAITING}: the server's line is no longer. Received: {options.clients}"
        )
    if not 0 < options.seconds < float("inf"):
        raise PoseError(f"--seconds must be positive. Received: {options.seconds:g}")
    with tempfile.TemporaryDirectory() as folder:
        pictures = render_pictures(Path(folder))
        predicted = in_own_process(predict_many, options.weights, pictures, options.images)
        with running_server(options.weights) as (process, port):
            answered = ask_many(
                pictures, predicted.expected, port=port, pid=process.pid, clients=options.clients,
                seconds=options.seconds,
            )  # fmt: skip
    print(report(predicted, answered, images=options.images, clients=options.clients))
    found = problems(predicted, answered)
    print("\n".join(found), file=sys.stderr)
    return 1 if found else 0


def render_pictures(folder: Path) -> list[Picture]:
    """`PICTURES` files: JPEG and PNG, colour, grey and transparent, some turned by EXIF, 120 to 1600 pixels wide."""
    from pose_regression.data.synthetic import render

    rng = np.random.default_rng(0)
    pictures = []
    for number in range(PICTURES):
        width, height = (int(side) for side in rng.integers(120, 640, 2))
        picture = Image.fromarray(render(number, size=(height, width))[0])
        if number % 5 == 0:
            picture = picture.resize((int(2.5 * width), int(2.5 * height)))
        picture = picture.convert(("RGB", "RGB", "L", "RGBA")[number % 4])
        path, exif = folder / f"{number}.{'png' if number % 4 == 3 or number % 3 == 0 else 'jpg'}", Image.Exif()
        exif[0x0112] = 6 if number % 7 == 0 else 1
        picture.save(path, exif=exif)
        width, height = picture.size[::-1] if number % 7 == 0 else picture.size
        low = rng.uniform(0, 0.5, (number % 3, 2))
        boxes = np.concatenate([low, low + rng.uniform(0.2, 0.5, low.shape)], axis=1) * (width, height, width, height)
        pictures.append(Picture(path, boxes.round(2).tolist() or None))
    return pictures


# ------------------------------------------------------------------------------------------------- in one process


def predict_many(weights: str, pictures: list[Picture], images: int) -> Predicted:
    """Predict `images` pictures in this process, and each by itself at the end."""
    from pose_regression.inference.predictor import PosePredictor

    predictor = PosePredictor(weights)
    for _ in predictor.stream([p.path for p in pictures], [p.boxes for p in pictures]):
        pass  # the first batches are slow
    given = list(itertools.islice(itertools.cycle(pictures), images))
    memory, times = Memory(), [time.perf_counter()]
    stream = predictor.stream((picture.path for picture in given), (picture.boxes for picture in given))
    for number, _ in enumerate(stream, 1):
        if number == FIRST:
            memory.first = resident(None)
            times.append(time.perf_counter())
    memory.last = resident(None)
    times.append(time.perf_counter())
    expected = [[pose.to_dict() for pose in predictor.predict(p.path, p.boxes)] for p in pictures]
    rates = FIRST / (times[1] - times[0]), (images - FIRST) / (times[2] - times[1])
    return Predicted(memory, rates, expected)


def resident(pid: int | None) -> float:
    """Resident memory of a process in MiB, of this one if `pid` is None; a `PoseError` if it has ended."""
    try:
        return psutil.Process(pid).memory_info().rss / 2**20
    except psutil.NoSuchProcess as error:
        raise PoseError("The memory of a process cannot be read: it has ended.") from error


# ------------------------------------------------------------------------------------------------ from the server


@contextmanager
def running_server(weights: str) -> Iterator[tuple[subprocess.Popen, int]]:
    """`experiments.serve` in a process of its own, ready, and its port.

    Raises:
        PoseError: it does not start.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "experiments.serve", "--weights", weights, "--port", str(port)]
    with tempfile.TemporaryFile("w+", encoding="utf-8") as log:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)
        try:
            deadline = time.monotonic() + START
            while _request(port, "GET", "/health", None)[0] != 200:
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise PoseError(f"The server did not start; its log:\n{log.read()[-2000:]}")
                time.sleep(0.1)
            yield process, port
        finally:
            process.terminate()
            process.wait()


def ask_many(
    pictures: list[Picture], expected: list[list[dict[str, Any]]], *, port: int, pid: int, clients: int, seconds: float
) -> Answered:
    """Let `clients` ask for `seconds`, each for all pictures again and again, and compare every answer."""
    answered, lock, begun = Answered(), threading.Lock(), time.monotonic()

    def ask(client: int) -> None:
        for number in itertools.count(client * len(pictures) // clients):
            if time.monotonic() - begun > seconds:
                return
            index = number % len(pictures)
            picture, sent = pictures[index], time.perf_counter()
            status, answer = _request(port, "POST", picture.target, picture.path.read_bytes())
            took = time.perf_counter() - sent
            with lock:
                answered.seconds.append(took)
                if status != 200:
                    answered.errors.append(f"{picture.path.name}: {status} {answer}")
                elif answer != {"poses": expected[index]}:
                    answered.different.append(picture.path.name)

    threads = [threading.Thread(target=ask, args=(client,)) for client in range(clients)]
    for thread in threads:
        thread.start()
    while len(answered.seconds) < FIRST and any(thread.is_alive() for thread in threads):
        time.sleep(0.05)
    if len(answered.seconds) >= FIRST:
        answered.memory.first = resident(pid)
    for thread in threads:
        thread.join()
    answered.rate = len(answered.seconds) / (time.monotonic() - begun)
    answered.memory.last = resident(pid)
    return answered


def _request(port: int, method: str, target: str, body: bytes | None) -> tuple[int, Any]:
    """Status and JSON of the answer; 0 and the reason if there is none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, target, body, {"Content-Type": "image/*"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        return 0, f"{type(error).__name__}: {error}"
    finally:
        with suppress(OSError):
            connection.close()


# --------------------------------------------------------------------------------------------------- what came out


def report(predicted: Predicted, answered: Answered, *, images: int, clients: int) -> str:
    """A table in Markdown."""
    first, rest = predicted.rates
    requests, seconds = len(answered.seconds), answered.seconds or [float("nan")]
    median, slow = (1000 * np.quantile(seconds, q) for q in (0.5, 0.99))
    rows = [
        ("what", "aim", "measured"),
        ("---", "---", "---"),
        (f"memory, {images} images in one process", f"< {GROWTH:g} % after {FIRST}", _growth(predicted.memory)),
        (f"images/s, first {FIRST} and then", "", f"{first:.1f} and {rest:.1f}, {rest / first:.2f} x"),
        (f"requests, {clients} clients", "", f"{requests}, {answered.rate:.1f} a second"),
        ("errors", "0", str(len(answered.errors))),
        ("answers unlike those of single calls", "0", str(len(answered.different))),
        ("p50, p99", "", f"{median:.0f}, {slow:.0f} ms"),
        ("memory of the server", f"< {GROWTH:g} % after {FIRST}", _growth(answered.memory)),
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _growth(memory: Memory) -> str:
    if math.isnan(memory.first):
        return f"{memory.last:.0f} MiB; too few for a comparison"
    return f"{memory.first:.0f} to {memory.last:.0f} MiB, {memory.growth:+.1f} %"


def problems(predicted: Predicted, answered: Answered) -> list[str]:
    """A sentence for each aim that was missed."""
    found = []
    for who, memory in (("the process", predicted.memory), ("the server", answered.memory)):
        if memory.growth >= GROWTH:
            found.append(f"The memory of {who} grew by {memory.growth:.1f} %.")
    if answered.errors:
        found.append(f"{len(answered.errors)} requests failed; the first: {answered.errors[0]}")
    if answered.different:
        found.append(f"{len(answered.different)} answers differ; the first: {answered.different[0]}")
    if not answered.seconds:
        found.append("No request was answered.")
    return found


if __name__ == "__main__":
    run(main)
