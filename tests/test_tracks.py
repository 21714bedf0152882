"""Identity from frame to frame, and the One-Euro filter, by hand values."""

import numpy as np
import pytest

from pose_regression.inference.tracks import OneEuro, Tracker, affinity, joint_box, smoothing_factor

STANDING = np.array([[0.0, 0.0], [30.0, 0.0], [0.0, 40.0], [30.0, 40.0]])
"""A box of 30 x 40 pixels, whose diagonal is 50."""


def test_affinity_by_hand():
    assert affinity(STANDING, STANDING) == pytest.approx(1)
    # 15 to the right: half of the width is common, 1/3 of the union; d = 15 / 25.
    assert affinity(STANDING, STANDING + [15, 0]) == pytest.approx((1 / 3 + 1 - 15 / 25) / 2)
    assert affinity(STANDING, STANDING + [100, 0]) == 0
    # Mirrored in place: the same box, every joint 30 away.
    assert affinity(STANDING, STANDING[[1, 0, 3, 2]]) == pytest.approx(0.5)


def test_joints_that_are_not_known_do_not_count():
    partly = STANDING.copy()
    partly[3] = np.nan
    assert joint_box(partly).tolist() == [0, 0, 30, 40]
    assert affinity(partly, STANDING) == pytest.approx(1)


def test_two_people_who_meet_and_pass_keep_their_numbers():
    tracker = Tracker()
    for frame in range(41):  # at the middle both stand in one place, and their order in the list changes
        people = [STANDING + [5.0 * frame, 0], STANDING + [200 - 5.0 * frame, 0]]
        order = [0, 1] if frame % 3 else [1, 0]
        numbers = tracker.update(frame / 25, [people[i] for i in order])
        if frame == 0:
            names = dict(zip(order, numbers, strict=True))
        if frame != 20:
            assert numbers == [names[i] for i in order], frame


def test_who_is_hidden_at_a_meeting_keeps_the_number_though_poses_before_it_mix_the_two():
    tracker, hidden = Tracker(), np.array([0.0, 0.0, 1.0, 1.0])[:, None]
    for frame in range(41):
        left, right = STANDING + [5.0 * frame, 0], STANDING + [200 - 5.0 * frame, 0]
        people = [left, right]
        if 14 <= frame < 17:  # each has half of the other's joints
            people = [left * hidden + right * (1 - hidden), right * hidden + left * (1 - hidden)]
        elif 17 <= frame < 24:
            people = [STANDING + [100.0, 0]]
        numbers = tracker.update(frame / 25, people)
        assert numbers == [0, 1] or 14 <= frame < 24, frame
    assert tracker.count == 2


def test_half_a_second_unseen_keeps_the_number_and_more_does_not():
    for unseen, number in ((0.3, 0), (0.5, 0), (0.6, 1)):
        tracker = Tracker()
        assert tracker.update(0.0, [STANDING]) == [0]
        assert tracker.update(0.1, []) == []
        assert tracker.update(unseen, [STANDING]) == [number]


def test_a_time_lapse_has_no_gaps():
    tracker = Tracker()
    assert [tracker.update(2.0 * frame, [STANDING]) for frame in range(3)] == [[0], [0], [0]]


def test_who_comes_later_gets_a_new_number():
    tracker = Tracker()
    assert tracker.update(0.0, [STANDING]) == [0]
    assert tracker.update(0.1, [STANDING + [300, 0], STANDING]) == [1, 0]
    assert tracker.update(0.2, [STANDING + [300, 0]]) == [1]


def test_smoothing_factor_by_hand():
    # tau = 1 / (2 pi) at 1 Hz; as long after the last value, old and new count the same.
    assert smoothing_factor(1.0, 1 / (2 * np.pi)) == pytest.approx(0.5)
    assert smoothing_factor(3.0, 1 / (2 * np.pi)) == pytest.approx(0.75)


def test_one_euro_by_hand():
    step = 1 / (2 * np.pi)  # so that a cutoff of c Hz has the share c / (c + 1)
    smooth = OneEuro(min_cutoff=1.0, beta=0.0)
    values = [smooth(step * i, np.array([value])).item() for i, value in enumerate([0.0, 8.0, 8.0, 8.0])]
    assert values == pytest.approx([0, 4, 6, 7])
    quick = OneEuro(min_cutoff=1.0, beta=0.5, speed_cutoff=1.0)
    quick(0.0, np.array([0.0]))
    # The speed, 8 / step, is smoothed to a half of it; the cutoff is 1 + 0.5 * 4 / step.
    cutoff = 1 + 0.5 * 4 * 2 * np.pi
    assert quick(step, np.array([8.0])).item() == pytest.approx(8 * cutoff / (cutoff + 1))


def test_one_euro_does_not_depend_on_the_resolution():
    path = np.cumsum(np.random.default_rng(0).normal(size=(20, 2)), axis=0)
    small, large = OneEuro(), OneEuro()
    for i, point in enumerate(path):
        np.testing.assert_allclose(large(i / 25, 10 * point, unit=500.0), 10 * small(i / 25, point, unit=50.0))


def test_one_euro_takes_up_what_was_unknown():
    smooth = OneEuro()
    smooth(0.0, np.array([1.0, np.nan]))
    assert smooth(0.1, np.array([1.0, 7.0])).tolist() == [1, 7]
    assert np.isnan(smooth(0.2, np.array([np.nan, 7.0]))).tolist() == [True, False]
