"""What is not a number, and what is barely one: stopped at once with the images named, or trained with finite losses.

See also tests/test_loop.py (a loss that is not finite, weights that are not, too few samples), tests/test_losses.py
(absent joints, certain and wrong probabilities), tests/test_layers.py (huge logits) and tests/test_predictor.py (arrays
and weights that are not finite throughout).
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from keras.callbacks import LambdaCallback
from PIL import Image
from tiny import tiny

from pose_regression.container import read_container
from pose_regression.data.augment import NONE, plan_epoch
from pose_regression.data.pipeline import evaluation_dataset, training_dataset
from pose_regression.data.sample import Sample
from pose_regression.errors import PoseError
from pose_regression.evaluation.windows import predict, predict_blocks
from pose_regression.geometry import crop_affine
from pose_regression.inference.predictor import PosePredictor
from pose_regression.model.network import PoseRegressor
from pose_regression.skeleton import PA16J
from pose_regression.training import supervision as training
from pose_regression.training.checkpoint import load_state, states
from pose_regression.training.experiment import Recipe
from pose_regression.training.loop import train
from pose_regression.training.supervision import compile_model

TINY = Recipe(epochs=1, batch_size=2, optimizer="adamw", schedule="constant", augmentation=NONE)


@pytest.fixture(scope="module")
def people(tmp_path_factory) -> list[Sample]:
    """Six pictures of noise with joints anywhere in them."""
    folder, rng = tmp_path_factory.mktemp("people"), np.random.default_rng(0)
    samples = []
    for i in range(6):
        Image.fromarray(rng.integers(0, 255, (48, 48, 3), dtype=np.uint8)).save(folder / f"{i}.png")
        joints = rng.uniform(5, 43, (16, 2))
        samples.append(Sample(str(folder / f"{i}.png"), np.array([24.0, 24.0]), 48.0, joints, np.ones(16, bool)))
    return samples


@pytest.fixture
def bfloat16() -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy(before)


def _paper_model(recipe: Recipe = TINY) -> PoseRegressor:
    keras.utils.set_random_seed(0)
    model = PoseRegressor((32, 32, 3), num_blocks=1, width=16, outputs="all")
    compile_model(model, recipe, steps_per_epoch=3)
    return model


def _model(recipe: Recipe = TINY) -> PoseRegressor:
    model = tiny(outputs="all")
    compile_model(model, recipe, steps_per_epoch=3)
    return model


def _validate(model, callbacks) -> dict[str, float]:
    return {"score": 1.0}


def _images(error: pytest.ExceptionInfo) -> list[str]:
    """The names of the image files in a message."""
    return re.findall(r"\d\.png", str(error.value))


# ---------------------------------------------------------------------------------------------------------- stopped


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_array_with_one_value_that_is_not_finite_is_no_image(value):
    image = np.full((40, 40, 3), 0.5, np.float32)
    image[7, 8, 1] = value
    with pytest.raises(PoseError, match=r"^images\[1\] must have values in \[0, 1\], as its type is float32"):
        PosePredictor(tiny()).predict([np.zeros((4, 4)), image], people="whole")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_a_joint_that_is_not_finite_or_far_away_is_absent(people, value):
    """Images of training are decoded from 8 bits and are always finite; the labels are the data's own numbers."""
    expected = np.array(people[0].joints)
    expected[3] = np.nan
    spoilt = np.array(people[0].joints)
    spoilt[3, 0] = value
    plans = [
        plan_epoch([replace(people[0], joints=joints)], PA16J, seed=0, epoch=0, augmentation=NONE)
        for joints in (expected, spoilt)
    ]
    np.testing.assert_array_equal(plans[0].pose, plans[1].pose)
    np.testing.assert_array_equal(plans[0].probability, plans[1].probability)
    assert plans[1].pose[0, 3].tolist() == [0, 0, 0] and np.isfinite(plans[1].pose).all()


@pytest.mark.parametrize(
    "change",
    [
        {"center": np.array([np.nan, 24.0])},
        {"center": np.array([24.0, np.inf])},
        {"side": np.nan},
        {"side": np.inf},
        {"side": 0.0},
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, on the way to the refusal
def test_a_window_that_is_not_finite_is_refused_with_its_image(people, change):
    samples = [*people[:3], replace(people[3], **change), *people[4:]]
    with pytest.raises(PoseError, match=r"/3\.png: the window about the person is not finite or has no area"):
        training_dataset(plan_epoch(samples, PA16J, seed=0, epoch=0), size=32, batch_size=2)
    affines = crop_affine(np.stack([s.center for s in samples]), np.array([s.side for s in samples]))
    with pytest.raises(PoseError, match=r"/3\.png: the window about the person is not finite or has no area"):
        evaluation_dataset([sample.image for sample in samples], affines, size=32, batch_size=2)


def test_a_weight_spoilt_in_the_middle_stops_that_step_and_the_last_good_state_stays(people, tmp_path):
    recipe = replace(TINY, batch_size=1)
    model = _model(recipe)
    kernel = model.get_layer("heatmaps_1").kernel
    fit = model.fit

    def spoil(batch, logs):
        if batch == 3:
            kernel.assign(np.full(kernel.shape, np.inf, np.float32))

    def fit_spoilt(*args, callbacks, **kwargs):
        return fit(*args, callbacks=[LambdaCallback(on_train_batch_begin=spoil), *callbacks], **kwargs)

    model.fit = fit_spoilt
    with pytest.raises(PoseError, match=r"epoch 1, batch 3 .*last good state is kept") as error:
        train(model, people, _validate, recipe, tmp_path, save_every=1)
    plan = plan_epoch(people, PA16J, seed=0, epoch=0, augmentation=NONE)
    assert _images(error) == [Path(plan.image[3]).name]
    assert states(tmp_path)[-1].name == "state-00000-0000003.h5"
    assert all(np.isfinite(array).all() for array in read_container(states(tmp_path)[-1])[0].values())
    assert load_state(tmp_path, _built(recipe))["batch"] == 3


def _built(recipe: Recipe) -> PoseRegressor:
    model = _model(recipe)
    model.optimizer.build(model.trainable_variables)
    return model


class Spiked(training.PoseLoss):
    """Its value is that of the loss; while `on` is set, its gradient is not a number."""

    on = None

    def call(self, y_true, y_pred):
        value = super().call(y_true, y_pred)
        return tf.cond(Spiked.on, lambda: value + ops.sqrt(value * 0), lambda: value)


def _train_spiked(people, tmp_path, monkeypatch, *, spike: int, save_every: int):
    """Train with a gradient that is not a number in one batch; the error and the steps that were made."""
    Spiked.on = tf.Variable(False, trainable=False)
    monkeypatch.setattr(training, "PoseLoss", Spiked)
    model = _model(replace(TINY, batch_size=1))
    fit, steps = model.fit, []

    def begin(batch, logs):
        steps.append(batch)
        Spiked.on.assign(batch == spike)

    def fit_spiked(*args, callbacks, **kwargs):
        return fit(*args, callbacks=[LambdaCallback(on_train_batch_begin=begin), *callbacks], **kwargs)

    model.fit = fit_spiked
    with pytest.raises(PoseError, match="last good state is kept") as error:
        train(model, people, _validate, replace(TINY, batch_size=1), tmp_path, save_every=save_every)
    return error, steps


@pytest.mark.parametrize("save_every", [1, 100])
def test_a_gradient_that_is_not_finite_stops_its_own_step(people, tmp_path, monkeypatch, save_every):
    error, steps = _train_spiked(people, tmp_path, monkeypatch, spike=2, save_every=save_every)
    plan = plan_epoch(people, PA16J, seed=0, epoch=0, augmentation=NONE)
    assert _images(error) == [Path(plan.image[2]).name] and steps == [0, 1, 2]
    if save_every == 1:
        assert states(tmp_path)[-1].name == "state-00000-0000002.h5"
        assert all(np.isfinite(array).all() for array in read_container(states(tmp_path)[-1])[0].values())
    else:
        assert not states(tmp_path)


def test_a_score_that_is_not_finite_stops_after_its_epoch_and_keeps_the_state(people, tmp_path):
    with pytest.raises(PoseError, match="The validation score of epoch 1 is nan"):
        train(_model(), people, lambda model, callbacks: {"score": float("nan")}, TINY, tmp_path)
    assert [path.name for path in states(tmp_path)] == ["state-00000-0000003.h5"]


def test_a_weight_that_relu_hides_from_the_loss_stops_the_first_step(people, tmp_path):
    model = _model()
    kernel = model.trainable_variables[0]
    kernel.assign(np.full(kernel.shape, np.nan, np.float32))
    with pytest.raises(PoseError, match="not finite in epoch 1, batch 0") as error:
        train(model, people, _validate, TINY, tmp_path)
    assert len(_images(error)) == 2 and not states(tmp_path)


# ---------------------------------------------------------------------------------------------------------- trained


def _without_joints(people, joints: slice) -> list[Sample]:
    spoilt = [np.array(sample.joints) for sample in people]
    for of_sample in spoilt:
        of_sample[joints] = np.nan
    return [replace(sample, joints=of_sample) for sample, of_sample in zip(people, spoilt, strict=True)]


def _check_trained(model, samples, recipe, folder: Path) -> dict[str, float]:
    """Train; everything that is kept is finite. The losses."""
    progress = train(model, samples, _validate, recipe, folder)
    assert progress.history is not None
    for row in progress.history:
        assert np.isfinite(list(row.values())).all()
    for array in read_container(states(folder)[-1])[0].values():
        assert np.isfinite(array).all()
    return progress.history[-1]


def test_a_batch_of_all(people, tmp_path):
    recipe = replace(TINY, batch_size=6)
    assert _check_trained(_model(recipe), people, recipe, tmp_path)["pose_loss"] > 0


@pytest.mark.slow
def test_mixed_precision(people, tmp_path, bfloat16):
    model = _paper_model()
    assert _check_trained(model, people, TINY, tmp_path)["pose_loss"] > 0
    assert model.compute_dtype == "bfloat16" and {str(v.dtype) for v in model.trainable_variables} == {"float32"}


def test_batches_of_one_image_of_one_colour(people, tmp_path):
    for color in (0, 128, 255):
        Image.new("RGB", (48, 48), (color,) * 3).save(tmp_path / f"{color}.png")
    samples = [
        replace(sample, image=str(tmp_path / f"{color}.png"))
        for sample, color in zip(people, (0, 128, 255) * 2, strict=True)
    ]
    recipe = replace(TINY, batch_size=1)
    assert _check_trained(_paper_model(recipe), samples, recipe, tmp_path / "run")["pose_loss"] > 0


@pytest.mark.parametrize("entropy", [False, True])
def test_an_epoch_without_a_labelled_joint_teaches_absence_alone(people, tmp_path, entropy):
    recipe = replace(TINY, entropy=entropy)
    losses = _check_trained(_model(recipe), _without_joints(people, slice(None)), recipe, tmp_path)
    assert losses["pose_loss"] == 0 and losses["probability_loss"] > 0


def test_an_epoch_of_which_nothing_is_known_has_loss_0(people, tmp_path):
    samples = [replace(s, supervised=np.zeros(16, bool)) for s in _without_joints(people, slice(None))]
    assert _check_trained(_model(), samples, TINY, tmp_path)["loss"] == 0


def test_a_joint_that_is_never_visible(people, tmp_path):
    recipe = replace(TINY, epochs=6, learning_rate=1e-2)
    model, samples = _model(recipe), _without_joints(people, slice(5, 6))
    before = predict(model, samples).probability[:, 5].mean()
    _check_trained(model, samples, recipe, tmp_path)
    found = predict(model, samples)
    assert np.isfinite(found.pixels).all() and found.probability[:, 5].mean() < before


def test_a_last_batch_of_one_is_answered_like_all_others(people):
    model = _model()
    together, uneven = (predict_blocks(model, people[:5], batch_size=size).last for size in (5, 4))
    np.testing.assert_allclose(uneven.pixels, together.pixels, atol=1e-3)
    np.testing.assert_allclose(uneven.probability, together.probability, atol=1e-5)
