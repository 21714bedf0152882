"""A teacher's poses: turned and mirrored views come back into the photograph, and doubt lowers certainty."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pose_regression.data.sample import Sample
from pose_regression.errors import PoseError
from pose_regression.inference.teacher import movenet, taught, trunk_tilt, weight_of
from pose_regression.skeleton import COCO, PA16J

SIZE = 96


def dot(crop: np.ndarray, channel: int) -> np.ndarray:
    """(2,) centre of what is bright in one channel of the crop alone, in [0, 1]."""
    others = crop.sum(axis=-1) - crop[..., channel]
    y, x = np.nonzero((crop[..., channel] > 100) & (others < 60))
    return (np.array([x.mean(), y.mean()]) + 0.5) / len(crop)


def upright_teacher(crop: np.ndarray) -> np.ndarray:
    """Blue is the nose, red and green are hands, the one further left the right; sure if blue is on top."""
    nose, *hands = dot(crop, 2), dot(crop, 0), dot(crop, 1)
    hands.sort(key=lambda position: position[0])
    answer = np.zeros((len(COCO), 3))
    for i, name in enumerate(COCO.names):
        answer[i, :2] = nose if name == "nose" else hands[name.startswith("left_")]
    answer[:, 2] = 0.9 if nose[1] < min(hand[1] for hand in hands) else 0.4
    return answer


def photograph(path, head, right, left) -> Sample:
    picture = np.zeros((200, 200, 3), np.uint8)
    for channel, (x, y) in ((2, head), (0, right), (1, left)):
        picture[y - 4 : y + 4, x - 4 : x + 4, channel] = 255
    Image.fromarray(picture).save(path)
    joints = np.full((16, 2), np.nan)
    joints[PA16J.index("neck")] = head
    joints[PA16J.index("right_hip")], joints[PA16J.index("left_hip")] = right, left
    return Sample(str(path), np.array([100.0, 100.0]), 120.0, joints, np.ones(16, bool))


@pytest.mark.parametrize(
    ("head", "right", "left"),
    [((100, 60), (80, 130), (120, 130)), ((140, 100), (70, 80), (70, 120)), ((100, 140), (120, 70), (80, 70))],
    ids=["upright", "lying with the head to the right", "upside down"],
)
def test_hands_are_found_whichever_way_the_person_is_turned(tmp_path, head, right, left):
    sample = photograph(tmp_path / "a.png", head, right, left)
    (pose,) = taught(upright_teacher, [sample], size=SIZE)
    assert pose.shape == (17, 3)
    np.testing.assert_allclose(pose[COCO.index("right_wrist"), :2], right, atol=1.5)
    np.testing.assert_allclose(pose[COCO.index("left_wrist"), :2], left, atol=1.5)
    assert (pose[:, 2] > 0.8).all()


def test_a_joint_whose_mirrored_answer_lies_elsewhere_is_less_certain(tmp_path):
    sample = photograph(tmp_path / "a.png", (100, 60), (80, 130), (120, 130))

    def confused(crop):
        answer = upright_teacher(crop)
        answer[COCO.index("nose"), 0] += 0.05  # to the right of the crop, mirrored or not
        return answer

    (pose,) = taught(confused, [sample], size=SIZE)
    assert pose[COCO.index("nose"), 2] < 0.1 < pose[COCO.index("left_knee"), 2]


def test_tilt_by_hand():
    joints = np.full((16, 2), np.nan)
    assert trunk_tilt(joints) == 0
    joints[[PA16J.index("right_hip"), PA16J.index("left_hip")]] = [[0, 0], [10, 0]]
    joints[PA16J.index("neck")] = (5, -20)
    assert trunk_tilt(joints) == pytest.approx(0)
    joints[PA16J.index("neck")] = (25, 0)
    assert trunk_tilt(joints) == pytest.approx(90)


def test_weights_are_linear_between_unsure_and_sure():
    np.testing.assert_allclose(weight_of(np.array([0.0, 0.15, 0.325, 0.5, 1.0])), [0, 0, 0.5, 1, 1])


def lite(path, shape):
    """A LiteRT file: image (1, S, S, 3) -> `shape`, the image's first value throughout."""

    class Network(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((1, 32, 32, 3), tf.int32)])
        def __call__(self, image):
            return tf.fill(shape, tf.cast(image[0, 0, 0, 0], tf.float32) / 255)

    network = Network()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([network.__call__.get_concrete_function()], network)
    path.write_bytes(converter.convert())
    return path


def test_movenet_files_are_read_and_others_refused(tmp_path):
    pytest.importorskip("ai_edge_litert")
    teacher, size = movenet(lite(tmp_path / "a.tflite", (1, 1, 17, 3)))
    assert size == 32
    np.testing.assert_allclose(teacher(np.full((32, 32, 3), 127.6, np.float32)), 128 / 255)
    with pytest.raises(PoseError, match=r"takes \[1, 32, 32, 3\] and gives \[1, 5\]; expected MoveNet's"):
        movenet(lite(tmp_path / "b.tflite", (1, 5)))
    (tmp_path / "c.tflite").write_bytes(b"nothing")
    with pytest.raises(PoseError, match="c.tflite is no LiteRT file"):
        movenet(tmp_path / "c.tflite")
