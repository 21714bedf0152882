"""What a training starts from."""

from dataclasses import replace
from pathlib import Path

import pytest

from pose_regression.errors import PoseError
from pose_regression.model.hourglass import Stacks
from pose_regression.model.network import PoseRegressor
from pose_regression.model.weights import save_weights
from pose_regression.skeleton import PA16J
from pose_regression.training.experiment import Experiment, Mpii, Network
from pose_regression.training.people import People
from pose_regression.training.run import _network, network_of


def test_the_network_is_that_of_the_weights(tmp_path):
    save_weights(
        PoseRegressor((32, 64, 3), num_blocks=2, width=16, num_context=1, alpha=0.7), tmp_path / "a.weights.h5"
    )
    assert network_of(tmp_path / "a.weights.h5") == Network(2, 16, 32, 1, 0.7)


def test_weights_of_another_backbone_are_refused(tmp_path):
    save_weights(PoseRegressor((64, 64, 3), backbone=Stacks(num_stacks=1, features=8)), tmp_path / "a.weights.h5")
    with pytest.raises(PoseError, match=r"a\.weights\.h5 are of a network with another backbone"):
        network_of(tmp_path / "a.weights.h5")


def test_the_network_knows_the_joints_of_the_people():
    joints = replace(PA16J, names=tuple(f"joint {i}" for i in range(16)), limbs=())
    people = People([], [], score=lambda *_: {}, total="PCK", title="PCK", skeleton=joints)
    experiment = Experiment(data=Mpii(Path("synthetic")), network=Network(blocks=1, width=16, input_size=32))
    assert _network(experiment, people, "all").skeleton == joints
