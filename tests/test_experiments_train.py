"""The training commands, as typed."""

import csv
import json
from collections import Counter
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from experiments import train_lsp, train_mpii
from pose_regression.data import synthetic
from pose_regression.errors import PoseError
from pose_regression.model.load import load_model
from pose_regression.training.experiment import Lsp, Mpii
from pose_regression.training.people import load_people
from pose_regression.visualize import LEFT, RIGHT

TINY = "--recipe quick --epochs 1 --blocks 1 --width 18 --input-size 64 --batch-size 4".split()


@pytest.fixture(autouse=True)
def restore_policy():
    policy = keras.config.dtype_policy()
    yield
    keras.config.set_dtype_policy(policy)


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthetic")
    synthetic.write(folder, train=10, validation=4, seed=5)
    return folder


@pytest.mark.slow
def test_train_mpii_writes_weights_curves_history_and_a_picture(people, tmp_path, exit_status, capsys):
    run = tmp_path / "run"
    assert exit_status(train_mpii, "--data", people, "--output", run, *TINY) == 0
    printed = capsys.readouterr().out
    assert "PCKh@0.5 on" in printed and "Total" in printed and "Ankle" in printed
    model, skeleton = load_model(run / "best.weights.h5")
    assert model.get_config()["num_blocks"] == 1 and "pelvis" in skeleton.names
    with open(run / "history.csv", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert float(row["score"]) == pytest.approx(float(row["Total"]))
    for name in ("curves.png", "predictions.png"):
        assert np.asarray(Image.open(run / name)).std() > 10
    assert list((run / "tensorboard").iterdir())
    assert json.loads((run / "options.json").read_text())["experiment"]["recipe"]["optimizer"] == "adamw"

    assert exit_status(train_mpii, "--data", people, "--output", run, *TINY) == 2
    assert "--resume" in capsys.readouterr().err
    changed = ["--data", people, "--output", run, "--resume", *TINY, "--learning-rate", "0.1"]
    assert exit_status(train_mpii, *changed) == 2
    assert "started with learning_rate=0.001" in capsys.readouterr().err


def test_show_draws_what_the_network_would_see_and_trains_nothing(people, tmp_path, exit_status, capsys):
    options = ["--data", people, "--output", tmp_path / "run", "--show", tmp_path / "sheet.png", *TINY]
    assert exit_status(train_mpii, *options) == 0
    assert "10 of 10 samples drawn in" in capsys.readouterr().out and not (tmp_path / "run").exists()
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape[1] == 2 + 8 * (64 + 2) and sheet.std() > 10
    # The limbs of either side, among the crops.
    for color in (LEFT, RIGHT):
        assert (np.abs(sheet.astype(int) - color).max(axis=-1) < 12).sum() > 50


@pytest.mark.slow
def test_train_lsp_supervises_fourteen_joints_and_scores_the_test_half_once(leeds, tmp_path, exit_status, capsys):
    options = ["--data", leeds / "lsp", "--holdout", 980, "--output", tmp_path / "run", *TINY]
    assert exit_status(train_lsp, *options) == 0
    printed = capsys.readouterr().out
    assert "20 people to train on, 980 to validate on" in printed
    assert printed.count("PCK@0.2") == 1 and "Ank." in printed
    skeleton = load_model(tmp_path / "run/best.weights.h5")[1]
    assert set(skeleton.names) - set(skeleton.learned) == {"pelvis", "thorax"}


def test_lsp_s_own_people_can_be_shown_more_often_than_those_of_the_extended_set(leeds):
    people = load_people(Lsp(leeds / "lsp", extra=leeds / "lspet", holdout=990, repeat=3))
    shown = Counter(sample.image for sample in people.training)
    times = {folder: {n for image, n in shown.items() if f"/{folder}/" in image} for folder in ("lsp", "lspet")}
    assert times == {"lsp": {3}, "lspet": {1}}
    assert len(shown) == 10 + 9 and len(people.validation) == 990
    with pytest.raises(PoseError, match="--repeat must be at least 1. Received: 0"):
        load_people(Lsp(leeds / "lsp", repeat=0))


def test_rendered_people_are_as_many_as_asked_for(people, monkeypatch):
    asked = []
    monkeypatch.setattr(synthetic, "folder_of", lambda data: people)
    monkeypatch.setattr(synthetic, "ensure", lambda folder, train=None: asked.append(train) or folder)
    assert len(load_people(Mpii(Path("synthetic"), pictures=3)).validation) >= 4
    assert asked == [3, None, None]  # then whatever is there
    with pytest.raises(PoseError, match="--pictures says how many to render, with --data synthetic. Received: --data"):
        load_people(Mpii(people, pictures=3))


def test_missing_mpii_says_what_to_download_and_where_to(tmp_path, exit_status, capsys):
    assert exit_status(train_mpii, "--data", tmp_path, "--output", tmp_path / "run") == 2
    error = capsys.readouterr().err
    assert "human-pose.mpi-inf.mpg.de" in error and str(tmp_path) in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--batch-size", "0"], "batch_size must be positive. Received: 0"),
        (["--zoom", "1.2", "0.8"], "zoom must be two positive factors"),
        (["--input-size", "100"], "multiples of 32"),
    ],
)
def test_impossible_options_are_one_sentence_and_exit_code_2(people, tmp_path, exit_status, capsys, options, sentence):
    assert exit_status(train_mpii, "--data", people, "--output", tmp_path / "run", *options) == 2
    error = capsys.readouterr().err
    assert sentence in error and "Traceback" not in error
