"""What a training starts from."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pose_regression.errors import PoseError
from pose_regression.model.hourglass import Stacks
from pose_regression.model.named_weights import named_weights
from pose_regression.model.network import PoseRegressor
from pose_regression.model.weights import save_weights
from pose_regression.skeleton import PA16J, Skeleton
from pose_regression.training.experiment import Experiment, Mpii, Network
from pose_regression.training.people import People
from pose_regression.training.run import _network, network_of, start_from


def test_the_network_is_that_of_the_weights(tmp_path):
    save_weights(
        PoseRegressor((32, 64, 3), num_blocks=2, width=16, num_context=1, alpha=0.7), tmp_path / "a.weights.h5"
    )
    assert network_of(tmp_path / "a.weights.h5") == Network(2, 16, 32, 1, 0.7)


def test_weights_of_another_backbone_are_refused(tmp_path):
    save_weights(PoseRegressor((64, 64, 3), backbone=Stacks(num_stacks=1, features=8)), tmp_path / "a.weights.h5")
    with pytest.raises(PoseError, match=r"a\.weights\.h5 are of a network with another backbone"):
        network_of(tmp_path / "a.weights.h5")


def test_maps_of_joints_that_the_weights_know_go_on_by_name(tmp_path, capsys):
    theirs, mine = Skeleton(("left_hand", "right_hand", "head")), Skeleton(("tail", "head", "left_hand"))
    trained = PoseRegressor((64, 64, 3), num_joints=3, num_blocks=1, width=16, skeleton=theirs)
    save_weights(trained, tmp_path / "a.weights.h5", skeleton=theirs)
    started = PoseRegressor((64, 64, 3), num_joints=3, num_blocks=1, width=16, skeleton=mine)
    before = {name: np.array(variable) for name, variable in named_weights(started).items()}
    start_from(started, tmp_path / "a.weights.h5")
    assert "maps of 2 of 3 joints go on, by name" in capsys.readouterr().out
    # 3 part maps, then two context maps of each joint; tail is new, head and left_hand stand at other places.
    new, known, of = [0, 3, 4], [1, 2, 5, 6, 7, 8], [2, 0, 7, 8, 3, 4]
    for name, variable in named_weights(started).items():
        found, source = np.array(variable), np.array(named_weights(trained)[name])
        if name.endswith(("/heatmaps/kernel", "/project/kernel")):
            found, source, fresh = (
                np.moveaxis(a, -1, 2) if "heatmaps" in name else a for a in (found, source, before[name])
            )
            np.testing.assert_array_equal(found[:, :, known], source[:, :, of])
            np.testing.assert_array_equal(found[:, :, new], fresh[:, :, new])
        else:
            np.testing.assert_array_equal(found, source, err_msg=name)


def test_a_stem_goes_on_alone(tmp_path):
    trained = PoseRegressor((64, 64, 3), num_blocks=2, width=16)
    save_weights(trained, tmp_path / "a.weights.h5")
    started = PoseRegressor((32, 32, 3), num_blocks=1, width=16, num_context=0)
    before = {name: np.array(variable) for name, variable in named_weights(started).items()}
    start_from(started, tmp_path / "a.weights.h5", "stem")
    for name, variable in named_weights(started).items():
        source = named_weights(trained)[name] if name.startswith("stem/") else before[name]
        np.testing.assert_array_equal(variable, source, err_msg=name)


def test_the_network_knows_the_joints_of_the_people():
    joints = replace(PA16J, names=tuple(f"joint {i}" for i in range(16)), limbs=())
    people = People([], [], score=lambda *_: {}, total="PCK", title="PCK", skeleton=joints)
    experiment = Experiment(data=Mpii(Path("synthetic")), network=Network(blocks=1, width=16, input_size=32))
    assert _network(experiment, people, "all").skeleton == joints
