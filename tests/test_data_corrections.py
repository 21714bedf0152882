"""Corrected labels: what `without` changes and what it leaves, and what wrong files say."""

import numpy as np
import pytest

from pose_regression.data import corrections
from pose_regression.data.corrections import Correction
from pose_regression.data.sample import Sample
from pose_regression.errors import PoseError
from pose_regression.skeleton import PA16J

HEADER = "image,joint,kind,residual,suggestion\n"


def sample(image: str) -> Sample:
    joints = np.arange(32.0).reshape(16, 2)
    return Sample(f"images/{image}", np.zeros(2), 100.0, joints, np.ones(16, bool))


def test_swap_exchanges_a_pair_once_whether_named_from_one_end_or_both(tmp_path):
    both = [
        Correction("a.jpg", "left_knee", "swap", 0.9, "right_knee"),
        Correction("a.jpg", "right_knee", "swap", 0.8, ""),
    ]
    for lines in (both, both[:1], both[1:]):
        corrections.write(tmp_path / "c.csv", lines)
        (found,) = corrections.without([sample("a.jpg")], tmp_path / "c.csv")
        expected = np.arange(32.0).reshape(16, 2)
        expected[[12, 13]] = expected[[13, 12]]
        np.testing.assert_array_equal(found.joints, expected)


def test_misplaced_joint_is_no_longer_annotated_and_other_images_stay_the_same(tmp_path):
    people = [sample("a.jpg"), sample("b.jpg")]
    corrections.write(tmp_path / "c.csv", [Correction("b.jpg", "head", "misplaced", 1.5, "1.0 2.0")])
    first, second = corrections.without(people, tmp_path / "c.csv")
    assert first is people[0]
    assert np.flatnonzero(~second.present).tolist() == [PA16J.index("head")]
    assert people[1].present.all(), "the samples given must not change"


def test_of_a_swapped_pair_the_joint_named_misplaced_is_masked_after_the_exchange(tmp_path):
    lines = [Correction("a.jpg", "left_hip", "misplaced", 1.0, ""), Correction("a.jpg", "left_hip", "swap", 1.0, "")]
    corrections.write(tmp_path / "c.csv", lines)
    (found,) = corrections.without([sample("a.jpg")], tmp_path / "c.csv")
    left, right = PA16J.index("left_hip"), PA16J.index("right_hip")
    assert np.isnan(found.joints[left]).all()
    assert found.joints[right].tolist() == [2.0 * left, 2.0 * left + 1]


def test_file_reads_back_with_residuals_to_three_decimals(tmp_path):
    lines = [Correction('odd, "name".jpg', "left_knee", "swap", 0.98765, "right_knee")]
    corrections.write(tmp_path / "c.csv", lines)
    assert corrections.read(tmp_path / "c.csv") == [
        Correction('odd, "name".jpg', "left_knee", "swap", 0.988, "right_knee")
    ]


def test_images_elsewhere_are_passed_over_unless_none_is_here(tmp_path):
    corrections.write(
        tmp_path / "c.csv", [Correction(name, "head", "misplaced", 1.0, "") for name in ("a.jpg", "z.jpg")]
    )
    (found,) = corrections.without([sample("a.jpg")], tmp_path / "c.csv")
    assert not found.present[PA16J.index("head")]
    with pytest.raises(PoseError, match="c.csv corrects a.jpg and others, none"):
        corrections.without([sample("b.jpg")], tmp_path / "c.csv")


def test_file_without_corrections_changes_nothing(tmp_path):
    corrections.write(tmp_path / "c.csv", [])
    people = [sample("a.jpg")]
    assert corrections.without(people, tmp_path / "c.csv")[0] is people[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must begin with the line image,joint"),
        ("image,person\na.jpg,1\n", "must begin with the line image,joint"),
        (HEADER + "a.jpg,head,swap\n", "line 2: expected image,joint"),
        (HEADER + "a.jpg,head,misplaced,nan,\n", "residual a number"),
        (HEADER + "a.jpg,tail,misplaced,1.0,\n", "line 2: no joint is called 'tail'"),
        (HEADER + "a.jpg,head,misplaced,1.0,\na.jpg,head,gone,1.0,\n", "line 3: the kinds are swap, misplaced"),
        (HEADER + "a.jpg,head,swap,1.0,\n", "head has no left and right"),
        (b"\xff\xfe\x00", "no readable CSV file"),
        (None, "no readable CSV file"),
    ],
)
def test_wrong_files_are_named_with_line_and_reason(tmp_path, text, message):
    path = tmp_path / "c.csv"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(PoseError, match=message):
        corrections.without([sample("a.jpg")], path)


def test_a_quotation_mark_that_nothing_closes_does_not_fill_the_message(tmp_path):
    path = tmp_path / "c.csv"
    path.write_text(HEADER + '"a.jpg,head,swap,1,\n' + "b.jpg,head,misplaced,1,\n" * 1000)
    with pytest.raises(PoseError, match="c.csv, line 2: expected image") as error:
        corrections.read(path)
    assert len(str(error.value)) < 500 and "\n" not in str(error.value)
