"""Every benchmark by hand: what it scores, what it leaves out, whom it quotes."""

import json
from dataclasses import replace

import numpy as np
import pytest

from pose_regression import skeleton
from pose_regression.data import synthetic
from pose_regression.data.sample import Sample
from pose_regression.errors import PoseError
from pose_regression.evaluation import benchmarks
from pose_regression.evaluation.benchmarks import (
    BENCHMARKS,
    LSP,
    LSPET_PHOTOGRAPHS,
    MPII,
    SYNTHETIC,
    joints_inside,
    mean_pose,
)
from pose_regression.skeleton import PA16J

TABLE_2, TABLE_3 = LSP.quoted["test", "PCK@0.2"], LSP.quoted["test", "PCP@0.5"]
TABLE_4 = MPII.quoted["test", "PCKh@0.5"]

JOINTS = np.stack([np.arange(16) * 30.0 + 100, np.arange(16) * 20.0 + 50], axis=-1)


def annotated(**options) -> Sample:
    sample = Sample("photo.png", np.array([325.0, 200.0]), 600.0, JOINTS.copy(), np.ones(16, bool), head_size=10.0)
    return replace(sample, **options)


def displaced(name: str, distance: float) -> np.ndarray:
    pixels = JOINTS.copy()
    pixels[PA16J.index(name), 0] += distance
    return pixels


def test_mpii_score_of_hand_made_people():
    # Half a head size is 5 pixels: the right ankle is a miss, the left wrist on the edge is not, pelvis never counts.
    pixels = displaced("right_ankle", 5.1)
    pixels[PA16J.index("left_wrist"), 1] -= 5
    pixels[PA16J.index("pelvis")] += 1000
    scores = MPII.score([annotated()], pixels[None])
    assert scores.pop("Ankle") == 50
    assert scores.pop("Total") == pytest.approx(100 * 13 / 14)
    assert set(scores.values()) == {100}

    # Neither people without a head box nor joints without annotation count.
    nowhere = np.full((16, 2), np.nan)
    absent = JOINTS.copy()
    absent[PA16J.index("right_ankle")] = np.nan
    people = [annotated(head_size=float("nan")), annotated(head_size=0.0), annotated(joints=absent)]
    scores = MPII.score(people, np.stack([nowhere, nowhere, displaced("right_ankle", 99)]))
    assert scores["Total"] == 100


@pytest.mark.parametrize(
    ("joint", "column"),
    [
        ("neck", "Head"), ("head", "Head"), ("left_shoulder", "Shoulder"), ("right_elbow", "Elbow"),
        ("left_wrist", "Wrist"), ("right_hip", "Hip"), ("left_knee", "Knee"), ("left_ankle", "Ankle"),
    ],
)  # fmt: skip
def test_mpii_score_counts_each_joint_in_its_column(joint, column):
    scores = MPII.score([annotated()], displaced(joint, 6)[None])
    assert [name for name, score in scores.items() if score == 50] == [column]


def test_joints_outside_the_crop_count_unless_told_otherwise():
    # The crop spans x from 150 to 500: of the joints at 100 + 30 i, the network's 0, 1 and 14, 15 are outside.
    sample = annotated(center=np.array([325.0, 200.0]), side=350.0)
    pixels = displaced("left_ankle", 20)[None]
    assert MPII.score([sample], pixels)["Ankle"] == 50
    scores = MPII.score(joints_inside([sample]), pixels)
    assert np.isnan(scores["Ankle"])  # both are outside
    assert scores["Total"] == 100
    assert MPII.score(joints_inside([sample]), displaced("left_knee", 20)[None])["Knee"] == 50


def test_predictions_of_other_people_are_not_scored():
    with pytest.raises(PoseError, match="Expected as many predictions as people, 2. Received: 3"):
        MPII.score([annotated()] * 2, np.stack([JOINTS] * 3))
    with pytest.raises(PoseError):
        LSP.score([annotated()] * 2, np.stack([JOINTS] * 3))
    with pytest.raises(PoseError, match="Expected 16 joints"):
        MPII.score([annotated()], np.zeros((1, 14, 2)))


def test_lsp_score_of_a_hand_made_person():
    joints = JOINTS.copy()
    joints[PA16J.index("left_shoulder")], joints[PA16J.index("right_hip")] = (100, 100), (160, 180)  # torso 100
    joints[[PA16J.index("pelvis"), PA16J.index("thorax")]] = np.nan
    pixels = np.nan_to_num(joints)
    pixels[PA16J.index("right_knee")] += (0, 20.5)  # a fifth of the torso is 20
    pixels[PA16J.index("left_elbow")] += (12, -15.9)
    scores = LSP.score([annotated(joints=joints)], pixels[None])
    assert scores.pop("Knee") == 50
    assert scores.pop("PCK") == pytest.approx(100 * 13 / 14)
    assert set(scores.values()) == {100}


def test_mean_pose_of_training_people_is_put_back_through_each_test_crop():
    def at(center: tuple[float, float], side: float, place: tuple[float, float]) -> Sample:
        joints = np.tile(np.array(center) + side * (np.array(place) - 0.5), (16, 1))
        return Sample("a.jpg", np.array(center), side, joints, np.ones(16, bool))

    training = [at((50, 50), 100, (0.2, 0.4)), at((500, 80), 30, (0.4, 0.8))]
    pixels = mean_pose(training, [at((10, 20), 20, (0, 0)), at((100, 100), 200, (0, 0))])
    np.testing.assert_allclose(pixels[:, 3], [[6, 22], [60, 120]])  # (0.3, 0.6) of either crop


def test_distance_of_mpii_counts_joints_outside_the_crop_unless_asked_not_to():
    joints = np.full((16, 2), 50.0)
    joints[PA16J.index("head")] = [130, 50]
    joints[PA16J.index("neck")] = np.nan
    people = [
        Sample("a.jpg", np.full(2, 50.0), 100.0, joints, np.ones(16, bool), head_size=20.0),
        Sample("a.jpg", np.full(2, 50.0), 100.0, joints, np.ones(16, bool)),
    ]
    pixels = np.full((2, 16, 2), 60.0)
    distances = MPII.distances(people, pixels)
    assert np.isnan(distances[1]).all(), "without a head size nothing is scored"
    assert distances[0, skeleton.MPII.index("pelvis")] == pytest.approx(10 * 2**0.5 / 20)
    assert np.isnan(distances[0, skeleton.MPII.index("neck")])
    assert np.isfinite(distances[0, skeleton.MPII.index("head")])
    inside = MPII.distances(joints_inside(people), pixels)
    assert np.isnan(inside[0, skeleton.MPII.index("head")]) and np.isfinite(inside[0]).sum() == 14


# Benchmarks


@pytest.mark.parametrize("benchmark", BENCHMARKS.values(), ids=BENCHMARKS)
def test_perfect_predictions_score_100_in_every_table_and_have_no_distance(benchmark):
    people = [annotated(), annotated(image="b.png")]
    pixels = skeleton.reorder(np.stack([JOINTS] * 2), PA16J, benchmark.skeleton)
    scores = benchmark.scores(people, pixels)
    assert all(set(columns.values()) == {100} for columns in scores.values())
    assert scores[benchmark.metric] == benchmark.score(people, np.stack([JOINTS] * 2))
    assert benchmark.total in scores[benchmark.metric] and list(scores)[0] == benchmark.metric
    assert set(benchmark.counted) <= set(benchmark.skeleton.names)
    assert (benchmark.distances(people, pixels) == 0).all()


def test_quoted_rows_stand_beside_splits_and_metrics_that_exist():
    for benchmark in BENCHMARKS.values():
        for split, metric in benchmark.quoted:
            assert split in benchmark.splits and metric in benchmark.tables


def test_rendered_people_are_compared_with_nobody():
    assert not SYNTHETIC.quoted and SYNTHETIC.title == "Rendered people"


def test_splits_and_annotation_that_a_benchmark_does_not_have_are_refused(tmp_path):
    with pytest.raises(PoseError, match="LSP has the splits test, train. Received: val"):
        LSP.load(tmp_path, "val")
    with pytest.raises(PoseError, match="LSP takes no other annotation than its own. Received: .*a.mat"):
        LSP.load(tmp_path, annotation=tmp_path / "a.mat")


def test_missing_images_are_counted_and_their_source_is_named(tmp_path):
    (tmp_path / "here.png").write_bytes(b"")
    people = [annotated(image=str(tmp_path / name)) for name in ("here.png", "gone.png", "gone.png")]
    with pytest.raises(PoseError, match=r"1 of 2 images are missing, such as .*gone.png; download MPII's .*12.9 GB"):
        MPII.require_images(people)
    MPII.require_images(people[:1])


def test_data_synthetic_means_the_same_folder_to_everybody(tmp_path, monkeypatch):
    rendered = []
    monkeypatch.setattr(synthetic, "ensure", lambda folder: rendered.append(folder) or folder)
    monkeypatch.setattr(benchmarks.mpii, "load", lambda folder, split: ["somebody"])
    SYNTHETIC.load("synthetic")
    SYNTHETIC.load(tmp_path)
    assert rendered == [synthetic.FOLDER, tmp_path]


def test_a_split_without_people_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmarks.mpii, "load", lambda folder, split, annotation: [])
    with pytest.raises(PoseError, match=f"^{tmp_path} has nobody in the split test of MPII.$"):
        MPII.load(tmp_path, "test")


# Quoted rows


def test_columns_are_those_of_our_metrics():
    assert list(TABLE_2[0].scores) == ["Head", "Sho.", "Elb.", "Wri.", "Hip", "Knee", "Ank.", "PCK"]
    assert list(TABLE_3[0].scores) == ["Torso", "Upper leg", "Lower leg", "Upper arm", "Forearm", "Head", "PCP"]
    assert list(TABLE_4[0].scores) == ["Head", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle", "Total"]


def test_totals_lie_between_the_best_and_the_worst_joint():
    for row in (*TABLE_2[:-1], *TABLE_3, *TABLE_4):
        *joints, total = row.scores.values()
        assert min(joints) < total < max(joints), row.method


@pytest.mark.real_data
def test_quoted_lsp_rows_are_the_published_ones(pose_reference):
    methods = json.loads((pose_reference / "evaluation" / "lsp_expected.json").read_text())["methods"]
    published = [methods[key] for key in ("pishchulin13iccv:PC", "WeiCVPR16:PC", "BulatTzimiropoulosECCV16:PC")]
    assert [list(row.scores.values()) for row in TABLE_2[:3]] == [row["PCK@0.2"] for row in published]
    assert [list(row.scores.values()) for row in TABLE_3] == [row["PCP"] for row in published]


def test_photographs_score_what_is_annotated_in_torso_lengths_of_either_diagonal():
    right_hip, wrist = PA16J.index("right_hip"), PA16J.index("left_wrist")
    length = float(np.linalg.norm(JOINTS[PA16J.index("left_shoulder")] - JOINTS[right_hip]))
    other = float(np.linalg.norm(JOINTS[PA16J.index("right_shoulder")] - JOINTS[PA16J.index("left_hip")]))
    whole, hidden, without = JOINTS.copy(), JOINTS.copy(), JOINTS.copy()
    hidden[right_hip] = np.nan
    without[[right_hip, PA16J.index("left_hip")]] = np.nan
    people = [annotated(joints=joints) for joints in (whole, hidden, without)]
    near = np.stack([displaced("left_wrist", 0.19 * unit) for unit in (length, other, length)])
    far = np.stack([displaced("left_wrist", 0.21 * unit) for unit in (length, other, length)])
    assert LSPET_PHOTOGRAPHS.score(people, near)["PCK"] == 100
    assert LSPET_PHOTOGRAPHS.score(people, far)["PCK"] == pytest.approx(100 * (27 - 2) / 27)  # the third has no torso
    far[0, wrist] = np.nan
    assert LSPET_PHOTOGRAPHS.score(people, far)["Wri."] == 50
