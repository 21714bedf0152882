"""Loading what is to be scored."""

import pytest

from pose_regression.errors import PoseError
from pose_regression.evaluation.scoring import load_network
from pose_regression.model.network import PoseRegressor
from pose_regression.model.weights import save_weights
from pose_regression.skeleton import LSP, Skeleton


def test_damaged_weights_and_another_networks_joints_are_named(tmp_path):
    for content in (b"", b"text"):
        (tmp_path / "w.h5").write_bytes(content)
        with pytest.raises(PoseError, match="w.h5 is not a file of this project"):
            load_network(tmp_path / "w.h5", LSP)
    hand = Skeleton(("wrist", "thumb"))
    save_weights(PoseRegressor((32, 32, 3), num_joints=2, num_blocks=1, width=32), tmp_path / "w.h5", skeleton=hand)
    with pytest.raises(PoseError, match="does not predict right_ankle, .*, which are to be scored"):
        load_network(tmp_path / "w.h5", LSP)
