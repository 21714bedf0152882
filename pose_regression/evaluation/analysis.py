"""How one run's weights do on a benchmark: its scores block by block, and whether its probabilities can be believed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pose_regression.data.sample import Sample
from pose_regression.data.windows import windows_of_samples
from pose_regression.evaluation import metrics
from pose_regression.evaluation.benchmarks import Benchmark
from pose_regression.evaluation.scoring import load_network
from pose_regression.evaluation.windows import predict_blocks
from pose_regression.geometry import transform_points
from pose_regression.skeleton import PA16J, reorder

NARROW = 0.7
"""Side of the second window of the calibration: a benchmark's own window has next to no joint outside."""


@dataclass(frozen=True, eq=False)
class Analysis:
    """How one run's best weights do on the benchmark's N people."""

    parameters: int
    pixels: np.ndarray
    """(N, J, 2) in image pixels, in the benchmark's joint order."""
    distances: np.ndarray
    """(N, J') normalised distances of the joints that the benchmark's total counts; NaN where none is annotated."""
    blocks: list[dict[str, float]]
    """Scores of each block, the last one being the answer."""
    calibration: dict[str, list[dict[str, float]]]
    """Window -> `metrics.calibration`."""


def analyse(weights: Path, benchmark: Benchmark, samples: Sequence[Sample]) -> Analysis:
    """Predict `samples` with the weights, from their own window and from a narrow one, and score the answers."""
    model, skeleton = load_network(weights, benchmark.skeleton)
    calibration = {}
    for name, zoom in (("the benchmark's window", 1.0), (f"{NARROW} of its side", NARROW)):
        windows = [replace(sample, side=zoom * sample.side) for sample in samples]
        estimate = predict_blocks(model, windows, skeleton=skeleton)
        if zoom == 1.0:
            pixels = reorder(estimate.pixels, skeleton, benchmark.skeleton).astype(np.float64)
        probability = reorder(estimate.probability[:, -1], skeleton, PA16J, axis=-1)
        calibration[name] = reliability(windows, probability)
    blocks = [benchmark.scores(samples, answer)[benchmark.metric] for answer in np.moveaxis(pixels, 1, 0)]
    distances = benchmark.distances(samples, pixels[:, -1])
    distances = metrics.take_joints(distances, benchmark.skeleton, benchmark.counted)
    return Analysis(model.count_params(), pixels[:, -1], distances, blocks, calibration)


def reliability(samples: Sequence[Sample], probability: np.ndarray) -> list[dict[str, float]]:
    """`metrics.calibration` of (N, 16) probabilities; joints that the data set never annotates are left out."""
    affine = windows_of_samples(samples).affine()
    inside = metrics.inside_crop(transform_points(affine, np.stack([sample.joints for sample in samples])))
    known = np.stack([sample.supervised for sample in samples])
    return metrics.calibration(np.where(known, probability, np.nan), inside)
