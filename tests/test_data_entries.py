"""Entries of COCO files that went through other tools: ids, numbers, crowds, boxes."""

import pytest

from pose_regression.data.entries import annotated_size, bbox_of, is_crowd, is_number, key, number


@pytest.mark.parametrize(
    "value, expected",
    [(1, "1"), (1.0, "1"), ("1", "1"), ("a.jpg", "a.jpg"), (2**60 + 1, "1152921504606846977"), (0, "0"), (1.5, ""),
     (True, ""), (None, ""), ([1], ""), (float("nan"), ""), (float("inf"), "")],
)  # fmt: skip
def test_ids_are_one_in_every_form(value, expected):
    assert key(value) == expected


@pytest.mark.parametrize("yes", [1, True, "1", "true", "True", 1.0, 2, "yes"])
def test_a_crowd_is_one_in_every_form(yes):
    assert is_crowd({"iscrowd": yes}) and is_crowd({"iscrowd": 0, "ignore": yes})


@pytest.mark.parametrize("no", [0, False, None, "0", "false", "", 0.0, "No"])
def test_no_crowd_is_none_in_every_form(no):
    assert not is_crowd({"iscrowd": no, "ignore": no}) and not is_crowd({})


def test_numbers_may_be_text():
    assert number("0.5") == 0.5 and number("x") == "x" and number(None) is None
    assert [is_number(v) for v in (1, 0.5, True, "1", None, float("nan"), 10**400)] == [True, True, *[False] * 5]
    assert annotated_size({"width": "640", "height": 0}) == (640, None)


@pytest.mark.parametrize(
    "entry, expected",
    [
        ({"bbox": [1, "2", 3.0, 4]}, [1, 2, 3, 4]),
        ({"bbox": [1, 2, 3, 0.5], "segmentation": [[0, 0, 9, 9]]}, None),
        ({"bbox": [1, 2, -3, 4]}, None),
        ({"bbox": [1, 2, 3]}, None),
        ({"bbox": [1, 2, 3, float("nan")]}, None),
        ({"bbox": [1, 2, 3, 1e9]}, None),
        ({}, None),
        ({"segmentation": [[10, 20, 60, 20, 60, 100], [5, 30, 6, 31]]}, [5, 20, 55, 80]),
        ({"bbox": [], "segmentation": [10, 20, 60, 20, 60, 100]}, [10, 20, 50, 80]),
        ({"bbox": None, "segmentation": [[10, 20, 60, 100]], "keypoints": [0, 0, 2]}, [10, 20, 50, 80]),
        ({"segmentation": {"counts": "abc", "size": [9, 9]}, "keypoints": [3, 4, 2, 13, 24, 1, 99, 99, 0]},
         [3, 4, 10, 20]),
        ({"segmentation": {"counts": "g046000<ML", "size": [10, 8]}, "keypoints": [0, 0, 2]}, [2, 3, 5, 4]),
        ({"segmentation": {"counts": [23, 4, 6, 4, 43], "size": [10, 8]}}, [2, 3, 2, 4]),
        ({"segmentation": {"counts": "abc", "size": [9, 9]}}, None),
        ({"segmentation": [["a", None]], "keypoints": "x"}, None),
    ],
)  # fmt: skip
def test_a_box_is_the_given_one_or_that_of_outline_or_joints(entry, expected):
    assert bbox_of(entry) == expected
