"""The client against a server that speaks TensorFlow Serving's REST and answers from an export."""

import base64
import json
import socket
import subprocess
import sys
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from test_export import make_crops, make_model

from experiments import serving_client
from pose_regression.inference.export import export_model
from pose_regression.inference.predictor import PosePredictor
from pose_regression.skeleton import PA16J


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    directory = tmp_path_factory.mktemp("exports") / "pose"
    export_model(model, directory, format="savedmodel", crops=make_crops(2))
    return directory


@pytest.fixture
def photos(monkeypatch, tmp_path):
    """a.jpg and b.png of 120 x 90 and 70 x 110 pixels, in the working directory."""
    monkeypatch.chdir(tmp_path)
    for i, (name, width, height) in enumerate((("a.jpg", 120, 90), ("b.png", 70, 110))):
        small = np.random.default_rng(i).integers(0, 256, (6, 6, 3), np.uint8)
        Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).save(name)
    return [Path("a.jpg"), Path("b.png")]


class Handler(BaseHTTPRequestHandler):
    """`POST /v1/models/pose:predict` as the documentation of TensorFlow Serving's REST interface has it."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/models/pose:predict":
            self.answer(404, {"error": f"Servable not found for request: {self.path}"})
            return
        signature = self.server.model.signatures[body.get("signature_name", "serving_default")]
        by_name, by_row = "inputs" in body, "instances" in body
        assert by_name != by_row
        if by_row:
            names = signature.structured_input_signature[1]
            rows = body["instances"]
            inputs = {name: [row[name] if isinstance(row, dict) else row for row in rows] for name in names}
        else:
            inputs = body["inputs"]
        try:
            tensors = {
                name: tf.constant(decoded(value), signature.structured_input_signature[1][name].dtype)
                for name, value in inputs.items()
            }
            outputs = {name: value.numpy().tolist() for name, value in signature(**tensors).items()}
        except (tf.errors.OpError, ValueError, TypeError) as error:
            self.answer(400, {"error": str(error)})
            return
        if by_name:
            self.answer(200, {"outputs": outputs})
        else:
            rows = zip(*outputs.values(), strict=True)
            self.answer(200, {"predictions": [dict(zip(outputs, row, strict=True)) for row in rows]})

    def answer(self, status, content):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def decoded(value):
    if isinstance(value, dict):
        return base64.b64decode(value["b64"], validate=True)
    return [decoded(entry) for entry in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def url(exported):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.model = tf.saved_model.load(str(exported / "1"))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1/models/pose"
    server.shutdown()
    server.server_close()


@pytest.fixture
def command(monkeypatch, url, capsys):
    """Call the command; returns its exit code, the people printed and the errors."""
    monkeypatch.setenv("no_proxy", "*")

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["serving_client", "--url", url, *map(str, arguments)])
        code = serving_client.main()
        streams = capsys.readouterr()
        return code, [json.loads(line) for line in streams.out.splitlines()], streams.err

    return call


def pixels_of(person):
    joints = person["joints"]
    return [[joint["x"], joint["y"]] for joint in (joints.values() if isinstance(joints, dict) else joints)]


def test_whole_pictures_give_the_predictors_pixels(command, model, photos):
    code, people, _ = command(*photos)
    assert code == 0 and [person["file"] for person in people] == ["a.jpg", "b.png"]
    for person, pose in zip(people, PosePredictor(model).predict(photos), strict=True):
        np.testing.assert_allclose(pixels_of(person), pose.pixels, atol=0.01)
        np.testing.assert_allclose([joint["probability"] for joint in person["joints"]], pose.probability, atol=1e-4)


def test_boxes_give_the_predictors_and_the_saved_models_pixels(command, model, exported, photos):
    found = [[10, 5, 60, 70], [40, 20, 70, 60]]
    Path("boxes.json").write_text(json.dumps([{"file_name": "a.jpg", "bbox": box} for box in found]))
    code, people, _ = command(*photos, "--boxes", "boxes.json", "--model-json", exported / "model.json")
    assert code == 0
    boxes = [[10, 5, 70, 75], [40, 20, 110, 80]]  # from x, y, width, height
    assert [(person["file"], person["box"]) for person in people] == [("a.jpg", box) for box in boxes]
    assert list(people[0]["joints"]) == list(PA16J.names)
    poses = PosePredictor(model).predict(photos[0], boxes)
    np.testing.assert_allclose([pixels_of(person) for person in people], [pose.pixels for pose in poses], atol=0.01)
    direct = tf.saved_model.load(str(exported / "1")).signatures["predict_jpeg"](
        image_bytes=tf.constant([photos[0].read_bytes()] * 2), boxes=tf.constant(boxes, tf.float32)
    )
    np.testing.assert_allclose([pixels_of(person) for person in people], direct["pixels"], atol=1e-5)


def by_row(url, body):
    with urllib.request.urlopen(urllib.request.Request(f"{url}:predict", json.dumps(body).encode())) as response:
        return json.load(response)["predictions"]


def test_documented_bodies_of_both_signatures_are_understood(url, model, photos):
    """The other forms of docs/serving.md."""
    crops = make_crops(2)
    expected = model.predict_on_batch(crops)["pose"]
    by_name = serving_client.post(f"{url}:predict", {"inputs": {"image": crops.tolist()}}, timeout=60)
    np.testing.assert_allclose(by_name["pose"], expected, atol=1e-5)
    rows = by_row(url, {"instances": [{"image": crop} for crop in crops.tolist()]})
    np.testing.assert_allclose([row["pose"] for row in rows], expected, atol=1e-5)
    person = {"image_bytes": {"b64": base64.b64encode(photos[0].read_bytes()).decode()}, "boxes": [10, 5, 70, 75]}
    (row,) = by_row(url, {"signature_name": "predict_jpeg", "instances": [person]})
    np.testing.assert_allclose(
        row["pixels"], PosePredictor(model).predict(photos[0], (10, 5, 70, 75))[0].pixels, atol=0.01
    )


def test_a_broken_photograph_is_reported_and_the_others_are_answered(command, photos):
    Path("empty.jpg").write_bytes(b"")
    Path("text.png").write_text("not a picture")
    Path("cut.jpg").write_bytes(photos[0].read_bytes()[:-300])
    code, people, errors = command("empty.jpg", *photos, "text.png", "cut.jpg", "missing.jpg")
    assert code == 1 and [person["file"] for person in people] == ["a.jpg", "b.png"]
    lines = errors.splitlines()
    assert lines[0] == "empty.jpg: it is not a JPEG or PNG, or damaged."
    assert lines[1].startswith("text.png: it is not a JPEG or PNG")
    assert lines[2].startswith("cut.jpg: the server refuses it (400): ")
    assert lines[3] == "missing.jpg: it cannot be read: No such file or directory."


def test_a_box_without_area_is_refused_by_the_server_in_its_words(command, photos):
    Path("boxes.json").write_text(json.dumps([{"file_name": "a.jpg", "bbox": [5, 5, 0, 40]}]))
    code, people, errors = command(*photos, "--boxes", "boxes.json")
    assert code == 1 and people == [] and "boxes must be x0 y0 x1 y1 in pixels" in errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--url", "http://127.0.0.1:9/v1/models/pose"], "cannot be reached: .*refused"),
        (["--url", "file:///etc/hostname"], "--url must be like http://127.0.0.1:8501/v1/models/pose. Received: file"),
        (["--url", "http://[wrong/"], r"--url must be like .*\[wrong"),
        (["--model-json", "a.jpg"], "a.jpg is not the model.json of an export"),
        (["--model-json", "two.json"], "answers with 16 joints; --model-json names 2"),
        (["--boxes", "a.jpg"], "a.jpg is not JSON"),
    ],
)
def test_mistakes_are_one_sentence(command, photos, options, message):
    Path("two.json").write_text('{"joints": ["head", "foot"]}')
    with pytest.raises(ValueError, match=message):
        command(*photos, *options)


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.0 200 OK\r\n\r\n<html>", b'HTTP/1.0 200 OK\r\n\r\n{"outputs": [1]}', b"SSH-2.0"]
)
def test_another_kind_of_server_is_named(command, photos, answer):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            connection, _ = listener.accept()
            with connection:
                while connection.recv(65536)[-1:] != b"}":
                    pass
                connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1/models/pose"
        with pytest.raises(
            ValueError, match="answers, but not as an export|does not answer as TensorFlow Serving does"
        ):
            command(photos[0], "--url", url)


def test_another_model_is_named(command, url, photos):
    with pytest.raises(ValueError, match="models/nose:predict is not served: Servable not found"):
        command(*photos, "--url", url.replace("/pose", "/nose"))


@pytest.mark.parametrize("kind", ["baseline", "progressive", "padded", "grey", "exif"])
def test_size_is_read_from_every_kind_of_header(tmp_path, kind):
    path, options = tmp_path / "a.jpg", {}
    image = Image.new("L" if kind == "grey" else "RGB", (1234, 77))
    if kind == "exif":
        options["exif"] = Image.Exif()
        options["exif"][0x010E] = "a long description " * 500
    image.save(path, progressive=kind == "progressive", **options)
    content = path.read_bytes()
    if kind == "padded":
        content = content[:2] + b"\xff\xff" + content[2:]
    assert serving_client.size(content) == (1234, 77)
    for cut in (0, 1, 3, 10, 20):
        with pytest.raises(serving_client.Refused):
            serving_client.size(content[:cut])


def test_the_client_needs_the_standard_library_alone(url, photos):
    program = (
        "import sys; sys.modules.update(dict.fromkeys(('numpy', 'PIL', 'tensorflow', 'keras', 'pose_regression')));"
        f"sys.argv = ['serving_client', 'a.jpg', '--url', {url!r}];"
        "import runpy; runpy.run_module('experiments.serving_client', run_name='__main__')"
    )
    root = Path(serving_client.__file__).parents[1]
    result = subprocess.run(
        [sys.executable, "-S", "-c", program], capture_output=True, text=True, env={"PYTHONPATH": str(root)}
    )
    assert result.returncode == 0, result.stderr
    assert len(json.loads(result.stdout)["joints"]) == 16
