"""The demo's command, and its page in a real browser."""

import csv
import json
import os
import re
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from experiments import demo
from experiments.command import run
from pose_regression.errors import PoseError
from pose_regression.inference.people import SHIPPED_MARGIN, Detector

MAX_BYTES = 100_000


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


def test_without_fastapi_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pose_regression.inference.demo.app", None)
    monkeypatch.setattr(sys, "argv", ["demo"])
    monkeypatch.setattr(demo, "check_address", lambda *_, **__: None)
    with pytest.raises(PoseError, match=r"pip install -e '\.\[demo\]'"):
        demo.main()


# --------------------------------------------------------------------------------------------------------- the browser

FOUND = [[20.0, 10.0, 120.0, 300.0], [130.0, 20.0, 250.0, 310.0]]


@pytest.fixture(scope="module")
def address(predictor) -> Iterator[str]:
    """Of a running page, whose detector sees the same two people in every photograph, and nobody in a small one."""
    pytest.importorskip("fastapi", reason="FastAPI is not installed")
    from pose_regression.inference.demo.app import create_page
    from pose_regression.inference.reception import http_server

    def find(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        boxes = np.array(FOUND if image.shape[0] > 100 else np.zeros((0, 4)))
        return boxes, np.array([0.9, 0.4])[: len(boxes)]

    with pytest.MonkeyPatch.context() as patch, socket.create_server(("127.0.0.1", 0)) as listening:
        patch.setattr("pose_regression.inference.people._automatic", lambda: Detector("two", find, SHIPPED_MARGIN))
        server = http_server(create_page(predictor, max_bytes=MAX_BYTES))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        server.should_exit = True
        thread.join()


@pytest.fixture
def page(address, browser) -> Iterator[Any]:
    """The page with its example answered; it must ask nobody else and log no error."""
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    page.set_default_timeout(60_000)
    strange: list[str] = []
    page.on("request", lambda r: r.url.startswith((address, "data:", "blob:")) or strange.append(r.url))
    page.on("pageerror", lambda error: strange.append(str(error)))
    page.on("console", lambda m: m.type == "error" and "status of 400" not in m.text and strange.append(m.text))
    page.goto(address)
    page.wait_for_selector("#parts img")
    yield page
    page.close()
    assert not strange


def choose(page: Any, path: Path) -> None:
    """Give the page a file and wait for the answer."""
    page.set_input_files("#file", path)
    page.wait_for_selector("#stage:not(.waiting) #picture[src^=data]")


def answered(page: Any, action: Any) -> None:
    """Do what asks the server, and wait until the answer is shown."""
    with page.expect_response(re.compile("/people")):
        action()
    page.wait_for_selector("#stage:not(.waiting)")


def shown_joints(page: Any) -> np.ndarray:
    """(J, 2) of the page's table."""
    cells = page.locator("#joints tr").evaluate_all(
        "rows => rows.map(r => [r.cells[3].innerText, r.cells[4].innerText])"
    )
    return np.array(cells, float)


def shown_box(page: Any) -> list[float]:
    return [float(field.input_value()) for field in page.locator("#box input").all()]


def drag(page: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Between two places in pixels of the photograph of 256 x 320."""
    page.locator("#picture").scroll_into_view_if_needed()
    area = page.locator("#picture").bounding_box()
    ends = [(area["x"] + x / 256 * area["width"], area["y"] + y / 320 * area["height"]) for x, y in (start, end)]
    page.mouse.move(*ends[0])
    page.mouse.down()
    page.mouse.move(*ends[1], steps=5)
    page.mouse.up()


def saved(page: Any, link: str) -> bytes:
    with page.expect_download() as download:
        page.locator(f"#{link}").click()
    suffix = {"json": "json", "csv": "csv", "overlay": "jpg"}[link]
    assert download.value.suggested_filename == f"person.poses.{suffix}"
    return Path(download.value.path()).read_bytes()


@pytest.mark.slow
def test_everybody_in_a_real_browser(page, predictor, photograph, tmp_path):
    assert page.locator("#people button").count() == 2  # the example's
    (tmp_path / "person.jpg").write_bytes(photograph)
    choose(page, tmp_path / "person.jpg")
    first, second = predictor.predict(tmp_path / "person.jpg")
    assert shown_joints(page) == pytest.approx(first.pixels, abs=0.06)
    assert shown_box(page) == pytest.approx(first.box, abs=0.06)
    assert page.locator(".box").count() == 2

    area = page.locator("#picture").bounding_box()  # one click on the other person
    page.mouse.click(area["x"] + 0.8 * area["width"], area["y"] + 0.5 * area["height"])
    assert shown_joints(page) == pytest.approx(second.pixels, abs=0.06)
    page.locator("#contexts summary").click()
    page.wait_for_selector("#context img")
    assert page.locator("#parts img").count() == 17 and page.locator("#context img").count() == 32

    answered(page, lambda: drag(page, (130, 20), (140, 40)))  # the chosen box, by its corner
    assert shown_box(page) == pytest.approx([140, 40, 250, 310], abs=1.1)
    answered(page, lambda: drag(page, (190, 200), (180, 190)))  # the chosen box, whole
    assert shown_box(page) == pytest.approx([130, 30, 240, 300], abs=2.1)
    answered(page, lambda: drag(page, (125, 315), (1, 5)))  # a third person, from the lower right
    drawn = shown_box(page)
    assert drawn == pytest.approx([1, 5, 125, 315], abs=1.1)
    (boxed,) = predictor.predict(tmp_path / "person.jpg", [drawn])
    assert shown_joints(page) == pytest.approx(boxed.pixels, abs=0.06)
    assert page.locator("#people button").all_inner_texts() == ["Person 0", "Person 1", "Person 2"]

    entries = json.loads(saved(page, "json"))["annotations"]
    assert [entry["person"] for entry in entries] == [0, 1, 2] and entries[1]["bbox"] != entries[0]["bbox"]
    assert [row["person"] for row in csv.DictReader(saved(page, "csv").decode().splitlines())] == ["0", "1", "2"]
    assert saved(page, "overlay").startswith(b"\xff\xd8")

    answered(page, lambda: page.locator("#remove").click())
    assert page.locator("#people button").all_inner_texts() == ["Person 0", "Person 1"]
    answered(page, lambda: page.locator("#whole").click())
    (whole,) = predictor.predict(tmp_path / "person.jpg", people="whole")
    assert shown_joints(page) == pytest.approx(whole.pixels, abs=0.06)
    answered(page, lambda: drag(page, (50, 50), (200, 300)))  # takes the whole picture's place
    assert page.locator(".box").count() == 1 and shown_box(page) == pytest.approx([50, 50, 200, 300], abs=1.1)
    answered(page, lambda: page.locator("#everybody").click())
    assert shown_joints(page) == pytest.approx(first.pixels, abs=0.06)


@pytest.mark.slow
def test_what_goes_wrong_is_said_in_a_sentence(page, photograph, tmp_path):
    (tmp_path / "person.jpg").write_bytes(photograph)
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    (tmp_path / "large.jpg").write_bytes(bytes(MAX_BYTES + 1))
    Image.new("RGB", (60, 60)).save(tmp_path / "empty.png")
    problem = page.get_by_role("alert")
    choose(page, tmp_path / "person.jpg")
    right = page.locator("#box input").nth(2)
    right.fill("")
    right.press("Tab")
    problem.get_by_text("A box needs four numbers: left, top, right, bottom.").wait_for()
    assert shown_box(page) == pytest.approx(FOUND[0], abs=0.06)  # the last box that was answered
    right.fill("5")
    right.press("Tab")
    problem.get_by_text("A box must be at least two pixels wide and high").wait_for()
    right.fill("110")
    answered(page, lambda: right.press("Tab"))
    assert shown_box(page) == pytest.approx([20, 10, 110, 300]) and not problem.is_visible()

    choose(page, tmp_path / "empty.png")
    page.get_by_role("status").get_by_text("Nobody was found in empty.png. Drag a box about a person").wait_for()
    assert not page.locator("#person").is_visible() and page.locator("#whole").is_visible()
    page.set_input_files("#file", tmp_path / "broken.jpg")
    problem.get_by_text("broken.jpg is not an image of a known format, or is damaged.").wait_for()
    assert not page.locator("#stage").is_visible()
    page.set_input_files("#file", tmp_path / "large.jpg")
    problem.get_by_text("large.jpg has 0.1 MB, more than the 0.1 MB that this page takes.").wait_for()


@pytest.mark.slow
def test_a_telephone_shows_all_in_its_width(page, photograph, tmp_path):
    page.set_viewport_size({"width": 390, "height": 844})
    (tmp_path / "person.jpg").write_bytes(photograph)
    choose(page, tmp_path / "person.jpg")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    caption = page.locator("#parts figcaption").first
    assert float(caption.evaluate("element => parseFloat(getComputedStyle(element).fontSize)")) >= 13
    if os.environ.get("POSE_SCREENSHOTS"):
        page.screenshot(path=Path(os.environ["POSE_SCREENSHOTS"]) / "demo.png", full_page=True)
