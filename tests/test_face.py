"""What `import pose_regression` gives: names, lazily; layers that Keras finds; modules under their old names."""

import subprocess
import sys

import keras
import numpy as np
import pytest

import pose_regression
from pose_regression import late_imports


def run(code: str, *arguments: str) -> str:
    """What a new Python prints."""
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


def test_every_name_is_there_and_is_the_one_of_its_module():
    assert set(pose_regression.__all__) == set(pose_regression._HOMES) <= set(dir(pose_regression))
    for name, home in pose_regression._HOMES.items():
        assert getattr(pose_regression, name) is getattr(sys.modules[f"pose_regression.{home}"], name)
    with pytest.raises(AttributeError, match="has no attribute 'PoseRegressors'"):
        _ = pose_regression.PoseRegressors
    assert pose_regression.__version__[0].isdigit()


def test_the_import_alone_loads_neither_keras_nor_tensorflow():
    code = (
        "import sys, pose_regression; print([m for m in ('keras', 'tensorflow', 'scipy', 'PIL') if m in sys.modules])"
    )
    assert run(code) == "[]"


@pytest.mark.slow
@pytest.mark.parametrize("module", ["model.regression", "model.weights", "training.losses"])
def test_any_module_may_be_the_first_that_is_imported(module):
    assert run(f"import pose_regression.{module} as m; print(m.__name__)") == f"pose_regression.{module}"


@pytest.mark.slow
@pytest.mark.parametrize("order", ["pose_regression, keras", "keras, pose_regression"])
def test_a_keras_file_loads_whichever_is_imported_first(order, tmp_path):
    pose_regression.PoseRegressor((32, 32, 3), num_blocks=1, width=16).save(tmp_path / "a.keras")
    code = f"import sys, {order}; print(type(keras.saving.load_model(sys.argv[1])).__name__)"
    assert run(code, str(tmp_path / "a.keras")) == "PoseRegressor"


@pytest.mark.parametrize("name", late_imports.MOVED)
def test_modules_of_the_first_version_are_found_by_their_old_names(name):
    with pytest.warns(DeprecationWarning, match=f"pose_regression.{name} has moved: see pose_regression."):
        sys.modules.pop(f"pose_regression.{name}", None)
        __import__(f"pose_regression.{name}")


@pytest.mark.filterwarnings("ignore:pose_regression")
def test_old_names_are_the_new_objects():
    from pose_regression.layers import BatchNormalization, SoftArgmax
    from pose_regression.predictor import PosePredictor
    from pose_regression.weights import load_authors_weights, load_model, save_weights

    assert PosePredictor is pose_regression.PosePredictor and load_model is pose_regression.load_model
    assert load_authors_weights is pose_regression.load_authors_weights
    assert save_weights is pose_regression.save_weights
    assert SoftArgmax.__module__ == "pose_regression.model.regression"
    assert BatchNormalization.__module__ == "pose_regression.model.kernels"
    with pytest.raises(ImportError):
        from pose_regression.layers import Nothing  # noqa: F401


def test_preprocessing_sends_bytes_to_what_the_network_takes():
    found = keras.ops.convert_to_numpy(pose_regression.preprocess_input(np.array([0, 51, 255], np.uint8)))
    np.testing.assert_allclose(found, [-1, -0.6, 1], atol=1e-6)
