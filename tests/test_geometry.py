"""The affine of a crop: hand-computed matrices, round trips, the authors' own matrices."""

import json

import numpy as np
import pytest

from pose_regression.geometry import crop_affine, invert, to_crop_pixels, transform_points


def test_upright_crop_sends_its_corners_to_the_unit_square():
    affine = crop_affine(np.array([100.0, 50.0]), 40.0)
    corners = np.array([[80, 30], [120, 30], [80, 70], [120, 70], [100, 50]])
    expected = [[0, 0], [1, 0], [0, 1], [1, 1], [0.5, 0.5]]
    np.testing.assert_allclose(transform_points(affine, corners), expected, atol=1e-15)


def test_positive_rotation_turns_the_picture_counter_clockwise():
    # What lies right of the centre appears above it after a quarter turn; what lies below appears on the right.
    affine = crop_affine(np.array([0.0, 0.0]), 2.0, rotation=90.0)
    np.testing.assert_allclose(transform_points(affine, np.array([[1, 0], [0, 1]])), [[0.5, 0], [1, 0.5]], atol=1e-15)


def test_mirror_image_is_taken_after_the_rotation():
    center, points = np.array([30.0, 20.0]), np.random.default_rng(0).uniform(0, 60, (7, 2))
    plain = transform_points(crop_affine(center, 50.0, rotation=25.0), points)
    mirrored = transform_points(crop_affine(center, 50.0, rotation=25.0, flip=True), points)
    np.testing.assert_allclose(mirrored, plain * [-1, 1] + [1, 0], atol=1e-14)


def test_matrices_are_batched_over_leading_axes():
    rng = np.random.default_rng(0)
    center, side = rng.uniform(0, 99, (3, 4, 2)), rng.uniform(10, 99, (3, 4))
    rotation, flip = rng.uniform(-40, 40, (3, 4)), rng.random((3, 4)) < 0.5
    batch = crop_affine(center, side, rotation=rotation, flip=flip)
    for i in np.ndindex(3, 4):
        np.testing.assert_array_equal(batch[i], crop_affine(center[i], side[i], rotation=rotation[i], flip=flip[i]))


def test_ten_thousand_random_crops_come_back_within_a_thousandth_of_a_pixel():
    rng = np.random.default_rng(1)
    count = 10_000
    center = rng.uniform(-200, 4200, (count, 2))
    affine = crop_affine(
        center,
        rng.uniform(20, 4000, count),
        rotation=rng.uniform(-180, 180, count),
        flip=rng.random(count) < 0.5,
    )
    points = rng.uniform(-500, 4500, (count, 16, 2))
    # The pipeline carries float32 matrices and poses.
    affine32 = affine.astype(np.float32)
    pose = transform_points(affine, points)
    assert np.abs(transform_points(invert(affine), pose) - points).max() < 1e-8
    inside = ((pose > 0) & (pose < 1)).all(axis=-1)
    assert inside.sum() > 10_000
    pose32 = transform_points(affine32.astype(np.float64), points).astype(np.float32)
    back = transform_points(invert(affine32.astype(np.float64)), pose32.astype(np.float64))
    assert np.abs(back - points)[inside].max() < 1e-3


def test_absent_points_stay_absent():
    points = np.array([[10.0, 10.0], [np.nan, np.nan]])
    moved = transform_points(crop_affine(np.array([10.0, 10.0]), 20.0, rotation=10.0), points)
    np.testing.assert_array_equal(np.isnan(moved), np.isnan(points))


def test_crop_pixels_are_normalised_coordinates_times_the_size():
    affine = crop_affine(np.array([5.0, 9.0]), 12.0, rotation=33.0)
    points = np.array([[3.0, 4.0]])
    expected = transform_points(affine, points) * 256
    np.testing.assert_allclose(transform_points(to_crop_pixels(affine, 256), points), expected, rtol=1e-14)


@pytest.mark.real_data
def test_authors_matrices_are_reproduced(pose_reference):
    cases = json.loads((pose_reference / "network" / "ref_affine.json").read_text())["cases"]
    reference = np.load(pose_reference / "network" / "ref_affine.npz")
    for case in cases:
        theirs = reference[f"c{case['case']:02d}_afmat"]
        center = np.array(case["objpos"]) + [0, 15 * case["scale"]]
        side = 1.25 * 200 * case["scale"] * case["aug"]
        ours = crop_affine(center, side, rotation=case["angle"], flip=bool(case["hflip"]))

        # They cut at whole pixels, which moves the crop by less than a pixel at each edge.
        corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        moved = transform_points(ours, transform_points(invert(theirs), corners)) - corners
        assert np.abs(moved).max() * side < 1, case

        # Cut where they cut, ours is the same matrix.
        upright = crop_affine(center, side, rotation=case["angle"])
        np.testing.assert_allclose(_cut_at_whole_pixels(upright, center, side, case), theirs, rtol=0, atol=1e-10)


def _cut_at_whole_pixels(affine: np.ndarray, center: np.ndarray, side: float, case: dict) -> np.ndarray:
    """Replace the crop's window by the one that the authors cut from PIL's canvas of the rotated image."""
    angle, (width, height) = np.deg2rad(case["angle"]), case["img"][:2]
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    corners = (np.array([[0, 0], [width, 0], [0, height], [width, height]]) - center) @ turn.T + center
    on_canvas = center - (corners.min(axis=0) if case["angle"] else 0)
    low, high = np.trunc(on_canvas - side / 2), np.trunc(on_canvas + side / 2)
    to_canvas = np.eye(3)
    to_canvas[:2] = np.column_stack([np.eye(2) * side, on_canvas - side / 2])
    to_box = np.eye(3)
    to_box[:2] = np.column_stack([np.diag(1 / (high - low)), -low / (high - low)])
    mirror = np.array([[-1.0, 0, 1], [0, 1, 0], [0, 0, 1]]) if case["hflip"] else np.eye(3)
    return mirror @ to_box @ to_canvas @ affine
