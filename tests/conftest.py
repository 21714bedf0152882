"""Where the tests find reference data that is not part of the repository."""

import io
import ipaddress
import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import scipy.io
from pictures import encode
from PIL import Image

from experiments.command import run
from pose_regression.data.sample import Sample

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")  # float32 products in full, as on a CPU, on GPUs since Ampere too


@pytest.fixture(autouse=True, scope="session")
def no_network():
    """Nothing is fetched unless asked for: whatever connects to another machine fails."""
    connect = socket.socket.connect

    def local_only(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and not ipaddress.ip_address(address[0]).is_loopback:
            raise OSError(f"a test connects to {address}")
        return connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", local_only)
        yield


@pytest.fixture(autouse=True, scope="session")
def cache_of_this_session(tmp_path_factory):
    """Exports for a predictor are kept while the tests run, not with the user's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_HOME", str(tmp_path_factory.mktemp("keras_home")))
        yield


def _folder(variable: str) -> Path:
    if not os.environ.get(variable):
        pytest.skip(f"{variable} is not set")
    folder = Path(os.environ[variable])
    if not folder.is_dir():
        pytest.skip(f"{variable}={folder} is no folder")
    return folder


@pytest.fixture(scope="module")
def predictor():
    """A `PosePredictor` of random weights; the logits are magnified, so that the answer depends on the picture."""
    import keras

    from pose_regression.inference.predictor import PosePredictor
    from pose_regression.model.network import PoseRegressor

    keras.utils.set_random_seed(0)
    model = PoseRegressor((64, 64, 3), num_blocks=1, width=32)
    kernel = model.get_layer("block_b_1").get_layer("heatmaps").kernel
    kernel.assign(kernel * 200)
    return PosePredictor(model)


@pytest.fixture(scope="module")
def photograph() -> bytes:
    """A rendered person, 256 x 320 pixels, as a JPEG."""
    from pose_regression.data.synthetic import render

    buffer = io.BytesIO()
    Image.fromarray(render(3, size=(320, 256))[0]).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def samples(tmp_path_factory) -> list[Sample]:
    """21 people in photographs of their own, JPEG and PNG."""
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    found = []
    for i in range(21):
        pixels = np.kron(rng.integers(0, 256, (10, 13, 3), np.uint8), np.ones((12, 12, 1), np.uint8))
        path = folder / f"{i}.{'png' if i % 5 == 0 else 'jpg'}"
        path.write_bytes(encode(pixels, "PNG" if i % 5 == 0 else "JPEG"))
        joints = rng.uniform([30, 30], [120, 90], (3, 2))
        joints[0] = np.nan if i % 3 == 0 else joints[0]
        found.append(Sample(str(path), rng.uniform(50, 80, 2), rng.uniform(60, 150), joints, np.ones(3, bool)))
    return found


@pytest.fixture
def broken(tmp_path, samples) -> dict[str, str]:
    """Every kind of broken file: {path: part of what is said about it}."""
    jpeg = next(sample.image for sample in samples if sample.image.endswith("jpg"))
    whole = open(jpeg, "rb").read()
    png = encode(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    huge = png[:16] + (60_000).to_bytes(4, "big") * 2 + png[24:]
    size = whole.index(b"\xff\xc0") + 5
    huge_jpeg = whole[:size] + (60_000).to_bytes(2, "big") * 2 + whole[size + 4 :]
    files = {
        "missing.jpg": (None, "cannot be read: No such file"),
        "empty.jpg": (b"", "is empty"),
        "page.jpg": (b"<html>404</html>", "is neither a JPEG nor a PNG"),
        "header.jpg": (whole[:10], "is truncated or damaged"),
        "half.jpg": (whole[: len(whole) // 2], "is truncated or damaged"),
        "almost.jpg": (whole[:-40], "is truncated or damaged"),
        "half.png": (png[: len(png) // 2], "is truncated or damaged"),
        "stub.png": (png[:12], "is neither a JPEG nor a PNG"),
        "huge.png": (huge, "has 60000 x 60000 pixels"),
        "huge.jpg": (huge_jpeg, "has 60000 x 60000 pixels"),
    }
    for name, (content, _) in files.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
    return {str(tmp_path / name): said for name, (_, said) in files.items()}


@pytest.fixture
def photos(tmp_path) -> Path:
    """A folder of five pictures of 60 x 40 pixels."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(5):
        Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    return folder


@pytest.fixture
def exit_status(monkeypatch) -> Callable[..., int | str | None]:
    """Calls a command, given as a module, as if typed with these arguments."""

    def call(module: ModuleType, *arguments: object) -> int | str | None:
        monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            run(module.main)
        return end.value.code

    return call


@pytest.fixture(scope="session")
def pose_reference() -> Path:
    """Golden vectors and published predictions."""
    return _folder("POSE_REFERENCE")


@pytest.fixture(scope="session")
def pose_data() -> Path:
    """Real photographs and annotations: lsp/, lspet/, mpii/."""
    return _folder("POSE_DATA")


@pytest.fixture(params=["mixed_bfloat16", "mixed_float16"])
def low_precision(request):
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy(before)


@pytest.fixture(scope="session")
def leeds(tmp_path_factory):
    """LSP and, of nine images, LSPET."""
    folder, rng = tmp_path_factory.mktemp("leeds"), np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 255, (40, 30, 3), dtype=np.uint8))
    for name, count, axes in (("lsp", 2000, (0, 1, 2)), ("lspet", 9, (1, 0, 2))):
        (folder / name / "images").mkdir(parents=True)
        for i in range(count):
            picture.save(folder / name / "images" / (f"im{i + 1:04d}.jpg" if name == "lsp" else f"im{i + 1:05d}.jpg"))
        flag = np.full((1, 14, count), float(name == "lspet"))
        joints = np.concatenate([rng.uniform(5, 25, (2, 14, count)), flag]).transpose(axes)
        scipy.io.savemat(folder / name / "joints.mat", {"joints": joints}, do_compression=True)
    return folder
