import keras
import numpy as np
import pytest

from pose_regression.errors import PoseError
from pose_regression.model.hourglass import Hourglass, Stacks
from pose_regression.model.load import load_model
from pose_regression.model.network import PoseRegressor
from pose_regression.model.weights import save_weights


def convolution(inputs: int, outputs: int, size: int) -> int:
    return inputs * outputs * size**2 + outputs


def residual(inputs: int, outputs: int) -> int:
    """Trained parameters of one residual module, counted from Residual.lua: each batch norm has two per channel."""
    half = outputs // 2
    shortcut = 0 if inputs == outputs else convolution(inputs, outputs, 1)
    normed = 2 * (inputs + half + half)
    return normed + convolution(inputs, half, 1) + convolution(half, half, 3) + convolution(half, outputs, 1) + shortcut


def trained(model: keras.Model) -> int:
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


@pytest.fixture(scope="module")
def full() -> keras.Model:
    return Hourglass()


def test_every_stack_gives_heat_maps_at_a_quarter_of_the_input(full):
    assert [output.shape for output in full.outputs] == [(None, 64, 64, 16)] * 8
    assert [output._keras_history.operation.name for output in full.outputs] == [f"heatmaps_{k}" for k in range(1, 9)]


def test_parameters_of_the_repository_network(full):
    stem = convolution(3, 64, 7) + 2 * 64 + residual(64, 128) + residual(128, 128) + residual(128, 256)
    stack = 14 * residual(256, 256) + convolution(256, 256, 1) + 2 * 256 + convolution(256, 16, 1)
    link = convolution(256, 256, 1) + convolution(16, 256, 1)
    assert trained(full) == stem + 8 * stack + 7 * link == 25_434_112
    assert full.count_params() == 25_434_112 + 120_576


def test_parameters_of_the_published_port_are_ours_with_its_wider_stem(full):
    port = trained(full) - residual(128, 128) - residual(128, 256) + residual(128, 256) + residual(256, 256)
    assert port == 25_434_112 + 160_512
    assert round(port / 1e6, 2) == 25.59


def test_all_convolutions_have_a_bias(full):
    convolutions = [layer for layer in full.layers if isinstance(layer, keras.layers.Conv2D)]
    # stem: 1 + 3 residual modules of 3 with 2 shortcuts; a stack: 14 modules, linear, heads; 2 between stacks
    assert len(convolutions) == 1 + 9 + 2 + 8 * (14 * 3 + 2) + 7 * 2
    assert all(layer.use_bias for layer in convolutions)


def test_small_network_sees_the_whole_image_and_reloads(tmp_path):
    model = Hourglass((64, 128, 3), num_joints=5, num_stacks=2, features=8)
    rng = np.random.default_rng(0)
    image = rng.normal(size=(1, 64, 128, 3)).astype("float32")
    heatmaps = model.predict(image, verbose=0)
    assert [h.shape for h in heatmaps] == [(1, 16, 32, 5)] * 2
    assert not np.allclose(heatmaps[0], heatmaps[1])

    elsewhere = image.copy()
    elsewhere[:, -4:, -4:] += 3
    assert np.abs(model.predict(elsewhere, verbose=0)[1] - heatmaps[1])[0, 0, 0].max() > 0

    model.save(tmp_path / "hourglass.keras")
    again = keras.models.load_model(tmp_path / "hourglass.keras").predict(image, verbose=0)
    np.testing.assert_allclose(again[1], heatmaps[1], atol=1e-5)


def test_first_convolution_is_padded_on_both_sides():
    model = Hourglass((64, 64, 3), num_stacks=1, features=4)
    first = next(layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D))
    kernel = np.zeros((7, 7, 3, 64), "float32")
    kernel[3, 3, 0, 0] = 1  # picks pixel (2i, 2j), where "same" padding would pick (2i + 1, 2j + 1)
    first.set_weights([kernel, np.zeros(64, "float32")])
    image = np.arange(64 * 64, dtype="float32").reshape(1, 64, 64, 1).repeat(3, axis=-1)
    stem = keras.Model(model.input, first.output)
    np.testing.assert_array_equal(stem.predict(image, verbose=0)[0, :, :, 0], image[0, ::2, ::2, 0])


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"input_shape": (100, 64, 3)}, "multiples of 64"),
        ({"input_shape": (0, 64, 3)}, "multiples of 64"),
        ({"input_shape": (64, 64, 1)}, "input_shape"),
        ({"num_stacks": 0}, "num_stacks=0"),
        ({"num_joints": 0}, "num_joints=0"),
        ({"features": 7}, "features=7"),
    ],
)
def test_impossible_arguments_are_refused(arguments, named):
    with pytest.raises(PoseError, match=named):
        Hourglass(**arguments)


@pytest.fixture
def with_stacks() -> PoseRegressor:
    keras.utils.set_random_seed(0)
    return PoseRegressor((64, 64, 3), backbone=Stacks(num_stacks=2, features=8), outputs="all")


def test_as_a_backbone_it_trains_a_step_through_the_regression_stage(with_stacks):
    assert with_stacks.output["pose"].shape == (None, 2, 16, 2)
    assert with_stacks.get_config()["num_blocks"] == 2
    before = [weight.copy() for weight in with_stacks.get_weights()]
    with_stacks.compile("sgd", loss={"pose": "mse", "probability": "mse"})
    images = np.random.default_rng(0).uniform(-1, 1, (2, 64, 64, 3)).astype("float32")
    targets = {"pose": np.full((2, 2, 16, 2), 0.1, "float32"), "probability": np.ones((2, 2, 16, 1), "float32")}
    first = with_stacks.train_on_batch(images, targets)
    assert np.isfinite(first[0] if isinstance(first, list) else first)
    assert any(not np.array_equal(a, b) for a, b in zip(before, with_stacks.get_weights(), strict=True))


def test_as_a_backbone_it_comes_back_from_both_kinds_of_file(with_stacks, tmp_path):
    images = np.random.default_rng(0).uniform(-1, 1, (1, 64, 64, 3)).astype("float32")
    expected = with_stacks.predict(images, verbose=0)["pose"]
    save_weights(with_stacks, tmp_path / "a.weights.h5")
    with_stacks.save(tmp_path / "a.keras")
    weights, _ = load_model(tmp_path / "a.weights.h5", outputs="all")
    for again in (weights, keras.saving.load_model(tmp_path / "a.keras", safe_mode=True)):
        assert again.get_config()["backbone"] == with_stacks.get_config()["backbone"]
        np.testing.assert_allclose(again.predict(images, verbose=0)["pose"], expected, atol=1e-6)


def test_as_a_backbone_its_maps_are_a_quarter_of_the_image(with_stacks):
    maps = with_stacks.with_outputs("every_map").output
    assert maps["heatmaps"].shape == (None, 2, 16, 16, 16)
    assert maps["context_heatmaps"].shape == (None, 2, 16, 16, 32)
