"""The network as a whole: against the authors' outputs, and as a Keras model that saves, reloads and trains."""

import importlib.util
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from pose_regression.errors import PoseError
from pose_regression.model.authors_weights import authors_order
from pose_regression.model.named_weights import named_weights
from pose_regression.model.network import OUTPUTS, PoseRegressor, largest_value, preprocess_input
from pose_regression.model.regression import SoftArgmax
from pose_regression.model.weights import load_authors_weights, save_weights
from pose_regression.training.losses import elastic_net_with_entropy, probability_entropy
from pose_regression.training.optimizer import RMSprop

tensorflow_only = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="takes gradients of TensorFlow")

NARROW = {"input_shape": (64, 64, 3), "num_joints": 5, "num_blocks": 2, "kernel_size": 3, "width": 16}


def array(tensor) -> np.ndarray:
    return keras.ops.convert_to_numpy(tensor)


def narrow(**options) -> PoseRegressor:
    """A small network whose every weight, batch-norm averages included, is random, the same in every call."""
    keras.utils.set_random_seed(0)
    model = PoseRegressor(**NARROW | options)
    rng = np.random.default_rng(0)
    for variable in model.variables:
        if variable.name in ("beta", "moving_mean"):
            variable.assign(rng.normal(0, 0.3, variable.shape))
        elif variable.name == "moving_variance":
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    return model


def images(height: int = 64, width: int = 64, count: int = 2) -> np.ndarray:
    return np.random.default_rng(1).uniform(-1, 1, (count, height, width, 3)).astype("float32")


def run(model, image) -> dict[str, np.ndarray]:
    return {name: array(value) for name, value in model(image, training=False).items()}


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray], atol: float = 0) -> None:
    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=atol)


# The authors' outputs


def golden_recipe(pose_reference: Path):
    """The module that makes weights and input of the golden vectors."""
    spec = importlib.util.spec_from_file_location("gen_weights", pose_reference / "network" / "gen_weights.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GOLDEN = {"k2": (742, {}), "k2_noctx": (743, {"num_context": 0}), "k2_a09": (744, {"alpha": 0.9})}


def golden_model(pose_reference: Path, name: str, folder: Path, dtype: str | None = None) -> PoseRegressor:
    """The authors' network of two blocks with the weights of the golden vectors, through a file in their layout."""
    seed, options = GOLDEN[name]
    layout = json.loads((pose_reference / "network" / f"layout_{name}.json").read_text())
    golden_recipe(pose_reference).write_h5(layout, seed, folder / "weights.h5")
    model = PoseRegressor(num_blocks=2, outputs="all", dtype=dtype, **options)
    load_authors_weights(model, folder / "weights.h5")
    return model


@pytest.mark.real_data
@pytest.mark.slow
@pytest.mark.parametrize("name", GOLDEN)
def test_golden_vectors_of_the_authors(name, pose_reference, tmp_path):
    model = golden_model(pose_reference, name, tmp_path)
    image = golden_recipe(pose_reference).make_input(GOLDEN[name][0])
    found = model.with_outputs("every_map").predict(image, verbose=0)
    heatmaps, context = found["heatmaps"][:, -1], found["context_heatmaps"][:, -1]
    with np.load(pose_reference / "network" / f"ref_{name}.npz") as expected:
        for block in (1, 2):
            np.testing.assert_allclose(found["pose"][:, block - 1], expected[f"pose_b{block}"], rtol=0, atol=1e-5)
            np.testing.assert_allclose(found["probability"][:, block - 1], expected[f"vis_b{block}"], rtol=0, atol=3e-5)
        np.testing.assert_allclose(heatmaps, expected["heatmap_last"], rtol=0, atol=3e-4)
        if name != "k2_noctx":  # the context maps, by the poses and probabilities they give
            pose, probability = expected["dbg_pc_last"], expected["dbg_vc_last"][..., 0]
            np.testing.assert_allclose(array(SoftArgmax()(context)), pose, rtol=0, atol=1e-5)
            maximum = 1 / (1 + np.exp(-context.max(axis=(1, 2))))
            np.testing.assert_allclose(maximum, probability, rtol=0, atol=3e-5)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="jax is not installed")
@tensorflow_only
def test_layers_and_golden_vectors_hold_on_jax():
    golden_vectors = test_golden_vectors_of_the_authors.__name__
    files = [str(Path(__file__).with_name("test_regression.py")), f"{__file__}::{golden_vectors}[k2]"]
    selected = f"hand_matrix or hand_computed_joints or small_probabilities or without_any_context or {golden_vectors}"
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "-k", selected, *files],
        env=os.environ | {"KERAS_BACKEND": "jax"}, capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout[-8000:] + result.stderr[-2000:]
    skipped = result.stdout.count("SKIPPED")
    assert skipped == (0 if os.environ.get("POSE_REFERENCE") else 1)


@pytest.fixture(scope="module", params=["float64", "float32"])
def training_step(request, pose_reference, tmp_path_factory):
    """Losses, outputs, gradients by name in the authors' file, and the state after one step; by dtype."""
    import tensorflow as tf

    model = golden_model(pose_reference, "k2", tmp_path_factory.mktemp("step"), request.param)
    image = golden_recipe(pose_reference).make_input(742)
    with np.load(pose_reference / "network" / "ref_trainstep_k2.npz") as file:
        target, inside = file["y_true"][..., :2], file["y_true"][..., 2]
    present = (target > -1e6).all(axis=-1).astype("float32")

    def block_losses(outputs):
        pose = elastic_net_with_entropy(target, outputs["pose"], present)
        return tf.reduce_mean(
            pose + 0.01 * probability_entropy(inside, outputs["probability"][..., 0], np.ones_like(inside)), axis=0
        )

    result = {"dtype": request.param, "evaluation": block_losses(model(image, training=False)).numpy()}
    with tf.GradientTape() as tape:
        outputs = model(image, training=True)
        losses = block_losses(outputs)
        total = tf.reduce_sum(losses)
    gradients = tape.gradient(total, model.trainable_variables)
    RMSprop(1e-3).apply(gradients, model.trainable_variables)

    layout = json.loads((pose_reference / "network" / "layout_k2.json").read_text())
    file_names = {group["group"]: group["weight_names"] for group in layout["groups"]}
    variables = {
        f"{group}|{name}": variable
        for group, ours in authors_order(2)
        for name, variable in zip(file_names[group], (named_weights(model)[n] for n in ours), strict=True)
    }
    by_variable = {id(v): g.numpy() for v, g in zip(model.trainable_variables, gradients, strict=True)}
    after = model(image, training=False)
    return result | {
        "losses": losses.numpy(),
        "outputs": np.concatenate([outputs["pose"], outputs["probability"]], axis=-1),
        "gradients": {name: by_variable[id(v)] for name, v in variables.items() if id(v) in by_variable},
        "after": {name: array(variable) for name, variable in variables.items()},
        "outputs_after": np.concatenate([after["pose"], after["probability"]], axis=-1),
    }


@tensorflow_only
@pytest.mark.real_data
@pytest.mark.slow
@pytest.mark.parametrize("file", ["ref_trainstep_k2_float64", "ref_trainstep_k2"])
def test_training_phase_losses_and_gradients_equal_the_authors(training_step, file, pose_reference):
    with np.load(pose_reference / "network" / f"{file}.npz") as arrays:
        found, expected = training_step, dict(arrays)
    exact = file.endswith("float64") and found["dtype"] == "float64"
    np.testing.assert_allclose(found["evaluation"], expected["eval_total_and_per_block_loss"][1:], rtol=0, atol=1e-6)
    np.testing.assert_allclose(found["losses"], expected["train_on_batch_losses"][1:], rtol=0, atol=1e-6)
    for block in (1, 2):
        expected_outputs = expected[f"train_phase_out_b{block}"]
        np.testing.assert_allclose(
            found["outputs"][:, block - 1], expected_outputs, rtol=0, atol=1e-6 if exact else 5e-5
        )

    # In float32, rectifiers and maxima that flip make deep gradients differ by 1e-2, the authors' own among
    # TensorFlow versions; in float64 all is equal.
    norms = {str(n): norm for n, norm in zip(expected["grad_keys"], expected["grad_l2"], strict=True)}
    assert norms.keys() == found["gradients"].keys() and len(norms) == 87
    for name, norm in norms.items():
        assert np.linalg.norm(found["gradients"][name]) == pytest.approx(norm, rel=1e-6 if exact else 5e-3), name
    whole = [name for name in expected if name.startswith("grad:")]
    assert len(whole) == 18
    for name in whole:
        difference = np.linalg.norm(found["gradients"][name.removeprefix("grad:")] - expected[name])
        tolerance = 5e-6 if exact else 1e-4 if "RegMap2" in name else 3e-2
        assert difference < tolerance * np.linalg.norm(expected[name]), name


@tensorflow_only
@pytest.mark.real_data
@pytest.mark.slow
def test_state_after_one_step_equals_the_authors(training_step, pose_reference):
    # The float64 file alone: its Keras 2.3.1 has the plain moving average, that of the other debiases it.
    with np.load(pose_reference / "network" / "ref_trainstep_k2_float64.npz") as file:
        expected_step = dict(file)
    exact = training_step["dtype"] == "float64"
    for name in (name for name in expected_step if name.startswith("after:")):
        found, expected = training_step["after"][name.removeprefix("after:")], expected_step[name]
        if "moving" in name:  # the authors' Keras averages N/(N - 1.001) times the variance, N = 2048 and more
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
        elif exact:
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
        else:  # the first step is 3.2e-3 times the sign of a gradient: some signs differ in float32
            assert np.quantile(np.abs(found - expected), 0.95) < 1e-4
    if exact:
        for block in (1, 2):
            expected = expected_step[f"pred_after_step_b{block}"]
            np.testing.assert_allclose(training_step["outputs_after"][:, block - 1], expected, rtol=0, atol=1e-4)


# Size and structure


def size(variables) -> int:
    return sum(int(np.prod(variable.shape)) for variable in variables)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "trained", "averages"),
    [
        ({}, 14_669_952, 76_608),
        ({"num_blocks": 2}, 4_422_912, None),
        ({"num_blocks": 2, "num_context": 0}, 4_367_616, None),
    ],
    ids=str,
)
def test_parameters_are_those_of_the_paper(options, trained, averages):
    model = PoseRegressor(**options)
    assert size(model.trainable_variables) == trained
    frozen = [v for v in model.non_trainable_variables if v.name == "coordinates"]
    assert size(frozen) == 32 * 32 * 2 * (1 if options.get("num_context") == 0 else 2)  # one for all blocks
    if averages:
        assert size(model.non_trainable_variables) - size(frozen) == averages


def test_sub_models_are_the_boxes_of_figure_2():
    model = narrow(num_blocks=3)
    boxes = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    assert [box.name for box in boxes] == [
        "stem", "block_a_1", "block_b_1", "block_a_2", "block_b_2", "block_a_3", "block_b_3",
    ]  # fmt: skip
    assert [box.output_shape for box in boxes[:2]] == [(None, 8, 8, 16)] * 2
    assert boxes[2].output_shape == [(None, 8, 8, 15), (None, 8, 8, 16)]
    assert boxes[6].output_shape == (None, 8, 8, 15)


@pytest.mark.parametrize(("outputs", "blocks"), [("last", ()), ("all", (2,)), ("maps", ()), ("every_map", (2,))])
def test_outputs_have_the_documented_shapes(outputs, blocks):
    found = run(narrow(num_context=2, outputs=outputs), images(count=3))
    expected = {"pose": (3, *blocks, 5, 2), "probability": (3, *blocks, 5, 1)}
    if outputs == "maps":
        expected |= {"heatmaps": (3, 8, 8, 5), "context_heatmaps": (3, 8, 8, 10)}
    if outputs == "every_map":
        expected |= {"heatmaps": (3, 2, 8, 8, 5), "context_heatmaps": (3, 2, 8, 8, 10)}
    if outputs in ("last", "maps"):
        expected |= {"confidence": (3, 5, 1)}
    assert {name: value.shape for name, value in found.items()} == expected
    assert all(value.dtype == np.float32 for value in found.values())
    fractions = expected.keys() - {"heatmaps", "context_heatmaps"}
    assert all((0 <= found[name]).all() and (found[name] <= 1).all() for name in fractions)


# What the maps say


@pytest.mark.parametrize("grid", ["endpoints", "paper", "centers"])
@pytest.mark.parametrize("num_context", [0, 3])
def test_rectangular_input_gives_the_pose_of_its_maps(num_context, grid):
    model = narrow(input_shape=(64, 96, 3), num_context=num_context, alpha=0.7, grid=grid, num_blocks=1, outputs="maps")
    found = run(model, images(64, 96))
    assert found["heatmaps"].shape == (2, 8, 12, 5)
    assert found["context_heatmaps"].shape == (2, 8, 12, 5 * num_context)

    first, last = {"endpoints": (0, 1), "paper": (1 / 12, 1), "centers": (0.5 / 12, 11.5 / 12)}[grid]
    top, bottom = {"endpoints": (0, 1), "paper": (1 / 8, 1), "centers": (0.5 / 8, 7.5 / 8)}[grid]
    x, y = np.linspace(first, last, 12), np.linspace(top, bottom, 8)

    def read(maps):
        maps = maps.astype("float64")
        phi = np.exp(maps) / np.exp(maps).sum(axis=(1, 2), keepdims=True)
        pose = np.stack([np.einsum("bhwm,w->bm", phi, x), np.einsum("bhwm,h->bm", phi, y)], axis=-1)
        return pose, 1 / (1 + np.exp(-maps.max(axis=(1, 2))[..., None]))

    pose, probability = read(found["heatmaps"])
    if num_context:
        votes, weights = (v.reshape(2, 5, num_context, -1) for v in read(found["context_heatmaps"]))
        pose = 0.7 * pose + 0.3 * (weights * votes).sum(axis=2) / weights.sum(axis=2)
    np.testing.assert_allclose(found["pose"], pose, atol=2e-6)
    np.testing.assert_allclose(found["probability"], probability, atol=1e-6)


@pytest.mark.parametrize("num_context", [0, 2])
def test_output_modes_agree_with_the_same_weights(num_context):
    model, image = narrow(num_context=num_context, outputs="all"), images()
    every = run(model, image)
    last, maps = (run(model.with_outputs(outputs), image) for outputs in ("last", "maps"))
    for found in (last, maps):
        np.testing.assert_array_equal(found["pose"], every["pose"][:, -1])
        np.testing.assert_array_equal(found["probability"], every["probability"][:, -1])
    assert np.abs(every["pose"][:, 0] - every["pose"][:, 1]).max() > 1e-3


def test_with_outputs_copies_the_weights():
    model, image = narrow(), images()
    other = model.with_outputs("maps")
    before = run(model, image)
    other.set_weights([weight + 0.1 for weight in other.get_weights()])
    assert_same(run(model, image), before)
    assert other.get_config() == model.get_config() | {"outputs": "maps"}


# As a Keras model


@pytest.mark.parametrize(("outputs", "num_context"), list(zip(OUTPUTS, (2, 0, 0, 2), strict=True)))
def test_saved_model_reloads_in_safe_mode_with_identical_outputs(outputs, num_context, tmp_path):
    model, image = narrow(outputs=outputs, num_context=num_context), images()
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert isinstance(again, PoseRegressor)
    assert again.get_config() == model.get_config()
    assert_same(run(again, image), run(model, image))


def test_saved_model_reloads_with_its_dtype_policy(tmp_path):
    model = narrow(num_blocks=1, dtype="mixed_bfloat16")
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert again.get_layer("stem").get_layer("conv_1").compute_dtype == "bfloat16"
    assert_same(run(again, images()), run(model, images()))


@pytest.mark.parametrize("dtype", [None, "mixed_bfloat16", "float64"])
def test_configuration_is_complete(dtype):
    options = {
        "input_shape": (64, 96, 3), "num_joints": 3, "num_context": 1, "alpha": 0.25, "num_blocks": 1,
        "kernel_size": 3, "width": 18, "grid": "centers", "outputs": "all", "name": "mine", "trainable": False,
    }  # fmt: skip
    model = PoseRegressor(**options, dtype=dtype)
    config = model.get_config()
    parameters = inspect.signature(PoseRegressor.__init__).parameters
    assert config.keys() == parameters.keys() - {"self", "weights"}
    assert options.items() <= config.items()
    changed = [n for n, p in parameters.items() if n in options and options[n] != p.default]
    assert len(changed) == len(options)  # each value differs from its default, so that a forgotten one shows
    again = PoseRegressor.from_config(json.loads(json.dumps(config)))
    assert again.get_config() == config
    assert again.get_layer("stem").get_layer("conv_1").compute_dtype == (dtype or "float32").removeprefix("mixed_")
    assert not again.trainable and not again.trainable_weights


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
@tensorflow_only
def test_low_precision_keeps_logits_outputs_and_variables_in_float32(dtype):
    import tensorflow as tf

    model, exact = (narrow(dtype=d, num_blocks=1, outputs="maps") for d in (dtype, None))
    found, expected = run(model, images()), run(exact, images())
    assert {value.dtype for value in found.values()} == {np.dtype("float32")}
    assert {variable.dtype for variable in model.variables} == {"float32"}
    scale = np.abs(expected["heatmaps"]).max()
    assert 0 < np.abs(found["heatmaps"] - expected["heatmaps"]).max() < 0.05 * scale
    # Logits are not rounded to the low precision.
    half = tf.cast(tf.cast(found["heatmaps"], dtype.removeprefix("mixed_")), tf.float32)
    assert (half.numpy() != found["heatmaps"]).mean() > 0.5
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(model(images(), training=True)["pose"])
    gradients = tape.gradient(value, model.trainable_variables)
    assert all(np.isfinite(g).all() and g.dtype == tf.float32 for g in gradients)


def test_global_policy_is_the_default():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = narrow(num_blocks=1)
    finally:
        keras.config.set_dtype_policy(before)
    assert model.get_layer("stem").get_layer("conv_1").compute_dtype == "bfloat16"
    assert model.with_outputs("maps").get_layer("stem").get_layer("conv_1").compute_dtype == "bfloat16"


def test_weights_argument_loads_a_file(tmp_path):
    model = narrow(num_blocks=1)
    save_weights(model, tmp_path / "some.weights.h5", skeleton=skeleton_of(5))
    again = PoseRegressor(**NARROW | {"num_blocks": 1}, weights=tmp_path / "some.weights.h5")
    assert_same(run(again, images()), run(model, images()))


def skeleton_of(joints: int):
    from pose_regression.skeleton import Skeleton

    return Skeleton(tuple(f"joint_{i}" for i in range(joints)))


# Mistakes


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"input_shape": (100, 64, 3)}, r"sides that are multiples of 32. Received: input_shape=\(100, 64, 3\)"),
        ({"input_shape": (64, 65, 3)}, "multiples of 32"),
        ({"input_shape": (64, 0, 3)}, r"input_shape must be \(height, width, 3\)"),
        ({"input_shape": (-32, 32, 3)}, r"input_shape must be \(height, width, 3\)"),
        ({"input_shape": (64.0, 64, 3)}, r"input_shape must be \(height, width, 3\)"),
        ({"input_shape": (None, None, 3)}, r"input_shape must be \(height, width, 3\)"),
        ({"input_shape": (64, 64, 1)}, r"Received: input_shape=\(64, 64, 1\)"),
        ({"input_shape": (64, 64)}, r"Received: input_shape=\(64, 64\)"),
        ({"input_shape": 256}, "Received: input_shape=256"),
        ({"num_joints": 0}, "num_joints must be a whole number of at least 1. Received: num_joints=0"),
        ({"num_joints": 2.0}, "Received: num_joints=2.0"),
        ({"num_context": -1}, "num_context must be a whole number of at least 0. Received: num_context=-1"),
        ({"num_blocks": 0}, "num_blocks must be .* at least 1"),
        ({"num_blocks": "8"}, "Received: num_blocks='8'"),
        ({"kernel_size": 0}, "kernel_size must be .* at least 1"),
        ({"kernel_size": (5, 5)}, r"Received: kernel_size=\(5, 5\)"),
        ({"width": 6}, "width must be .* at least 8"),
        ({"width": 17}, "width must be even"),
        ({"alpha": 1.5}, r"alpha must lie in \[0, 1\]. Received: alpha=1.5"),
        ({"alpha": float("nan")}, "alpha=nan"),
        ({"alpha": "0.8"}, "alpha='0.8'"),
        ({"grid": "corners"}, "grid must be one of endpoints, paper, centers. Received: grid='corners'"),
        ({"outputs": "first"}, "outputs must be one of last, all, maps, every_map. Received: outputs='first'"),
        ({"dtype": "float12"}, "dtype must name a Keras dtype policy. Received: dtype='float12'"),
        ({"weights": "missing.weights.h5"}, "missing.weights.h5 could not be read: No such file or directory"),
    ],
    ids=str,
)
def test_every_bad_argument_is_one_sentence(options, sentence):
    with pytest.raises(PoseError, match=sentence) as caught:
        PoseRegressor(**NARROW | {"num_blocks": 1} | options)
    assert "\n" not in str(caught.value)


def test_pixels_that_were_not_brought_to_the_range_are_said_once():
    model = narrow(num_blocks=1)
    pixels = np.full((2, 64, 64, 3), 200, np.uint8)
    with pytest.warns(UserWarning, match=r"takes pixels in \[-1, 1\]; these reach 200") as told:
        model.predict(pixels, verbose=0)
        model.predict(pixels, verbose=0)
    assert len([warning for warning in told if "takes pixels" in str(warning.message)]) == 1


def test_pixels_in_the_range_are_not_complained_of_and_datasets_are_looked_at(recwarn):
    tf = pytest.importorskip("tensorflow")
    model = narrow(num_blocks=1)
    model.predict(preprocess_input(np.full((2, 64, 64, 3), 200, np.uint8)), verbose=0)
    assert not [warning for warning in recwarn if "takes pixels" in str(warning.message)]
    pairs = tf.data.Dataset.from_tensor_slices((np.full((4, 8, 8, 3), 90.0), np.zeros(4))).batch(2)
    assert largest_value(pairs) == 90 and largest_value(pairs.map(lambda image, _: image)) == 90
    assert largest_value(iter([])) is None and largest_value({"image": 3}) is None and largest_value(None) is None
