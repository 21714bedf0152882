"""The code in the pages for Keras users, phones and browsers, run."""

import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image

from experiments import serve
from pose_regression.data.synthetic import render
from pose_regression.geometry import window_of_box
from pose_regression.inference.export import export_model
from pose_regression.inference.pose import Pose
from pose_regression.inference.predictor import PosePredictor
from pose_regression.inference.runtimes import probe_crops

DOCS = Path(__file__).parents[1] / "docs"


def code_of(page: str) -> str:
    (code,) = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)
    return code


@pytest.mark.slow
def test_the_keras_page_fine_tunes_and_predicts(tmp_path, monkeypatch):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("tf.data's map with keras.ops needs the TensorFlow backend")
    monkeypatch.chdir(tmp_path)
    np.save("pictures.npy", np.stack([render(seed, size=(192, 192))[0] for seed in range(4)]))
    np.save("joints.npy", np.full((4, 16, 2), 0.5, np.float32))
    code = code_of("keras.md").replace("epochs=10", "epochs=5").replace("batch(16)", "batch(4)")
    names: dict = {}
    exec(code.replace("loss=PoseLoss()", "loss=PoseLoss(), run_eagerly=True"), names)  # no minute of tracing
    losses = names["history"].history["loss"]
    assert losses[-1] < losses[0]
    (pose,) = names["poses"]
    assert pose.pixels.shape == (16, 2)
    assert names["model"].get_layer("stem")(np.zeros((1, 192, 192, 3), np.float32)).shape == (1, 24, 24, 288)


@pytest.mark.slow
def test_the_phone_page_gives_the_predictor_s_joints(tmp_path, monkeypatch, capsys):
    pytest.importorskip("ai_edge_litert", reason="needs ai-edge-litert (pip install '.[export]')")
    monkeypatch.chdir(tmp_path)
    Path("exports").mkdir()
    Image.fromarray(render(3, size=(320, 256))[0]).save("photo.jpg", quality=95)
    predictor = PosePredictor("small")
    size = predictor.model.input_shape[1]
    export_model(
        predictor.model, "exports/small", format="litert", crops=probe_crops(2, size), skeleton=predictor.skeleton
    )
    names: dict = {}
    exec(code_of("phone.md"), names)
    (pose,) = predictor.predict("photo.jpg", boxes=[[60, 20, 200, 300]])
    known = predictor.skeleton.known
    distance = np.linalg.norm(names["pixels"] - pose.pixels, axis=-1)[known]
    assert np.median(distance) < 280 / 50  # two ways to scale a picture: 2 % of the person
    printed = capsys.readouterr().out
    assert [name in printed for name in predictor.skeleton.names] == known.tolist()


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node")
def test_the_browser_page_computes_windows_values_and_pixels_as_python():
    page = (DOCS / "browser.html").read_text(encoding="utf-8")
    (script,) = re.findall(r'<script id="arithmetic">(.*?)</script>', page, re.DOTALL)
    box = [40, 10, 200, 380]
    script += f"""
    const w = windowOf({box}, 1.25);
    console.log(JSON.stringify({{w, input: [...inputOf([0, 255, 51, 255])], pixels: pixelsOf([0, 0, 0.5, 1], w)}}));"""
    answer = subprocess.run(["node", "-e", script], capture_output=True, text=True, check=True, encoding="utf-8").stdout
    found = json.loads(answer)
    center, side = window_of_box(np.array(box, float))
    assert found["w"] == {"left": center[0] - side / 2, "top": center[1] - side / 2, "side": side}
    np.testing.assert_allclose(found["input"], [-1, 1, -0.6], atol=1e-6)
    left, top = center - side / 2
    np.testing.assert_allclose(found["pixels"], [[left, top], [left + side / 2, top + side]])


@pytest.fixture
def site(tmp_path) -> Iterator[str]:
    """Address of the folder that docs/browser.md makes, with the network that ships."""
    if not os.environ.get("POSE_ONNXRUNTIME_WEB"):
        pytest.skip("POSE_ONNXRUNTIME_WEB, the folder dist of the npm package onnxruntime-web, is not set")
    pytest.importorskip("tf2onnx", reason="needs tf2onnx (pip install '.[export]')")
    for name in ("ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"):
        shutil.copy(Path(os.environ["POSE_ONNXRUNTIME_WEB"], name), tmp_path)
    shutil.copy(DOCS / "browser.html", tmp_path)
    predictor = PosePredictor("small")
    crops = probe_crops(2, predictor.size)
    export_model(predictor.model, tmp_path / "model", format="onnx", crops=crops, skeleton=predictor.skeleton)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.mark.slow
def test_the_browser_page_gives_the_predictor_s_joints_in_chromium(site, browser, tmp_path):
    Image.fromarray(render(3, size=(320, 256))[0]).save(tmp_path / "photo.jpg", quality=95)
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(120_000)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda r: r.url.startswith((site, "data:", "blob:")) or wrong.append(r.url))
    page.goto(site + "browser.html")
    status = page.get_by_role("status")
    status.get_by_text("Ready.").wait_for()
    page.set_input_files("#file", tmp_path / "photo.jpg")
    status.get_by_text("Found in").wait_for()
    predictor = PosePredictor("small")
    (whole,) = predictor.predict(tmp_path / "photo.jpg", people="whole")
    _same_joints(page, whole, side=320)

    area = page.locator("#canvas").bounding_box()
    scale = area["width"] / 256
    page.mouse.move(area["x"] + 60 * scale, area["y"] + 20 * scale)
    page.mouse.down()
    page.mouse.move(area["x"] + 200 * scale, area["y"] + 300 * scale, steps=5)
    page.evaluate("say('')")
    page.mouse.up()
    status.get_by_text("Found in").wait_for()
    (boxed,) = predictor.predict(tmp_path / "photo.jpg", [[60, 20, 200, 300]])
    _same_joints(page, boxed, side=280)
    page.set_input_files("#file", tmp_path / "broken.jpg")
    status.get_by_text("broken.jpg is no picture that the browser can read.").wait_for()
    page.close()
    assert not wrong


def _same_joints(page: Any, pose: Pose, *, side: float) -> None:
    """Those of the page are the pose's: two ways to scale a picture, so within 2 % of the person's longer side."""
    shown = page.evaluate("shown")
    assert set(shown) == set(pose.names)
    distance = [np.hypot(*(np.array(shown[name]["at"]) - xy)) for name, xy in zip(pose.names, pose.pixels, strict=True)]
    assert np.median(distance) < side / 50
    np.testing.assert_allclose([shown[name]["sure"] for name in pose.names[2:]], pose.confidence[2:], atol=0.3)


def test_the_browser_page_fetches_nothing_from_elsewhere():
    page = (DOCS / "browser.html").read_text(encoding="utf-8")
    assert "//" not in re.sub(r"^\s*//.*|  //.*", "", page, flags=re.MULTILINE)


def test_the_dockerfile_copies_what_is_there_and_starts_the_server_with_its_options(monkeypatch):
    root = DOCS.parent
    lines = (root / "Dockerfile").read_text(encoding="utf-8").splitlines()
    copied = [word for line in lines if line.startswith("COPY") for word in line.split()[1:-1]]
    ignored = (root / ".dockerignore").read_text(encoding="utf-8").split()
    assert copied and all((root / name).exists() and name not in ignored for name in copied)
    (command,) = [json.loads(line.removeprefix("CMD ")) for line in lines if line.startswith("CMD ")]
    assert command[:3] == ["python", "-m", "experiments.serve"]
    seen = {}

    def stop(host, port, *, server):
        seen.update(host=host, port=port)
        raise KeyboardInterrupt

    monkeypatch.setattr("sys.argv", command[2:])
    monkeypatch.setattr(serve, "check_address", stop)
    with pytest.raises(KeyboardInterrupt):
        serve.main()
    assert seen == {"host": "0.0.0.0", "port": 8600}
