"""Masks in runs, as COCO writes them: the box about what they cover."""

import pytest

from pose_regression.data.masks import box_of_mask


@pytest.mark.parametrize(
    "counts, size, expected",
    [
        ([23, 4, 6, 4, 43], [10, 8], [2, 3, 2, 4]),  # rows 3 to 6 of columns 2 and 3
        ([0, 80], [10, 8], [0, 0, 8, 10]),
        ([79, 1], [10, 8], [7, 9, 1, 1]),
        ([8, 4, 68], [10, 8], [0, 0, 2, 10]),  # from the end of one column into the next
        ([23, 4, 30, 0, 23], [10, 8], [2, 3, 1, 4]),
        # Written by pycocotools: rows 3 to 6 of columns 2 to 4, and the pixel (6, 5); columns 50 to 52, and one below
        ("g046000<ML", [10, 8], [2, 3, 5, 4]),
        ("d\\m03eb0000jP1NjbX6", [600, 400], [50, 100, 5, 451]),
    ],
)
def test_the_box_is_about_the_covered_pixels(counts, size, expected):
    assert box_of_mask({"counts": counts, "size": size}) == expected


@pytest.mark.parametrize(
    "mask",
    [
        {}, {"counts": [80], "size": [10, 8]}, {"counts": [], "size": [0, 0]}, {"counts": [0, 81], "size": [10, 8]},
        {"counts": [-1, 81], "size": [10, 8]}, {"counts": [0.5, 79.5], "size": [10, 8]}, {"counts": "a", "size": [9]},
        {"counts": "abc", "size": [9, 9]}, {"counts": "\u4e00\0 ", "size": [9, 9]}, {"counts": 7, "size": [9, 9]},
        {"counts": [0, 80], "size": "10 8"}, {"counts": "o" * 999, "size": [10, 8]},
        {"counts": [0, 10**40], "size": [10**20, 10**20]},
    ],
    ids=range(13),
)  # fmt: skip
def test_what_is_no_mask_or_an_empty_one_has_no_box(mask):
    assert box_of_mask(mask) == []
