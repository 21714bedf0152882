"""`experiments.evaluate` from its options to its files, on small data sets and on the published predictions."""

import hashlib
import json
import os
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat, savemat

from experiments import evaluate
from pose_regression.data import lsp
from pose_regression.errors import PoseError
from pose_regression.evaluation.predictions import Predictions, load_predictions, save_predictions, without_checksum
from pose_regression.model.network import PoseRegressor
from pose_regression.model.weights import save_weights
from pose_regression.skeleton import LSP, MPII, PA16J, reorder

EMPTY = np.zeros((0, 0))


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """A network of two blocks that knows nothing."""
    path = tmp_path_factory.mktemp("weights") / "tiny.weights.h5"
    save_weights(PoseRegressor((32, 32, 3), num_blocks=2, width=32, num_context=1), path)
    return path


@pytest.fixture(scope="module")
def lsp_folder(tmp_path_factory) -> Path:
    """2,000 people in the same 100 x 80 photograph: training people at their place, test people 9 px further right."""
    folder = tmp_path_factory.mktemp("lsp")
    (folder / "images").mkdir()
    Image.new("RGB", (100, 80), (90, 120, 60)).save(folder / "images" / "im0001.jpg")
    for i in range(2, 2001):
        os.link(folder / "images" / "im0001.jpg", folder / "images" / f"im{i:04d}.jpg")
    joints = np.zeros((3, 14, 2000))
    joints[:2] = person()[..., None]
    joints[0, :, 1000:] += 9
    savemat(folder / "joints.mat", {"joints": joints}, do_compression=True)
    return folder


def person() -> np.ndarray:
    """(2, 14), a torso of 50 px."""
    joints = np.stack([np.linspace(30, 60, 14), np.linspace(10, 70, 14)])
    joints[:, LSP.index("left_shoulder")] = (20, 10)
    joints[:, LSP.index("right_hip")] = (50, 50)
    return joints


def struct_array(*records: dict) -> np.ndarray:
    """1 x N MATLAB struct array."""
    array = np.empty((1, len(records)), [(name, object) for name in records[0]])
    for i, record in enumerate(records):
        array[0, i] = tuple(record.values())
    return array


@pytest.fixture
def mpii_folder(tmp_path) -> Path:
    """Official layout: one image of training with two people, whom validation.csv lists; one of test with one."""
    folder = tmp_path / "mpii"
    (folder / "images").mkdir(parents=True)
    for name in ("train.jpg", "test.jpg"):
        Image.new("RGB", (400, 400), (60, 90, 120)).save(folder / "images" / name)

    def rect(x: float, joints: bool) -> dict:
        points = [{"x": x + 5.0 * j, "y": 100.0 + 10 * j, "id": float(j), "is_visible": 1.0} for j in range(16)]
        return {
            "x1": x, "y1": 50.0, "x2": x + 30, "y2": 90.0,  # head size 0.6 * 50 = 30 px
            "annopoints": struct_array({"point": struct_array(*points)}) if joints else EMPTY,
            "scale": 1.0, "objpos": struct_array({"x": x, "y": 200.0}),
        }  # fmt: skip

    annolist = struct_array(
        {
            "image": struct_array({"name": "train.jpg"}),
            "annorect": struct_array(rect(100.0, True), rect(250.0, True)),
        },
        {"image": struct_array({"name": "test.jpg"}), "annorect": struct_array(rect(150.0, False), rect(300.0, False))},
    )
    single = np.empty((2, 1), object)
    single[:, 0] = [EMPTY, np.array([[1.0]])]
    release = {"annolist": annolist, "img_train": np.array([[1, 0]], np.uint8), "single_person": single}
    savemat(folder / "mpii_human_pose_v1_u12_1.mat", {"RELEASE": release}, do_compression=True)
    (folder / "validation.csv").write_text("image,person\ntrain.jpg,1\ntrain.jpg,0\n")
    return folder


def command(monkeypatch, *arguments: str | Path) -> None:
    monkeypatch.setattr(sys, "argv", ["evaluate", *map(str, arguments)])
    evaluate.main()


def row(text: str, label: str, table: int = 0) -> list[str]:
    """The cells of the row of that label in the `table`-th table that has one."""
    rows = [line for line in text.splitlines() if line.startswith(f"| {label} ")]
    return [cell.strip() for cell in rows[table].strip("|").split("|")][1:]


# --------------------------------------------------------------------------------------- published predictions


@pytest.mark.real_data
@pytest.mark.parametrize("method", ["WeiCVPR16", "BulatTzimiropoulosECCV16"])
def test_published_predictions_give_their_published_lsp_rows(tmp_path, monkeypatch, pose_data, pose_reference, method):
    published = np.load(pose_reference / "evaluation" / "lsp_eval.npz")[f"kp_{method}_PC"]
    geometry = np.load(pose_data / "lsp" / "geometry.npz")
    scale = (geometry["scale"] / geometry["official_small_scale"])[1000:, None, None]
    np.save(tmp_path / "p.npy", published * scale)
    output = tmp_path / "out"
    command(
        monkeypatch, "--benchmark", "lsp", "--data", pose_data / "lsp", "--predictions", tmp_path / "p.npy",
        "--output", output,
    )  # fmt: skip
    result = json.loads((output / "scores.json").read_text())
    expected = json.loads((pose_reference / "evaluation" / "lsp_expected.json").read_text())["methods"][f"{method}:PC"]
    np.testing.assert_allclose(list(result["scores"]["PCK@0.2"].values()), expected["PCK@0.2"], rtol=0, atol=0.051)
    assert result["scores"]["PCP@0.5"]["PCP"] == pytest.approx(expected["PCP"][-1], abs=0.051)
    assert result["mean_pose"]["PCK@0.2"]["PCK"] == pytest.approx(17.9, abs=0.05)


@pytest.mark.real_data
def test_published_predictions_give_their_published_mpii_row(monkeypatch, tmp_path, capsys, pose_data, pose_reference):
    published = np.load(pose_reference / "evaluation" / "mpii_val_eval.npz")
    np.save(tmp_path / "p.npy", published["pred_newell16_hg8"])
    annotation = pose_data / "mpii" / "annot" / "mpii_val_release.mat"
    arguments = ("--benchmark", "mpii", "--data", pose_data / "mpii", "--annotation", annotation)
    command(monkeypatch, *arguments, "--predictions", tmp_path / "p.npy")
    text = capsys.readouterr().out
    expected = json.loads((pose_reference / "evaluation" / "mpii_val_expected.json").read_text())
    assert "2,958 people in 2,729 images" in text
    official = dict(zip(expected["official_columns"], expected["methods"]["newell16_hg8"]["official_own"], strict=True))
    del official["UBody"]  # not in the paper's tables, and not here
    assert [float(cell) for cell in row(text, "p.npy")] == pytest.approx(list(official.values()), abs=0.051)
    assert row(text, "Soft-argmax, context, alpha = 0.8 (quoted)")[-1] == "89.1"


# ------------------------------------------------------------------------------------------------- small data


def test_weights_give_tables_scores_and_predictions_that_score_the_same(
    tmp_path, monkeypatch, capsys, weights, lsp_folder
):
    output, sheet = tmp_path / "out", tmp_path / "sheet.png"
    arguments = ("--benchmark", "lsp", "--data", lsp_folder)
    command(monkeypatch, *arguments, "--weights", weights, "--output", output, "--sheet", sheet, "--worst")
    text = capsys.readouterr().out
    result = json.loads((output / "scores.json").read_text())
    assert "LSP test: 1,000 people in 1,000 images, single crop, no flip" in text
    assert row(text, "Bulat and Tzimiropoulos, ECCV'16 (quoted)", 0)[-1] == "90.7"
    assert row(text, "Bulat and Tzimiropoulos, ECCV'16 (quoted)", 1)[-1] == "88.9"
    assert [float(cell) for cell in row(text, "tiny.weights.h5")] == pytest.approx(
        list(result["scores"]["PCK@0.2"].values()), abs=0.05
    )
    assert row(text, "block 2") == row(text, "tiny.weights.h5"), "the last block is the answer"
    assert result["source"]["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert result["people"] == 1000 and result["joints_scored"] == 14_000 and len(result["blocks"]) == 2
    assert result["command"].endswith("--worst")
    assert Image.open(sheet).size[0] > 8 * 256

    saved = load_predictions(output / "predictions.json", LSP)
    assert saved.images is not None and saved.images[0] == "im1001.jpg" and saved.people == (0,) * 1000
    with h5py.File(output / "predictions.h5") as file:
        np.testing.assert_array_equal(file["preds"][()], saved.pixels)
    assert loadmat(output / "predictions.mat")["pred"].shape == (2, 14, 1000)

    command(monkeypatch, *arguments, "--predictions", output / "predictions.json", "--output", tmp_path / "again")
    again = json.loads((tmp_path / "again" / "scores.json").read_text())
    assert again["scores"] == result["scores"] and again["joints"] == result["joints"]
    assert again["blocks"] == result["blocks"][-1:], "a file has one answer per person"


def test_predictions_that_lack_people_are_refused(tmp_path, monkeypatch, weights, lsp_folder):
    arguments = ("--benchmark", "lsp", "--data", lsp_folder)
    command(monkeypatch, *arguments, "--weights", weights, "--output", tmp_path / "all")
    content = without_checksum(json.loads((tmp_path / "all/predictions.json").read_text()))
    content["people"] = content["people"][::2]
    (tmp_path / "half.json").write_text(json.dumps(content))
    with pytest.raises(PoseError, match="lack 500 of 1000 people"):
        command(monkeypatch, *arguments, "--predictions", tmp_path / "half.json")


def test_mean_pose_row_is_what_a_shift_by_0_18_torsos_leaves_right(monkeypatch, capsys, tmp_path, lsp_folder):
    poses = np.broadcast_to(person().T + [9, 0], (1000, 14, 2)).copy()
    poses[:, LSP.index("head")] = np.nan
    np.save(tmp_path / "p.npy", poses)
    command(monkeypatch, "--benchmark", "lsp", "--data", lsp_folder, "--predictions", tmp_path / "p.npy")
    text = capsys.readouterr().out
    assert row(text, "Mean pose")[-1] == "100.0"  # 9 px of a torso of 50
    assert row(text, "p.npy") == ["50.0", *["100.0"] * 6, "92.9"]
    assert row(text, "centre")[-2:] == ["100.0", "0.0"]
    assert "by block" not in text


def test_mpii_validation_scores_every_person_in_the_lists_order(monkeypatch, capsys, tmp_path, mpii_folder):
    truth = np.stack([250 + 5.0 * np.arange(16), 100 + 10.0 * np.arange(16)], axis=1)
    poses = np.stack([truth, truth - [150, 0]])
    poses[0, MPII.index("right_wrist")] += [0, 15]  # half a head, just right
    poses[1, MPII.index("right_wrist")] += [0, 15.1]
    np.save(tmp_path / "p.npy", poses)
    output = tmp_path / "out"
    command(
        monkeypatch, "--benchmark", "mpii", "--data", mpii_folder, "--predictions", tmp_path / "p.npy",
        "--output", output,
    )  # fmt: skip
    text = capsys.readouterr().out
    assert "MPII val: 2 people in 1 image," in text
    assert row(text, "p.npy") == ["100.0"] * 3 + ["75.0"] + ["100.0"] * 3 + [f"{100 * 27 / 28:.1f}"]
    assert row(text, "Soft-argmax, context, alpha = 0.8 (quoted)")[-1] == "89.1"
    saved = load_predictions(output / "predictions.json", MPII)
    assert saved.people == (1, 0) and saved.images == ("train.jpg",) * 2


def test_mpii_test_takes_crops_and_flip_and_writes_the_submission(monkeypatch, capsys, tmp_path, weights, mpii_folder):
    output, sheet = tmp_path / "out", tmp_path / "sheet.png"
    command(
        monkeypatch, "--benchmark", "mpii", "--data", mpii_folder, "--weights", weights, "--split", "test",
        "--output", output, "--sheet", sheet,
    )  # fmt: skip
    result = json.loads((output / "scores.json").read_text())
    assert result["protocol"] == "3 crops, with flip"
    assert result["joints_scored"] == 0 and "scores" not in result
    sent = load_predictions(output / "pred_keypoints_mpii.mat", MPII)
    assert sent.images == ("test.jpg",) and sent.people == (0,)
    np.testing.assert_array_equal(sent.pixels, load_predictions(output / "predictions.json", MPII).pixels)
    assert sheet.exists() and "pred_keypoints_mpii.mat" in capsys.readouterr().out


# ------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--benchmark", "lsp", "--split", "val"), "--split of lsp is one of test, train. Received: val"),
        (("--benchmark", "lsp", "--inside-only"), "--inside-only leaves joints out, but LSP scores every joint"),
        (("--benchmark", "lsp", "--worst"), "--worst chooses the people on --sheet"),
        (("--benchmark", "lsp", "--crops", "0"), "--crops must be at least 1"),
        (("--benchmark", "lsp", "--refine", "-1"), "--refine at least 0"),
    ],
)
def test_options_that_do_not_fit_are_refused(monkeypatch, tmp_path, arguments, message):
    with pytest.raises(PoseError, match=message):
        command(monkeypatch, "--data", tmp_path, "--weights", "small", *arguments)


def test_how_to_predict_is_refused_with_given_predictions(monkeypatch, tmp_path):
    with pytest.raises(PoseError, match="--flip, --crops and --refine say how to predict"):
        command(monkeypatch, "--benchmark", "lsp", "--data", tmp_path, "--predictions", "p.npy", "--flip")


def test_missing_data_weights_and_images_are_named(monkeypatch, tmp_path, weights, lsp_folder, mpii_folder):
    with pytest.raises(PoseError, match="joints.mat does not exist"):
        command(monkeypatch, "--benchmark", "lsp", "--data", tmp_path, "--weights", weights)
    with pytest.raises(PoseError, match="nowhere.weights.h5 could not be read"):
        command(monkeypatch, "--benchmark", "lsp", "--data", lsp_folder, "--weights", tmp_path / "nowhere.weights.h5")
    with pytest.raises(PoseError, match="p.json does not exist"):
        command(monkeypatch, "--benchmark", "mpii", "--data", mpii_folder, "--predictions", tmp_path / "p.json")
    with pytest.raises(PoseError, match="no annotation of MPII test .* give --output"):
        command(monkeypatch, "--benchmark", "mpii", "--data", mpii_folder, "--weights", weights, "--split", "test")
    (mpii_folder / "images" / "train.jpg").unlink()
    with pytest.raises(PoseError, match=r"1 of 1 images are missing, .*train.jpg; download .*12.9 GB.* see datasets"):
        command(monkeypatch, "--benchmark", "mpii", "--data", mpii_folder, "--weights", weights)


def test_an_earlier_evaluation_is_replaced_only_by_force(monkeypatch, tmp_path, mpii_folder):
    output = tmp_path / "out"
    save_predictions(tmp_path / "p.json", Predictions(MPII, np.zeros((2, 16, 2)), None, ("train.jpg",) * 2, (0, 1)))
    arguments = ("--benchmark", "mpii", "--data", mpii_folder, "--predictions", tmp_path / "p.json", "--output", output)
    command(monkeypatch, *arguments)
    before = (output / "scores.json").read_bytes()
    with pytest.raises(PoseError, match="out holds an earlier evaluation; give --force"):
        command(monkeypatch, *arguments)
    assert (output / "scores.json").read_bytes() == before
    command(monkeypatch, *arguments, "--force")
    assert b"--force" in (output / "scores.json").read_bytes()


def test_lsp_train_people_can_be_scored(monkeypatch, capsys, tmp_path, lsp_folder):
    np.save(tmp_path / "p.npy", reorder(np.stack([s.joints for s in lsp.load(lsp_folder, "train")]), PA16J, LSP))
    command(
        monkeypatch, "--benchmark", "lsp", "--data", lsp_folder, "--split", "train", "--predictions", tmp_path / "p.npy"
    )
    assert row(capsys.readouterr().out, "p.npy")[-1] == "100.0"
