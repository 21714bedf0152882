"""Whether a number ranks joints by how likely they are right, and slope and offset that make it a probability."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

from pose_regression.data import lsp
from pose_regression.data.sample import Sample
from pose_regression.errors import PoseError
from pose_regression.evaluation.benchmarks import LSP
from pose_regression.evaluation.windows import Estimate, predict
from pose_regression.model.load import load_model
from pose_regression.model.network import PoseRegressor
from pose_regression.model.weights import load_weights, save_weights
from pose_regression.skeleton import PA16J, reorder


def risk_coverage_area(score: np.ndarray, right: np.ndarray) -> float:
    """Area under the risk-coverage curve, per cent: the mean, over how many are kept, of the errors among them.

    Those of the highest score are kept first; of equal scores, in the order given. Less is better: the share of errors
    for a score that says nothing, 0 if nothing is wrong.

    Args:
        score: (N,) any numbers, higher is surer.
        right: (N,) bool.
    """
    order = np.argsort(-np.asarray(score), kind="stable")
    return float(100 * np.mean(np.cumsum(~np.asarray(right)[order]) / np.arange(1, len(order) + 1)))


def fit(evidence: np.ndarray, right: np.ndarray) -> tuple[float, float]:
    """Slope and offset of the logistic regression of `right` on `evidence`: sigmoid(slope · evidence + offset).

    Args:
        evidence: (N,) such as log Σ φ² of a joint's part map (`model.confidence`).
        right: (N,) bool.

    Raises:
        PoseError: all are right, or all wrong, or more evidence does not make a joint likelier to be right.
    """
    sign = np.where(right, 1.0, -1.0)
    if abs(sign.mean()) == 1:
        raise PoseError(
            f"Calibration needs joints that are right and joints that are wrong. Received: {len(sign)} alike"
        )

    def loss(parameters: np.ndarray) -> float:
        return float(np.mean(np.logaddexp(0, -sign * (parameters[0] * evidence + parameters[1]))))

    slope, offset = minimize(loss, np.array([1.0, 0.0])).x
    if slope <= 0:
        raise PoseError(f"Surer joints are not right more often: the slope is {slope:.3g}; expected a trained network.")
    return float(slope), float(offset)


def calibrate(
    weights: str | Path, data: Path, output: Path, *, holdout: int = 200, half: bool = False
) -> tuple[float, float, dict[str, tuple[float, float]]]:
    """Fit slope and offset of `model.confidence.JointConfidence` and write the weights with them.

    Args:
        weights: file or name of a network of LSP's joints.
        data: LSP's folder.
        output: weight file to write.
        holdout: training people to fit on, the last.
        half: of `save_weights`: kernels as float16.

    Returns:
        Slope, offset, and by split the areas under the risk-coverage curve of confidence and probability.

    Raises:
        PoseError: no such weights or data, or a network whose confidence says nothing.
    """
    model, skeleton = load_model(weights, dtype="float32")
    held_out, test = lsp.load(data, "train")[-holdout:], lsp.load(data, "test")
    found = predict(model, held_out, skeleton=skeleton)
    slope, offset = model.get_config()["calibration"]
    # The evidence that the network's present calibration was applied to.
    sure = np.clip(_of_lsp(found.confidence), 1e-12, 1 - 1e-12)
    evidence = (np.log(sure / (1 - sure)) - offset) / slope
    right = right_joints(held_out, found)
    slope, offset = fit(evidence.ravel(), right.ravel())

    calibrated = PoseRegressor(**model.get_config() | {"calibration": (slope, offset)})
    calibrated.set_weights(model.get_weights())
    save_weights(calibrated, output, skeleton=skeleton, half=half)
    load_weights(calibrated, output)
    splits = {f"LSP train, the last {holdout}": (held_out, found), "LSP test": (test, predict(calibrated, test))}
    return slope, offset, {name: areas(*people) for name, people in splits.items()}


def right_joints(samples: Sequence[Sample], found: Estimate) -> np.ndarray:
    """(N, 14) bool, in LSP's order: joints within 0.2 torso lengths of their label."""
    pixels = reorder(found.pixels, PA16J, LSP.skeleton).astype(np.float64)
    return LSP.distances(samples, pixels) <= LSP.threshold


def areas(samples: Sequence[Sample], found: Estimate) -> tuple[float, float]:
    """Areas under the risk-coverage curves of confidence and probability, per cent."""
    right = right_joints(samples, found).ravel()
    scores = (_of_lsp(found.confidence).ravel(), _of_lsp(found.probability).ravel())
    return risk_coverage_area(scores[0], right), risk_coverage_area(scores[1], right)


def _of_lsp(values: np.ndarray | None) -> np.ndarray:
    return reorder(np.asarray(values, np.float64), PA16J, LSP.skeleton, axis=-1)
