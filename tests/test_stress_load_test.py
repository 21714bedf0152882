"""The load test: it counts what goes wrong, and its small run has nothing to count."""

import http.server
import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from PIL import Image

from experiments.command import run
from pose_regression.errors import PoseError
from tests.stress import load_test
from tests.stress.load_test import Answered, Memory, Picture, Predicted


def test_pictures_are_of_many_kinds_and_their_boxes_lie_within(tmp_path, monkeypatch):
    monkeypatch.setattr(load_test, "PICTURES", 12)
    pictures = load_test.render_pictures(tmp_path)
    assert len(pictures) == len(list(tmp_path.iterdir())) == 12
    kinds, sizes = set(), set()
    for picture in pictures:
        with Image.open(picture.path) as image:
            kinds.add((image.format, image.mode))
            sizes.add(image.size)
            turned = image.getexif().get(0x0112) == 6
            width, height = image.size[::-1] if turned else image.size
        for x0, y0, x1, y1 in picture.boxes or []:
            assert 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height
    assert kinds == {("PNG", "RGB"), ("JPEG", "RGB"), ("JPEG", "L"), ("PNG", "L"), ("PNG", "RGBA")} and len(sizes) == 12
    assert {len(picture.boxes or []) for picture in pictures} == {0, 1, 2}
    again = load_test.render_pictures(tmp_path / ".")
    assert [picture.boxes for picture in again] == [picture.boxes for picture in pictures]


def test_the_target_names_every_box(tmp_path):
    assert Picture(tmp_path, None).target == "/predict?"
    assert Picture(tmp_path, [[1.5, 2.0, 3.0, 4.0], [5, 6, 7, 8]]).target == "/predict?box=1.5,2.0,3.0,4.0&box=5,6,7,8"


def test_resident_memory_is_that_of_the_process():
    before = load_test.resident(None)
    held = np.ones(50 * 2**20, np.uint8)
    assert 45 < load_test.resident(os.getpid()) - before < 60
    assert held[-1] == 1
    with pytest.raises(PoseError, match="has ended"):
        load_test.resident(2**22 + 1)


@contextmanager
def answering(answers: dict[bytes, tuple[int, Any]]) -> Iterator[int]:
    """A server with a fixed answer to each body; its port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status, content = answers[self.rfile.read(int(self.headers["Content-Length"]))]
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        yield server.server_port
        server.shutdown()


def test_every_answer_is_compared_and_every_error_counted(tmp_path):
    pictures, answers = [], {}
    for name, answer in (("right", (200, {"poses": [1.0]})), ("other", (200, {"poses": [1.1]})), ("busy", (503, "no"))):
        (tmp_path / name).write_text(name)
        pictures.append(Picture(tmp_path / name, None))
        answers[name.encode()] = answer
    with answering(answers) as port:
        found = load_test.ask_many(
            pictures, [[1.0], [1.0], [1.0]], port=port, pid=os.getpid(), clients=3, seconds=0.5
        )  # fmt: skip
    assert len(found.seconds) >= 3 and found.rate > 0 and found.memory.last > 0
    assert set(found.different) == {"other"} and set(found.errors) == {"busy: 503 no"}
    right = len(found.seconds) - len(found.different) - len(found.errors)
    assert right > 0 and max(found.seconds) < 5


def test_a_server_that_is_gone_is_an_error_of_each_request(tmp_path):
    (tmp_path / "a").write_text("a")
    with answering({}) as port:
        pass
    found = load_test.ask_many(
        [Picture(tmp_path / "a", None)], [[]], port=port, pid=os.getpid(), clients=1, seconds=0.1
    )  # fmt: skip
    assert len(found.errors) == len(found.seconds) > 0 and "ConnectionRefusedError" in found.errors[0]


def _predicted(memory: Memory) -> Predicted:
    return Predicted(memory, (10.0, 9.0), [])


def test_each_missed_aim_is_a_sentence_and_a_slow_machine_is_none():
    flat, grown = Memory(100.0, 104.9), Memory(100.0, 105.0)
    assert load_test.problems(_predicted(flat), Answered([0.1], memory=flat)) == []
    found = load_test.problems(_predicted(grown), Answered([0.1], ["a: 503"], ["b"], memory=grown))
    assert [sentence.split(";")[0] for sentence in found] == [
        "The memory of the process grew by 5.0 %.",
        "The memory of the server grew by 5.0 %.",
        "1 requests failed",
        "1 answers differ",
    ]
    assert load_test.problems(_predicted(flat), Answered(memory=flat)) == ["No request was answered."]
    few = Answered([0.1], memory=Memory(last=100.0))
    assert load_test.problems(_predicted(flat), few) == []
    assert "100 MiB; too few for a comparison" in load_test.report(_predicted(flat), few, images=600, clients=8)


def test_the_table_has_every_figure():
    answered = Answered([0.1] * 98 + [0.3] * 2, memory=Memory(200.0, 201.0), rate=9.5)
    table = load_test.report(_predicted(Memory(100.0, 102.0)), answered, images=600, clients=8)
    for cell in (
        "| memory, 600 images in one process | < 5 % after 500 | 100 to 102 MiB, +2.0 % |",
        "| 10.0 and 9.0, 0.90 x |",
        "| requests, 8 clients |  | 100, 9.5 a second |",
        "| p50, p99 |  | 100, 300 ms |",
        "| memory of the server | < 5 % after 500 | 200 to 201 MiB, +0.5 % |",
    ):
        assert cell in table


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--images", "500"], "--images must be more than 500. Received: 500"),
        (["--clients", "17"], "--clients must be in 1 to 16"),
        (["--seconds", "nan"], "--seconds must be positive"),
    ],
)
def test_wrong_arguments_end_with_one_sentence(monkeypatch, capsys, arguments, sentence):
    monkeypatch.setattr(sys, "argv", ["load_test", *arguments])
    with pytest.raises(SystemExit) as end:
        run(load_test.main)
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: {sentence}")
