"""People labelled by a network: what the file keeps, whose weights reach the targets, and what wrong files say."""

import gzip

import numpy as np
import pytest
from PIL import Image

from pose_regression.data import soft_labels
from pose_regression.data.augment import NONE, plan_epoch
from pose_regression.errors import PoseError
from pose_regression.skeleton import LSP, PA16J, Skeleton

TWO = Skeleton(("right_wrist", "left_ankle"))


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "im1.png"
    Image.new("RGB", (100, 80), "red").save(path)
    return path


def written(tmp_path, photo, values):
    path = tmp_path / "labels.csv.gz"
    soft_labels.write(path, [soft_labels.digest(photo)] * len(values), np.array(values, float), TWO)
    return path


def test_what_is_written_comes_back_as_samples(tmp_path, photo):
    path = written(
        tmp_path, photo, [[[10, 20, 0.5], [50.4, 60.2, 0.25]], [[0, 0, 0], [30, 30, 1]], [[5, 5, 1], [9, 9, 1]]]
    )
    other = tmp_path / "other.png"
    Image.new("RGB", (9, 9)).save(other)
    first, second = soft_labels.read(path, [other, photo], skeleton=PA16J, weight=0.5)
    wrist, ankle = PA16J.index("right_wrist"), PA16J.index("left_ankle")
    assert first.image == second.image == str(photo)
    np.testing.assert_array_equal(first.joints[[wrist, ankle]], [[10, 20], [50, 60]])
    assert first.supervised.sum() == 2
    np.testing.assert_array_equal(
        second.joints[[wrist, ankle]], [[5, 5], [9, 9]]
    )  # one joint, or all outside, is no window
    np.testing.assert_allclose(first.weight[[wrist, ankle]], [0.25, 0.125])
    assert first.weight.sum() == 0.375
    # LSP's rule: 0.4 of the shorter side of the 40 x 40 box is added on each side.
    np.testing.assert_allclose(first.center, [30, 40])
    assert first.side == pytest.approx(40 + 2 * 16)


def test_weights_reach_the_targets_and_follow_their_joint_into_a_mirror_image(tmp_path, photo):
    path = written(tmp_path, photo, [[[10, 20, 0.5], [50, 60, 1]]])
    (sample,) = soft_labels.read(path, [photo], skeleton=PA16J)
    plan = plan_epoch([sample], PA16J, seed=0, epoch=0, augmentation=NONE)
    assert plan.pose[0, PA16J.index("right_wrist"), 2] == 0.5
    assert plan.probability[0, PA16J.index("right_wrist")].tolist() == [1, 0.5]
    assert plan.probability[0, PA16J.index("left_wrist")].tolist() == [0, 0]
    mirrored = NONE.__class__(rotation=0.0, zoom=(1.0, 1.0), flip=1.0, gamma=(1.0, 1.0))
    plan = plan_epoch([sample], PA16J, seed=0, epoch=0, augmentation=mirrored)
    assert plan.pose[0, PA16J.index("left_wrist"), 2] == 0.5 and plan.pose[0, PA16J.index("right_wrist"), 2] == 0


def test_the_same_people_give_the_same_bytes(tmp_path, photo):
    values = [[[10, 20, 0.5], [50, 60, 1]]]
    first = written(tmp_path, photo, values).read_bytes()
    assert written(tmp_path, photo, values).read_bytes() == first


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not compressed", "no readable compressed CSV"),
        (gzip.compress(b"image,a_x,a_y\n"), "must begin with image,NAME_x"),
        (gzip.compress(b"image\n"), "must begin with image,NAME_x"),
        (gzip.compress(b"image,neck_x,neck_y,neck_weight\nabc,1,2\n"), "line 2: expected an image and"),
        (gzip.compress(b"image,neck_x,neck_y,neck_weight\nabc,1,2,1.5\n"), "line 2: expected an image and"),
        (gzip.compress(b"image,neck_x,neck_y,neck_weight\nabc,1,nan,1\n"), "line 2: expected an image and"),
        (gzip.compress(b"image,neck_x,neck_y,neck_weight\nabc,1,2,1\n"), "names none of the 1 images"),
        (gzip.compress(b"image,neck_x,neck_y,neck_weight\n\xff,1,2,1\n"), "no readable compressed CSV"),
    ],
)
def test_wrong_files_are_refused_in_one_sentence(tmp_path, photo, content, message):
    path = tmp_path / "labels.csv.gz"
    path.write_bytes(content)
    with pytest.raises(PoseError, match=message):
        soft_labels.read(path, [photo], skeleton=LSP)
