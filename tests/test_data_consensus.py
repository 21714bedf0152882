"""Labels that agree, by hand: a window of 100 pixels, so sources agree within 8."""

import numpy as np

from pose_regression.data.consensus import consensus
from pose_regression.data.sample import Sample

NOTHING = (np.nan, np.nan)


def person(joints, weight=None, image="a.jpg"):
    joints = np.array(joints, float)
    weight = None if weight is None else np.array(weight, float)
    return Sample(image, np.array([50.0, 50.0]), 100.0, joints, np.ones(len(joints), bool), weight=weight)


def test_two_that_agree_outvote_the_third_and_a_source_alone_counts_little():
    label = person([(10, 10), (40, 40), NOTHING, (90, 90)])
    other = person([(50, 10), (42, 40), (20, 20), NOTHING], weight=[0.9, 0.8, 0.6, 0.0])
    own = np.array([[(53.0, 10.0), (44.0, 40.0), (24.0, 20.0), (60.0, 90.0)]])
    (mended,) = consensus([label], [other], own, np.array([[0.6, 0.2, 0.6, 0.3]]))
    # Joint 0: two against the label. 1: all three. 2: no label. 3: label and network apart, the label weighs more.
    np.testing.assert_allclose(
        mended.joints,
        [[(50 * 0.9 + 53 * 0.6) / 1.5, 10], [(40 + 42 * 0.8 + 44 * 0.2) / 2, 40], [(20 + 24) / 2, 20], [90, 90]],
    )
    np.testing.assert_allclose(mended.weight, [1, 1, 1, 0.4])


def test_another_person_s_pose_and_another_picture_s_do_not_count():
    label = person([(10, 10), (40, 40), (70, 70)])
    neighbour = person([(60, 10), (90, 40), (99, 70)], weight=[1, 1, 1])
    elsewhere = person([(10, 10), (40, 40), (70, 70)], weight=[1, 1, 1], image="b.jpg")
    own = np.array([[(10.0, 10.0), (40.0, 60.0), (70.0, 70.0)]])
    (mended,) = consensus([label], [neighbour, elsewhere], own, np.array([[0.1, 0.1, 0.1]]))
    np.testing.assert_allclose(mended.joints, [(10, 10), (40, 40), (70, 70)])
    np.testing.assert_allclose(mended.weight, [1.1 / 1.2, 0.4, 1.1 / 1.2])


def test_joints_that_are_not_supervised_stay_unknown():
    label = Sample("a.jpg", np.array([50.0, 50.0]), 100.0, np.full((2, 2), np.nan), np.array([True, False]))
    (mended,) = consensus([label], [], np.array([[(5.0, 5.0), (6.0, 6.0)]]), np.array([[0.5, 0.5]]))
    np.testing.assert_array_equal(mended.joints, [(5, 5), NOTHING])
    np.testing.assert_allclose(mended.weight, [0.2, 0])
