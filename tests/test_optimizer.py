import keras
import numpy as np
import pytest

from pose_regression.training.optimizer import RMSprop


def variable(*values: float) -> keras.Variable:
    return keras.Variable(np.float32(values))


def array(tensor) -> np.ndarray:
    return keras.ops.convert_to_numpy(tensor)


def test_two_hand_computed_steps():
    p = variable(1, -2)
    optimizer = RMSprop(0.5, rho=0.75, epsilon=0.25)
    optimizer.apply([keras.ops.array([1.0, 0.0])], [p])
    # a = 0.25, so 1 - 0.5 · 1 / (0.5 + 0.25) = 1/3
    np.testing.assert_allclose(array(p), [1 / 3, -2], rtol=1e-6)
    optimizer.apply([keras.ops.array([-2.0, 3.0])], [p])
    # a = 0.75 · 0.25 + 0.25 · 4 = 1.1875 and 0.25 · 9 = 2.25
    expected = [1 / 3 + 1 / (np.sqrt(1.1875) + 0.25), -2 - 1.5 / 1.75]
    np.testing.assert_allclose(array(p), expected, rtol=1e-6)


def test_small_gradients_are_not_damped_as_in_keras_3():
    step = []
    for optimizer in (RMSprop(1e-3), keras.optimizers.RMSprop(1e-3)):
        p = variable(0)
        optimizer.apply([keras.ops.array([1e-5])], [p])
        step.append(-array(p).item())
    # sqrt(a) = sqrt(0.1) 1e-5: 1e-3 · 1e-5 / (3.162e-6 + 1e-7), and with the epsilon inside 1e-8 / sqrt(1e-11 + 1e-7)
    np.testing.assert_allclose(step, [3.0653e-3, 3.1621e-5], rtol=1e-4)


def test_default_arguments_are_those_of_keras_2():
    optimizer = RMSprop()
    assert (float(optimizer.learning_rate), optimizer.rho, optimizer.epsilon) == (pytest.approx(1e-3), 0.9, 1e-7)


def test_learning_rate_schedule_is_followed():
    p = variable(0)
    optimizer = RMSprop(keras.optimizers.schedules.PiecewiseConstantDecay([0], [1.0, 0.125]), rho=0.0, epsilon=0.0)
    moved = []
    for _ in range(3):
        before = array(p).copy()
        optimizer.apply([keras.ops.array([5.0])], [p])
        moved.append((before - array(p)).item())
    np.testing.assert_allclose(moved, [1, 0.125, 0.125], rtol=1e-6)  # rho 0: the sign of the gradient


def test_rebuilt_optimizer_with_the_same_state_takes_the_same_steps():
    rng = np.random.default_rng(0)
    first, p = RMSprop(0.01, rho=0.8, epsilon=1e-6, name="mine"), variable(*rng.normal(size=5))
    for _ in range(3):
        first.apply([keras.ops.array(rng.normal(size=5).astype("float32"))], [p])

    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(first))
    assert again.get_config() == first.get_config()
    assert again.name == "mine"
    q = variable(*array(p))
    again.build([q])
    assert len(again.variables) == len(first.variables) == 3  # steps, learning rate, one average
    for ours, theirs in zip(again.variables, first.variables, strict=True):
        ours.assign(theirs)
    gradient = rng.normal(size=5).astype("float32")
    first.apply([keras.ops.array(gradient)], [p])
    again.apply([keras.ops.array(gradient)], [q])
    np.testing.assert_array_equal(array(p), array(q))
    assert int(again.iterations) == 4


def test_it_trains_a_model_with_fit():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, kernel_initializer="zeros")])
    model.compile(RMSprop(0.05), "mse")
    x = np.linspace(-1, 1, 16, dtype="float32")[:, None]
    history = model.fit(x, 3 * x - 1, epochs=60, batch_size=16, verbose=0).history["loss"]
    assert history[-1] < 0.01 * history[0]
