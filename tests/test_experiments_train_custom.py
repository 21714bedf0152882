"""Training on one's own joints, as typed, and using what comes out."""

import csv
import json
import sys
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image
from tiny import Tiny

from experiments import predict as predict_command
from experiments import train_custom
from experiments.command import run
from pose_regression.data import coco, synthetic
from pose_regression.data.sample import Sample
from pose_regression.errors import PoseError
from pose_regression.evaluation.windows import predict_blocks
from pose_regression.inference.predictor import PosePredictor
from pose_regression.model.load import load_model
from pose_regression.model.named_weights import named_weights
from pose_regression.model.network import PoseRegressor
from pose_regression.model.weights import save_weights
from pose_regression.skeleton import MPII, Skeleton
from pose_regression.training.people import hold_out, score_pck
from pose_regression.training.run import start_from

TINY = "--recipe quick --epochs 1 --blocks 1 --width 18 --input-size 64 --batch-size 4".split()
PICTURES = 8

FIVE = {
    "head": "head", "hand_l": "left_wrist", "hand_r": "right_wrist", "foot_l": "left_ankle", "foot_r": "right_ankle",
}  # fmt: skip
"""Name in the file -> the rendered joint it lies at."""
SIDED = [f"{side}_{joint}" for joint in "shoulder elbow wrist hip knee ankle".split() for side in ("left", "right")]
SEVENTEEN = {"nose": "head"} | {
    name: "neck" for name in ("left_eye", "right_eye", "left_ear", "right_ear")
} | {name: name for name in SIDED}  # fmt: skip
LIMBS = {5: [[1, 2], [1, 3], [2, 4], [3, 5]], 17: [[16, 14], [14, 12], [17, 15], [6, 7]]}


@pytest.fixture(autouse=True)
def restore_policy():
    policy = keras.config.dtype_policy()
    yield
    keras.config.set_dtype_policy(policy)


@pytest.fixture(scope="module")
def people(tmp_path_factory) -> Path:
    """Rendered people in `images/`, annotated in COCO's format with 5 and with 17 joints."""
    folder = tmp_path_factory.mktemp("custom")
    (folder / "images").mkdir()
    pictures = [synthetic.render(seed, size=(128, 104)) for seed in range(PICTURES)]
    for i, (picture, _) in enumerate(pictures):
        Image.fromarray(picture).save(folder / "images" / f"{i}.png")
    for joints in (FIVE, SEVENTEEN):
        write_annotations(folder / f"coco{len(joints)}.json", joints, [people[0] for _, people in pictures])
    return folder


def write_annotations(path: Path, joints: dict[str, str], people: list[synthetic.Person]) -> None:
    annotations = []
    for i, person in enumerate(people):
        order = [MPII.index(name) for name in joints.values()]
        points, visible = person.joints[order], person.visible[order]
        labelled = np.isfinite(points).all(axis=1)
        low, high = np.nanmin(person.joints, axis=0), np.nanmax(person.joints, axis=0)
        keypoints = np.column_stack([np.where(labelled[:, None], points, 0), np.where(labelled, 1 + visible, 0)])
        bbox = [*low.tolist(), *(high - low).tolist()]
        annotations.append(
            {"id": i, "image_id": i, "category_id": 1, "bbox": bbox, "keypoints": keypoints.ravel().tolist()}
        )
    category = {"id": 1, "name": "person", "keypoints": list(joints), "skeleton": LIMBS[len(joints)]}
    images = [{"id": i, "file_name": f"{i}.png", "width": 104, "height": 128} for i in range(len(people))]
    path.write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": [category]}), encoding="utf-8"
    )


@pytest.fixture
def command(people, monkeypatch):
    """Run the training on `people`; returns its exit status."""

    def call(joints: int, *arguments: object) -> int:
        given = ["--annotations", people / f"coco{joints}.json", "--images", people / "images", *arguments]
        monkeypatch.setattr(sys, "argv", ["train_custom", *map(str, given)])
        with pytest.raises(SystemExit) as end:
            run(train_custom.main)
        return end.value.code

    return call


@pytest.fixture
def tiny_backbone(monkeypatch):
    """Training builds a network with far fewer layers."""
    monkeypatch.setattr("pose_regression.training.run.PoseRegressor", partial(PoseRegressor, backbone=Tiny()))


@pytest.mark.slow
@pytest.mark.parametrize(
    "joints, names, flip",
    [
        (5, ["head", "left_hand", "right_hand", "left_foot", "right_foot"], (0, 2, 1, 4, 3)),
        (17, list(SEVENTEEN), (0, *np.arange(1, 17).reshape(-1, 2)[:, ::-1].ravel().tolist())),
    ],
)
def test_trained_weights_serve_predictor_and_predict_command(
    people, tiny_backbone, command, tmp_path, monkeypatch, capsys, joints, names, flip
):
    out = tmp_path / "run"
    assert command(joints, "--holdout", 0.25, "--output", out, *TINY) == 0
    printed = capsys.readouterr().out
    assert printed.count(f"{joints} joints: ") == 1 and "6 people to train on, 2 to validate on" in printed
    assert f"PCK {names[-1]}" in printed
    assert np.asarray(Image.open(out / "predictions.png")).std() > 20

    weights = out / "best.weights.h5"
    model, skeleton = load_model(weights)
    assert list(skeleton.names) == names and skeleton.flip == flip
    assert skeleton.limb_indices == tuple((a - 1, b - 1) for a, b in LIMBS[joints])
    with open(out / "history.csv", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert float(row["score"]) == float(row["PCK"]) and f"PCK {names[1]}" in row
    assert (out / "curves.png").exists()

    # What validation computed is what the predictor gives for the same box.
    sample = coco.load(people / f"coco{joints}.json", people / "images").samples[-1]
    annotation = json.loads((people / f"coco{joints}.json").read_text())["annotations"][-1]
    x, y, width, height = annotation["bbox"]
    for mirrored in (False, True):
        (pose,) = PosePredictor(weights).predict(sample.image, [x, y, x + width, y + height], flip=mirrored)
        expected = predict_blocks(model, [sample], flip=mirrored, skeleton=skeleton).last.pixels[0]
        np.testing.assert_allclose(pose.pixels, expected, atol=0.01)
    assert list(pose.names) == names and list(pose.to_dict()["joints"]) == names

    given = ["predict", sample.image, "--weights", str(weights), "--output", str(tmp_path / "poses"), "--flip"]
    given += ["--people", "whole"]
    monkeypatch.setattr(sys, "argv", given)
    with pytest.raises(SystemExit) as end:
        run(predict_command.main)
    assert end.value.code == 0
    written = json.loads((tmp_path / "poses/poses.json").read_text())
    assert written["categories"][0]["keypoints"] == names
    assert written["categories"][0]["skeleton"] == LIMBS[joints]
    (whole,) = PosePredictor(weights).predict(sample.image, people="whole", flip=True)
    found = np.reshape(written["annotations"][0]["keypoints"], (joints, 3))
    np.testing.assert_allclose(found[:, :2], whole.pixels, atol=0.02)


@pytest.mark.slow
def test_training_can_start_from_weights_for_other_joints(people, command, tmp_path, capsys):
    source = tmp_path / "mpii.weights.h5"
    keras.utils.set_random_seed(3)
    model = PoseRegressor((64, 64, 3), num_blocks=1, width=18)
    save_weights(model, source)
    started = PoseRegressor((64, 64, 3), num_joints=5, num_blocks=1, width=18)
    before = {name: np.array(variable) for name, variable in named_weights(started).items()}
    start_from(started, source)
    theirs = named_weights(model)
    for name, variable in named_weights(started).items():
        expected = before[name] if "heatmaps" in name else np.array(theirs[name])
        np.testing.assert_array_equal(np.array(variable), expected, err_msg=name)

    wider = PoseRegressor((64, 64, 3), num_joints=5, num_blocks=1, width=36)
    before = {name: np.array(variable) for name, variable in named_weights(wider).items()}
    start_from(wider, source)
    assert "begins as it, grown" in capsys.readouterr().out
    for name, variable in named_weights(wider).items():
        if "kernel" in name:
            assert ("heatmaps" in name) == np.array_equal(np.array(variable), before[name]), name

    validation = ["--validation", people / "coco5.json", "--validation-images", people / "images"]
    assert command(5, *validation, "--weights", source, "--output", tmp_path / "run", *TINY) == 0
    assert "8 people to train on, 8 to validate on" in capsys.readouterr().out
    assert command(5, "--weights", source, "--output", tmp_path / "other", *TINY, "--width", 16) == 2
    assert "is a network of another size: " in capsys.readouterr().err


def test_pck_counts_labelled_joints_within_a_tenth_of_the_longer_side():
    joints = Skeleton(("a", "b", "c"))
    nowhere = [np.nan, np.nan]
    true = np.array([[[10.0, 10], [20, 20], nowhere], [[50.0, 50], nowhere, nowhere]])
    side = [125.0, 1250.0]  # boxes whose longer sides are 100 and 1000
    people = [
        Sample("x", np.zeros(2), s, joints, np.ones(3, bool)) for s, joints in zip(side, true, strict=True)
    ]  # fmt: skip
    found = np.array([[[16.0, 18], [20, 30.1], [0, 0]], [[50.0, 149.9], [0, 0], [0, 0]]])
    scores = score_pck(people, found, joints)
    assert scores["PCK a"] == 100 and scores["PCK b"] == 0 and np.isnan(scores["PCK c"])
    assert scores["PCK"] == pytest.approx(200 / 3)
    found[0, 0] = np.nan
    assert score_pck(people, found, joints)["PCK"] == pytest.approx(100 / 3)


def test_the_last_pictures_are_held_out_with_all_their_people():
    people = [Sample(image, np.zeros(2), 1.0, np.zeros((1, 2)), np.ones(1, bool)) for image in "aabbccccdd"]
    training, validation = hold_out(people, 0.4)
    assert "".join(sample.image for sample in training) == "aabb"
    assert "".join(sample.image for sample in validation) == "ccccdd"
    assert len(hold_out(people, 0.01)[1]) == 2 and len(hold_out(people, 0.99)[0]) == 2
    with pytest.raises(PoseError, match="'?a'? is the only picture"):
        hold_out(people[:2], 0.5)


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--holdout", "1"], "--holdout must lie between 0 and 1. Received: 1.0"),
        (["--validation", "coco17.json"], "coco17.json has other joints than"),
        (["--validation", "none.json"], "none.json cannot be read"),
        (["--images", "nowhere"], "images[0]: '0.png' is no file in nowhere"),
        (["--weights", "none.h5"], "none.h5 could not be read"),
    ],
)
def test_impossible_arguments_are_one_sentence_and_exit_code_2(
    people, command, tmp_path, monkeypatch, capsys, arguments, sentence
):
    monkeypatch.chdir(people)
    assert command(5, "--output", tmp_path / "run", *TINY, *arguments) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1


def test_keras_json_of_another_precision_changes_nothing(tiny_backbone, command, tmp_path):
    def losses(name: str) -> str:
        assert command(5, "--output", tmp_path / name, *TINY, "--seed", 3, "--deterministic") == 0
        return (tmp_path / name / "history.csv").read_text(encoding="utf-8")

    expected = losses("float32")
    keras.config.set_floatx("float16")
    try:
        assert losses("float16") == expected and keras.config.floatx() == "float32"
    finally:
        keras.config.set_floatx("float32")


def test_a_broken_picture_to_validate_on_is_named_before_training(people, command, tmp_path, capsys):
    images = tmp_path / "images"
    images.mkdir()
    for i in range(PICTURES):
        content = (people / "images" / f"{i}.png").read_bytes()
        (images / f"{i}.png").write_bytes(content if i < PICTURES - 1 else content[:3000])
    assert command(5, "--images", images, "--output", tmp_path / "run", *TINY) == 2
    error = capsys.readouterr().err
    assert f"{images / '7.png'} is truncated or damaged" in error and not (tmp_path / "run").exists()
