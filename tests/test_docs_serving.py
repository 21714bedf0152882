"""The client that docs/serving.md shows, against a server that speaks TensorFlow Serving's REST."""

import base64
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from pose_regression.inference.export import export_model
from pose_regression.inference.runtimes import probe_crops

PAGE = Path(__file__).parents[1] / "docs" / "serving.md"


@pytest.fixture(scope="module")
def server(predictor, tmp_path_factory):
    """Folder of an export, and the address of what answers from it."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "exports").mkdir()
    export_model(predictor.model, folder / "exports/small", format="savedmodel", crops=probe_crops(2, 64))
    signature = tf.saved_model.load(str(folder / "exports/small/1")).signatures["predict_jpeg"]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            content = [base64.b64decode(value["b64"]) for value in asked["inputs"]["image_bytes"]]
            boxes = tf.constant(asked["inputs"]["boxes"], tf.float32)
            found = signature(image_bytes=tf.constant(content), boxes=boxes)
            right = self.path == "/v1/models/pose:predict" and asked["signature_name"] == "predict_jpeg"
            body = json.dumps({"outputs": {name: value.numpy().tolist() for name, value in found.items()}}).encode()
            self.send_response(200 if right else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield folder, f"http://127.0.0.1:{running.server_port}/v1"
        running.shutdown()
        thread.join()


def test_the_client_in_the_page_gives_the_predictor_s_joints(server, predictor, photograph, monkeypatch, capsys):
    folder, address = server
    (folder / "photo.jpg").write_bytes(photograph)
    (code,) = re.findall(r"```python\n(import base64.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    monkeypatch.chdir(folder)
    names: dict = {}
    exec(code.replace("http://127.0.0.1:8501/v1", address).replace("print(", "found = ("), names)
    (pose,) = predictor.predict(folder / "photo.jpg", (40, 10, 200, 380))
    known = predictor.skeleton.known
    assert list(names["found"]) == [name for name, learned in zip(pose.names, known, strict=True) if learned]
    np.testing.assert_allclose([joint[:2] for joint in names["found"].values()], pose.pixels[known], atol=0.01)
    np.testing.assert_allclose([joint[2] for joint in names["found"].values()], pose.confidence[known], atol=1e-4)
