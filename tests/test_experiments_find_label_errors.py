"""Wrong labels planted among right ones must be found, and little else."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from experiments import find_label_errors
from pose_regression.data import corrections, lsp
from pose_regression.data.sample import Sample
from pose_regression.errors import PoseError
from pose_regression.evaluation.label_errors import find, torso
from pose_regression.evaluation.predictions import Predictions, save_predictions
from pose_regression.skeleton import LSP, PA16J, reorder

# A standing person seen from the front: the person's right is at the smaller x. The torso's diagonals are
# (50, 120), so 130 px long.
STANDING = {
    "head": (100, 0), "neck": (100, 30),
    "right_shoulder": (70, 40), "left_shoulder": (130, 40), "right_elbow": (50, 100), "left_elbow": (150, 100),
    "right_wrist": (40, 160), "left_wrist": (160, 160), "right_hip": (80, 160), "left_hip": (120, 160),
    "right_knee": (60, 230), "left_knee": (140, 230), "right_ankle": (50, 300), "left_ankle": (150, 300),
}  # fmt: skip
TORSO = 130
LEG = ("hip", "knee", "ankle")


def standing() -> np.ndarray:
    """(16, 2) in the order PA16J; pelvis and thorax NaN."""
    return np.array([STANDING.get(name, (np.nan, np.nan)) for name in PA16J.names], np.float64)


def sample(joints: np.ndarray, image: str = "im00001.jpg") -> Sample:
    return Sample(f"images/{image}", np.zeros(2), 300.0, joints, np.isfinite(joints).all(axis=-1), person=0)


def sure(count: int = 1) -> np.ndarray:
    return np.full((count, 16), 0.9)


def index(name: str) -> int:
    return PA16J.index(name)


def found_in(joints: np.ndarray, probability: np.ndarray | None = None, **options) -> list[tuple[str, str]]:
    """(joint, kind) found in one person whom the network sees as `standing`."""
    lines = find([sample(joints)], standing()[None], sure() if probability is None else probability, **options)
    return [(line.joint, line.kind) for line in lines]


def swapped(*parts: str) -> np.ndarray:
    joints = standing()
    for part in parts:
        pair = [index(f"right_{part}"), index(f"left_{part}")]
        joints[pair] = joints[pair[::-1]]
    return joints


def test_torso_is_the_mean_of_both_diagonals():
    assert torso(standing()[None]) == pytest.approx(TORSO)


def test_torso_of_a_person_seen_along_the_trunk_is_a_fifth_of_the_extent():
    pose = standing()
    for part in ("shoulder", "hip"):
        pose[[index(f"right_{part}"), index(f"left_{part}")]] = 100.0
    assert torso(pose[None]) == pytest.approx(300 / 5)


def test_planted_errors_are_found_with_their_kind():
    random = np.random.default_rng(0)
    count = 2000
    scale = random.uniform(0.5, 2.0, (count, 1, 1))
    truth = (standing() + random.normal(0, 8, (count, 16, 2))) * scale
    pixels = truth + random.normal(0, 8, truth.shape) * scale  # 0.06 torso off in x and y
    labels = truth.copy()
    planted = set()
    for i in range(count):
        if random.random() < 0.05:
            for part in LEG:
                pair = [index(f"right_{part}"), index(f"left_{part}")]
                labels[i, pair] = labels[i, pair[::-1]]
                planted |= {(i, joint, "swap") for joint in pair}
    for i, joint in zip(*np.nonzero(random.random((count, 16)) < 0.03), strict=True):
        if joint > 1 and (i, joint, "swap") not in planted:  # not pelvis or thorax
            angle, far = random.uniform(0, 2 * np.pi), random.uniform(1.2, 2.5) * TORSO * scale[i, 0, 0]
            labels[i, joint] += far * np.array([np.cos(angle), np.sin(angle)])
            planted.add((int(i), int(joint), "misplaced"))
    labels[random.random((count, 16)) < 0.05] = np.nan  # LSPET leaves joints out
    planted = {(i, j, kind) for i, j, kind in planted if np.isfinite(labels[i, j]).all()}
    # A swap is known by both its ends.
    planted = {(i, j, k) for i, j, k in planted if k != "swap" or np.isfinite(labels[i, PA16J.flip[j]]).all()}

    people = [sample(labels[i], f"im{i:05d}.jpg") for i in range(count)]
    lines = find(people, pixels, sure(count))
    found = {(int(line.image[2:7]), index(line.joint), line.kind) for line in lines}
    for kind in corrections.KINDS:
        of_kind = [{line for line in lines if line[2] == kind} for lines in (planted, found)]
        right = of_kind[0] & of_kind[1]
        assert len(right) >= 0.97 * len(of_kind[0]), f"recall of {kind}: {len(right)} of {len(of_kind[0])}"
        assert len(right) >= 0.93 * len(of_kind[1]), f"precision of {kind}: {len(right)} of {len(of_kind[1])}"
    assert lines == find(people, pixels, sure(count)), "the same input must give the same list"


def test_swapped_legs_are_found_whole_though_hips_alone_are_too_near_to_tell():
    assert found_in(swapped("hip")) == []
    expected = [(name, "swap") for name in PA16J.names if name.partition("_")[2] in LEG]
    assert found_in(swapped(*LEG)) == expected


def test_swap_suggests_the_other_joint_and_misplaced_the_prediction():
    joints = swapped(*LEG)
    joints[index("head")] += 200
    lines = {line.joint: line for line in find([sample(joints)], standing()[None], sure())}
    assert lines["right_ankle"].suggestion == "left_ankle"
    assert lines["right_ankle"].residual == pytest.approx(100 / TORSO)
    assert lines["head"].suggestion == "100.0 0.0"
    assert lines["head"].residual == pytest.approx(200 * 2**0.5 / TORSO)


def test_nothing_is_said_where_the_network_is_unsure_or_the_label_absent():
    joints = standing()
    joints[index("left_wrist")] += TORSO
    assert found_in(joints) == [("left_wrist", "misplaced")]
    probability = sure()
    probability[0, index("left_wrist")] = 0.4
    assert found_in(joints, probability) == []
    joints[index("left_wrist")] = np.nan
    assert found_in(joints) == []


def test_nothing_is_said_of_a_person_whom_the_network_gets_wrong():
    joints = standing()
    joints[[index(name) for name in PA16J.names if name.startswith("right_")]] += TORSO
    joints[[index("head"), index("neck")]] += TORSO
    assert found_in(joints) == []


def test_arguments_that_do_not_fit_are_refused():
    with pytest.raises(PoseError, match="agreement < disagreement"):
        found_in(standing(), agreement=0.8, disagreement=0.5)
    with pytest.raises(PoseError, match=r"Received: \(1, 14, 2\)"):
        find([sample(standing())], np.zeros((1, 14, 2)), sure())
    assert find([], np.zeros((0, 16, 2)), np.zeros((0, 16))) == []


# ------------------------------------------------------------------------------------------------- the command


def write_lspet(folder: Path, joints: np.ndarray) -> Path:
    """An LSPET of (N, 14, 2) labels."""
    (folder / "images").mkdir(parents=True)
    flags = np.ones((len(joints), 14, 1))
    savemat(folder / "joints.mat", {"joints": np.concatenate([joints, flags], axis=2).transpose(1, 2, 0)})
    for i in range(len(joints)):
        Image.new("L", (200, 300), 90).save(folder / "images" / f"im{i + 1:05d}.jpg")
    return folder


def write_fold(path: Path, pixels: np.ndarray, *images: str) -> Path:
    poses = reorder(np.stack([pixels] * len(images)), PA16J, LSP)
    save_predictions(path, Predictions(LSP, poses, np.full(poses.shape[:2], 0.9), images, (0,) * len(images)))
    return path


def command(monkeypatch, *arguments: str | Path) -> None:
    monkeypatch.setattr(sys, "argv", ["find_label_errors", *map(str, arguments)])
    find_label_errors.main()


def test_command_joins_folds_and_its_file_puts_the_labels_right(tmp_path, monkeypatch, capsys):
    labels = reorder(np.stack([standing(), swapped(*LEG), standing()]), PA16J, LSP)
    data = write_lspet(tmp_path / "lspet", labels)
    folds = [
        write_fold(tmp_path / "b.json", standing(), "im00002.jpg"),
        write_fold(tmp_path / "a.json", standing(), "im00001.jpg"),
    ]
    output, sheet = tmp_path / "labels.csv", tmp_path / "labels.png"
    command(monkeypatch, "--data", data, "--output", output, "--sheet", sheet, "--predictions", *folds)
    assert "6 of 28 labels (21.4 %) in 1 of 2 images look wrong." in capsys.readouterr().out
    assert Image.open(sheet).size[0] > 256
    for person in corrections.without(lsp.load_extended(data), output):
        np.testing.assert_allclose(person.joints, standing())


def test_command_refuses_what_is_not_out_of_fold(tmp_path, monkeypatch):
    data = write_lspet(tmp_path / "lspet", reorder(np.stack([standing()] * 2), PA16J, LSP))
    first = write_fold(tmp_path / "a.json", standing(), "im00001.jpg")
    again = write_fold(tmp_path / "b.json", standing(), "im00002.jpg", "im00001.jpg")
    test = write_fold(tmp_path / "c.json", standing(), "im1001.jpg")
    unnamed = tmp_path / "d.npy"
    np.save(unnamed, np.zeros((2, 14, 2)))
    twice = write_fold(tmp_path / "e.json", standing(), "im00001.jpg", "im00001.jpg")
    for files, message in (
        ((first, again), "b.json and .*a.json both predict im00001.jpg"),
        ((test,), "c.json predicts person 0 of im1001.jpg, who is not in this data set"),
        ((unnamed,), "d.npy lacks image names"),
        ((twice,), "twice"),
    ):
        with pytest.raises(PoseError, match=message):
            command(monkeypatch, "--data", data, "--output", tmp_path / "l.csv", "--predictions", *files)
    assert not (tmp_path / "l.csv").exists()


def test_samples_given_are_not_changed():
    person = sample(swapped(*LEG))
    before = replace(person, joints=person.joints.copy())
    find([person], standing()[None], sure())
    np.testing.assert_array_equal(person.joints, before.joints)
