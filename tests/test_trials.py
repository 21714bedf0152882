"""Crops and scores that an export is tried on."""

import numpy as np
from PIL import Image

from pose_regression.data.sample import Sample
from pose_regression.inference.trials import pck_on_lsp, photograph_crops


def test_crops_are_whole_photographs_spread_over_the_folder(photos):
    crops = photograph_crops(photos, 3, 60)
    assert crops.shape == (3, 60, 60, 3)
    for crop, i in zip(crops, (0, 2, 4), strict=True):
        pixels = np.asarray(Image.open(photos / f"{i}.png"), np.float32)
        np.testing.assert_allclose(crop[10:50], pixels / 127.5 - 1, atol=1e-4)  # 60 x 40 in the middle of 60 x 60
        assert crop[:10].max() < -0.9999 and crop[50:].max() < -0.9999
    assert photograph_crops(photos, 99, 32).shape == (5, 32, 32, 3)


def test_score_of_a_perfect_and_of_a_misplaced_prediction(photos):
    joints = np.linspace([2.0, 2.0], [58.0, 38.0], 16)
    person = Sample(str(photos / "0.png"), np.array([30.0, 20.0]), 60.0, joints, np.ones(16, bool))
    right = (joints - (0, -10)) / 60  # the window is [0, 60) x [-10, 50)

    def predict(images, pose=right):
        return {"pose": np.repeat(pose[None], len(images), axis=0).astype(np.float32)}

    assert pck_on_lsp(predict, [person, person], 64) == 100
    assert pck_on_lsp(lambda images: predict(images, right + 0.5), [person, person], 64) == 0
