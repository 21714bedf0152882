"""Risk and coverage by hand; a logistic regression that finds what made the data."""

import numpy as np
import pytest

from pose_regression.errors import PoseError
from pose_regression.evaluation.calibration import fit, risk_coverage_area


def test_area_by_hand():
    right = np.array([True, False, True, True])
    # Kept in the order 0.9, 0.8, 0.4, 0.1: errors 0/1, 0/2, 1/3, 1/4.
    assert risk_coverage_area(np.array([0.9, 0.4, 0.8, 0.1]), right) == pytest.approx(100 * (1 / 3 + 1 / 4) / 4)
    assert risk_coverage_area(np.array([0.9, 0.1, 0.8, 0.4]), right) == pytest.approx(100 / 16)
    assert risk_coverage_area(np.zeros(3), np.ones(3, bool)) == 0


def test_fit_finds_the_slope_and_offset_that_made_the_data():
    random = np.random.default_rng(0)
    evidence = random.normal(-3, 1, 40_000)
    right = random.random(40_000) < 1 / (1 + np.exp(-(1.7 * evidence + 5)))
    assert fit(evidence, right) == pytest.approx((1.7, 5.0), rel=0.05)


def test_what_cannot_be_fitted_is_refused():
    with pytest.raises(PoseError, match="needs joints that are right and joints that are wrong"):
        fit(np.arange(4.0), np.ones(4, bool))
    with pytest.raises(PoseError, match="Surer joints are not right more often"):
        fit(np.arange(100.0), np.arange(100) < 50)
