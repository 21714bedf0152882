"""One evaluation from start to end: weights or given predictions -> scores, tables in words, files."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pose_regression.data.images import check_images
from pose_regression.data.sample import Sample
from pose_regression.errors import PoseError
from pose_regression.evaluation import metrics
from pose_regression.evaluation.benchmarks import Benchmark, annotated, joints_inside, mean_pose
from pose_regression.evaluation.paper import format_table, with_quoted
from pose_regression.evaluation.predictions import (
    Predictions,
    identities,
    load_predictions,
    match,
    save_mpii_submission,
    save_predictions,
)
from pose_regression.evaluation.sheets import choose, draw_people, mean_errors
from pose_regression.evaluation.windows import predict_blocks
from pose_regression.files import write_json
from pose_regression.model.load import load_model
from pose_regression.model.network import PoseRegressor
from pose_regression.model.weights import fetch_weights
from pose_regression.skeleton import PA16J, Skeleton, reorder
from pose_regression.visualize import save_image
from pose_regression.wording import quantity

SCORES_FILE = "scores.json"


@dataclass(frozen=True)
class Protocol:
    """How people are predicted and which joints are scored."""

    flip: bool = False
    """Average with the mirrored crop."""
    crops: int = 1
    """Window sizes that are averaged."""
    refine: int = 0
    """Times the window is put about the prediction."""
    inside_only: bool = False
    """Drop joints outside the crop, as the paper's authors do in validation."""
    people: str = ""
    """Who said where people are: a detector, or "whole" for nobody; empty for the annotation."""

    def words(self, *, given: bool) -> str:
        """For a reader; `given` predictions do not say how they were made."""
        crops = "single crop" if self.crops == 1 else f"{self.crops} crops"
        how = ["given predictions"] if given else [crops, "with flip" if self.flip else "no flip"]
        how += [f"refined {self.refine}x"] if self.refine else []
        if self.people:
            how += ["without a box" if self.people == "whole" else f"people found by {self.people}"]
        return ", ".join([*how, "joints inside the crop only"] if self.inside_only else how)


@dataclass(frozen=True, eq=False)
class Answers:
    """Poses of N people, in a benchmark's joint order, and where they come from."""

    blocks: np.ndarray
    """(N, K, J, 2) pixels, the last block being the answer; K = 1 where a file has one answer per person."""
    predictions: Predictions
    """Those of the last block."""
    source: dict[str, Any]
    """`file`, its `sha256`, and of weights the number of `parameters`."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What came out."""

    benchmark: Benchmark
    samples: Sequence[Sample]
    predictions: Predictions
    distances: np.ndarray
    """(N, J) of `Benchmark.distances`."""
    result: dict[str, Any]
    """The content of `scores.json`."""


def predicted(
    benchmark: Benchmark,
    samples: Sequence[Sample],
    weights: str | Path,
    protocol: Protocol,
    *,
    missed: np.ndarray | None = None,
) -> Answers:
    """The answers of a weight file, or of weights by name; none for the `missed` (N,) bool, whom no detector found.

    Raises:
        PoseError: no readable weights, of a network that lacks joints of the benchmark, or an unreadable image.
    """
    benchmark.require_images(samples)
    check_images(samples)
    path = fetch_weights(str(weights))
    model, skeleton = load_network(path, benchmark.skeleton)
    estimate = predict_blocks(
        model, samples, flip=protocol.flip, crops=protocol.crops, refine=protocol.refine, skeleton=skeleton
    )
    blocks = reorder(estimate.pixels, skeleton, benchmark.skeleton).astype(np.float64)
    if missed is not None:
        blocks[missed] = np.nan
    probability = reorder(estimate.probability[:, -1], skeleton, benchmark.skeleton, axis=-1)
    predictions = Predictions(benchmark.skeleton, blocks[:, -1], probability, *identities(samples))
    return Answers(blocks, predictions, _source(path) | {"parameters": model.count_params()})


def given(benchmark: Benchmark, samples: Sequence[Sample], path: Path) -> Answers:
    """The answers in a file of predictions; `PoseError` if it is damaged or of other people."""
    predictions = match(load_predictions(path, benchmark.skeleton), *identities(samples))
    return Answers(predictions.pixels[:, None], predictions, _source(path))


def evaluate(
    benchmark: Benchmark,
    samples: Sequence[Sample],
    answers: Answers,
    *,
    split: str,
    protocol: Protocol,
    command: str,
    training: Sequence[Sample] = (),
) -> Evaluation:
    """Score the answers for the people of a benchmark's split; of people without annotation nothing is scored.

    Args:
        benchmark, samples, answers, split: who answered what.
        protocol: how they were predicted; its `inside_only` is applied here.
        command: what the user typed, for the record.
        training: people whose mean pose is the baseline, if any.
    """
    scored = joints_inside(samples) if protocol.inside_only else samples
    distances = benchmark.distances(scored, answers.predictions.pixels)
    result: dict[str, Any] = {
        "benchmark": benchmark.name,
        "split": split,
        "protocol": protocol.words(given="parameters" not in answers.source),
        "people": len(samples),
        "images": len({sample.image for sample in samples}),
        "joints_scored": int((~np.isnan(distances)).sum()),
        "command": command,
        "source": answers.source,
    }
    if annotated(samples):
        blocks = [benchmark.scores(scored, pixels) for pixels in np.moveaxis(answers.blocks, 1, 0)]
        result["scores"] = blocks[-1]
        result["joints"] = metrics.joint_rates(distances, benchmark.skeleton, benchmark.threshold)
        result["blocks"] = [scores[benchmark.metric] for scores in blocks]
        if training:
            baseline = reorder(mean_pose(training, samples), PA16J, benchmark.skeleton)
            result["mean_pose"] = benchmark.scores(scored, baseline)
    return Evaluation(benchmark, samples, answers.predictions, distances, result)


def report(evaluation: Evaluation) -> str:
    """The scores as text: the paper's tables, then joint by joint, then block by block."""
    benchmark, result = evaluation.benchmark, evaluation.result
    label, split = Path(result["source"]["file"]).name, result["split"]
    people, images = quantity(result["people"], "person"), quantity(result["images"], "image")
    lines = [f"{benchmark.title} {split}: {people} in {images}, {result['protocol']}"]
    for metric, columns in result["scores"].items():
        ours = {"Mean pose": result["mean_pose"][metric]} if "mean_pose" in result else {}
        rows = with_quoted(benchmark.quoted.get((split, metric), ()), ours | {label: columns})
        lines += ["", f"{metric}, per cent", "", format_table(rows)]
    lines += ["", f"{benchmark.metric} by joint", "", format_table(by_side(result["joints"]))]
    if len(result["blocks"]) > 1:
        rows = [(f"block {k}", columns) for k, columns in enumerate(result["blocks"], start=1)]
        lines += ["", f"{benchmark.metric} by block, the last one being the answer", "", format_table(rows)]
    return "\n".join(lines)


def by_side(rates: Mapping[str, float]) -> list[tuple[str, dict[str, float]]]:
    """Rates by joint name as rows of a table: person's right, person's left, both alike."""
    rows: dict[str, dict[str, float]] = {"right": {}, "left": {}, "centre": {}}
    for name, rate in rates.items():
        side, _, part = name.partition("_")
        rows[side if part else "centre"][part or name] = rate
    return list(rows.items())


def save(directory: Path, evaluation: Evaluation, *, release: Path | None = None) -> None:
    """Write the predictions in every format, and last `scores.json`, whose presence says that all is there.

    `release` is MPII's official annotation if the predictions are of its test people, for the submission.
    """
    (directory / SCORES_FILE).unlink(missing_ok=True)
    for suffix in (".json", ".h5", ".mat"):
        save_predictions(directory / f"predictions{suffix}", evaluation.predictions)
    if release:
        save_mpii_submission(directory / "pred_keypoints_mpii.mat", evaluation.predictions, release)
    write_json(directory / SCORES_FILE, _without_nan(evaluation.result))


def draw_sheet(path: Path, evaluation: Evaluation, *, worst: bool) -> int:
    """Draw people spread from the best to the worst, or the `worst` ones; how many."""
    errors = mean_errors(evaluation.distances)
    shown = choose(errors, worst=worst)
    samples = [evaluation.samples[i] for i in shown]
    captions = [f"{Path(sample.image).stem}  {errors[i]:.2f}" for i, sample in zip(shown, samples, strict=True)]
    pixels = evaluation.predictions.pixels[shown]
    save_image(path, draw_people(samples, pixels, evaluation.benchmark.skeleton, captions))
    return len(shown)


def load_network(path: Path, joints: Skeleton) -> tuple[PoseRegressor, Skeleton]:
    """The network in a weight file, ours or the authors', that gives every block's answer; and its joints.

    Raises:
        PoseError: no readable weights, or of a network that does not predict all of `joints`.
    """
    model, skeleton = load_model(path, outputs="all")
    missing = [name for name in joints.names if name not in skeleton.names]
    if missing:
        raise PoseError(f"{path} is of a network that does not predict {', '.join(missing)}, which are to be scored.")
    return model, skeleton


def _source(path: Path) -> dict[str, Any]:
    return {"file": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def _without_nan(value: Any) -> Any:
    """The same nested structure with None for NaN, as JSON has none."""
    if isinstance(value, Mapping):
        return {name: _without_nan(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
