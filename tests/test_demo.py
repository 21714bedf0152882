"""The demo's application: answers like the predictor's, one sentence for every mistake, nothing about the server."""

import base64
import csv
import io
import json
import socket
import struct
import tempfile
import threading
import zlib
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
from PIL import Image

from pose_regression.errors import PoseError
from pose_regression.geometry import BOX_MARGIN, window_of_box
from pose_regression.inference.demo import answers, maps
from pose_regression.inference.demo.answers import Person
from pose_regression.inference.people import SHIPPED_MARGIN, Detector
from pose_regression.inference.predictor import PosePredictor
from pose_regression.model.network import PoseRegressor
from pose_regression.skeleton import PA16J, Skeleton
from pose_regression.visualize import joint_colors, person_color

MAX_BYTES = 100_000
BOX = [20.0, 10.0, 200.0, 300.0]
WHOLE = [Person(0, "whole", (0, 0, 256, 320))]


def drawn(*box: float) -> list[Person]:
    return [Person(0, "drawn", box)]  # type: ignore[arg-type]


def pixels(person: dict[str, Any]) -> np.ndarray:
    """(J, 2) of a person in an answer."""
    return np.array([[joint["x"], joint["y"]] for joint in person["joints"]])


def picture(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition("base64,")[2]))))


def png(width: int, height: int) -> bytes:
    """A PNG that announces its size and holds no pixels."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IEND", b"")]
    body = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


# ------------------------------------------------------------------------------------------- from photograph to answer


@pytest.fixture
def two(monkeypatch) -> Detector:
    """A detector that always sees the same two people."""
    found = np.array([[20.0, 10, 120, 300], [130, 20, 250, 310]]), np.array([0.9, 0.4])
    detector = Detector("two", lambda image: found, SHIPPED_MARGIN)
    monkeypatch.setattr("pose_regression.inference.people._automatic", lambda: detector)
    return detector


def test_everybody_is_found_as_predict_finds_them(predictor, photograph, tmp_path, two):
    (tmp_path / "photo.jpg").write_bytes(photograph)
    expected = predictor.predict(tmp_path / "photo.jpg")
    found = answers.answer(predictor, photograph, "photo.jpg")
    assert (found["name"], found["width"], found["height"]) == ("photo.jpg", 256, 320)
    assert [person["number"] for person in found["people"]] == [0, 1]
    for person, pose in zip(found["people"], expected, strict=True):
        assert person["kind"] == "found" and person["detection"] == pose.detection
        assert person["box"] == pose.box.tolist() and person["color"] == person_color(pose.person)
        np.testing.assert_allclose(pixels(person), pose.pixels, atol=1e-3)
        np.testing.assert_allclose([joint["confidence"] for joint in person["joints"]], pose.confidence, atol=1e-5)
    json.dumps(found, allow_nan=False)


def test_a_found_person_asked_for_again_has_the_same_pose(predictor, photograph, two):
    """The window of a box that was found is narrower than that of a drawn one."""
    found = answers.answer(predictor, photograph, "photo.jpg")
    people = answers.read_people(json.dumps([{k: p[k] for k in ("number", "kind", "box", "detection")}
                                             for p in found["people"]]))  # fmt: skip
    again = answers.answer(predictor, photograph, "photo.jpg", people)
    for before, after in zip(found["people"], again["people"], strict=True):
        np.testing.assert_allclose(
            pixels(after), pixels(before), atol=1
        )  # decoded for the detector, or cut from a JPEG
        np.testing.assert_allclose(after["box"], before["box"])
        assert after["detection"] == pytest.approx(before["detection"])
    other = answers.answer(predictor, photograph, "photo.jpg", drawn(*found["people"][0]["box"]))
    assert np.abs(pixels(other["people"][0]) - pixels(found["people"][0])).max() > 5


@pytest.mark.parametrize(("kind", "margin"), [("found", SHIPPED_MARGIN), ("drawn", BOX_MARGIN), ("whole", 1.0)])
def test_each_kind_of_box_has_its_window(kind, margin):
    expected = window_of_box(np.array(BOX), margin=margin)
    window = window_of_box(np.array(Person(0, kind, tuple(BOX)).window()), margin=BOX_MARGIN)
    np.testing.assert_allclose(window[0], expected[0])
    assert window[1] == pytest.approx(expected[1])


def test_the_files_to_keep_hold_everybody_with_their_numbers(predictor, photograph):
    people = [Person(3, "drawn", (20, 10, 200, 300)), Person(1, "found", (60, 40, 220, 310), 0.5)]
    found = answers.answer(predictor, photograph, "photo.jpg", people)
    content = json.loads(found["files"]["json"])
    assert content["images"] == [{"id": 1, "file_name": "photo.jpg", "width": 256, "height": 320}]
    entries = content["annotations"]
    assert [(entry["person"], entry["bbox"], entry["detection"]) for entry in entries] == [
        (3, [20, 10, 180, 290], None),
        (1, [60, 40, 160, 270], 0.5),
    ]
    for entry, person in zip(entries, found["people"], strict=True):
        np.testing.assert_allclose(np.reshape(entry["keypoints"], (16, 3))[:, :2], pixels(person), atol=0.01)
    rows = list(csv.DictReader(io.StringIO(found["files"]["csv"])))
    assert [(row["image"], row["person"]) for row in rows] == [("photo.jpg", "3"), ("photo.jpg", "1")]


def test_the_whole_picture_is_one_person_where_no_detector_can_run(predictor, photograph, tmp_path, monkeypatch):
    monkeypatch.setattr("pose_regression.inference.people._automatic", lambda: None)
    (tmp_path / "photo.jpg").write_bytes(photograph)
    (expected,) = predictor.predict(tmp_path / "photo.jpg", people="whole")
    (person,) = answers.answer(predictor, photograph, "photo.jpg")["people"]
    assert person["kind"] == "whole" and person["box"] == [0, 0, 256, 320]
    np.testing.assert_allclose(pixels(person), expected.pixels, atol=1e-3)
    (asked,) = answers.answer(predictor, photograph, "photo.jpg", WHOLE)["people"]
    np.testing.assert_allclose(pixels(asked), expected.pixels, atol=1)


def test_nobody_is_an_answer_with_the_photograph_as_it_was(predictor, photograph):
    found = answers.answer(predictor, photograph, "photo.jpg", [])
    assert found["people"] == [] and json.loads(found["files"]["json"])["annotations"] == []
    plain = np.asarray(Image.open(io.BytesIO(photograph)).resize((960, 1200)), float)
    assert np.abs(picture(found["picture"]) - plain).mean() < 5


def test_the_overlay_has_its_joints_where_the_scaled_photograph_has_them(predictor, photograph):
    found = answers.answer(predictor, photograph, "photo.jpg", WHOLE)
    plain = np.asarray(Image.open(io.BytesIO(photograph)).resize((960, 1200)), float)
    rows, columns = np.nonzero(np.abs(picture(found["picture"]) - plain).max(axis=2) > 60)
    places = pixels(found["people"][0]) * 1200 / 320
    inside = places[(places > 0).all(axis=1) & (places < (960, 1200)).all(axis=1)]
    assert len(inside) > 8
    for x, y in inside:
        assert np.hypot(columns + 0.5 - x, rows + 0.5 - y).min() < 12


def test_a_photograph_with_orientation_is_answered_upright(predictor, photograph):
    turned, exif = Image.open(io.BytesIO(photograph)).transpose(Image.Transpose.ROTATE_90), Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    turned.save(buffer, "PNG", exif=exif)
    found = answers.answer(predictor, buffer.getvalue(), "photo.png", WHOLE)
    assert (found["width"], found["height"]) == (256, 320) and picture(found["picture"]).shape == (1200, 960, 3)


@pytest.mark.parametrize(
    ("content", "people", "sentence"),
    [
        (b"", None, "photo.jpg is empty."),
        (b"no picture", WHOLE, "photo.jpg is not an image of a known format, or is damaged."),
        (png(22_000, 10_000), None, "photo.jpg has 22000 x 10000 pixels, more than 210000000 in all."),
        (png(40, 40), WHOLE, "photo.jpg is truncated or damaged."),
        (None, drawn(30, 40, 30, 90), "A box must be at least two pixels wide and high: left, top, right, bottom"),
        (None, drawn(30, 90, 50, 40), "A box must be at least two pixels wide and high"),
        (None, drawn(float("nan"), 9, 50, 40), "A box must be at least two pixels wide and high"),
        (None, drawn(900, 40, 950, 90), "The box lies outside of the photograph, which is 256 pixels wide and 320"),
        (None, drawn(-9e9, 40, 9e9, 90), "A box's numbers must be below a million."),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else None,
)
def test_a_mistake_is_one_sentence_that_names_no_path(predictor, photograph, content, people, sentence):
    with pytest.raises(PoseError) as error:
        answers.answer(predictor, photograph if content is None else content, "photo.jpg", people)
    assert str(error.value).startswith(sentence)
    assert tempfile.gettempdir() not in str(error.value)


def test_half_a_photograph_is_refused(predictor, photograph):
    with pytest.raises(PoseError, match=r"^photo\.jpg is truncated or damaged\.$"):
        answers.answer(predictor, photograph[: len(photograph) // 2], "photo.jpg")


def test_nothing_of_a_photograph_is_left_on_the_disk(predictor, photograph, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    answers.answer(predictor, photograph, "photo.jpg", WHOLE)
    maps.maps_of(predictor, photograph, "photo.jpg", WHOLE[0])
    with pytest.raises(PoseError):
        answers.answer(predictor, b"no picture", "photo.jpg")
    assert list(tmp_path.iterdir()) == []


def sent(**fields: Any) -> str:
    """One person as the page sends them."""
    return json.dumps([{"number": 0, "kind": "drawn", "box": BOX, "detection": None} | fields])


def test_what_the_page_sends_is_read():
    assert answers.read_people(sent(number=2, kind="found", detection=0.25)) == [Person(2, "found", (*BOX,), 0.25)]
    assert answers.read_people("[]") == []


@pytest.mark.parametrize("box", [[1, 2, 3], [1, 2, 3, None], ["1", 2, 3, 4], [True, 2, 3, 4], "1 2 3 4", None, {}])
def test_a_box_is_four_numbers(box):
    with pytest.raises(PoseError, match=r"^A box needs four numbers: left, top, right, bottom\.$"):
        answers.read_people(sent(box=box))


@pytest.mark.parametrize(
    "text", ["", "{", "7", '"x"', "[7]", "[{}]", '{"number": 1}', sent(kind="x"), sent(number="x"), sent(number=-1),
             sent(detection="x"), sent(more=1), sent(number=None)],
)  # fmt: skip
def test_what_the_page_does_not_send_is_refused(text):
    with pytest.raises(PoseError, match="cannot be read; load it again"):
        answers.read_people(text)


def test_people_are_not_too_many_and_have_numbers_of_their_own():
    person = json.loads(sent())[0]
    assert len(answers.read_people(json.dumps([person | {"number": i} for i in range(20)]))) == 20
    for people in ([person | {"number": i} for i in range(21)], [person, person]):
        with pytest.raises(PoseError, match="There can be 20 people at most"):
            answers.read_people(json.dumps(people))


# ------------------------------------------------------------------------------------------------------------ the maps


def test_every_learned_joint_has_its_maps(predictor, photograph):
    found = maps.maps_of(predictor, photograph, "photo.jpg", WHOLE[0])
    names = [name.replace("_", " ") for name in PA16J.names]
    assert [cell["name"] for cell in found["parts"]] == names
    assert [cell["name"] for cell in found["context"]] == [f"{name} {i}" for name in names for i in (1, 2)]
    assert picture(found["all"]).shape == (300, 300, 3) and picture(found["parts"][0]["picture"]).shape == (150, 150, 3)


def test_a_network_without_context_has_no_context_maps(photograph):
    without = PosePredictor(PoseRegressor((32, 32, 3), num_blocks=1, width=32, num_context=0))
    found = maps.maps_of(without, photograph, "photo.jpg", WHOLE[0])
    assert found["context"] == [] and len(found["parts"]) == 16


def test_context_maps_are_joint_major():
    values = np.arange(6).reshape(1, 1, 6)  # joints a, b, c with two maps each: a1 a2 b1 b2 c1 c2
    assert maps.by_joint(values, 3).tolist() == [[[[0, 2, 4], [1, 3, 5]]]]


def test_each_map_lights_its_own_cell_in_its_joint_s_colour_and_unlearned_joints_have_none():
    skeleton = Skeleton(PA16J.names, PA16J.limbs, learned=PA16J.names[2:])
    values = np.zeros((5, 5, 1, 16))
    values[:, :, 0, 6] = 1
    found = maps.cells(values, skeleton, Image.new("RGB", (20, 20)))
    assert [cell["name"] for cell in found] == [name.replace("_", " ") for name in PA16J.names[2:]]
    lit = [np.abs(picture(cell["picture"]).astype(int) - joint_colors(PA16J)[6]).max() < 12 for cell in found]
    assert lit == [name == PA16J.names[6] for name in PA16J.names[2:]]


# ----------------------------------------------------------------------------------------------------- the application


@pytest.fixture(scope="module")
def port(predictor) -> Iterator[int]:
    """Of a running page."""
    pytest.importorskip("fastapi", reason="FastAPI is not installed")
    from pose_regression.inference.demo.app import create_page
    from pose_regression.inference.reception import http_server

    server = http_server(create_page(predictor, max_bytes=MAX_BYTES))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield listening.getsockname()[1]
        server.should_exit = True
        thread.join()


def fetch(port: int, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, dict, bytes]:
    """Status, headers and body."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path, body, {"Content-Type": "image/jpeg", **headers})
    answer = connection.getresponse()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


def test_the_page_loads_nothing_from_elsewhere_and_knows_the_limit(port):
    for path, kind in (("/", "text/html"), ("/demo.css", "text/css"), ("/demo.js", "text/javascript"),
                       ("/example.jpg", "image/jpeg"), ("/example", "application/json")):  # fmt: skip
        status, headers, content = fetch(port, "GET", path)
        assert status == 200 and headers["content-type"].startswith(kind)
        assert "default-src 'none'" in headers["content-security-policy"] and "server" not in headers
        assert b"http:" not in content and b"https:" not in content
    assert f'data-max-bytes="{MAX_BYTES}"'.encode() in fetch(port, "GET", "/")[2]


def test_the_example_is_answered_already(port, predictor):
    example = json.loads(fetch(port, "GET", "/example")[2])
    assert example["name"] == "example.jpg" and (example["width"], example["height"]) == (640, 480)
    assert {"json", "csv"} == set(example["files"])


def test_people_and_maps_over_http_are_the_functions_answers(port, predictor, photograph):
    query = urlencode({"name": "a/photo.jpg", "people": sent()})
    status, _, content = fetch(port, "POST", f"/people?{query}", photograph)
    expected = answers.answer(predictor, photograph, "photo.jpg", drawn(*BOX))
    assert status == 200 and json.loads(content) == json.loads(json.dumps(expected))
    status, _, content = fetch(port, "POST", f"/maps?{query}", photograph)
    assert status == 200 and json.loads(content) == maps.maps_of(predictor, photograph, "photo.jpg", drawn(*BOX)[0])


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status", "sentence"),
    [
        ("GET", "/nothing/here", None, {}, 404, "There is no such address; expected one of /, /people, /maps."),
        ("GET", "/../../etc/passwd", None, {}, 404, "There is no such address"),
        ("GET", "/docs", None, {}, 404, "There is no such address"),
        ("GET", "/people", None, {}, 405, "/people does not take GET."),
        ("POST", "/people?name=a.jpg", b"no picture", {}, 400, "a.jpg is not an image of a known format"),
        ("POST", "/people?name=a.jpg&people=x", b"x", {}, 400, "The page sent people that cannot be read"),
        ("POST", "/people", bytes(MAX_BYTES + 1), {}, 413, "The request has 100001 bytes, more than 100000."),
        ("POST", "/people", b"x", {"Content-Type": "text/plain"}, 415, "The body must be an image"),
        ("POST", "/maps?people=[]", b"x", {}, 400, "Maps are of one person. Received: 0"),
    ],
)
def test_a_mistake_over_http_is_one_sentence(port, method, path, body, headers, status, sentence):
    found, _, content = fetch(port, method, path, body, **headers)
    error = json.loads(content)["error"]
    assert found == status and error.startswith(sentence)
    for folder in (tempfile.gettempdir(), str(Path.cwd()), "Traceback"):
        assert folder not in error


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("a b.jpg", "a b.jpg"),
        ("../../etc/passwd", "passwd"),
        ("C:\\photos\\a.jpg", "a.jpg"),
        ("a\n\x1b[2Jb.jpg", "a[2Jb.jpg"),
        ("x" * 300, "x" * 100),
        ("", "The photograph"),
    ],
)
def test_file_names_are_short_and_printable(given, name):
    pytest.importorskip("fastapi", reason="FastAPI is not installed")
    from pose_regression.inference.demo.app import file_name

    assert file_name(given) == name
