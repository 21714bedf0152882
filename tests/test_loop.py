import itertools
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.callbacks import LambdaCallback
from PIL import Image
from tiny import tiny

from pose_regression.container import read_container
from pose_regression.data.augment import NONE
from pose_regression.data.sample import Sample
from pose_regression.errors import PoseError, Terminated
from pose_regression.model.network import PoseRegressor
from pose_regression.skeleton import PA16J
from pose_regression.training.checkpoint import states
from pose_regression.training.experiment import RECIPES, Recipe
from pose_regression.training.loop import (
    Clock,
    Progress,
    _advance,
    batch_of,
    learning_rate,
    steps_of,
    train,
    with_learned,
)
from pose_regression.training.supervision import compile_model

TINY = Recipe(epochs=2, batch_size=2, optimizer="adamw", schedule="cosine")
AVERAGED = replace(TINY, average=0.9, statistics_batches=2)


@pytest.fixture(scope="module")
def people(tmp_path_factory) -> list[Sample]:
    """Seven pictures, each a bright square where all 16 joints are."""
    folder = tmp_path_factory.mktemp("people")
    rng = np.random.default_rng(0)
    samples = []
    for i in range(7):
        pixels = rng.integers(0, 60, (64, 64, 3), dtype=np.uint8)
        x, y = rng.integers(16, 48, 2)
        pixels[y - 4 : y + 4, x - 4 : x + 4] = 255
        Image.fromarray(pixels).save(folder / f"{i}.png")
        joints = np.tile(np.array([[x, y]], np.float64), (16, 1))
        samples.append(Sample(str(folder / f"{i}.png"), np.array([32.0, 32.0]), 64.0, joints, np.ones(16, bool)))
    return samples


def _model(recipe: Recipe, people, *, blocks: int = 1, paper: bool = False) -> PoseRegressor:
    keras.utils.set_random_seed(3)
    model = (
        PoseRegressor((32, 32, 3), num_blocks=blocks, width=18, outputs="all")
        if paper
        else tiny(blocks=blocks, seed=3, outputs="all")
    )
    compile_model(model, recipe, steps_per_epoch=len(people) // recipe.batch_size)
    return model


def _validate(model, callbacks):
    """A score that depends on the weights and costs nothing."""
    return {"score": float(np.abs(np.asarray(model.trainable_variables[0])).sum())}


def _same(a: Path, b: Path) -> None:
    names = [states(a)[-1].name, "best.weights.h5", "last.weights.h5"]
    for name in names:
        (first, notes), (second, other) = read_container(a / name), read_container(b / name)
        assert notes == other
        for key in first:
            np.testing.assert_array_equal(first[key], second[key], err_msg=key)
    assert (a / "history.csv").read_text() == (b / "history.csv").read_text()


@pytest.fixture(scope="module")
def left_alone(people, tmp_path_factory):
    """The directory of a run of a recipe that nothing disturbs; each recipe is trained once."""

    @cache
    def run(recipe: Recipe, paper: bool) -> Path:
        tf.config.experimental.enable_op_determinism()
        directory = tmp_path_factory.mktemp("alone")
        train(_model(recipe, people, paper=paper), people, _validate, recipe, directory)
        return directory

    return run


@pytest.mark.slow
@pytest.mark.parametrize(("stop_at", "recipe", "paper"), [(1, TINY, True), (2, AVERAGED, False), (4, AVERAGED, False)])
def test_a_run_stopped_by_sigterm_and_resumed_ends_as_one_left_alone(
    people, left_alone, tmp_path, stop_at, recipe, paper
):
    alone, stopped = left_alone(recipe, paper), tmp_path

    model = _model(recipe, people, paper=paper)
    fit, batches = model.fit, itertools.count(1)

    def interrupt(batch, logs):
        if next(batches) == stop_at:
            os.kill(os.getpid(), signal.SIGTERM)

    def fit_interrupted(*args, callbacks, **kwargs):
        return fit(*args, callbacks=[LambdaCallback(on_train_batch_begin=interrupt), *callbacks], **kwargs)

    model.fit = fit_interrupted
    with pytest.raises(Terminated):
        train(model, people, _validate, recipe, stopped)
    progress = read_container(states(stopped)[-1])[1]["progress"]
    assert progress["epoch"] * 3 + progress["batch"] == stop_at
    train(_model(recipe, people, paper=paper), people, _validate, recipe, stopped)
    _same(alone, stopped)


def test_a_loss_that_is_not_finite_stops_at_once_and_names_the_images(people, tmp_path):
    recipe = replace(TINY, epochs=1, batch_size=1)
    model = _model(recipe, people)
    kernel = model.get_layer("heatmaps_1").kernel
    kernel.assign(np.full(kernel.shape, np.nan, np.float32))
    with pytest.raises(PoseError, match=r"epoch 1, batch 0 \(images [^,]*\.png\).*last good state"):
        train(model, people, _validate, recipe, tmp_path)
    assert not states(tmp_path)


def test_averages_that_are_not_finite_are_never_saved(people, tmp_path):
    recipe = replace(TINY, epochs=1)
    model = _model(recipe, people)
    average = next(weight for weight in model.weights if weight.path.endswith("moving_mean"))  # unused while training
    average.assign(np.full(average.shape, np.nan, np.float32))
    with pytest.raises(PoseError, match="is not finite in epoch 1, batch 3"):
        train(model, people, _validate, recipe, tmp_path)
    assert not states(tmp_path)


def test_plateau_multiplies_the_rate_after_patience_epochs_without_progress():
    recipe = Recipe(learning_rate=1.0, decay=0.4, patience=2)
    progress = Progress(history=[])
    rates = []
    for score in (10.0, 12.0, 11.0, 12.0, 13.0, 12.0, 12.0, 12.0, 12.0):
        progress = _advance(progress, recipe, {"score": score})
        rates.append(round(learning_rate(recipe, progress), 6))
    assert rates == [1, 1, 1, 0.4, 0.4, 0.4, 0.16, 0.16, 0.064]
    assert progress.best == 13.0 and progress.epoch == 9


def test_deephar_recipe_drops_the_rate_at_epochs_80_and_100():
    recipe = RECIPES["deephar"]
    rates = [learning_rate(recipe, Progress(epoch=epoch)) for epoch in (0, 79, 80, 99, 100, 119)]
    np.testing.assert_allclose(rates, [1e-3, 1e-3, 2e-4, 2e-4, 4e-5, 4e-5])


def test_cosine_schedule_warms_up_and_ends_at_one_per_cent(people):
    recipe = replace(TINY, epochs=10, learning_rate=1.0)
    model = _model(recipe, people)  # 3 batches an epoch: 3 of warm-up, 27 of cosine
    rate = model.optimizer._learning_rate
    np.testing.assert_allclose([float(rate(step)) for step in (0, 3, 30)], [0.0, 1.0, 0.01], atol=1e-6)


def test_a_state_of_another_network_is_refused(people, tmp_path):
    recipe = replace(TINY, epochs=1)
    train(_model(recipe, people), people, _validate, recipe, tmp_path)
    with pytest.raises(PoseError, match="state of another network"):
        train(_model(recipe, people, blocks=2), people, _validate, recipe, tmp_path)


def test_training_reduces_the_loss_and_records_every_block(people, tmp_path):
    recipe = replace(TINY, epochs=8, learning_rate=1e-2, augmentation=NONE)
    progress = train(_model(recipe, people, blocks=2, paper=True), people, _validate, recipe, tmp_path)
    assert progress.history is not None and len(progress.history) == 8
    first, last = progress.history[0], progress.history[-1]
    assert last["loss"] < 0.6 * first["loss"]
    np.testing.assert_allclose(first["pose_loss"], first["block_1"] + first["block_2"], rtol=1e-5)
    np.testing.assert_allclose(first["loss"], first["pose_loss"] + 0.01 * first["probability_loss"], rtol=1e-5)
    assert progress == Progress(**asdict(progress))


@pytest.mark.parametrize(("count", "batch", "steps"), [(8, 8, 1), (9, 8, 2), (15, 8, 2), (16, 8, 2), (23, 8, 2)])
def test_no_sample_is_lost_where_an_epoch_would_be_one_batch(count, batch, steps):
    assert steps_of(count, batch) == steps


def test_a_batch_is_no_larger_than_the_people_and_divides_by_the_devices():
    assert [batch_of(count, 16) for count in (3, 16, 40)] == [3, 16, 16]
    assert batch_of(7, 16, devices=2) == 6


def test_people_fill_up_the_last_of_two_batches(people, tmp_path):
    progress = train(
        _model(replace(TINY, batch_size=4), people), people, _validate, replace(TINY, batch_size=4), tmp_path
    )
    assert progress.epoch == 2 and progress.history[-1]["loss"] > 0


def test_the_time_left_is_of_the_whole_run(monkeypatch):
    seconds = iter([0.0, 0.0, 600.0, 1200.0])
    monkeypatch.setattr("pose_regression.training.loop.time.monotonic", lambda: next(seconds))
    clock = Clock(10)
    clock.epoch(3, 0.5)  # resumed in the middle of the fourth epoch
    assert clock.left(4.0) == "2 h 00 min left"
    assert clock.left(9.5) == "2 min left"


def test_fewer_samples_than_a_batch_are_refused(people, tmp_path):
    recipe = replace(TINY, batch_size=8)
    with pytest.raises(PoseError, match="do not fill one batch of 8"):
        train(_model(TINY, people), people, _validate, recipe, tmp_path)


TWO_DEVICES = """
import json, sys
import numpy as np, tensorflow as tf, keras
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from pose_regression.model.network import PoseRegressor
from pose_regression.training.experiment import Recipe
from pose_regression.training.supervision import compile_model
rng = np.random.default_rng(0)
images = rng.uniform(-1, 1, (8, 32, 32, 3)).astype("float32")
pose = np.concatenate([rng.uniform(0, 1, (8, 16, 2)), np.ones((8, 16, 1))], -1).astype("float32")
targets = {"pose": pose, "probability": np.ones((8, 16, 2), "float32")}
losses = []
for devices in (1, 2):
    keras.utils.set_random_seed(0)
    strategy = tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(devices)])
    with strategy.scope():
        model = PoseRegressor((32, 32, 3), num_blocks=1, width=18, outputs="all")
        for layer in model._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False  # its statistics are those of one device's part of the batch
        compile_model(model, Recipe(schedule="constant"), steps_per_epoch=1)
    dataset = tf.data.Dataset.from_tensor_slices((images, targets)).batch(4)
    history = model.fit(dataset, epochs=2, shuffle=False, verbose=0).history
    losses.append(history["loss"])
print(json.dumps(losses))
"""


@pytest.mark.slow
def test_two_devices_give_the_losses_of_one():
    import json

    environment = os.environ | {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run([sys.executable, "-c", TWO_DEVICES], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    one, two = json.loads(done.stdout.splitlines()[-1])
    np.testing.assert_allclose(one, two, rtol=2e-4)


def test_weights_say_which_joints_were_supervised():
    def person(*known):
        joints = np.full((16, 2), np.nan)
        joints[[PA16J.index(name) for name in known]] = 1.0
        supervised = np.isfinite(joints).all(axis=-1)
        supervised[PA16J.index("pelvis")] = True  # said to be annotated, yet never is
        return Sample("a.png", np.zeros(2), 1.0, joints, supervised)

    assert with_learned(PA16J, [person("neck"), person("head", "neck")]).learned == ("neck", "head")
    assert with_learned(PA16J, [person(*PA16J.names)]).learned is None
