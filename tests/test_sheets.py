"""Who is on a contact sheet."""

import numpy as np
import pytest

from pose_regression.errors import PoseError
from pose_regression.evaluation.sheets import choose, draw_people, mean_errors
from pose_regression.skeleton import PA16J


def test_people_on_the_sheet_are_the_worst_or_spread_over_all():
    errors = np.array([0.3, np.nan, 0.1, 0.4, 0.2])
    assert choose(errors, worst=True, count=2).tolist() == [3, 0]
    assert choose(errors, worst=True, count=9).tolist() == [3, 0, 4, 2]
    assert choose(errors, worst=False, count=3).tolist() == [2, 0, 1]
    assert choose(errors, worst=False, count=9).tolist() == [2, 4, 0, 3, 1]


def test_mean_error_leaves_out_what_is_not_annotated_and_bounds_a_miss():
    errors = mean_errors(np.array([[0.5, np.nan, 0.7], [np.inf, 2.0, 0.0], [np.nan, np.nan, np.nan]]))
    assert errors[:2] == pytest.approx([0.6, 4.0]) and np.isnan(errors[2])


def test_sheet_of_nobody_is_refused():
    with pytest.raises(PoseError, match="nobody to draw"):
        draw_people([], np.zeros((0, 16, 2)), PA16J)
