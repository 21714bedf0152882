"""Equations 7 and 8 against hand-computed numbers and the authors' code; they run on any backend."""

import keras
import numpy as np
import pytest

from pose_regression.training.losses import (
    PoseLoss,
    ProbabilityLoss,
    elastic_net,
    elastic_net_with_entropy,
    probability_entropy,
)

ABSENT = [np.nan, np.inf, -1e9, 0.3]


def gradient(function, x: np.ndarray) -> np.ndarray:
    """Gradient of the sum of a function's values at x, on either backend."""
    x = np.float32(x)
    if keras.backend.backend() == "jax":
        import jax

        return np.asarray(jax.grad(lambda x: keras.ops.sum(function(x)))(x))
    import tensorflow as tf

    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = tf.reduce_sum(function(x))
    return tape.gradient(value, x).numpy()


def array(tensor) -> np.ndarray:
    return keras.ops.convert_to_numpy(tensor)


# One person, three joints of which two are present, two blocks.
TARGET = np.array([[[0.5, 0.5], [0.25, 0.75], [0.9, 0.9]]], np.float32)
PRESENT = np.array([[1, 1, 0]], np.float32)
POSE = np.array([[[[0.75, 0.5], [0.25, 0.25], [0, 0]], [[0.5, 0.5], [0.25, 0.625], [1, 1]]]], np.float32)


def test_pose_loss_of_hand_computed_joints():
    # block 1: (0.25 + 0.25² + 0.5 + 0.5²) / 2; block 2: (0.125 + 0.125²) / 2
    np.testing.assert_allclose(array(elastic_net(TARGET, POSE, PRESENT)), [[0.53125, 0.0703125]], rtol=1e-6)


def test_pose_loss_gradient_of_hand_computed_joints():
    # (sign(d) + 2 d) / 2 with d = prediction - target, 0 for the absent joint
    expected = np.zeros_like(POSE)
    expected[0, 0, 0, 0], expected[0, 0, 1, 1], expected[0, 1, 1, 1] = 0.75, -1.0, -0.625
    found = gradient(lambda pose: elastic_net(TARGET, pose, PRESENT), POSE)
    hit = (POSE == TARGET[:, None]) & (PRESENT[:, None, :, None] > 0)  # there any slope from -1 to 1 will do
    np.testing.assert_allclose(found[~hit], expected[~hit], rtol=1e-6)
    assert np.abs(found[hit]).max() <= 0.5


def test_pose_loss_with_entropy_of_hand_computed_joint():
    # One joint at (0.5, 0.5) predicted at (0.5, 0.75): (0 + 0.25 + 0.25² + 0.01 (BCE(½, ½) + BCE(½, ¾))) / 2
    entropy = np.log(2) - 0.5 * (np.log(0.75) + np.log(0.25))
    found = elastic_net_with_entropy(
        np.float32([[[0.5, 0.5]]]), np.float32([[[[0.5, 0.75]]]]), np.ones((1, 1), np.float32)
    )
    np.testing.assert_allclose(array(found), [[(0.3125 + 0.01 * entropy) / 2]], rtol=1e-6)


def test_probability_loss_of_hand_computed_joints():
    target, weight = np.float32([[1, 0, 1]]), np.float32([[1, 1, 0]])
    probability = np.float32([[[0.5, 0.75, 0.1], [0.25, 0.5, 0.9]]])
    # block 1: (ln 2 + ln 4) / 2, block 2: (ln 4 + ln 2) / 2; the third joint does not count
    found = array(probability_entropy(target, probability, weight))
    np.testing.assert_allclose(found, [[1.5 * np.log(2)] * 2], rtol=1e-6)


@pytest.mark.parametrize("function", [elastic_net, elastic_net_with_entropy])
@pytest.mark.parametrize("absent", ABSENT)
def test_what_an_absent_joint_holds_enters_neither_value_nor_gradient(function, absent):
    other = TARGET.copy()
    other[0, 2] = absent
    np.testing.assert_array_equal(array(function(other, POSE, PRESENT)), array(function(TARGET, POSE, PRESENT)))
    found = gradient(lambda pose: function(other, pose, PRESENT), POSE)
    np.testing.assert_array_equal(found, gradient(lambda pose: function(TARGET, pose, PRESENT), POSE))
    np.testing.assert_array_equal(found[:, :, 2], 0)


@pytest.mark.parametrize("absent", ABSENT)
def test_unknown_presence_enters_neither_value_nor_gradient(absent):
    probability = np.float32([[[0.5, 0.75], [0.25, 0.5]]])
    target, weight = np.float32([[1, absent]]), np.float32([[1, 0]])
    np.testing.assert_allclose(
        array(probability_entropy(target, probability, weight)), [[np.log(2), np.log(4)]], rtol=1e-6
    )
    found = gradient(lambda p: probability_entropy(target, p, weight), probability)
    np.testing.assert_allclose(found, [[[-2, 0], [-4, 0]]], rtol=1e-6)


@pytest.mark.parametrize("function", [elastic_net, elastic_net_with_entropy])
def test_person_without_any_joint_costs_nothing(function):
    nobody, absent = np.zeros_like(PRESENT), np.full_like(TARGET, np.nan)
    np.testing.assert_array_equal(array(function(absent, POSE, nobody)), 0)
    np.testing.assert_array_equal(gradient(lambda pose: function(absent, pose, nobody), POSE), 0)


def test_person_of_unknown_presence_costs_nothing():
    probability, nothing = np.float32([[[0.5, 1], [0, 0.5]]]), np.zeros((1, 2), np.float32)
    np.testing.assert_array_equal(array(probability_entropy(nothing, probability, nothing)), 0)
    np.testing.assert_array_equal(gradient(lambda p: probability_entropy(nothing, p, nothing), probability), 0)


def test_certain_and_wrong_probability_is_finite():
    target, weight = np.float32([[1, 0, 1, 0]]), np.ones((1, 4), np.float32)
    probability = np.float32([[[0, 1, 1, 0]]])
    # -ln 1e-7 twice (1 - 1e-7 is 1 - 1.19e-7 in float32) and nothing twice, over four joints
    expected = -(np.log(1e-7) + np.log(2.0**-23)) / 4
    np.testing.assert_allclose(array(probability_entropy(target, probability, weight)), [[expected]], rtol=1e-4)
    assert np.isfinite(gradient(lambda p: probability_entropy(target, p, weight), probability)).all()
    certain = np.array([[[[0, 1], [1, 0], [0, 0]]]], np.float32)
    value = array(elastic_net_with_entropy(TARGET, certain, PRESENT))
    assert np.isfinite(value).all()
    assert np.isfinite(gradient(lambda pose: elastic_net_with_entropy(TARGET, pose, PRESENT), certain)).all()


@pytest.mark.parametrize("entropy", [False, True])
def test_losses_sum_the_blocks_and_average_the_batch(entropy):
    rng = np.random.default_rng(0)
    target, pose = rng.uniform(size=(4, 3, 2)).astype("f"), rng.uniform(0.1, 0.9, size=(4, 2, 3, 2)).astype("f")
    known = np.float32([[1, 1, 1], [0, 1, 0], [0, 0, 0], [1, 0, 1]])
    function = elastic_net_with_entropy if entropy else elastic_net
    found = PoseLoss(entropy=entropy)(np.concatenate([target, known[..., None]], axis=-1), pose)
    np.testing.assert_allclose(
        array(found), array(function(target, pose, known)).sum(axis=1).mean(), rtol=1e-6
    )  # fmt: skip
    if not entropy:
        presence, probability = np.float32(target[..., 0] > 0.5), pose[..., :1]
        found = ProbabilityLoss()(np.stack([presence, known], axis=-1), probability)
        expected = array(probability_entropy(presence, probability[..., 0], known)).sum(axis=1).mean()
        np.testing.assert_allclose(array(found), expected, rtol=1e-6)


def test_losses_stay_float32_in_mixed_precision():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        value = PoseLoss()(np.concatenate([TARGET, PRESENT[..., None]], axis=-1), POSE)
        assert keras.backend.standardize_dtype(value.dtype) == "float32"
        np.testing.assert_allclose(array(value), 0.53125 + 0.0703125, rtol=1e-6)
    finally:
        keras.config.set_dtype_policy(before)


@pytest.mark.parametrize("loss", [PoseLoss(entropy=True, name="mine"), ProbabilityLoss()], ids=["pose", "probability"])
def test_losses_are_rebuilt_from_their_configuration(loss):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert type(again) is type(loss)
    assert again.get_config() == loss.get_config()


# The authors' values: deephar's `pose_regression_loss` and pose-regression's `elastic_net_loss`.


@pytest.fixture(scope="module")
def reference(pose_reference):
    with np.load(pose_reference / "network" / "ref_loss.npz") as file:
        return dict(file)


def split(reference):
    pose = reference["y_true"][..., :2]
    present = (pose > -1e6).all(axis=-1).astype("float32")
    return pose, present, reference["y_true"][..., 2], reference["y_pred"]


@pytest.mark.real_data
def test_loss_of_the_training_script_equals_the_authors(reference):
    target, present, inside, predicted = split(reference)
    counts = np.ones_like(inside)

    def loss(predicted):
        pose, probability = predicted[:, None, :, :2], predicted[:, None, :, 2]
        total = elastic_net_with_entropy(target, pose, present) + 0.01 * probability_entropy(
            inside, probability, counts
        )
        return total[:, 0]

    np.testing.assert_allclose(array(loss(predicted)), reference["loss_l1l2bincross"], rtol=0, atol=3e-7)
    exact = [i for i in range(len(predicted)) if i not in (4, 5)]  # in those, predictions of 1 that float32 clips
    np.testing.assert_allclose(
        array(loss(predicted))[exact], reference["numpy_f64_loss_l1l2bincross"][exact], rtol=0, atol=1e-7
    )
    found = gradient(loss, predicted) / len(predicted)
    np.testing.assert_allclose(found, reference["grad_l1l2bincross"], rtol=1e-5, atol=1e-7)


@pytest.mark.real_data
def test_pose_loss_equals_the_authors_sum_over_joints(reference):
    # Theirs is the sum over the joints present, equation 7 the mean.
    target, present, _, predicted = split(reference)
    joints = present.sum(axis=1)

    def loss(predicted):
        return elastic_net(target, predicted[:, None, :, :2], present)[:, 0] * np.maximum(joints, 1)

    assert 0 in joints
    np.testing.assert_allclose(array(loss(predicted)), reference["posereg_elastic"], rtol=1e-6, atol=1e-7)
    found = gradient(loss, predicted) / len(predicted)
    np.testing.assert_allclose(found, reference["grad_posereg_elastic"], rtol=1e-6, atol=1e-8)


@pytest.mark.real_data
def test_probability_loss_equals_the_authors(reference):
    _, _, inside, predicted = split(reference)
    found = probability_entropy(inside, predicted[:, None, :, 2], np.ones_like(inside))[:, 0]
    np.testing.assert_allclose(array(found), reference["keras_bce_vis_mean"], rtol=2e-6, atol=1e-7)


def test_pose_loss_takes_plain_positions_and_the_answer_of_one_block():
    target, pose = np.array([[[0.5, 0.5], [0.2, 0.4]]], np.float32), np.array([[[0.5, 0.6], [0.2, 0.4]]], np.float32)
    # One joint is off by 0.1: (0.1 + 0.01) / 2 joints.
    np.testing.assert_allclose(float(PoseLoss()(target, pose)), 0.055, atol=1e-6)
    weighted = np.concatenate([target, np.ones((1, 2, 1), np.float32)], axis=-1)
    np.testing.assert_allclose(float(PoseLoss()(weighted, pose[:, None])), 0.055, atol=1e-6)
