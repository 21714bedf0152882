"""A large network mends labels for a small one: the whole way, with tiny ones and without a GPU."""

import keras
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from pose_regression.data import soft_labels  # noqa: E402
from pose_regression.errors import PoseError  # noqa: E402
from pose_regression.model.load import load_model  # noqa: E402
from pose_regression.model.network import PoseRegressor  # noqa: E402
from pose_regression.model.weights import save_weights  # noqa: E402
from pose_regression.skeleton import COCO  # noqa: E402
from pose_regression.training import on_gpu  # noqa: E402
from pose_regression.training.experiment import Lsp  # noqa: E402
from pose_regression.training.teaching import teach  # noqa: E402


@pytest.fixture
def data(leeds, tmp_path):
    image = soft_labels.digest(leeds / "lspet/images/im00001.jpg")
    joints = np.random.default_rng(0).uniform(5, 25, (1, 17, 2))
    soft_labels.write(tmp_path / "soft.csv.gz", [image], np.concatenate([joints, np.ones((1, 17, 1))], -1), COCO)
    return Lsp(leeds / "lsp", extra=leeds / "lspet", holdout=950, soft_labels=tmp_path / "soft.csv.gz")


@pytest.mark.slow
def test_both_networks_are_trained_and_written(data, tmp_path, monkeypatch):
    monkeypatch.setattr(on_gpu, "STEPS", 2)
    keras.utils.set_random_seed(0)
    start = tmp_path / "start.weights.h5"
    save_weights(PoseRegressor((32, 32, 3), num_blocks=1, width=16), start)
    written = teach(
        data, tmp_path / "out", minutes=0.1, large=start, small=start, large_size=64, batch_sizes=(4, 4), device="cpu"
    )  # fmt: skip
    for name, size in (("large", 64), ("small", 32)):
        network, skeleton = load_model(written[name])
        assert network.input_shape == (None, size, size, 3)
        assert set(skeleton.names) - set(skeleton.learned) == {"pelvis", "thorax"}
        moved = np.abs(network.get_weights()[0] - load_model(start)[0].get_weights()[0]).max()
        assert 0 < moved < 1


def test_what_is_missing_is_said(data, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(PoseError, match="PyTorch finds no GPU here"):
        teach(data, tmp_path, minutes=1)
    with pytest.raises(PoseError, match="--extra and --soft-labels must be given"):
        teach(Lsp(data.folder), tmp_path, minutes=1)
    with pytest.raises(PoseError, match="--minutes must be positive. Received: 0"):
        teach(data, tmp_path, minutes=0)
