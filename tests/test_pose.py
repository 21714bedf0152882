"""One person's joints as a dictionary, in COCO's format, drawn."""

import json
from dataclasses import replace

import numpy as np
import pytest

from pose_regression.inference.pose import Pose, draw_people
from pose_regression.skeleton import PA16J, Skeleton
from pose_regression.visualize import person_color


@pytest.fixture
def pose() -> Pose:
    pixels = np.arange(32, dtype=np.float32).reshape(16, 2) + 0.25
    probability = np.linspace(0.25, 1, 16, dtype=np.float32)
    return Pose(PA16J, pixels, probability, np.array([1, 2, 31, 42], np.float32))


def test_pose_as_dictionary(pose):
    content = json.loads(json.dumps(pose.to_dict()))
    assert content["box"] == [1, 2, 31, 42]
    assert list(content["joints"]) == list(PA16J.names)
    assert content["joints"]["left_ankle"] == {"x": 30.25, "y": 31.25, "probability": 1.0}


def test_pose_in_cocos_format(pose):
    content = json.loads(json.dumps(pose.to_coco()))
    assert content["bbox"] == [1, 2, 30, 40] and content["area"] == 1200 and content["category_id"] == 1
    assert content["keypoints"][:3] == [0.25, 1.25, 0] and content["keypoints"][-3:] == [30.25, 31.25, 2]
    # 0.25 + 0.05 i >= 0.5 from i = 5 on.
    assert content["keypoints"][2::3] == [0] * 5 + [2] * 11 and content["num_keypoints"] == 11
    assert content["score"] == 0.625 and content["probability"][1] == 0.3


def test_a_pose_is_printed_in_five_lines(pose):
    lines = str(pose).splitlines()
    assert len(lines) == 5
    assert lines[0] == "person 0, box 1 2 31 42; joint x y (probability):"
    assert lines[1].split("  ")[1] == "pelvis 0 1 (0.25)" and lines[4].rstrip().endswith("left_ankle 30 31 (1.00)")
    absent = replace(pose, pixels=np.full((16, 2), np.nan, np.float32), detection=0.5, confidence=pose.probability)
    assert str(absent).startswith("person 0, box 1 2 31 42, found with 0.50; joint x y (confidence):\n  pelvis - ")


def test_pose_is_drawn_where_its_joints_are(pose):
    drawn = pose.draw(np.full((80, 60, 3), 128, np.uint8))
    changed = np.argwhere((drawn != 128).any(axis=2))  # y, x
    assert changed.min() == 0 and changed.max(axis=0).tolist() < [36, 36]
    assert drawn.shape == (80, 60, 3)


def test_people_are_numbered_where_there_are_several_or_as_it_is_asked(pose):
    grey = np.full((80, 60, 3), 128, np.uint8)
    other = replace(pose, pixels=pose.pixels + 20, person=1)
    color = person_color(0)

    def patches(*arguments, **options) -> int:
        return int((draw_people(*arguments, **options) == color).all(axis=2).sum())

    assert patches(grey, [pose]) == 0 < patches(grey, [pose], numbered=True)
    assert patches(grey, [pose, other]) > 0 == patches(grey, [pose, other], numbered=False)


def test_joints_that_were_not_learned_are_derived_or_absent_in_every_form():
    skeleton = Skeleton(("pelvis", "right_hip", "left_hip", "nose"), learned=("right_hip", "left_hip"))
    pixels = np.array([[15, 20], [10, 20], [20, 20], [np.nan, np.nan]], np.float32)
    pose = Pose(skeleton, pixels, np.array([0.75, 0.5, 1, 0], np.float32), np.array([0, 0, 40, 40], np.float32))
    joints = pose.to_dict()["joints"]
    assert joints["pelvis"] == {"x": 15, "y": 20, "probability": 0.75, "derived": True}
    assert joints["nose"] == {"x": None, "y": None, "probability": 0} and "derived" not in joints["left_hip"]
    assert pose.to_coco()["keypoints"] == [15, 20, 2, 10, 20, 2, 20, 20, 2, 0, 0, 0]
    assert pose.to_coco()["num_keypoints"] == 3
    assert pose.draw(np.zeros((40, 40, 3), np.uint8)).max() > 0
