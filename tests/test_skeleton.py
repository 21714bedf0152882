import numpy as np
import pytest

from pose_regression.errors import PoseError
from pose_regression.skeleton import LSP, MPII, PA16J, Skeleton, complete, mirrored, reorder

SKELETONS = {"PA16J": PA16J, "MPII": MPII, "LSP": LSP}


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
def test_mirroring_exchanges_left_and_right_and_nothing_else(skeleton):
    for name, other in zip(skeleton.names, (skeleton.names[i] for i in skeleton.flip), strict=True):
        if name.startswith("left_"):
            assert other == "right_" + name[5:]
        elif name.startswith("right_"):
            assert other == "left_" + name[6:]
        else:
            assert other == name
    assert [skeleton.flip[i] for i in skeleton.flip] == list(range(len(skeleton)))


def test_flip_of_the_network_order_is_that_of_the_authors():
    assert PA16J.flip == (0, 1, 2, 3, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14)


def test_mpii_and_network_order_are_the_maps_of_the_authors():
    # map_to_mpii and map_from_mpii of deephar's utils/pose.py
    assert [PA16J.index(n) for n in MPII.names] == [14, 12, 10, 11, 13, 15, 0, 1, 2, 3, 8, 6, 4, 5, 7, 9]
    assert [MPII.index(n) for n in PA16J.names] == [6, 7, 8, 9, 12, 13, 11, 14, 10, 15, 2, 3, 1, 4, 0, 5]


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
def test_limbs_connect_all_joints_symmetrically(skeleton):
    limbs = {frozenset(limb) for limb in skeleton.limbs}
    assert {name for limb in limbs for name in limb} == set(skeleton.names)
    assert {frozenset(map(mirrored, limb)) for limb in limbs} == limbs
    assert [(skeleton.names[a], skeleton.names[b]) for a, b in skeleton.limb_indices] == list(skeleton.limbs)


def test_reorder_moves_joints_by_name_and_leaves_gaps_for_the_missing():
    points = np.arange(28.0).reshape(1, 14, 2)
    moved = reorder(points, LSP, PA16J)
    assert moved.shape == (1, 16, 2)
    assert np.isnan(moved[0, [PA16J.index("pelvis"), PA16J.index("thorax")]]).all()
    for i, name in enumerate(LSP.names):
        np.testing.assert_array_equal(moved[0, PA16J.index(name)], points[0, i])
    np.testing.assert_array_equal(reorder(moved, PA16J, LSP), points)


def test_reorder_of_flags_says_false_for_the_missing_on_any_axis():
    moved = reorder(np.ones((2, 14, 3), bool), LSP, MPII, axis=1)
    assert moved.dtype == bool
    assert moved.sum(axis=1).tolist() == [[14] * 3] * 2
    assert not moved[:, [MPII.index("pelvis"), MPII.index("thorax")]].any()


def test_a_joint_without_partner_mirrors_to_itself():
    assert Skeleton(("left_ear", "nose")).flip == (0, 1)


def test_the_side_is_a_word_before_another_anywhere_in_the_name():
    names = ("front_left_paw", "front_right_paw", "left_ear", "right_ear", "left", "right", "knee_left", "knee_right")
    assert Skeleton(names).flip == (1, 0, 3, 2, 5, 4, 6, 7)


def test_mistakes_are_refused_in_one_sentence():
    with pytest.raises(PoseError, match=r"must be unique. Received: names=\('a', 'b', 'a'\)"):
        Skeleton(("a", "b", "a"))
    with pytest.raises(PoseError, match="No joint is called 'c'; the joints are a, b."):
        Skeleton(("a", "b"), limbs=(("a", "c"),))
    with pytest.raises(PoseError, match=r"Expected 14 joints on axis -2. Received: values.shape=\(16, 2\)"):
        reorder(np.zeros((16, 2)), LSP, MPII)


def test_joints_that_were_not_learned_are_midpoints_or_absent():
    lsp = Skeleton(PA16J.names, PA16J.limbs, learned=LSP.names)
    assert lsp == PA16J  # what was learned is no part of an order of joints
    assert lsp.known.sum() == 14 and not lsp.known[[lsp.index("pelvis"), lsp.index("thorax")]].any()
    pixels = np.arange(32, dtype=float).reshape(16, 2) ** 2
    found = complete(pixels, lsp)
    hips = pixels[[lsp.index("right_hip"), lsp.index("left_hip")]]
    shoulders = pixels[[lsp.index("right_shoulder"), lsp.index("left_shoulder")]]
    np.testing.assert_array_equal(found[lsp.index("pelvis")], hips.mean(0))
    np.testing.assert_array_equal(found[lsp.index("thorax")], shoulders.mean(0))
    np.testing.assert_array_equal(found[lsp.known], pixels[lsp.known])
    arms = Skeleton(PA16J.names, learned=("right_shoulder", "left_shoulder", "left_hip"))
    found = complete(pixels, arms)
    assert np.isnan(found[arms.index("pelvis")]).all() and np.isnan(found[arms.index("neck")]).all()
    np.testing.assert_array_equal(found[arms.index("thorax")], shoulders.mean(0))
    np.testing.assert_array_equal(complete(pixels, PA16J), pixels)


def test_limbs_are_joined_without_a_joint_that_is_absent():
    assert PA16J.drawn_limbs == tuple((min(limb), max(limb)) for limb in PA16J.limb_indices)
    whole = Skeleton(PA16J.names, PA16J.limbs, learned=LSP.names)
    assert whole.drawn_limbs == PA16J.drawn_limbs  # pelvis and thorax are derived
    cross = Skeleton(("neck", "thorax", "left_hand", "right_hand"), (("neck", "thorax"), ("thorax", "left_hand"),
                     ("thorax", "right_hand")), learned=("neck", "left_hand", "right_hand"))  # fmt: skip
    assert cross.drawn_limbs == ((0, 2), (0, 3))
    hands = Skeleton(cross.names, cross.limbs, learned=("left_hand", "right_hand"))
    assert hands.drawn_limbs == ((2, 3),)
