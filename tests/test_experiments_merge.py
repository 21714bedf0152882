"""Sharded work, and the whole of its parts."""

import json

import numpy as np
import pytest
from PIL import Image

from experiments import merge, predict
from pose_regression.errors import PoseError
from pose_regression.evaluation.merging import shard
from pose_regression.evaluation.predictions import Predictions, load_predictions, save_predictions
from pose_regression.model.network import PoseRegressor
from pose_regression.model.weights import save_weights
from pose_regression.skeleton import LSP


def test_shards_hold_everything_once():
    assert [shard("abcdefg", f"{i}/3") for i in (1, 2, 3)] == [["a", "d", "g"], ["b", "e"], ["c", "f"]]


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "1/0", "-1/2", "a/b", "1/2/3", ""])
def test_a_shard_that_is_none_is_refused(text):
    with pytest.raises(PoseError, match="must be I/N"):
        shard("abc", text)


def test_a_shard_without_items_is_refused():
    with pytest.raises(PoseError, match="--shard 3/3 is empty: there are 2"):
        shard("ab", "3/3")


@pytest.fixture
def whole() -> Predictions:
    pixels = np.random.default_rng(0).uniform(0, 100, (5, 14, 2))
    pixels[2, 3] = np.nan
    images = ("b.jpg", "a.jpg", "b.jpg", "c.jpg", "a.jpg")
    return Predictions(LSP, pixels, np.full((5, 14), 0.5), images, (0, 0, 1, 0, 1))


def save_part(path, whole, rows) -> None:
    part = Predictions(
        LSP, whole.pixels[rows], whole.probability[rows],
        tuple(whole.images[i] for i in rows), tuple(whole.people[i] for i in rows),
    )  # fmt: skip
    save_predictions(path, part)


def test_merged_predictions_do_not_depend_on_the_order_of_the_parts(whole, tmp_path, exit_status, capsys):
    for name, rows in (("x", [0, 2, 4]), ("y", [1, 3])):
        save_part(tmp_path / f"{name}.json", whole, rows)
    texts = []
    for number, order in enumerate(("xy", "yx")):
        output = tmp_path / f"whole{number}.json"
        assert exit_status(merge, *(tmp_path / f"{name}.json" for name in order), "--output", output) == 0
        texts.append(output.read_text())
    assert "5 people" in capsys.readouterr().out
    assert texts[0] == texts[1]
    assert len(json.loads(texts[0])["sha256"]) == 64  # and load_predictions compares it
    found = load_predictions(tmp_path / "whole0.json", LSP)
    assert list(zip(found.images, found.people, strict=True)) == [
        ("a.jpg", 0), ("a.jpg", 1), ("b.jpg", 0), ("b.jpg", 1), ("c.jpg", 0),
    ]  # fmt: skip
    np.testing.assert_array_equal(found.pixels, whole.pixels[[1, 4, 0, 2, 3]])


def test_a_damaged_part_is_refused(whole, tmp_path, exit_status, capsys):
    save_part(tmp_path / "x.json", whole, [0, 1])
    (tmp_path / "x.json").write_text((tmp_path / "x.json").read_text().replace("0.5", "0.6", 1))
    assert exit_status(merge, tmp_path / "x.json", "--output", tmp_path / "out.json") == 2
    assert "x.json cannot be merged: it is damaged" in capsys.readouterr().err
    assert not (tmp_path / "out.json").exists()


def test_parts_that_overlap_or_do_not_belong_together_are_refused(whole, tmp_path, exit_status, capsys):
    save_part(tmp_path / "x.json", whole, [0, 1])
    save_part(tmp_path / "y.json", whole, [1, 2])
    (tmp_path / "list.json").write_text("[1, 2]")
    (tmp_path / "lacks.json").write_text('{"joints": [], "people": [{}]}')
    output = tmp_path / "whole.json"
    for names, said in (
        ("xy", "y.json holds person 0 of a.jpg, whom another part holds too"),
        (("x", "list"), "list.json holds neither predictions"),
        (("x", "lacks"), "lacks.json has other joints"),
        (("lacks",), "lacks 'image'"),
        (("absent",), "absent.json cannot be read"),
    ):
        parts = [tmp_path / f"{name}.json" for name in names]
        assert exit_status(merge, *parts, "--output", output) == 2
        assert said in capsys.readouterr().err
        assert not output.exists()
    assert exit_status(merge, tmp_path / "x.json", "--output", tmp_path / "x.json") == 2
    assert "exists" in capsys.readouterr().err


def test_photographs_predicted_in_shards_are_those_predicted_at_once(tmp_path, exit_status):
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for name in "abc":
        Image.fromarray(rng.integers(0, 255, (50, 40, 3), dtype=np.uint8)).save(tmp_path / "photos" / f"{name}.png")
    save_weights(PoseRegressor((32, 32, 3), num_blocks=1, width=16), tmp_path / "tiny.weights.h5")
    arguments = [tmp_path / "photos", "--weights", tmp_path / "tiny.weights.h5", "--batch-size", 1]
    assert exit_status(predict, *arguments, "--output", tmp_path / "all") == 0
    parts = []
    for i in (2, 1):
        parts.append(tmp_path / f"part{i}")
        assert exit_status(predict, *arguments, "--shard", f"{i}/2", "--output", parts[-1]) == 0
    assert sorted(p.name for p in (parts[1] / "overlays").iterdir()) == ["a.jpg", "c.jpg"]
    paths = [part / "poses.json" for part in parts]
    assert exit_status(merge, *paths, "--output", tmp_path / "poses.json") == 0
    assert json.loads((tmp_path / "poses.json").read_text()) == json.loads((tmp_path / "all/poses.json").read_text())
