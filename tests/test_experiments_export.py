import sys

import keras
import numpy as np
import pytest

from experiments import export
from pose_regression.data.synthetic.crops import rendered_crops
from pose_regression.errors import PoseError
from pose_regression.model.network import PoseRegressor
from pose_regression.model.weights import save_weights


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    keras.utils.set_random_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.weights.h5"
    save_weights(PoseRegressor((64, 64, 3), num_blocks=1, width=16), path)
    return path


@pytest.fixture
def command(monkeypatch, weights, tmp_path):
    def call(*options, weights=weights):
        arguments = ["export", "--weights", weights, "--output", tmp_path / "out", *options]
        monkeypatch.setattr(sys, "argv", [str(argument) for argument in arguments])
        export.main()

    return call


def test_command_exports_and_says_how_far_the_export_is_off(command, tmp_path, capsys):
    command("--format", "savedmodel", "--crops", 2)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"savedmodel float32 in {tmp_path / 'out'}, ")
    assert lines[1].startswith("largest deviation on 2 crops: 0.0000")
    assert "of 64 pixels (bound 0.01), probability 0.0000" in lines[1]
    assert (tmp_path / "out" / "1" / "saved_model.pb").is_file()


def test_rendered_crops_differ_and_fill_the_range():
    crops = rendered_crops(2, 32)
    assert crops.shape == (2, 32, 32, 3)
    assert crops.min() == -1 and crops.max() <= 1
    assert np.abs(crops[0] - crops[1]).max() > 0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--format", "onnx", "--dtype", "int8"), "--images DIR is needed"),
        (("--format", "savedmodel", "--dtype", "int8", "--crops", 2), "float32 or bfloat16"),
        (("--format", "savedmodel", "--crops", 1), "--crops must be at least 2"),
        (("--format", "savedmodel", "--images", "nowhere"), "--images must be a folder of photographs"),
        (("--format", "savedmodel", "--lsp", "nowhere"), "nowhere"),
    ],
)
def test_mistakes_are_named_and_nothing_is_written(command, tmp_path, options, message):
    with pytest.raises(PoseError, match=message):
        command(*options)
    assert not (tmp_path / "out").exists()


def test_bad_photographs_are_named(command, photos, tmp_path):
    (photos / "3.png").write_bytes(b"not a picture")
    with pytest.raises(PoseError, match=r"3\.png cannot be read"):
        command("--format", "savedmodel", "--images", photos)
    for i in range(1, 5):
        (photos / f"{i}.png").unlink()
    with pytest.raises(PoseError, match="at least 2 JPEG or PNG images. Found: 1"):
        command("--format", "savedmodel", "--images", photos)


@pytest.mark.real_data
def test_calibrated_export_keeps_its_place_on_photographs(command, pose_data, tmp_path, capsys):
    pytest.importorskip("tf2onnx", reason="tf2onnx is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    command("--format", "onnx", "--dtype", "int8", "--images", pose_data / "lsp" / "images", "--crops", 16)
    assert "largest deviation on 16 crops: 0." in capsys.readouterr().out
    assert (tmp_path / "out" / "model.onnx").is_file()
