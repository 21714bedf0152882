"""Annotated people in a detector's windows."""

import numpy as np
import pytest
from PIL import Image

from pose_regression.data.sample import Sample
from pose_regression.inference.people import Detector
from pose_regression.inference.seen import seen_by


@pytest.fixture
def samples(tmp_path) -> list[Sample]:
    """Two people in one picture of 200 x 100 pixels, about (30, 50) and (150, 50)."""
    Image.fromarray(np.full((100, 200, 3), 90, np.uint8)).save(tmp_path / "a.png")
    joints = np.full((16, 2), np.nan)
    return [
        Sample(str(tmp_path / "a.png"), np.array([x, 50.0]), 40.0, joints, np.ones(16, bool), person=i)
        for i, x in enumerate((30.0, 150.0))
    ]


def test_each_person_is_seen_in_the_window_of_the_nearest_one_found(samples):
    boxes, scores = np.array([[130, 30, 160, 90], [10, 20, 60, 60]]), np.array([0.9, 0.8])
    seen, missed = seen_by(Detector("test", lambda picture: (boxes, scores), margin=1.5), samples)
    assert not missed.any() and [sample.person for sample in seen] == [0, 1]
    np.testing.assert_allclose([sample.center for sample in seen], [[35, 40], [145, 60]])
    assert [sample.side for sample in seen] == [75, 90]


def test_who_is_not_found_is_missed_and_keeps_the_window(samples):
    seen, missed = seen_by(lambda picture: (np.zeros((0, 4)), np.zeros(0)), samples)
    assert missed.all() and seen == samples


def test_without_a_detector_it_is_the_whole_picture(samples):
    seen, missed = seen_by("whole", samples)
    assert not missed.any()
    np.testing.assert_allclose(seen[0].center, [100, 50])
    assert seen[0].side == 200
