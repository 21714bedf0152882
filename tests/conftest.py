"""Where the tests find reference data that is not part of the repository."""

import io
import ipaddress
import os
import socket
from pathlib import Path

import pytest
from PIL import Image

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
def pose_reference() -> Path:
    """Golden vectors and published predictions."""
    return _folder("POSE_REFERENCE")


@pytest.fixture(scope="session")
def pose_data() -> Path:
    """Real photographs and annotations: lsp/, lspet/, mpii/."""
    return _folder("POSE_DATA")
