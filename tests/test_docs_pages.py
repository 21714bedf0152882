"""The code in the pages for Keras users, phones and browsers, run."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from experiments import serve
from pose_regression.data.synthetic import render
from pose_regression.geometry import window_of_box
from pose_regression.inference.predictor import PosePredictor

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
    code = code_of("keras.md").replace("epochs=10", "epochs=2").replace("batch(16)", "batch(4)")
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
    from pose_regression.inference.export import export_model
    from pose_regression.inference.runtimes import probe_crops

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
