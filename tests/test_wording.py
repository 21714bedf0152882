"""Numbers as people read them."""

import pytest

from pose_regression.wording import quantity


@pytest.mark.parametrize(
    "number, what, text",
    [(1, "picture", "1 picture"), (0, "picture", "0 pictures"), (2000, "box", "2,000 boxes"), (1, "person", "1 person"),
     (2, "person", "2 people"), (3, "batch", "3 batches")],
)  # fmt: skip
def test_one_is_singular(number, what, text):
    assert quantity(number, what) == text
