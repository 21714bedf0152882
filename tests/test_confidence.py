"""The layer of confidence by hand, and its way through files, exports and windows."""

import numpy as np
import pytest

from pose_regression.errors import PoseError
from pose_regression.evaluation.windows import Estimate, answers_in_pixels, average
from pose_regression.model.confidence import JointConfidence
from pose_regression.model.load import load_model
from pose_regression.model.network import PoseRegressor
from pose_regression.model.weights import save_weights
from pose_regression.skeleton import Skeleton


def test_confidence_of_hand_computed_maps():
    maps = np.zeros((1, 2, 2, 3), np.float32)
    maps[0, 0, 0, 1] = 100.0  # all in one cell
    maps[0, 0, :, 2] = 100.0  # half in either of two
    found = np.asarray(JointConfidence(calibration=(2.0, 1.0))(maps))[0, :, 0]
    together = np.array([0.25, 1.0, 0.5])
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-(2 * np.log(together) + 1))), atol=1e-6)


@pytest.mark.parametrize("calibration", [(0.0, 1.0), (-1.0, 0.0), (1.0,), (float("nan"), 0.0), "ab", 3])
def test_a_calibration_that_is_none_is_refused(calibration):
    with pytest.raises(PoseError, match="calibration"):
        JointConfidence(calibration=calibration)


def test_a_weight_file_keeps_the_calibration(tmp_path):
    model = PoseRegressor((32, 32, 3), num_blocks=1, width=16, calibration=(1.5, 2.5))
    save_weights(model, tmp_path / "a.weights.h5")
    again, _ = load_model(tmp_path / "a.weights.h5")
    assert again.get_config()["calibration"] == (1.5, 2.5)
    image = np.random.default_rng(0).uniform(-1, 1, (1, 32, 32, 3)).astype("float32")
    np.testing.assert_allclose(again.predict(image, verbose=0)["confidence"],
                               model.predict(image, verbose=0)["confidence"], atol=1e-6)  # fmt: skip


def test_mirrored_crops_exchange_left_and_right_and_several_are_averaged():
    hands = Skeleton(("right_hand", "left_hand"))
    output = {"pose": np.zeros((2, 2, 2)), "probability": np.ones((2, 2, 1)),
              "confidence": np.array([[[0.25], [0.75]], [[0.5], [1.0]]])}  # fmt: skip
    affine = np.tile(np.eye(3), (2, 1, 1))
    found = answers_in_pixels(output, affine, mirrored=np.array([False, True]), skeleton=hands)
    np.testing.assert_array_equal(found.confidence, [[0.25, 0.75], [1.0, 0.5]])
    without = Estimate(found.pixels, found.probability)
    np.testing.assert_allclose(average([found, Estimate(found.pixels, found.probability, np.zeros((2, 2)))]).confidence,
                               found.confidence / 2)  # fmt: skip
    assert average([without, without]).confidence is None
