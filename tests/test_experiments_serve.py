"""The HTTP server: the predictor's answers, a JSON sentence for every mistake, no path, no traceback, no long wait."""

import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from experiments import serve
from experiments.command import run
from pose_regression.inference import reception
from pose_regression.inference.reception import http_server
from pose_regression.inference.server import create_app

MAX_BYTES = 200_000
JPEG = {"Content-Type": "image/jpeg"}


@contextmanager
def running(predictor: Any, *, seconds: float = 20.0, **options: Any) -> Iterator[int]:
    """The port of a server in a thread."""
    app = create_app(predictor, max_bytes=MAX_BYTES, seconds=seconds, **({"per_minute": 1000} | options))
    server = http_server(app, seconds=seconds)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def port(predictor) -> Iterator[int]:
    with running(predictor) as number:
        yield number


def ask(port: int, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    """Status and JSON of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    with suppress(BrokenPipeError, ConnectionResetError):  # a refusal may come before the whole body has gone
        connection.request(method, path, body, headers or {})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    assert answer.headers["Content-Type"] == "application/json"
    assert "Server" not in answer.headers
    return answer.status, json.loads(content)


def said(port: int, request: bytes, *, seconds: float = 20) -> bytes:
    """All that comes back to bytes sent as they are."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize("boxes", [[], [[20.0, 10.0, 200.0, 300.0]], [[20.0, 10.0, 200.0, 300.0], [1.5, 2, 90, 99.25]]])
def test_the_answer_is_the_predictor_s_to_the_last_digit(port, predictor, photograph, tmp_path, boxes):
    (tmp_path / "photo.jpg").write_bytes(photograph)
    expected = [pose.to_dict() for pose in predictor.predict(tmp_path / "photo.jpg", boxes or None)]
    query = "&".join("box=" + ",".join(map(str, box)) for box in boxes)
    status, answer = ask(port, "POST", f"/predict?{query}", photograph, JPEG)
    assert status == 200 and answer == {"poses": expected}
    assert len(answer["poses"]) == max(1, len(boxes)) and len(answer["poses"][0]["joints"]) == 16


def test_health(port):
    assert ask(port, "GET", "/health") == (200, {"status": "ok"})
    assert said(port, b"HEAD /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").startswith(b"HTTP/1.1 200 OK")


def test_the_interface_is_described(port):
    status, content = ask(port, "GET", "/openapi.json")
    post = content["paths"]["/predict"]["post"]
    assert status == 200 and [parameter["name"] for parameter in post["parameters"]] == ["box"]
    assert list(post["requestBody"]["content"]) == ["image/*"] and "get" in content["paths"]["/health"]


def _png(width: int, height: int) -> bytes:
    """A picture of one colour, which is small however large it is."""
    buffer = io.BytesIO()
    Image.new("1", (width, height)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status", "sentence"),
    [
        ("GET", "/", None, {}, 404, "There is no such address; expected one of /predict, /health, /docs."),
        ("GET", "/../../etc/passwd", None, {}, 404, "There is no such address"),
        ("GET", "/predict", None, {}, 405, "/predict does not take GET."),
        ("POST", "/health", b"", {}, 405, "/health does not take POST."),
        ("DELETE", "/predict", None, {}, 405, "/predict does not take DELETE."),
        ("POST", "/predict", b"x", {}, 415, "The body must be an image, with a header such as Content-Type"),
        ("POST", "/predict", b"x", {"Content-Type": "text/html"}, 415, "The body must be an image"),
        ("POST", "/predict", b"", JPEG, 400, "The image is empty."),
        ("POST", "/predict", b"no picture", JPEG, 400, "The image is not an image of a known format, or is damaged."),
        ("POST", "/predict", bytes(MAX_BYTES + 1), JPEG, 413, "The request has 200001 bytes, more than 200000."),
        ("POST", "/predict", iter([b"a", b"b"]), JPEG, 411, "A request with a body must say its length."),
        ("POST", "/predict?box=1,2,3", b"x", JPEG, 400, "The query must be box=x0,y0,x1,y1 in pixels"),
        ("POST", "/predict?box=1,2,3,a", b"x", JPEG, 400, "The query must be"),
        ("POST", "/predict?boxes=1,2,3,4", b"x", JPEG, 400, "The query must be"),
        ("POST", "/predict?" + "box=1,2,3,4&" * 51, b"x", JPEG, 400, "The query must be"),
        ("POST", "/predict?box=5,5,5,5", _png(9, 9), JPEG, 400, "The image: the box (5, 5, 5, 5) has no area"),
        ("POST", "/predict?box=nan,0,5,5", _png(9, 9), JPEG, 400, "The image: the box (nan, 0, 5, 5) must have finite"),
        ("POST", "/predict?box=1e400,0,5,5", _png(9, 9), JPEG, 400, "The image: the box (inf, 0, 5, 5) must"),
        (
            "POST",
            "/predict",
            _png(20_000, 11_000),
            JPEG,
            400,
            "The image has 20000 x 11000 pixels, more than 210000000",
        ),
    ],
)
def test_a_mistake_is_one_json_sentence(port, method, path, body, headers, status, sentence):
    found, answer = ask(port, method, path, body, headers)
    assert found == status
    assert list(answer) == ["error"] and answer["error"].startswith(sentence) and "\n" not in answer["error"]
    for folder in (tempfile.gettempdir(), str(Path.cwd()), "Traceback"):
        assert folder not in answer["error"]


def test_a_truncated_photograph_is_refused(port, photograph):
    status, answer = ask(port, "POST", "/predict", photograph[: len(photograph) // 2], JPEG)
    assert (status, answer) == (400, {"error": "The image is truncated or damaged."})


def test_the_method_that_would_do_is_named(port):
    assert b"\r\nallow: post\r\n" in said(port, b"GET /predict HTTP/1.1\r\nHost: x\r\n\r\n").lower()


@pytest.mark.parametrize(
    "request_line", [b"\x00\xff\r\n\r\n", b"GET\r\n\r\n", b"GET /a b c HTTP/1.1\r\n\r\n", b"GET / HTTP/x\r\n\r\n"]
)
def test_what_is_no_http_is_refused_without_an_echo(port, request_line):
    answer = said(port, request_line)
    assert answer.startswith(b"HTTP/1.1 400 ") and request_line.strip() not in answer
    assert b"Python" not in answer and b"DOCTYPE" not in answer


def test_a_large_header_is_refused(port):
    assert b" 400 " in said(port, b"GET /health HTTP/1.1\r\nA: " + b"x" * 70_000 + b"\r\n\r\n").splitlines()[0]


def test_nothing_of_a_photograph_is_left_on_the_disk_or_in_the_log(port, photograph, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert ask(port, "POST", "/predict", photograph, JPEG)[0] == 200
    assert ask(port, "POST", "/predict", b"no picture", JPEG)[0] == 400
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr().err == ""


class Stub:
    """A predictor that waits until it may answer."""

    def __init__(self) -> None:
        self.may_answer, self.asked = threading.Event(), 0

    def predict(self, image: Any, boxes: Any) -> list[Any]:
        self.asked += 1
        self.may_answer.wait(20)
        return []


def test_postscript_is_not_run(port, monkeypatch):
    """PIL would call Ghostscript to draw it."""
    monkeypatch.setattr(subprocess, "check_call", lambda *_, **__: pytest.fail("a program was started"))
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", "gs")
    buffer = io.BytesIO()
    Image.new("RGB", (20, 20)).save(buffer, "EPS")
    status, answer = ask(port, "POST", "/predict", buffer.getvalue(), {"Content-Type": "image/eps"})
    assert (status, answer) == (400, {"error": "The image is PostScript, a program and no picture."})


def test_a_fault_of_the_program_is_logged_and_not_told(capfd):
    class Faulty:
        def predict(self, image, boxes):
            raise RuntimeError(f"secret of {image}")

    with running(Faulty()) as port:
        assert ask(port, "POST", "/predict", b"x", JPEG) == (500, {"error": "The server has failed."})
    assert "secret of" in capfd.readouterr().err


def test_who_finds_the_line_full_is_sent_away_and_the_others_are_answered():
    predictor, answers = Stub(), []
    with running(predictor, waiting=1) as port:

        def one() -> None:
            answers.append(ask(port, "POST", "/predict", b"x", JPEG))

        threads = [threading.Thread(target=one) for _ in range(5)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 20
        while len(answers) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        full = {"error": "Too many requests are waiting; try again later."}
        assert answers == [(503, full)] * 3
        assert ask(port, "GET", "/health")[0] == 200
        predictor.may_answer.set()
        for thread in threads:
            thread.join()
    assert answers[3:] == [(200, {"poses": []})] * 2 and predictor.asked == 2


def test_other_machines_may_ask_so_often_and_this_one_always(monkeypatch):
    predictor = Stub()
    predictor.may_answer.set()
    with running(predictor, per_minute=2) as port:
        assert [ask(port, "POST", "/predict", b"x", JPEG)[0] for _ in range(3)] == [200, 200, 200]
        monkeypatch.setattr(reception, "is_local", lambda host: False)
        assert [ask(port, "POST", "/predict", b"x", JPEG)[0] for _ in range(2)] == [200, 200]
        status, answer = ask(port, "POST", "/predict", b"x", JPEG)
        assert status == 429 and answer["error"].startswith("More than 2 requests in 60 seconds")
        assert ask(port, "GET", "/health")[0] == 200


def test_a_client_that_sends_a_drop_now_and_then_is_cut_off():
    """Each drop comes well within a timeout that counts from the last one."""
    with running(Stub(), seconds=1.0) as port:
        for start, answer in (
            (b"GET /hea", b""),
            (b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n", b""),
        ):
            assert _dripped(port, start) == answer
        head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 1000\r\n\r\n"
        answer = _dripped(port, head)
        assert b" 408 " in answer and b"The request did not arrive within 1 seconds." in answer


def _dripped(port: int, start: bytes) -> bytes:
    begun, answer = time.monotonic(), b""
    with socket.create_connection(("127.0.0.1", port), timeout=0.2) as connection:
        connection.sendall(start)
        while time.monotonic() - begun < 8:
            try:
                connection.sendall(b"x")
                part = connection.recv(65536)
            except TimeoutError:
                continue
            except ConnectionError:
                break
            if not part:
                break
            answer += part
    assert 0.9 < time.monotonic() - begun < 6
    return answer


def test_a_client_that_goes_in_the_middle_harms_nobody(photograph, predictor, capfd):
    with running(predictor) as port:
        for sent in (
            b"",
            b"POST /pre",
            b"POST /predict HTTP/1.1\r\nContent-Type: image/png\r\nContent-Length: 9\r\n\r\nx",
        ):
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(sent)
        assert ask(port, "POST", "/predict", photograph, JPEG)[0] == 200
    assert "Traceback" not in capfd.readouterr().err


def test_connections_are_limited_and_free_their_places():
    with running(Stub()) as port:
        idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(reception.CONNECTIONS)]
        assert b" 503 " in said(port, b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").splitlines()[0]
        for connection in idle:
            connection.close()
        deadline, status = time.monotonic() + 20, 0
        while status != 200 and time.monotonic() < deadline:
            try:
                status = ask(port, "GET", "/health")[0]
            except (AssertionError, ConnectionError, http.client.HTTPException):
                time.sleep(0.05)
        assert status == 200


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--port", "0"], "--port must be in 1 to 65535. Received: 0"),
        (["--max-upload-mb", "nan"], "--max-upload-mb must be over 0"),
        (["--per-minute", "0"], "--per-minute must be at least 1. Received: 0"),
        (["--host", "192.0.2.1"], "The server cannot listen at 192.0.2.1:8600"),
    ],
)
def test_wrong_arguments_end_with_one_sentence(monkeypatch, capsys, arguments, sentence):
    monkeypatch.setattr(sys, "argv", ["serve", *arguments])
    with pytest.raises(SystemExit) as end:
        run(serve.main)
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: {sentence}")


@pytest.mark.slow
def test_the_command_warns_when_others_can_reach_it_and_ctrl_c_ends_it(photograph):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = free.getsockname()[1]
    # Whoever starts the tests in the background of a shell starts them, and their children, deaf to Ctrl-C.
    script = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); " + (
        "import runpy; runpy.run_module('experiments.serve', run_name='__main__', alter_sys=True)"
    )
    command = [sys.executable, "-c", script, "--host", "0.0.0.0", "--port", str(number)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)
    try:
        assert process.stdout is not None and process.stdout.readline().startswith(f"http://0.0.0.0:{number}")
        status, answer = ask(number, "POST", "/predict", photograph, JPEG)
        assert status == 200 and np.isfinite([joint["x"] for joint in answer["poses"][0]["joints"].values()]).all()
    finally:
        process.send_signal(signal.SIGINT)
        try:
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert f"Whoever can reach 0.0.0.0:{number} can use the server: it has no password." in errors
    assert "Traceback" not in errors
