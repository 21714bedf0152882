import json
import subprocess
import sys
import textwrap
from functools import cache

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pose_regression.errors import PoseError
from pose_regression.inference import export
from pose_regression.inference.export import (
    DTYPES,
    Deviation,
    answer_in_float32,
    deviation_from,
    export_model,
)
from pose_regression.inference.loaders import load_runtime
from pose_regression.inference.predictor import PosePredictor
from pose_regression.model.folding import fold_batch_norms
from pose_regression.model.named_weights import named_weights
from pose_regression.model.network import PoseRegressor
from pose_regression.skeleton import PA16J, Skeleton

PACKAGES = {
    "savedmodel": (),
    "onnx": ("tf2onnx", "onnx", "onnxruntime"),
    "litert": ("ai_edge_litert",),
    "openvino": ("openvino",),
}


def make_model(shape=(64, 64, 3), **arguments):
    """A tiny network whose batch norms do something and whose heat maps have peaks."""
    keras.utils.set_random_seed(0)
    model = PoseRegressor(shape, **{"num_blocks": 1, "width": 16} | arguments)
    rng = np.random.default_rng(0)
    for name, variable in named_weights(model).items():
        shape = tuple(variable.shape)
        if name.endswith("moving_variance"):
            variable.assign(rng.uniform(0.3, 3, shape))
        elif name.endswith(("beta", "moving_mean")):
            variable.assign(rng.normal(0, 0.3, shape))
        elif name.endswith("heatmaps/kernel"):
            variable.assign(variable.numpy() * 30)
    return model


def make_crops(count, height=64, width=64):
    """Blobs of colour in [-1, 1]."""
    coarse = np.random.default_rng(1).uniform(-1, 1, (count, height // 8, width // 8, 3))
    return tf.image.resize(coarse, (height, width)).numpy()


def run(network, image):
    return {name: value.numpy() for name, value in network(image, training=False).items()}


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture(scope="module")
def crops():
    return make_crops(6)


@pytest.fixture(scope="module")
def exported(model, crops, tmp_path_factory):
    """Exports of the model: format and dtype -> directory and deviation, each written when it is first asked for."""
    known = answer_in_float32(model, crops)

    @cache
    def export(format, dtype):
        for package in PACKAGES[format]:
            pytest.importorskip(package, reason=f"{package} is not installed")
        directory = tmp_path_factory.mktemp("exports") / "exported"
        answer = None if (format, dtype) == ("onnx", "int8") else known
        return directory, export_model(model, directory, format=format, dtype=dtype, crops=crops, answer=answer)

    return export


@pytest.fixture(scope="module")
def saved(exported):
    return exported("savedmodel", "float32")[0]


@pytest.fixture(scope="module")
def predict_jpeg(saved):
    return tf.saved_model.load(str(saved / "1")).signatures["predict_jpeg"]


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    """A JPEG and a PNG of the same size, sides no multiple of anything."""
    folder = tmp_path_factory.mktemp("photos")
    pixels = np.rint((make_crops(1, 184, 264)[0] + 1) * 127.5).astype(np.uint8)[:179, :257]
    Image.fromarray(pixels).save(folder / "photo.jpg", quality=90)
    Image.fromarray(pixels[:, ::-1]).save(folder / "photo.png")
    return folder


@pytest.mark.parametrize(
    ("shape", "arguments"),
    [
        ((64, 64, 3), {"num_blocks": 2, "outputs": "all"}),
        ((64, 96, 3), {"num_context": 0, "num_joints": 5, "kernel_size": 3, "grid": "centers"}),
        ((32, 64, 3), {"width": 24, "num_context": 1, "grid": "paper", "outputs": "maps", "alpha": 0.3}),
    ],
)
def test_folded_network_equals_the_unfolded(shape, arguments):
    model, crops = make_model(shape, **arguments), make_crops(4, *shape[:2])
    before = [weight.copy() for weight in model.get_weights()]
    folded = fold_batch_norms(model)
    expected, actual = run(model.with_outputs("last"), crops), run(folded, [crops])
    assert set(actual) == {"pose", "probability", "confidence"}
    for name in actual:
        assert actual[name].shape == expected[name].shape
        np.testing.assert_allclose(actual[name], expected[name], rtol=0, atol=1e-5)
    assert np.ptp(expected["pose"], axis=0).max() > 0.01  # the comparison sees something
    assert not any("_bn" in weight.path or "moving" in weight.path for weight in folded.weights)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_fold_matches_hand_computation(model):
    folded = fold_batch_norms(model)
    kernel, mean, variance, beta = (
        named_weights(model)[f"stem/{name}"].numpy()
        for name in ("conv_1/kernel", "conv_1_bn/moving_mean", "conv_1_bn/moving_variance", "conv_1_bn/beta")
    )
    layer = folded.get_layer("stem").get_layer("conv_1")
    np.testing.assert_allclose(layer.kernel.value, kernel / np.sqrt(variance + 1e-3), rtol=1e-6)
    np.testing.assert_allclose(layer.bias.value, beta - mean / np.sqrt(variance + 1e-3), rtol=1e-5, atol=1e-6)

    separable = folded.get_layer("block_b_1").get_layer("separable")
    variables = {name.split("/", 1)[1]: v.numpy() for name, v in named_weights(model).items() if "block_b" in name}
    factor = 1 / np.sqrt(variables["separable_bn/moving_variance"] + 1e-3)
    np.testing.assert_array_equal(separable.depthwise_kernel.value, variables["separable/depthwise_kernel"])
    np.testing.assert_allclose(
        separable.pointwise_kernel.value, variables["separable/pointwise_kernel"] * factor, rtol=1e-6
    )


def test_bfloat16_network_keeps_its_head_in_float32(model, crops):
    folded = fold_batch_norms(model, dtype="bfloat16")
    kinds = {weight.path.split("/")[-2]: str(weight.dtype) for weight in folded.weights}
    assert kinds.pop("heatmaps") == "float32"
    assert set(kinds.values()) == {"bfloat16"}
    output = run(folded, [crops])
    assert output["pose"].dtype == np.float32
    expected = model.predict(crops, verbose=0)
    assert 0 < np.abs(output["pose"] - expected["pose"]).max() < 0.02


@pytest.mark.parametrize(("format", "dtype"), [(f, d) for f, dtypes in DTYPES.items() for d in dtypes])
def test_export_answers_as_the_network_in_its_runtime(model, crops, exported, format, dtype):
    directory, deviation = exported(format, dtype)
    assert [path.name for path in directory.parent.iterdir()] == ["exported"]
    runtime = load_runtime(format, directory)
    expected = model.predict(crops, verbose=0)
    for count in (1, 3):
        answer = runtime(crops[:count])
        assert {name: array.dtype for name, array in answer.items()} == dict.fromkeys(expected, np.float32)
        tolerance = 1e-4 if dtype == "float32" else 0.03
        for name in expected:
            assert answer[name].shape == expected[name][:count].shape
            np.testing.assert_allclose(answer[name], expected[name][:count], rtol=0, atol=tolerance)
    description = json.loads((directory / "model.json").read_text())
    assert (description["format"], description["dtype"], description["size"]) == (format, dtype, 64)
    assert tuple(description["joints"]) == PA16J.names
    assert description["deviation"] == {"pixels": deviation.pixels, "probability": deviation.probability}
    if dtype != "float32":
        assert deviation.pixels > 1e-4  # the dtype took effect


def test_float32_export_of_a_bfloat16_model_is_compared_in_float32(model, crops, tmp_path, monkeypatch):
    mixed, written = make_model(dtype="mixed_bfloat16", outputs="all"), []
    monkeypatch.setattr(export, "_write", lambda network, *_, **__: written.append(network))
    monkeypatch.setattr(export, "load_runtime", lambda *_: lambda images: run(written[0], [images]))
    assert export_model(mixed, tmp_path / "new", format="savedmodel", crops=crops).pixels < 1e-3
    np.testing.assert_allclose(run(written[0], [crops])["pose"], model.predict(crops, verbose=0)["pose"], atol=1e-5)


def test_deviation_is_the_worst_joint_in_pixels(model, crops):
    expected = model.predict(crops, verbose=0)

    def runtime(images):
        start = int(np.flatnonzero((crops == images[0]).all(axis=(1, 2, 3)))[0])
        answer = {name: array[start : start + len(images)].copy() for name, array in expected.items()}
        if start <= 4 < start + len(images):
            answer["pose"][4 - start, 7] += (0.03, -0.04)
            answer["probability"][4 - start, 2] -= 0.25
        return answer

    deviation = deviation_from(answer_in_float32(model, crops), runtime, crops)
    assert deviation.pixels == pytest.approx(0.05 * 64, rel=1e-3)
    assert deviation.probability == pytest.approx(0.25, rel=1e-3)


@pytest.mark.parametrize("file", ["photo.jpg", "photo.png"])
def test_predict_jpeg_gives_the_predictors_pixels(model, predict_jpeg, photo, file):
    boxes = np.array([[30, 20, 150, 170], [-40, 100, 60, 220], [0, 0, 257, 179]], np.float32)
    poses = PosePredictor(model).predict(photo / file, boxes)
    encoded = (photo / file).read_bytes()
    answer = predict_jpeg(image_bytes=tf.constant([encoded] * 3), boxes=tf.constant(boxes))
    assert set(answer) == {"pixels", "probability", "confidence"}
    np.testing.assert_allclose(answer["pixels"], [pose.pixels for pose in poses], rtol=0, atol=0.01)
    np.testing.assert_allclose(answer["probability"], [pose.probability for pose in poses], rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "box", [[10, 10, 10, 50], [50, 10, 10, 50], [float("nan"), 0, 10, 10], [0, 0, float("inf"), 9]]
)
def test_predict_jpeg_refuses_boxes_without_area(predict_jpeg, photo, box):
    encoded = (photo / "photo.jpg").read_bytes()
    with pytest.raises(tf.errors.InvalidArgumentError, match="boxes must be x0 y0 x1 y1"):
        predict_jpeg(image_bytes=tf.constant([encoded]), boxes=tf.constant([box], tf.float32))


def test_saved_model_needs_neither_this_package_nor_keras(model, saved, photo, crops, tmp_path):
    np.save(tmp_path / "crops.npy", crops)
    program = f"""
        import sys
        sys.modules["pose_regression"] = sys.modules["keras"] = None  # importing either fails
        import numpy as np
        import tensorflow as tf
        model = tf.saved_model.load({str(saved / "1")!r})
        pose = model.signatures["serving_default"](image=tf.constant(np.load({str(tmp_path / "crops.npy")!r})))
        np.savez({str(tmp_path / "answer.npz")!r}, **pose)
        encoded = open({str(photo / "photo.jpg")!r}, "rb").read()
        people = model.signatures["predict_jpeg"](
            image_bytes=tf.constant([encoded]), boxes=tf.constant([[0, 0, 257, 179.0]])
        )
        assert people["pixels"].shape == (1, 16, 2) and people["probability"].shape == (1, 16)
        assert sys.modules["pose_regression"] is None and sys.modules["keras"] is None
    """
    result = subprocess.run(
        [sys.executable, "-I", "-c", textwrap.dedent(program)], cwd="/", capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    expected, answer = model.predict(crops, verbose=0), np.load(tmp_path / "answer.npz")
    np.testing.assert_allclose(answer["pose"], expected["pose"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(answer["probability"], expected["probability"][..., 0], rtol=0, atol=1e-5)


@pytest.fixture
def quick(monkeypatch):
    """Exports without conversion, for what happens around it: the runtime answers as the network, off by `pixels`."""

    def install(model, pixels=0.0):
        def runtime(images):
            output = model.predict_on_batch(images)
            return output | {"pose": output["pose"] + np.array([pixels / 64, 0])}

        monkeypatch.setattr(export, "answer_in_float32", lambda model, crops: model.predict_on_batch(crops))

        monkeypatch.setattr(export, "fold_batch_norms", lambda model, **_: model)
        monkeypatch.setattr(export, "_write", lambda network, directory, **_: (directory / "x").write_text(str(pixels)))
        monkeypatch.setattr(export, "load_runtime", lambda kind, directory: runtime)

    return install


def test_deviation_over_the_bound_leaves_nothing(model, crops, tmp_path, quick):
    quick(model, pixels=0.02)
    with pytest.raises(PoseError, match=r"deviates by 0\.02 pixels .* bound of 0\.01"):
        export_model(model, tmp_path / "new", format="savedmodel", crops=crops)
    quick(model, pixels=float("nan"))
    with pytest.raises(PoseError, match="deviates by nan pixels"):
        export_model(model, tmp_path / "new", format="savedmodel", crops=crops)
    assert list(tmp_path.iterdir()) == []
    quick(model, pixels=0.005)
    assert export_model(model, tmp_path / "new", format="savedmodel", crops=crops).pixels == pytest.approx(0.005, 0.05)


def test_only_an_earlier_export_is_replaced_and_only_by_force(model, crops, tmp_path, quick):
    old, foreign = tmp_path / "old", tmp_path / "foreign"
    quick(model)
    export_model(model, old, format="savedmodel", crops=crops)
    with pytest.raises(PoseError, match="--force"):
        export_model(model, old, format="savedmodel", crops=crops)
    quick(model, pixels=1)
    with pytest.raises(PoseError, match="deviates"):
        export_model(model, old, format="savedmodel", crops=crops, force=True)
    assert (old / "x").read_text() == "0.0"
    quick(model, pixels=0.005)
    export_model(model, old, format="savedmodel", crops=crops, force=True)
    assert (old / "x").read_text() == "0.005"

    foreign.mkdir()
    (foreign / "thesis.txt").write_text("precious")
    with pytest.raises(PoseError, match="no earlier export"):
        export_model(model, foreign, format="savedmodel", crops=crops, force=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["foreign", "old"]
    assert (foreign / "thesis.txt").read_text() == "precious"


def test_calibration_and_comparison_use_different_crops(model, crops, tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setattr(export, "_write", lambda *_, calibration, **__: seen.update(calibration=calibration))
    monkeypatch.setattr(export, "load_runtime", lambda *_: None)
    monkeypatch.setattr(export, "answer_in_float32", lambda *_: {})
    monkeypatch.setattr(export, "deviation_from", lambda _, __, crops: seen.update(compared=crops) or Deviation(0, 0))
    export_model(model, tmp_path / "new", format="onnx", dtype="int8", crops=crops)
    np.testing.assert_array_equal(seen["calibration"], crops[[0, 2, 4]])
    np.testing.assert_array_equal(seen["compared"], crops[[1, 3, 5]])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"format": "caffe"}, "format must be one of savedmodel, onnx, litert, openvino"),
        ({"format": "savedmodel", "dtype": "int8"}, "savedmodel can be written in float32 or bfloat16"),
        ({"crops": np.zeros((4, 32, 32, 3), np.float32)}, r"crops must be at least 2, \(64, 64, 3\) each"),
        ({"crops": np.zeros((1, 64, 64, 3), np.float32)}, "crops must be at least 2"),
        ({"skeleton": Skeleton(("head", "foot"))}, "The model has 16 joints; the skeleton has 2"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_written(model, crops, tmp_path, changed, message):
    with pytest.raises(PoseError, match=message):
        export_model(model, tmp_path / "new", **{"format": "savedmodel", "crops": crops} | changed)
    assert list(tmp_path.iterdir()) == []


def test_network_of_oblong_images_is_refused(tmp_path):
    with pytest.raises(PoseError, match="takes images of 96 x 64 pixels"):
        export_model(make_model((64, 96, 3)), tmp_path / "new", format="savedmodel", crops=make_crops(2, 64, 96))


def test_missing_or_damaged_exports_are_refused(saved, tmp_path):
    with pytest.raises(PoseError, match="holds no export"):
        load_runtime("savedmodel", tmp_path)
    with pytest.raises(PoseError, match="for savedmodel, not for onnx"):
        load_runtime("onnx", saved)
    with pytest.raises(PoseError, match="kind must be one of"):
        load_runtime("torch", saved)
    (tmp_path / "model.json").write_text((saved / "model.json").read_text())
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"\x00damaged")
    with pytest.raises(PoseError, match="cannot be loaded by savedmodel"):
        load_runtime("savedmodel", tmp_path)


def test_missing_package_is_named(saved, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    description = json.loads((saved / "model.json").read_text()) | {"format": "onnx"}
    (tmp_path / "model.json").write_text(json.dumps(description))
    with pytest.raises(
        PoseError, match=r"onnx needs the package onnxruntime: in the project's clone, pip install -e '\.\[export\]'"
    ):
        load_runtime("onnx", tmp_path)


def test_an_export_is_compared_in_full_float32_whatever_the_gpu_would_round():
    enabled = tf.config.experimental.tensor_float_32_execution_enabled
    crops, seen = np.zeros((2, 32, 32, 3), np.float32), []

    def runtime(images):
        seen.append(enabled())
        return {"pose": np.zeros((2, 1, 2)), "probability": np.zeros((2, 1, 1))}

    before = enabled()
    assert deviation_from(runtime(crops), runtime, crops) == Deviation(0, 0)
    assert seen == [before, False] and enabled() == before is True


def test_an_export_describes_its_inputs_and_outputs_and_names_the_batch(exported):
    onnx = pytest.importorskip("onnx", reason="needs onnx (pip install '.[export]')")
    directory, _ = exported("onnx", "float32")
    about = json.loads((directory / "model.json").read_text(encoding="utf-8"))
    graph = onnx.load(str(directory / "model.onnx")).graph
    for described, tensors in ((about["inputs"], graph.input), (about["outputs"], graph.output)):
        shapes = {
            tensor.name: [axis.dim_param or axis.dim_value for axis in tensor.type.tensor_type.shape.dim]
            for tensor in tensors
        }
        assert {entry["name"]: entry["shape"] for entry in described} == shapes
        assert all(entry["dtype"] == "float32" and entry["shape"][0] == "batch" for entry in described)
    assert about["inputs"][0]["range"] == [-1, 1]
    assert {entry["name"] for entry in about["outputs"]} == {"pose", "probability", "confidence"}
