"""The plan of an epoch: what is random, what it depends on, and the targets that follow."""

import json

import numpy as np
import pytest

from pose_regression.data.augment import AUTHORS, NONE, PAPER, Augmentation, plan_epoch
from pose_regression.data.sample import Sample
from pose_regression.errors import PoseError
from pose_regression.skeleton import MPII, PA16J, Skeleton, reorder

SKELETON = Skeleton(names=("head", "right_hand", "left_hand", "right_foot", "left_foot"))


def person(joints, supervised=(True,) * 5, center=(100.0, 50.0), side=40.0, image="a.jpg") -> Sample:
    return Sample(image, np.array(center), side, np.array(joints, np.float64), np.array(supervised))


def crowd(count: int) -> list[Sample]:
    rng = np.random.default_rng(0)
    return [
        person(rng.uniform(60, 140, (5, 2)), center=rng.uniform(80, 120, 2), image=f"{i}.jpg") for i in range(count)
    ]


def test_targets_by_hand():
    # The crop is x 80..120, y 30..70. Head inside, right hand outside, left hand not annotated, right foot on the
    # very edge, left foot never annotated in this data set.
    sample = person(
        [[90, 60], [130, 60], [np.nan, np.nan], [80, 50], [np.nan, np.nan]], supervised=[True, True, True, True, False]
    )
    plan = plan_epoch([sample], SKELETON, seed=0, epoch=0, augmentation=NONE)
    np.testing.assert_allclose(plan.pose[0], [[0.25, 0.75, 1], [0] * 3, [0] * 3, [0] * 3, [0] * 3], atol=1e-7)
    np.testing.assert_array_equal(plan.probability[0], [[1, 1], [0, 1], [0, 1], [0, 1], [0, 0]])
    np.testing.assert_allclose(plan.affine[0], [[0.025, 0, -2], [0, 0.025, -0.75], [0, 0, 1]], atol=1e-6)
    np.testing.assert_array_equal(plan.gamma, [[1, 1, 1]])
    assert plan.pose.dtype == plan.probability.dtype == plan.affine.dtype == plan.gamma.dtype == np.float32


def test_mirror_image_exchanges_left_and_right():
    sample = person(
        [[90, 60], [85, 50], [110, 40], [100, 60], [np.nan, np.nan]], supervised=[True, True, True, True, False]
    )
    flipped = Augmentation(rotation=0.0, zoom=(1.0, 1.0), flip=1.0, gamma=(1.0, 1.0))
    plan = plan_epoch([sample], SKELETON, seed=0, epoch=0, augmentation=flipped)
    expected = [[0.75, 0.75, 1], [0.25, 0.25, 1], [0.875, 0.5, 1], [0, 0, 0], [0.5, 0.75, 1]]
    np.testing.assert_allclose(plan.pose[0], expected, atol=1e-6)
    np.testing.assert_array_equal(plan.probability[0, :, 1], [1, 1, 1, 0, 1])


def test_smaller_window_shows_the_person_larger():
    closer = Augmentation(rotation=0.0, zoom=(0.5, 0.5), flip=0.0)
    plan = plan_epoch([person([[90, 60]] + [[100, 50]] * 4)], SKELETON, seed=0, epoch=0, augmentation=closer)
    np.testing.assert_allclose(plan.affine[0, 0, 0], 2 / 40, rtol=1e-6)
    np.testing.assert_array_equal(plan.pose[0, :, 2], [0, 1, 1, 1, 1])  # the head now lies on the edge


def test_random_numbers_depend_on_seed_epoch_and_index_alone():
    samples = crowd(50)
    plan = plan_epoch(samples, SKELETON, seed=3, epoch=5)
    again = plan_epoch(samples, SKELETON, seed=3, epoch=5)
    fewer = plan_epoch(samples[:20], SKELETON, seed=3, epoch=5, shuffle=False)
    in_order = plan_epoch(samples, SKELETON, seed=3, epoch=5, shuffle=False)
    for name in ("index", "image", "affine", "pose", "probability", "gamma"):
        np.testing.assert_array_equal(getattr(plan, name), getattr(again, name))
        np.testing.assert_array_equal(getattr(plan, name), getattr(in_order, name)[plan.index])
        np.testing.assert_array_equal(getattr(fewer, name), getattr(in_order, name)[:20])
    for other in (dict(seed=4, epoch=5), dict(seed=3, epoch=6)):
        different = plan_epoch(samples, SKELETON, **other)
        assert (different.index != plan.index).any()
        assert (different.gamma[np.argsort(different.index)] != in_order.gamma).all()


def test_an_epoch_visits_every_sample_once():
    plan = plan_epoch(crowd(50), SKELETON, seed=0, epoch=0)
    assert sorted(plan.index) == list(range(50)) and list(plan.index) != list(range(50))
    assert list(plan.image) == [f"{i}.jpg" for i in plan.index]


def drawn(augmentation: Augmentation) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rotation, zoom, mirrored and gamma of 4,000 samples, read back from the matrices."""
    plan = plan_epoch([person([[100, 50]] * 5)] * 4000, SKELETON, seed=0, epoch=0, augmentation=augmentation)
    linear = plan.affine[:, :2, :2].astype(np.float64)
    zoom = 1 / np.sqrt(np.abs(np.linalg.det(linear))) / 40
    return np.rad2deg(np.arctan2(-linear[:, 1, 0], linear[:, 1, 1])), zoom, np.linalg.det(linear) < 0, plan.gamma


def test_paper_draws_evenly_from_continuous_ranges():
    rotation, zoom, mirrored, gamma = drawn(PAPER)
    for values, low, high in ((rotation, -40, 40), (zoom, 0.7, 1.3), (gamma, 0.9, 1.1)):
        assert low - 1e-4 < values.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < values.max() < high + 1e-4
        np.testing.assert_allclose(values.mean(), (low + high) / 2, atol=0.02 * (high - low))
    assert 0.47 < mirrored.mean() < 0.53
    # Independent of each other.
    correlation = np.corrcoef(np.column_stack([rotation, zoom, mirrored, gamma]).T)
    assert np.abs(correlation - np.eye(6)).max() < 0.06


def test_authors_draw_from_steps():
    rotation, zoom, mirrored, gamma = drawn(AUTHORS)
    np.testing.assert_array_equal(np.unique(rotation.round(3)), np.arange(-40, 41, 5))
    np.testing.assert_array_equal(np.unique(zoom.round(4)), [0.7, 1.0, 1.3])
    np.testing.assert_array_equal(np.unique(gamma.round(4)), np.float32(np.arange(90, 111, 2) / 100))
    assert 0.47 < mirrored.mean() < 0.53


def test_translation_moves_the_window_by_a_fraction_of_its_side():
    shifting = Augmentation(rotation=0.0, zoom=(1.0, 1.0), translation=0.1, flip=0.0)
    samples = [person([[100, 50]] * 5)] * 1000
    points = plan_epoch(samples, SKELETON, seed=0, epoch=0, augmentation=shifting).pose[:, 0, :2]
    assert 0.4 - 1e-5 < points.min() < 0.41 and 0.59 < points.max() < 0.6 + 1e-5


def test_wrong_number_of_joints_names_the_image():
    with pytest.raises(PoseError, match=r"a\.jpg: expected joints of shape \(5, 2\). Received: \(4, 2\)"):
        plan_epoch([person([[0, 0]] * 4)], SKELETON, seed=0, epoch=0)
    with pytest.raises(PoseError, match="no samples"):
        plan_epoch([], SKELETON, seed=0, epoch=0)


@pytest.mark.real_data
def test_upright_targets_agree_with_the_authors(pose_reference):
    cases = json.loads((pose_reference / "network" / "ref_affine.json").read_text())["cases"]
    reference = np.load(pose_reference / "network" / "ref_affine.npz")
    upright = [case for case in cases if case["angle"] == 0]
    assert len(upright) >= 5
    for case in upright:
        key, side = f"c{case['case']:02d}", 250 * case["scale"]
        joints = reorder(reference[f"{key}_pose_mpii"], MPII, PA16J)
        center = np.array(case["objpos"]) + [0, 15 * case["scale"]]
        sample = Sample("x.png", center, side, joints, np.ones(16, bool))
        forced = Augmentation(rotation=0.0, zoom=(case["aug"],) * 2, flip=case["hflip"])
        plan = plan_epoch([sample], PA16J, seed=0, epoch=0, augmentation=forced)
        theirs = reference[f"{key}_pose"]
        np.testing.assert_array_equal(plan.pose[0, :, 2], theirs[:, 2])
        inside = theirs[:, 2] == 1
        # Their window is cut at whole pixels.
        error = np.abs(plan.pose[0, inside, :2] - theirs[inside, :2]) * side * case["aug"]
        assert error.max() < 1
