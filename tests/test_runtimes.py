"""Other runtimes behind a predictor: the network's own answers, or not used."""

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
import pytest
from test_export import make_crops, make_model

from pose_regression.errors import PoseError
from pose_regression.inference import runtimes
from pose_regression.inference.predictor import PosePredictor
from pose_regression.inference.runtimes import FORMATS, PACKAGES, automatic_runtime, open_runtime
from pose_regression.model.load import load_model
from pose_regression.model.weights import save_weights
from pose_regression.skeleton import PA16J, Skeleton


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    return tmp_path / "pose_regression" / "runtimes"


@pytest.fixture
def exports(monkeypatch, model):
    """Exports without conversion, which answer as they should, but for what the attributes say, by format."""

    class Exports:
        error = dict.fromkeys(FORMATS.values(), 0.0)  # in pixels
        written: list[str] = []
        called: list[str] = []

    def write(network, directory, *, format, crops, skeleton, answer):
        directory.mkdir(parents=True)
        (directory / "model.json").write_text("{}")
        exports.written.append(format)

    def load(format, directory):
        if not (directory / "model.json").is_file():
            raise PoseError(f"{directory} holds no export")

        def network(images):
            exports.called.append(format)
            return answer(model, images, error=exports.error[format] / 64)

        return network

    def answer(model, images, error=0.0):
        joints = np.zeros((len(images), 16))
        return {"pose": np.stack([joints + error, joints], -1), "probability": joints[..., None]}

    exports = Exports()
    monkeypatch.setattr(runtimes, "export_model", write)
    monkeypatch.setattr(runtimes, "load_runtime", load)
    monkeypatch.setattr(runtimes, "answer_in_float32", answer)
    monkeypatch.setattr(runtimes, "probe_crops", lambda count, size: make_crops(count))
    monkeypatch.setattr(runtimes, "missing_packages", lambda runtime: [])
    return exports


@pytest.mark.parametrize("runtime", ["savedmodel", "litert"])  # test_export.py has every format
def test_predictor_gives_the_same_pose_in_every_runtime(model, cache, runtime):
    for package in PACKAGES[runtime]:
        pytest.importorskip(package, reason=f"{package} is not installed")
    images = [np.rint((crop + 1) * 127.5).astype(np.uint8) for crop in make_crops(3, 96, 72)]
    expected = PosePredictor(model).predict(images, people="whole", flip=True)
    predictor = PosePredictor(model, runtime=runtime, batch_size=4)
    assert predictor.runtime == runtime
    for pose, other in zip(predictor.predict(images, people="whole", flip=True), expected, strict=True):
        np.testing.assert_allclose(pose.pixels, other.pixels, atol=0.01)
        np.testing.assert_allclose(pose.probability, other.probability, atol=1e-3)
    assert np.abs(expected[0].pixels - expected[1].pixels).max() > 0.1  # the comparison sees something
    (folder,) = cache.iterdir()
    assert sorted(path.name for path in folder.iterdir()) == ["answers.npz", runtime]


def test_an_export_is_written_once_for_the_same_weights_joints_and_arguments(model, cache, exports):
    for _ in range(2):
        open_runtime(model, PA16J, "litert")
        open_runtime(model.with_outputs("all"), PA16J, "litert")
    assert exports.written == ["litert"]
    other = make_model()
    other.trainable_weights[0].assign_add(np.full_like(other.trainable_weights[0], 1e-3))
    open_runtime(other, PA16J, "litert")
    open_runtime(model, Skeleton(tuple(f"joint_{i}" for i in range(16))), "litert")
    open_runtime(make_model(alpha=0.9), PA16J, "litert")
    assert exports.written == ["litert"] * 4 and len(list(cache.iterdir())) == 4


def test_a_damaged_or_deviating_export_is_written_again(model, cache, exports):
    open_runtime(model, PA16J, "litert")
    (folder,) = cache.iterdir()
    (folder / "litert" / "model.json").unlink()
    open_runtime(model, PA16J, "litert")
    (folder / "answers.npz").write_bytes(b"damaged")
    open_runtime(model, PA16J, "litert")
    assert exports.written == ["litert"] * 2
    exports.error["litert"] = 0.02
    with pytest.raises(PoseError, match=r"The runtime 'litert' deviates by 0\.02 pixels .* bound of 0\.01"):
        open_runtime(model, PA16J, "litert")
    assert exports.written == ["litert"] * 3


def test_auto_is_litert_exported_once(model, exports, caplog):
    with caplog.at_level(logging.INFO, "pose_regression"):
        for _ in range(2):
            assert PosePredictor(model, runtime="auto").runtime == "litert"
    assert exports.written == ["litert"] and set(exports.called) == {"litert"}
    assert caplog.messages.count("Exporting to litert, once for these weights.") == 1


def test_a_file_of_weights_is_auto_and_a_model_that_may_still_learn_is_keras(model, exports, tmp_path):
    save_weights(model, tmp_path / "a.weights.h5")
    assert PosePredictor(tmp_path / "a.weights.h5").runtime == "litert"
    assert PosePredictor(tmp_path / "a.weights.h5", runtime="keras").runtime == "keras"
    assert PosePredictor(model).runtime == "keras"


def test_auto_passes_over_what_deviates_or_is_not_installed(model, exports, monkeypatch, caplog):
    exports.error["litert"] = 0.02
    with caplog.at_level(logging.INFO, "pose_regression"):
        assert automatic_runtime(model, PA16J)[0] == "onnxruntime"
    assert "Not litert: The runtime 'litert' deviates by 0.02 pixels" in caplog.text
    monkeypatch.setattr(runtimes, "missing_packages", lambda runtime: ["it"] if runtime == "onnxruntime" else [])
    assert automatic_runtime(model, PA16J)[0] == "keras"


def test_auto_is_keras_on_a_gpu_or_where_nothing_can_be_kept(model, exports, monkeypatch, tmp_path, cache):
    with monkeypatch.context() as patch:
        patch.setattr(runtimes.tf.config, "list_physical_devices", lambda kind: ["a GPU"])
        assert automatic_runtime(model, PA16J)[0] == "keras"
    assert not cache.exists()
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "file"))
    assert automatic_runtime(model, PA16J)[0] == "keras"
    with pytest.raises(PoseError, match="could not be written"):
        PosePredictor(model, runtime="litert")


@pytest.mark.parametrize("runtime", ["litert", "openvino"])
def test_several_threads_get_their_own_answers(model, cache, runtime):
    for package in PACKAGES[runtime]:
        pytest.importorskip(package, reason=f"{package} is not installed")
    network, crops = open_runtime(model, PA16J, runtime), make_crops(8)
    expected = [network(crop[None])["pose"] for crop in crops]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            answers = pool.map(lambda crop: network(crop[None])["pose"], crops)
            np.testing.assert_array_equal(list(answers), expected)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow compiles for any batch size")
def test_an_answer_does_not_depend_on_what_was_asked_before():
    (model, skeleton), (other, _) = (load_model(Path("small")) for _ in range(2))
    images = np.random.default_rng(0).uniform(-1, 1, (3, *model.input_shape[1:])).astype(np.float32)
    alone = open_runtime(model, skeleton, "keras")(images[:1])
    network = open_runtime(other, skeleton, "keras")
    for size in (3, 2):
        network(images[:size])
    after_others = network(images[:1])
    for name in ("pose", "probability"):
        np.testing.assert_array_equal(after_others[name], alone[name])


def test_wrong_runtime_and_missing_package_are_one_sentence(model, monkeypatch):
    with pytest.raises(PoseError, match="runtime must be auto, keras, .*, litert. Received: runtime='torch'"):
        PosePredictor(model, runtime="torch")
    monkeypatch.setattr(runtimes, "find_spec", lambda name: None)
    with pytest.raises(
        PoseError, match=r"'openvino' needs the package openvino: in the project's clone, pip install -e '\.\[export\]'"
    ):
        PosePredictor(model, runtime="openvino")
