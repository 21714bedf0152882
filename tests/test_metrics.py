import json

import numpy as np
import pytest

from pose_regression.errors import PoseError
from pose_regression.evaluation import metrics
from pose_regression.geometry import invert, transform_points
from pose_regression.skeleton import LSP, MPII, PA16J, reorder

RIGHT = MPII.index("right_wrist")
LEFT = MPII.index("left_wrist")


def mpii_people(count: int) -> dict[str, np.ndarray]:
    """People whose every joint is at (100, 100), predicted exactly, with a head of 10 pixels."""
    true = np.full((count, 16, 2), 100.0)
    return {
        "true": true,
        "predicted": true.copy(),
        "head_size": np.full(count, 10.0),
        "present": np.ones((count, 16), bool),
    }


def random_people(count: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    true = rng.uniform(0, 300, (count, 16, 2))
    return {
        "true": true,
        "predicted": true + rng.normal(0, 12, true.shape),
        "head_size": rng.uniform(20, 60, count),
        "present": rng.random((count, 16)) < 0.8,
    }


def lsp_person() -> np.ndarray:
    """One upright person whose torso, left shoulder to right hip, is 50 pixels long (30 across, 40 down)."""
    places = {
        "head": (15, -30), "neck": (15, -10),
        "right_shoulder": (0, 0), "left_shoulder": (30, 0), "right_elbow": (0, 20), "left_elbow": (30, 20),
        "right_wrist": (0, 40), "left_wrist": (30, 40), "right_hip": (0, 40), "left_hip": (30, 40),
        "right_knee": (0, 60), "left_knee": (30, 60), "right_ankle": (0, 80), "left_ankle": (30, 80),
    }  # fmt: skip
    return np.array([[places[name] for name in LSP.names]], float)


def test_pckh_counts_a_joint_exactly_on_the_threshold_and_not_one_beyond():
    people = mpii_people(1)
    people["predicted"][0, RIGHT, 0] += 5.0
    people["predicted"][0, LEFT, 0] += np.nextafter(5.0, 6.0) + 1e-9
    scores = metrics.pckh(**people)
    assert scores["Wrist"] == 50.0
    assert scores["Total"] == pytest.approx(100 * 13 / 14)


def test_pckh_columns_average_two_rates_while_total_pools_joints():
    people = mpii_people(4)
    people["predicted"][:, RIGHT] += 50.0
    people["present"][1:, RIGHT] = False  # right wrist: 0 of 1, left wrist: 4 of 4
    scores = metrics.pckh(**people)
    assert scores["Wrist"] == 50.0
    assert scores["Total"] == pytest.approx(100 * 52 / 53)


def test_pckh_head_is_neck_and_head_top_and_the_total_ignores_pelvis_and_thorax():
    people = mpii_people(1)
    people["predicted"][0, [MPII.index("pelvis"), MPII.index("thorax")]] += 50.0
    assert metrics.pckh(**people)["Total"] == 100.0
    people["predicted"][0, MPII.index("neck")] += 50.0
    assert metrics.pckh(**people)["Head"] == 50.0


def test_pckh_names_its_columns_in_the_order_of_the_official_table():
    assert list(metrics.pckh(**mpii_people(1))) == [
        "Head", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle", "Total",
    ]  # fmt: skip


@pytest.mark.parametrize("place", [np.nan, np.inf, 1e300])
def test_nan_and_absurd_predictions_are_misses(place):
    people = mpii_people(1)
    people["predicted"][0, RIGHT, 1] = place
    assert metrics.pckh(**people)["Wrist"] == 50.0
    predicted = lsp_person()
    predicted[0, LSP.index("left_ankle"), 0] = place
    assert metrics.pck_lsp(lsp_person(), predicted)["Ank."] == 50.0
    assert metrics.pcp_lsp(lsp_person(), predicted)["Lower leg"] == 50.0


@pytest.mark.filterwarnings("error")
def test_a_joint_that_is_never_present_has_rate_nan_without_a_warning():
    people = mpii_people(2)
    people["present"][:, LEFT] = False
    people["true"][:, LEFT] = np.nan
    scores = metrics.pckh(**people)
    assert np.isnan(scores["Wrist"]) and scores["Total"] == 100.0
    rates = metrics.joint_rates(metrics.mpii_distances(**people), MPII, 0.5)
    assert np.isnan(rates["left_wrist"]) and rates["right_wrist"] == 100.0
    assert all(np.isnan(value) for value in metrics.pckh(**mpii_people(0)).values())


def test_a_person_without_joints_needs_no_head_size():
    people = mpii_people(2)
    people["present"][1] = False
    people["head_size"][1] = np.nan
    assert metrics.pckh(**people)["Total"] == 100.0


def test_pck_lsp_scales_by_the_torso_from_left_shoulder_to_right_hip():
    predicted = lsp_person()
    predicted[0, LSP.index("right_elbow"), 1] += 10.0  # 0.2 of 50: right
    predicted[0, LSP.index("left_elbow"), 1] += 10.1
    scores = metrics.pck_lsp(lsp_person(), predicted)
    assert scores["Elb."] == 50.0
    assert scores["PCK"] == pytest.approx(100 * 13 / 14)
    assert list(scores) == ["Head", "Sho.", "Elb.", "Wri.", "Hip", "Knee", "Ank.", "PCK"]


def test_pcp_needs_both_ends_within_half_the_stick():
    predicted = lsp_person()
    predicted[0, LSP.index("left_wrist"), 0] += 10.0  # half of the forearm's 20: right
    assert metrics.pcp_lsp(lsp_person(), predicted)["Forearm"] == 100.0
    predicted[0, LSP.index("left_wrist"), 0] += 0.1  # the elbow is exact, and that does not help
    scores = metrics.pcp_lsp(lsp_person(), predicted)
    assert scores["Forearm"] == 50.0 and scores["PCP"] == 90.0
    assert list(scores) == ["Torso", "Upper leg", "Lower leg", "Upper arm", "Forearm", "Head", "PCP"]


def test_the_torso_stick_joins_the_middles_of_hips_and_shoulders():
    np.testing.assert_array_equal(metrics.lsp_sticks(lsp_person())[0, -1], [[15, 40], [15, 0]])


@pytest.mark.filterwarnings("error")
def test_a_stick_or_torso_of_length_zero_is_never_right():
    true = lsp_person()
    true[0, LSP.index("right_ankle")] = true[0, LSP.index("right_knee")]
    assert metrics.pcp_lsp(true, true)["Lower leg"] == 50.0
    true[0, LSP.index("left_shoulder")] = true[0, LSP.index("right_hip")]
    assert metrics.pck_lsp(true, true)["PCK"] == 0.0


def test_the_curve_at_a_threshold_is_the_pckh_there():
    people = random_people(50)
    thresholds = np.arange(51) / 100
    curve = metrics.pck_curve(
        metrics.take_joints(metrics.mpii_distances(**people), MPII, metrics.PCKH_JOINTS), thresholds
    )
    assert curve[20] == metrics.pckh(**people, threshold=0.2)["Total"]
    assert curve[50] == metrics.pckh(**people)["Total"]
    assert 0 < curve[20] < curve[50]


def test_area_under_a_straight_curve_is_its_middle_height():
    thresholds = np.linspace(0, 0.5, 51)
    assert metrics.area_under_curve(thresholds, 200 * thresholds) == pytest.approx(50.0)


@pytest.mark.filterwarnings("error")
def test_calibration_counts_by_hand():
    table = metrics.calibration([0.0, 0.1, 0.6, 0.8, 1.0, np.nan], [False, True, True, False, True, True], bins=2)
    assert [row["count"] for row in table] == [2, 3]
    assert [row["probability"] for row in table] == pytest.approx([0.05, 0.8])
    assert [row["frequency"] for row in table] == pytest.approx([0.5, 2 / 3])
    empty = metrics.calibration([0.9], [True], bins=2)[0]
    assert (empty["low"], empty["high"], empty["count"]) == (0.0, 0.5, 0) and np.isnan(empty["frequency"])


def test_inside_crop_excludes_the_border_and_nan():
    pose = [[0.5, 0.5], [0.0, 0.5], [0.5, 1.0], [np.nan, 0.5], [0.5, 1.2]]
    assert metrics.inside_crop(pose).tolist() == [True, False, False, False, False]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"true": np.zeros((2, 14, 2))}, "true of shape"),
        ({"predicted": np.zeros((2, 16, 3))}, "predicted of shape"),
        ({"predicted": np.zeros((3, 16, 2))}, "as many predictions"),
        ({"head_size": np.ones((2, 1))}, "head_size of shape"),
        ({"head_size": np.array([1.0, 0.0])}, "positive head_size.*person 1"),
        ({"head_size": np.array([np.nan, 1.0])}, "positive head_size.*person 0"),
        ({"present": np.ones((2, 16))}, "present as bool"),
        ({"present": np.ones((2, 14), bool)}, "present as bool"),
        ({"true": np.full((2, 16, 2), np.nan)}, "no position"),
    ],
)
def test_pckh_refuses_what_does_not_fit(change, message):
    with pytest.raises(PoseError, match=message):
        metrics.pckh(**{**mpii_people(2), **change})


def test_lsp_metrics_refuse_what_does_not_fit():
    person = lsp_person()
    with pytest.raises(PoseError, match=r"\(N, 14, 2\)"):
        metrics.pck_lsp(person, person[:, :13])
    with pytest.raises(PoseError, match="every joint"):
        metrics.pck_lsp(person * np.nan, person)
    with pytest.raises(PoseError, match="every joint"):
        metrics.pcp_lsp(person * np.nan, person)
    with pytest.raises(PoseError, match="as many"):
        metrics.pck_lsp(person, np.concatenate([person, person]))
    with pytest.raises(PoseError, match="predicted of shape"):
        metrics.pcp_sticks(metrics.lsp_sticks(person), np.zeros((2, 10, 2, 2)))


@pytest.mark.real_data
@pytest.mark.parametrize(
    "method",
    ["BulatTzimiropoulosECCV16:PC", "ChenYuilleNIPS14:OC", "WeiCVPR16:PC", "YangCVPR16:OC", "pishchulin13iccv:PC"],
)
def test_published_lsp_predictions_give_their_published_rows(pose_reference, method):
    expected = json.loads((pose_reference / "evaluation" / "lsp_expected.json").read_text())
    row = expected["methods"][method]
    with np.load(pose_reference / "evaluation" / "lsp_eval.npz") as data:
        true, predicted = data[f"gt_{row['eval_mode'].lower()}"], data[row["keypoints"]]
        sticks = data[row["sticks"]] if "sticks" in row else metrics.lsp_sticks(predicted)
    pck, pcp = metrics.pck_lsp(true, predicted), metrics.pcp_sticks(metrics.lsp_sticks(true), sticks)
    assert list(pck) == expected["pck_columns"] and list(pcp) == expected["pcp_columns"]
    np.testing.assert_allclose(list(pck.values()), row["PCK@0.2"], atol=0.051)
    np.testing.assert_allclose(list(pcp.values()), row["PCP"], atol=0.051)
    np.testing.assert_allclose(list(pck.values()), row["PCK@0.2_own"], atol=1e-4)
    if "sticks" not in row:
        assert metrics.pcp_lsp(true, predicted) == pcp


@pytest.mark.real_data
def test_every_published_lsp_prediction_is_tested(pose_reference):
    methods = json.loads((pose_reference / "evaluation" / "lsp_expected.json").read_text())["methods"]
    assert len(methods) == 5


@pytest.mark.real_data
def test_lsp_annotation_against_itself_misses_only_the_limbs_of_length_zero(pose_reference):
    with np.load(pose_reference / "evaluation" / "lsp_eval.npz") as data:
        true = data["gt_pc"]
    assert metrics.pck_lsp(true, true)["PCK"] == 100.0
    assert metrics.pcp_lsp(true, true)["PCP"] == pytest.approx(99.99, abs=0.011)


@pytest.mark.real_data
def test_published_mpii_predictions_give_the_official_rows(pose_reference):
    expected = json.loads((pose_reference / "evaluation" / "mpii_val_expected.json").read_text())
    with np.load(pose_reference / "evaluation" / "mpii_val_eval.npz") as data:
        arrays = dict(data)
    for row in expected["methods"].values():
        scores = metrics.pckh(arrays["gt"], arrays[row["pred"]], arrays["head_size"], arrays["present"])
        for run, tolerance in (("official_own", 1e-4), ("official_octave_run", 0.051)):
            official = dict(zip(expected["official_columns"], row[run], strict=True))
            del official["UBody"]  # not in the paper's tables, and not here
            assert scores == pytest.approx(official, abs=tolerance) and list(scores) == list(official)


@pytest.mark.real_data
def test_authors_pckh_is_reproduced_with_its_cases_on_the_threshold(pose_reference):
    with np.load(pose_reference / "network" / "ref_pckh.npz") as data:
        reference = dict(data)
    true = reorder(reference["y_true"], PA16J, MPII)
    people = {
        "true": true,
        "predicted": reorder(reference["y_pred"], PA16J, MPII),
        "head_size": reference["head_size"][:, 0],
        "present": (true > -1e6).all(axis=-1),  # the authors' mark of an absent joint
    }
    distances = metrics.mpii_distances(**people)
    for threshold in (0.5, 0.2, 0.1):
        total = metrics.pckh(**people, threshold=threshold)["Total"]
        assert total == pytest.approx(100 * float(reference[f"posereg_pckh_{threshold}"]), abs=1e-10)
        rates = metrics.joint_rates(distances, MPII, threshold)
        per_joint = reference[f"deephar_per_joint_percent_2dec_{threshold}"]
        for name, expected in zip(PA16J.names, per_joint, strict=True):
            if name in metrics.PCKH_JOINTS:
                assert rates[name] == pytest.approx(expected, abs=0.0051), name


@pytest.mark.real_data
def test_authors_validation_score_drops_joints_outside_the_crop(pose_reference):
    with np.load(pose_reference / "network" / "ref_pckh.npz") as data:
        reference = {name: data[name].astype(float) for name in data if name.startswith("e_")}
    back = invert(reference["e_afmat"])
    true, predicted = (
        reorder(transform_points(back, reference[name]), PA16J, MPII)
        for name in ("e_pose_true_crop", "e_pose_pred_crop")
    )
    inside = reorder(metrics.inside_crop(reference["e_pose_true_crop"])[..., None], PA16J, MPII)[..., 0]
    total = metrics.pckh(true, predicted, reference["e_head"][:, 0], inside)["Total"]
    assert total == pytest.approx(100 * float(reference["e_pckh"]), abs=1e-6)
    assert not inside.all()
