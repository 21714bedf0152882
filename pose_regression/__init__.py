"""Human pose regression by combining indirect part detection and contextual information, in Keras 3.

Everything below is imported when it is first used, so that `import pose_regression` costs nothing. Its layers are
registered with Keras as soon as Keras is there, before or after, so that `keras.saving.load_model` finds them.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from pose_regression import late_imports

if TYPE_CHECKING:
    from pose_regression.errors import PoseError
    from pose_regression.evaluation.metrics import pck_lsp, pckh, pcp_lsp
    from pose_regression.inference.pose import Pose
    from pose_regression.inference.predictor import PosePredictor
    from pose_regression.model.load import load_model
    from pose_regression.model.network import PoseRegressor, preprocess_input
    from pose_regression.model.weights import load_authors_weights, load_weights, save_weights
    from pose_regression.skeleton import Skeleton
    from pose_regression.training.experiment import Experiment
    from pose_regression.training.run import run

_HOMES = {
    "PoseRegressor": "model.network",
    "preprocess_input": "model.network",
    "load_model": "model.load",
    "load_weights": "model.weights",
    "save_weights": "model.weights",
    "load_authors_weights": "model.weights",
    "PosePredictor": "inference.predictor",
    "Pose": "inference.pose",
    "Skeleton": "skeleton",
    "PoseError": "errors",
    "Experiment": "training.experiment",
    "run": "training.run",
    "pckh": "evaluation.metrics",
    "pck_lsp": "evaluation.metrics",
    "pcp_lsp": "evaluation.metrics",
}

__all__ = [
    "Experiment", "Pose", "PoseError", "PosePredictor", "PoseRegressor", "Skeleton", "load_authors_weights",
    "load_model", "load_weights", "pck_lsp", "pckh", "pcp_lsp", "preprocess_input", "run", "save_weights",
]  # fmt: skip

try:
    __version__ = version("pose-regression")
except PackageNotFoundError:  # a clone that was not installed
    __version__ = "0+unknown"

late_imports.set_up()


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
