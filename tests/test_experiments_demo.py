"""The page in the browser: answers like the predictor's, one sentence for every mistake, nothing about the server."""

import asyncio
import base64
import http.client
import io
import json
import os
import shutil
import socket
import struct
import sys
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from experiments import demo
from experiments.command import run
from pose_regression.errors import PoseError
from pose_regression.inference.pose import Pose
from pose_regression.inference.predictor import PosePredictor
from pose_regression.model.network import PoseRegressor
from pose_regression.skeleton import PA16J
from pose_regression.visualize import joint_colors

MAX_BYTES = 100_000
BOX = [20.0, 10.0, 200.0, 300.0]


@pytest.fixture(scope="module")
def port(predictor) -> Iterator[int]:
    """Of a running page."""
    pytest.importorskip("gradio", reason="Gradio is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = free.getsockname()[1]
    blocks = demo.serve(predictor, host="127.0.0.1", port=number, max_bytes=MAX_BYTES)
    yield number
    blocks.close(verbose=False)


def sent(content: bytes, **fields: Any) -> dict[str, Any]:
    """What the page's script sends."""
    return {"name": "photo.jpg", "data": base64.b64encode(content).decode(), "box": None} | fields


def png(width: int, height: int) -> bytes:
    """A PNG that announces its size and holds no pixels."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IEND", b"")]
    body = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


# ------------------------------------------------------------------------------------------- from photograph to answer


@pytest.mark.parametrize("box", [None, BOX])
def test_the_answer_is_the_predictor_s(predictor, photograph, tmp_path, box):
    (tmp_path / "photo.jpg").write_bytes(photograph)
    (expected,) = predictor.predict([tmp_path / "photo.jpg"], None if box is None else [box], people="whole")
    answer = demo.find(predictor, "photo.jpg", photograph, box)
    np.testing.assert_allclose(answer.pose.pixels, expected.pixels, atol=1e-3)
    np.testing.assert_allclose(answer.pose.probability, expected.probability, atol=1e-5)
    assert answer.size == (256, 320)
    assert answer.overlay.shape == (1000, 800, 3) and answer.overlay.dtype == np.uint8

    content = json.loads(answer.coco)
    assert content["images"] == [{"id": 1, "file_name": "photo.jpg", "width": 256, "height": 320}]
    (person,) = content["annotations"]
    x0, y0, x1, y1 = box or [0, 0, 256, 320]
    assert person["bbox"] == [x0, y0, x1 - x0, y1 - y0]
    np.testing.assert_allclose(np.reshape(person["keypoints"], (16, 3))[:, :2], expected.pixels, atol=0.01)


def test_the_overlay_has_its_joints_where_the_scaled_photograph_has_them(predictor, photograph):
    answer = demo.find(predictor, "photo.jpg", photograph)
    plain = np.asarray(Image.open(io.BytesIO(photograph)).resize((800, 1000)), float)
    changed = np.abs(answer.overlay - plain).max(axis=2) > 20
    rows, columns = np.nonzero(changed)
    drawn = answer.pose.pixels * 1000 / 320
    inside = drawn[(drawn > 0).all(axis=1) & (drawn < (800, 1000)).all(axis=1)]
    assert len(inside) > 8
    for x, y in inside:
        assert np.hypot(columns + 0.5 - x, rows + 0.5 - y).min() < 10


def test_a_photograph_with_orientation_is_answered_upright(predictor, photograph):
    turned, exif = Image.open(io.BytesIO(photograph)).transpose(Image.Transpose.ROTATE_90), Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    turned.save(buffer, "PNG", exif=exif)
    answer = demo.find(predictor, "photo.png", buffer.getvalue())
    assert answer.size == (256, 320) and answer.overlay.shape == (1000, 800, 3)


def test_a_network_without_context_has_no_context_sheet(photograph):
    without = PosePredictor(PoseRegressor((32, 32, 3), num_blocks=1, width=32, num_context=0))
    answer = demo.find(without, "photo.jpg", photograph)
    assert answer.context_sheet is None
    assert demo.shown(answer, "photo.jpg")[-1] == "<p>This network has no context maps.</p>"


def test_context_maps_are_joint_major():
    maps = np.arange(6).reshape(1, 1, 6)  # joints a, b, c with two maps each: a1 a2 b1 b2 c1 c2
    assert demo.by_joint(maps, 3).tolist() == [[[[0, 2, 4], [1, 3, 5]]]]


def test_each_map_lights_its_own_cell_in_its_joint_s_colour():
    pose = Pose(PA16J, np.zeros((16, 2), np.float32), np.ones(16, np.float32), np.zeros(4, np.float32))
    maps = np.zeros((5, 5, 1, 16))
    maps[:, :, 0, 6] = 1  # the second row's third
    picture = demo.sheet(maps, pose, np.zeros((20, 20, 3), np.uint8))
    color = joint_colors(PA16J)[6]
    rows, columns = np.nonzero((picture == color).all(axis=2))
    assert len(rows) == demo.CELL**2
    gap = 3
    assert columns.min() == gap + 2 * (demo.CELL + gap)
    height = (picture.shape[0] - gap) / 4
    assert height < rows.min() < 2 * height


# ---------------------------------------------------------------------------------------------------------- the errors


@pytest.mark.parametrize(
    ("content", "box", "sentence"),
    [
        (b"", None, "photo.jpg is empty."),
        (b"no picture", None, "photo.jpg is not an image of a known format, or is damaged."),
        (png(22_000, 10_000), None, "photo.jpg has 22000 x 10000 pixels, more than 210000000 in all."),
        (png(50_000, 50_000), None, "photo.jpg has 50000 x 50000 pixels, more than 210000000 in all."),
        (png(40, 40), None, "photo.jpg is truncated or damaged."),
        (None, [30, 40, 30, 90], "photo.jpg: the box (30, 40, 30, 90) has no area"),
        (None, [900, 40, 950, 90], "photo.jpg: the box (900, 40, 950, 90) lies outside the image of 256 x 320 pixels."),
        (None, [None, 40, 950, 90], "photo.jpg: the box (nan, 40, 950, 90) must have finite coordinates"),
        (None, [1, 2], "photo.jpg: its boxes must be numbers of shape (n, 4) or (4,). Received: [1, 2]"),
        (None, "x", "photo.jpg: its boxes must be numbers"),
        (None, {"x0": 1}, "photo.jpg: its boxes must be numbers"),
        (None, [], "box must be one box or None. Received: no boxes"),
        (None, [[0, 0, 9, 9], [0, 0, 9, 9]], "box must be one box or None. Received: 2"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else None,
)
def test_a_mistake_is_one_sentence_that_names_the_file_and_no_path(predictor, photograph, content, box, sentence):
    with pytest.raises(PoseError) as error:
        demo.find(predictor, "photo.jpg", photograph if content is None else content, box)
    assert str(error.value).startswith(sentence)
    assert tempfile.gettempdir() not in str(error.value)


def test_half_a_photograph_is_refused(predictor, photograph):
    with pytest.raises(PoseError, match=r"^photo\.jpg is truncated or damaged\.$"):
        demo.find(predictor, "photo.jpg", photograph[: len(photograph) // 2])


def test_nothing_of_a_photograph_is_left_on_the_disk(predictor, photograph, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    demo.find(predictor, "photo.jpg", photograph)
    with pytest.raises(PoseError):
        demo.find(predictor, "photo.jpg", b"no picture")
    assert list(tmp_path.iterdir()) == []


def test_what_the_script_sends_is_checked():
    assert demo.decode(sent(b"abc", box=[1, 2, 3, 4]), max_bytes=3) == ("photo.jpg", b"abc", [1, 2, 3, 4])
    assert demo.decode({"name": "photo.jpg", "data": ""}, max_bytes=3) == ("photo.jpg", b"", None)
    too_large = r"^photo.jpg has 4\.0 MB, more than the 2\.5 MB that this page takes\.$"
    with pytest.raises(PoseError, match=too_large):
        demo.decode(sent(b"", size=4_000_000), max_bytes=2_500_000)  # the script sends no content then
    with pytest.raises(PoseError, match=too_large):
        demo.decode(sent(bytes(4_000_000), size=1), max_bytes=2_500_000)
    for data in ("?", "é", 7, ["x"]):
        with pytest.raises(PoseError, match="not base 64"):
            demo.decode(sent(b"") | {"data": data}, max_bytes=10)
    for photo in (None, [], "photo"):
        with pytest.raises(PoseError, match="holds no photograph"):
            demo.decode(photo, max_bytes=10)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("a b.jpg", "a b.jpg"),
        ("../../etc/passwd", "passwd"),
        ("C:\\photos\\a.jpg", "a.jpg"),
        ("a\n\x1b[2Jb.jpg", "a[2Jb.jpg"),
        ("x" * 300, "x" * 100),
        ("", "The photograph"),
        (None, "None"),
    ],
)
def test_file_names_are_short_and_printable(given, name):
    assert demo.file_name(given) == name


def test_a_file_s_name_cannot_become_part_of_the_page(predictor, photograph):
    name = '"><img src=x onerror=alert(1)>.jpg'
    for html in demo.shown(demo.find(predictor, name, photograph), name)[1:] + [demo.message_html(f"{name} is empty.")]:
        assert "<img src=x" not in html


def test_the_table_has_a_row_for_each_joint():
    probability = np.linspace(0, 1, 16, dtype=np.float32)
    pose = Pose(PA16J, np.arange(32, dtype=np.float32).reshape(16, 2), probability, np.zeros(4, np.float32))
    table = demo.table_html(pose)
    assert table.count("<tr>") == 17
    assert '</i>thorax</td><td><meter min="0" max="1" value="0.067"></meter> 0.07</td><td>2.0</td><td>3.0</td>' in table


def test_the_link_holds_the_json(predictor, photograph):
    answer = demo.find(predictor, "a photo.jpg", photograph)
    link = demo.download_html(answer, "a photo.jpg")
    assert 'download="a photo.poses.json"' in link
    assert base64.b64decode(link.partition("base64,")[2].partition('"')[0]) == answer.coco


# ---------------------------------------------------------------------------------------------------------- the server


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/", {}, None),
        ("POST", "/gradio_api/queue/join", {b"content-length": b"100"}, None),
        ("POST", "/gradio_api/queue/join", {b"content-length": b"101"}, 413),
        ("POST", "/gradio_api/queue/join", {b"content-length": b"-1"}, 411),
        ("POST", "/gradio_api/queue/join", {b"transfer-encoding": b"chunked"}, 411),
        ("POST", "/gradio_api/upload", {b"content-length": b"1"}, 404),
        ("GET", "/gradio_api/file=/etc/passwd", {}, 404),
        ("GET", "/gradio_api/proxy=https://example.com", {}, 404),
    ],
)
def test_requests_that_are_not_let_through(method, path, headers, status):
    refusal = demo.refused(method, path, headers, max_body=100)
    assert (None if refusal is None else refusal[0]) == status


def test_a_large_body_is_refused_unread():
    messages: list[dict[str, Any]] = []

    async def untouched(*_: Any) -> None:
        raise AssertionError("must not be called")

    async def send(message: dict[str, Any]) -> None:
        messages.append(message)

    scope = {"type": "http", "method": "POST", "path": "/", "headers": [(b"content-length", b"101")]}
    asyncio.run(demo.Guard(untouched, max_body=100)(scope, untouched, send))
    assert messages[0]["status"] == 413
    assert json.loads(messages[1]["body"]) == {"detail": "The request has 101 bytes, more than 100."}


def test_the_limit_is_for_addresses_that_others_reach(predictor, photograph, monkeypatch):
    """Only the answering function is asked, without a server."""
    gradio = pytest.importorskip("gradio", reason="Gradio is not installed")
    monkeypatch.setattr(demo, "PER_MINUTE", 1)
    monkeypatch.setattr(gradio.Blocks, "launch", lambda *_, **__: None)
    for host, limited in (("127.0.0.1", False), ("0.0.0.0", True)):
        answers: list[Any] = []
        page = demo.page
        monkeypatch.setattr(
            demo, "page", lambda answer, page=page, to=answers, **kw: to.append(answer) or page(answer, **kw)
        )
        demo.serve(predictor, host=host, port=1, max_bytes=MAX_BYTES)
        monkeypatch.setattr(demo, "page", page)
        (answer,) = answers
        assert len(answer(sent(photograph), "10.0.0.7")) == 5
        if limited:
            with pytest.raises(PoseError, match="More than 1 requests"):
                answer(sent(photograph), "10.0.0.7")
        else:
            answer(sent(photograph), "10.0.0.7")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--port", "0"], "--port must be in 1 to 65535. Received: 0"),
        (["--max-upload-mb", "0"], "--max-upload-mb must be over 0"),
        (["--max-upload-mb", "nan"], "--max-upload-mb must be over 0"),
        (["--host", "192.0.2.1"], "The page cannot listen at 192.0.2.1:7860"),
    ],
)
def test_wrong_arguments_end_with_one_sentence(monkeypatch, capsys, arguments, sentence):
    monkeypatch.setattr(sys, "argv", ["demo", *arguments])
    with pytest.raises(SystemExit) as end:
        run(demo.main)
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: {sentence}")


def test_without_gradio_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(PoseError, match=r"pip install -e '\.\[demo\]'"):
        demo.require_gradio()


def fetch(port: int, method: str, path: str, body: bytes | None = None) -> tuple[int, dict[str, str], str]:
    """Status, headers and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {} if body is None else {"Content-Type": "application/json"}
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read().decode()


def server_paths() -> list[str]:
    """Folders that no answer may name."""
    gradio = pytest.importorskip("gradio", reason="Gradio is not installed")
    folders = [Path.cwd(), Path(demo.__file__).parents[1], Path(gradio.__file__).parent, Path(tempfile.gettempdir())]
    return [str(folder) for folder in folders] + [os.path.expanduser("~") + "/"]


@pytest.mark.slow
def test_no_answer_names_a_path_of_the_server(port):
    join = "/gradio_api/queue/join"
    requests = [
        ("GET", "/", None, 200),
        ("GET", "/config", None, 200),
        ("GET", "/gradio_api/info", None, 200),
        ("GET", "/nothing/here", None, 404),
        ("GET", "/static/../../../../etc/passwd", None, 403),
        ("GET", "/gradio_api/file=/etc/passwd", None, 404),
        ("GET", "/monitoring", None, 403),
        ("POST", "/gradio_api/upload", b"{}", 404),
        ("POST", join, b"not json", 422),
        ("POST", join, b"x" * (2 * MAX_BYTES), 413),
    ]
    for method, path, body, expected in requests:
        status, headers, text = fetch(port, method, path, body)
        assert status == expected, (path, status, text[:300])
        assert not [folder for folder in server_paths() if folder in text], path
        if status == 200:
            assert headers["content-security-policy"] == demo.CONTENT_POLICY
            assert "googleapis" not in text


def ask(port: int, photo: Any) -> tuple[bool, list[Any], str]:
    """Success, outputs and the server's whole answer to what a page would send."""
    dependencies = json.loads(fetch(port, "GET", "/config")[2])["dependencies"]
    (number,) = [dependency["id"] for dependency in dependencies]
    session = os.urandom(6).hex()
    body = {"data": [], "fn_index": number, "session_hash": session, "event_data": photo}
    status, _, joined = fetch(port, "POST", "/gradio_api/queue/join", json.dumps(body).encode())
    assert status == 200, joined
    stream = fetch(port, "GET", f"/gradio_api/queue/data?session_hash={session}")[2]
    events = [json.loads(line[len("data:") :]) for line in stream.splitlines() if line.startswith("data:")]
    (end,) = [event for event in events if event["msg"] == "process_completed"]
    return end["success"], end["output"].get("data", []), joined + stream


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "box", "expected"),
    [
        (None, None, ""),
        (None, [30, 40, 30, 90], "photo.jpg: the box (30, 40, 30, 90) has no area"),
        (b"no picture", None, "photo.jpg is not an image of a known format, or is damaged."),
        (bytes(MAX_BYTES + 1), None, "photo.jpg has 0.1 MB, more than the 0.1 MB that this page takes."),
    ],
    ids=["photograph", "box", "broken", "large"],
)
def test_answers_of_the_server_name_no_path(port, photograph, content, box, expected):
    success, outputs, text = ask(port, sent(photograph if content is None else content, box=box))
    assert success and len(outputs) == 5
    assert expected in outputs[1] and bool(outputs[1]) == bool(expected)
    assert ("<table" in outputs[2]) != bool(expected)
    assert not [folder for folder in server_paths() if folder in text]


@pytest.mark.slow
def test_a_fault_of_the_program_is_not_told_to_the_page(port, photograph, monkeypatch):
    def broken(*_: Any) -> None:
        raise RuntimeError("a secret of the server")

    monkeypatch.setattr(demo, "find", broken)
    success, _, text = ask(port, sent(photograph))
    assert not success and "secret" not in text and "Traceback" not in text


# --------------------------------------------------------------------------------------------------------- the browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium: Playwright's own or the machine's."""
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    with api.sync_playwright() as playwright:
        own = playwright.chromium.executable_path
        names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
        path = own if Path(own).exists() else next(filter(None, map(shutil.which, names)), None)
        if path is None:
            pytest.skip("no Chromium: playwright install chromium")
        # Chromium's sandbox needs rights that root in a container lacks.
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.mark.slow
def test_a_photograph_in_a_real_browser(port, browser, predictor, photograph, tmp_path):
    (tmp_path / "person.jpg").write_bytes(photograph)
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    (tmp_path / "large.jpg").write_bytes(bytes(MAX_BYTES + 1))
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    page.set_default_timeout(60_000)
    home = f"http://127.0.0.1:{port}/"
    elsewhere: list[str] = []
    errors: list[str] = []
    page.on("request", lambda r: r.url.startswith((home, "data:", "blob:")) or elsewhere.append(r.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: message.type == "error" and errors.append(message.text))
    choose = page.locator("#photo input[type=file]")

    page.goto(home)
    choose.wait_for(state="attached")
    choose.set_input_files(tmp_path / "person.jpg")
    page.wait_for_selector("#joints table")
    picture = page.locator("#photo .picture")
    page.wait_for_function("document.querySelector('#photo .picture').naturalWidth === 800")
    assert picture.is_visible()
    (whole,) = predictor.predict([tmp_path / "person.jpg"], people="whole")
    assert shown_joints(page) == pytest.approx(whole.pixels, abs=0.06)
    assert page.locator("#parts img").count() == 2
    page.get_by_role("tab", name="Context maps").click()
    page.wait_for_selector("#context img")
    if os.environ.get("POSE_SCREENSHOTS"):
        page.screenshot(path=Path(os.environ["POSE_SCREENSHOTS"]) / "demo.png", full_page=True)

    area = picture.bounding_box()  # dragged from the lower right corner
    points = [(area["x"] + x * area["width"], area["y"] + y * area["height"]) for x, y in ((0.875, 0.9), (0.25, 0.1))]
    page.mouse.move(*points[0])
    page.mouse.down()
    page.mouse.move(*points[1], steps=5)
    page.mouse.up()
    box = [float(number) for number in page.locator("#photo .numbers").input_value().split()]
    assert box == pytest.approx([64, 32, 224, 288], abs=2)
    (boxed,) = predictor.predict([tmp_path / "person.jpg"], [box])
    page.wait_for_function(
        f"document.querySelector('#joints td:nth-child(3)').innerText === '{boxed.pixels[0, 0]:.1f}'"
    )
    assert shown_joints(page) == pytest.approx(boxed.pixels, abs=0.06)

    with page.expect_download() as download:
        page.locator("a.download").click()
    assert download.value.suggested_filename == "person.poses.json"
    (person,) = json.loads(download.value.path().read_text())["annotations"]
    assert person["bbox"] == [box[0], box[1], box[2] - box[0], box[3] - box[1]]

    page.locator("#photo .numbers").fill("30 40 30 90")
    page.keyboard.press("Enter")
    page.get_by_role("alert").get_by_text("person.jpg: the box (30, 40, 30, 90) has no area").wait_for()
    assert picture.is_visible() and page.locator("#joints table").count() == 0
    page.get_by_role("button", name="Whole image").click()
    page.wait_for_selector("#joints table")
    assert shown_joints(page) == pytest.approx(whole.pixels, abs=0.06)
    assert page.get_by_role("alert").count() == 0

    choose.set_input_files(tmp_path / "broken.jpg")
    page.get_by_role("alert").get_by_text("broken.jpg is not an image of a known format, or is damaged.").wait_for()
    assert not picture.is_visible()
    choose.set_input_files(tmp_path / "large.jpg")
    page.get_by_role("alert").get_by_text("large.jpg has 0.1 MB, more than the 0.1 MB").wait_for()

    assert not elsewhere and not errors
    page.close()


def shown_joints(page: Any) -> np.ndarray:
    """(J, 2) of the page's table."""
    cells = page.locator("#joints tbody tr").evaluate_all(
        "rows => rows.map(r => [r.cells[2].innerText, r.cells[3].innerText])"
    )
    return np.array(cells, float)
