"""Layers against hand-computed numbers. Those of the regression stage run on any backend, see test_network.py."""

import keras
import numpy as np
import pytest
from keras import ops

from pose_regression.errors import PoseError
from pose_regression.model.regression import (
    ContextAggregation,
    JointProbability,
    SoftArgmax,
    coordinate_ramp,
)

tensorflow_only = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a TensorFlow kernel")


def gradient(function, x: np.ndarray) -> np.ndarray:
    """Gradient of a scalar function at x, on either backend."""
    if keras.backend.backend() == "jax":
        import jax

        return np.asarray(jax.grad(function)(x))
    import tensorflow as tf

    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = function(x)
    return tape.gradient(value, x).numpy()


def array(tensor) -> np.ndarray:
    return keras.ops.convert_to_numpy(tensor)


# Coordinates


@pytest.mark.parametrize(
    ("grid", "expected"),
    [
        ("endpoints", [0, 0.25, 0.5, 0.75, 1]),
        ("paper", [0.2, 0.4, 0.6, 0.8, 1]),
        ("centers", [0.1, 0.3, 0.5, 0.7, 0.9]),
    ],
)
def test_ramp_of_five_cells(grid, expected):
    np.testing.assert_allclose(coordinate_ramp(5, grid), np.float32(expected), rtol=1e-7)
    assert coordinate_ramp(5, grid).dtype == np.float32


def test_unknown_grid_is_refused():
    with pytest.raises(PoseError, match="grid must be one of endpoints, paper, centers. Received: grid='middle'"):
        SoftArgmax(grid="middle")


# Soft-argmax

# softmax(HAND) is 1/32 in every cell and 8/32 in row 1, column 3. On the grid 0, 1/4, ..., 1:
# x = (25 * 0.5 + 7 * 0.75) / 32, y = (25 * 0.5 + 7 * 0.25) / 32.
HAND = np.zeros((1, 5, 5, 1), np.float32)
HAND[0, 1, 3, 0] = np.log(8)
HAND_POSE = [0.5546875, 0.4453125]
# phi (W - x): columns of -0.5546875, -0.3046875, -0.0546875, 0.1953125, 0.4453125 over 32, eightfold in the cell.
_COLUMNS = [-0.017333984375, -0.009521484375, -0.001708984375, 0.006103515625, 0.013916015625]
HAND_GRADIENT_X = np.array([_COLUMNS] * 5)
HAND_GRADIENT_X[1, 3] = 0.048828125
# phi (W - y): rows of -0.4453125, -0.1953125, 0.0546875, 0.3046875, 0.5546875 over 32, eightfold in the cell.
HAND_GRADIENT_Y = -HAND_GRADIENT_X[:, ::-1].copy()
HAND_GRADIENT_Y[:] = np.array([[-0.013916015625, -0.006103515625, 0.001708984375, 0.009521484375, 0.017333984375]]).T
HAND_GRADIENT_Y[1, 3] = -0.048828125


def test_soft_argmax_of_hand_computed_map():
    np.testing.assert_allclose(array(SoftArgmax()(HAND))[0, 0], HAND_POSE, atol=1e-7)


@pytest.mark.parametrize(("axis", "expected"), [(0, HAND_GRADIENT_X), (1, HAND_GRADIENT_Y)])
def test_soft_argmax_gradient_matches_hand_matrix(axis, expected):
    layer = SoftArgmax()
    found = gradient(lambda heatmaps: layer(heatmaps)[0, 0, axis], HAND)[0, :, :, 0]
    np.testing.assert_allclose(found, expected, atol=1e-8)
    phi = np.full((5, 5), 1 / 32)
    phi[1, 3] = 8 / 32
    ramp = np.broadcast_to(np.linspace(0, 1, 5), (5, 5)) if axis == 0 else np.linspace(0, 1, 5)[:, None]
    as_printed = ramp * phi * (1 - phi)  # equation 5, which lacks the cross terms
    assert np.abs(found - as_printed).max() > 0.09


@pytest.mark.parametrize(
    ("grid", "expected"), [("endpoints", [5 / 7, 2 / 3]), ("paper", [6 / 8, 3 / 4]), ("centers", [5.5 / 8, 2.5 / 4])]
)
def test_soft_argmax_of_a_sharp_peak_is_its_cell(grid, expected):
    heatmaps = np.zeros((1, 4, 8, 2), np.float32)
    heatmaps[0, 2, 5, 1] = 200  # row 2 of 4, column 5 of 8, of the second map
    flat, peak = array(SoftArgmax(grid=grid)(heatmaps))[0]
    np.testing.assert_allclose(peak, expected, atol=1e-6)
    np.testing.assert_allclose(flat, [coordinate_ramp(n, grid).mean() for n in (8, 4)], atol=1e-6)


@pytest.mark.parametrize("level", [-3e38, -1e4, 1e4, 3e38])
def test_soft_argmax_survives_huge_logits(level):
    heatmaps = np.full((1, 4, 4, 1), level, np.float32)
    heatmaps[0, :, 0] = 0.9 * level
    # The columns with the larger logits share the answer: 1, 2 and 3, or 0 alone; all rows alike.
    expected = [2 / 3, 0.5] if level > 0 else [0, 0.5]
    layer = SoftArgmax()
    np.testing.assert_allclose(array(layer(heatmaps))[0, 0], expected, atol=1e-6)
    assert np.isfinite(gradient(lambda h: ops.sum(layer(h)), heatmaps)).all()


def test_soft_argmax_holds_the_coordinates_as_one_frozen_weight():
    layer = SoftArgmax()
    layer.build((None, 4, 6, 16))
    (kernel,) = layer.non_trainable_weights
    assert layer.trainable_weights == []
    assert kernel.shape == (4, 6, 2)
    np.testing.assert_allclose(array(kernel)[3, :, 0], np.arange(6) / 5, atol=1e-7)
    np.testing.assert_allclose(array(kernel)[:, 4, 1], np.arange(4) / 3, atol=1e-7)


def test_soft_argmax_of_unknown_size_is_refused():
    with pytest.raises(PoseError, match="fixed height and width"):
        SoftArgmax()(keras.Input((None, 8, 3)))


# Probability


def test_joint_probability_is_the_sigmoid_of_the_maximum():
    heatmaps = np.full((2, 3, 5, 2), -1000, np.float32)
    heatmaps[0, 2, 4, 0], heatmaps[0, 0, 0, 1] = np.log(3), 0
    heatmaps[1, 1, 2, 0] = np.log(1 / 7)
    np.testing.assert_allclose(array(JointProbability()(heatmaps))[..., 0], [[0.75, 0.5], [0.125, 0]], rtol=1e-6)


# Aggregation

PART = np.array([[[0.5, 0.25], [1, 0]]], np.float32)
# Joint-major: the first two belong to the first joint.
VOTES = np.array([[[0.2, 0.4], [0.6, 0.8], [0.1, 0.3], [0.9, 0.7]]], np.float32)
PROBABILITY = np.array([[[0.25], [0.75], [0.5], [0.0]]], np.float32)


def test_aggregation_of_hand_computed_joints():
    # (0.25 (0.2, 0.4) + 0.75 (0.6, 0.8)) / 1 = (0.5, 0.7) for the first, (0.1, 0.3) for the second
    expected = [[0.8 * 0.5 + 0.2 * 0.5, 0.8 * 0.25 + 0.2 * 0.7], [0.8 * 1 + 0.2 * 0.1, 0.2 * 0.3]]
    np.testing.assert_allclose(array(ContextAggregation()(PART, VOTES, PROBABILITY))[0], expected, rtol=1e-6)


def test_aggregation_equals_equation_6():
    rng = np.random.default_rng(0)
    part, votes = rng.uniform(size=(3, 16, 2)), rng.uniform(size=(3, 48, 2))
    probability = rng.uniform(1e-6, 1, size=(3, 48, 1))
    expected = np.empty_like(part)
    for j in range(16):
        own = slice(3 * j, 3 * j + 3)
        mean = (probability[:, own] * votes[:, own]).sum(axis=1) / probability[:, own].sum(axis=1)
        expected[:, j] = 0.9 * part[:, j] + 0.1 * mean
    inputs = (values.astype("float32") for values in (part, votes, probability))
    np.testing.assert_allclose(array(ContextAggregation(alpha=0.9)(*inputs)), expected, atol=1e-6)


def context_term(level: float, seed: int = 0):
    """Function of 4x4 context maps, two for each of two joints, and maps around `level`."""
    rng = np.random.default_rng(seed)
    soft_argmax, probability, aggregate = SoftArgmax(), JointProbability(), ContextAggregation()
    weight = rng.normal(size=(1, 2, 2)).astype("float32")

    def function(maps):
        return ops.sum(weight * aggregate(PART, soft_argmax(maps), probability(maps)))

    return function, rng.normal(size=(1, 4, 4, 4)).astype("float32") + np.float32(level)


def test_aggregation_without_any_context_probability_is_finite():
    aggregate = ContextAggregation()
    np.testing.assert_allclose(array(aggregate(PART, VOTES, 0 * PROBABILITY)), 0.8 * PART, rtol=1e-6)
    function, maps = context_term(-1000)
    np.testing.assert_array_equal(gradient(function, maps), 0)


@pytest.mark.parametrize("level", [-48, -64, -80])
def test_aggregation_depends_on_the_ratio_of_small_probabilities_alone(level):
    # Far below zero the sigmoid is an exponential, and a common factor of the probabilities cancels.
    function, small = context_term(level)
    _, moderate = context_term(-32)
    small = moderate + (level + 32)  # exact: the same digits, shifted by a power of two's multiple
    np.testing.assert_allclose(array(function(small)), array(function(moderate)), rtol=1e-4)
    expected = gradient(function, moderate)
    np.testing.assert_allclose(gradient(function, small), expected, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_alpha_outside_0_to_1_is_refused(alpha):
    with pytest.raises(PoseError, match=rf"alpha must lie in \[0, 1\]. Received: alpha={alpha}"):
        ContextAggregation(alpha=alpha)


# All three


@pytest.mark.parametrize("dtype", [None, "mixed_bfloat16", "float16"])
def test_regression_stage_computes_in_float32_under_any_policy(low_precision, dtype):
    heatmaps = np.random.default_rng(1).normal(size=(2, 8, 8, 4)).astype("float32") * 3
    soft_argmax, probability, aggregate = (
        layer(dtype=dtype) for layer in (SoftArgmax, JointProbability, ContextAggregation)
    )
    pose, visible = soft_argmax(heatmaps), probability(heatmaps)
    blended = aggregate(pose[:, :2], pose, visible)
    assert {keras.backend.standardize_dtype(t.dtype) for t in (pose, visible, blended)} == {"float32"}

    flat = heatmaps.astype("float64").reshape(2, 64, 4)
    phi = np.exp(flat) / np.exp(flat).sum(axis=1, keepdims=True)
    y, x = np.meshgrid(np.arange(8) / 7, np.arange(8) / 7, indexing="ij")
    expected = np.einsum("bpm,pc->bmc", phi, np.stack([x.ravel(), y.ravel()], axis=-1))
    np.testing.assert_allclose(array(pose), expected, atol=1e-6)  # half precision is 1e-3 off
    p = 1 / (1 + np.exp(-flat.max(axis=1)[..., None]))
    np.testing.assert_allclose(array(visible), p, atol=1e-6)
    context = (p * expected).reshape(2, 2, 2, 2).sum(axis=2) / p.reshape(2, 2, 2, 1).sum(axis=2)
    np.testing.assert_allclose(array(blended), 0.8 * expected[:, :2] + 0.2 * context, atol=1e-6)
    # What enters in half precision is widened before anything is computed.
    assert keras.backend.standardize_dtype(soft_argmax(ops.cast(heatmaps, "bfloat16")).dtype) == "float32"


@pytest.mark.parametrize(
    "layer",
    [SoftArgmax(grid="centers", name="s"), JointProbability(name="p"), ContextAggregation(alpha=0.3, name="a")],
    ids=lambda layer: type(layer).__name__,
)
def test_layers_are_rebuilt_from_their_configuration(layer):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(again) is type(layer)
    assert again.get_config() == layer.get_config()
