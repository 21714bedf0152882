"""Score weights, or a file of predictions, as the paper's tables do, with the quoted rows beside.

    python -m experiments.evaluate --benchmark lsp --data datasets/lsp --weights small --output runs/lsp_test
    python -m experiments.evaluate --benchmark lsp --data datasets/lsp --weights small --sheet worst.png --worst
    python -m experiments.evaluate --benchmark lsp --data datasets/lsp --predictions runs/lsp_test/predictions.json
    python -m experiments.evaluate --benchmark mpii --data datasets/mpii --weights mpii.weights.h5
    python -m experiments.evaluate --benchmark mpii --data datasets/mpii --weights mpii.weights.h5 --split test \\
        --output runs/mpii_test

LSP: PCK@0.2 and strict PCP of the 1,000 test people, person-centric (Tables 2 and 3), beside the mean pose of the
training people, which gives 17.9 PCK. MPII: PCKh@0.5 of the 2,958 validation people (Table 1, the paper's 89.1), or
with `--split test` of the test people who stand alone (Table 4, the paper's 91.2), by default from three crops and
their mirror images; without the test annotation this writes the submission and scores nothing.

`--weights` takes our files, the names of weights that ship with the project, and the authors' published
`reception_mpii_weights_tf_ch_last_v1.h5`. `--output DIR` keeps `scores.json` (scores, command line, sha256, counts)
and the predictions in pixels of the original images: `predictions.json`, and `.h5` and `.mat` as the benchmarks' own
tools read them; for MPII test also `pred_keypoints_mpii.mat`, the official submission.

Several processes or machines share the work with `--shard 1/4` ... `4/4`: each scores its part, `experiments.merge`
puts their predictions together, and `--predictions` scores the whole.

Cost: the network's time; 1,000 people and a small network at 128 px take about 20 s on two CPU cores, a forward pass
per crop and mirror image.
"""

import argparse
import hashlib
import json
import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.command import run
from experiments.sharding import shard
from pose_regression.data import lsp, mpii
from pose_regression.data.pipeline import evaluation_dataset
from pose_regression.data.sample import Sample
from pose_regression.errors import PoseError
from pose_regression.evaluation import metrics, paper
from pose_regression.evaluation import windows as evaluation
from pose_regression.evaluation.predictions import (
    Predictions,
    load_predictions,
    match,
    save_mpii_submission,
    save_predictions,
)
from pose_regression.files import atomic_path
from pose_regression.geometry import crop_affine, invert, to_crop_pixels, transform_points
from pose_regression.model.network import PoseRegressor
from pose_regression.model.weights import load_model, weights_path
from pose_regression.skeleton import LSP, MPII, PA16J, Skeleton, reorder
from pose_regression.visualize import contact_sheet, draw_pose, save_image

SHOWN, TILE = 48, 256
"""People on a contact sheet, and the side of each in pixels."""

TEST_CROPS = 3
"""Windows per person on MPII test, each with its mirror image: the paper does not say how many it took."""


@dataclass(frozen=True)
class Benchmark:
    """What tells one benchmark from another."""

    joints: Skeleton
    """Its joints, in its order."""
    splits: tuple[str, ...]
    """The first one is the default."""
    metric: str
    threshold: float
    total: str
    """The column that sums the metric up."""


BENCHMARKS = {
    "lsp": Benchmark(LSP, ("test", "train"), "PCK@0.2", 0.2, "PCK"),
    "mpii": Benchmark(MPII, ("val", "test", "train"), "PCKh@0.5", 0.5, "Total"),
}

Scores = dict[str, dict[str, float]]


def main() -> None:
    options = parse()
    benchmark = BENCHMARKS[options.benchmark]
    samples = load(options.benchmark, options.data, options.split, options.annotation)
    if options.shard:
        samples, _ = shard(samples, options.shard, option="--shard")
    if not annotated(samples) and not options.output:
        raise PoseError(f"{options.data} has no annotation of MPII test to score with; give --output to predict.")
    if options.predictions:
        predictions = match(load_predictions(options.predictions, benchmark.joints), *identities(samples))
        source = {"file": str(options.predictions), "sha256": sha256(options.predictions)}
        blocks = predictions.pixels[:, None]
    else:
        if options.benchmark == "mpii":
            require_images(samples, options.data)
        path = weights_path(options.weights)
        model, skeleton = load_network(path, benchmark.joints)
        source = {"file": str(path), "sha256": sha256(path), "parameters": model.count_params()}
        estimate = evaluation.predict_blocks(
            model, samples, flip=options.flip, crops=options.crops, refine=options.refine, skeleton=skeleton
        )
        blocks = reorder(estimate.pixels, skeleton, benchmark.joints).astype(np.float64)
        probability = reorder(estimate.probability[:, -1], skeleton, benchmark.joints, axis=-1)
        predictions = Predictions(benchmark.joints, blocks[:, -1], probability, *identities(samples))

    distances = distances_of(options.benchmark, samples, predictions.pixels, inside_only=options.inside_only)
    result: dict[str, Any] = {
        "benchmark": options.benchmark,
        "split": options.split,
        "protocol": protocol(options),
        "people": len(samples),
        "images": len({sample.image for sample in samples}),
        "joints_scored": int((~np.isnan(distances)).sum()),
        "command": shlex.join(["python", "-m", "experiments.evaluate", *sys.argv[1:]]),
        "source": source,
    }
    if annotated(samples):
        result["scores"] = scores(options.benchmark, samples, predictions.pixels, inside_only=options.inside_only)
        result["joints"] = metrics.joint_rates(distances, benchmark.joints, benchmark.threshold)
        result["blocks"] = [
            scores(options.benchmark, samples, pixels, inside_only=options.inside_only)[benchmark.metric]
            for pixels in np.moveaxis(blocks, 1, 0)
        ]
        if options.benchmark == "lsp":
            baseline = mean_pose(lsp.load(options.data, "train"), samples)
            result["mean_pose"] = scores("lsp", samples, reorder(baseline, PA16J, LSP))
        print(report(result, Path(source["file"]).name))
    if options.output:
        release = None
        if options.benchmark == "mpii" and options.split == "test" and not options.shard:
            release = options.annotation or mpii.find_release(options.data)
        save(options.output, result, predictions, release)
        print(f"\nWritten to {options.output}: {', '.join(sorted(p.name for p in options.output.iterdir()))}")
    if options.sheet:
        errors = mean_errors(distances)
        shown = choose(errors, worst=options.worst)
        captions = [f"{Path(samples[i].image).stem}  {errors[i]:.2f}" for i in shown]
        picture = draw_people([samples[i] for i in shown], predictions.pixels[shown], benchmark.joints, captions)
        save_image(options.sheet, picture)
        print(f"\n{len(shown)} people drawn in {options.sheet}: annotation white, person's right orange, left blue.")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--benchmark", choices=tuple(BENCHMARKS), required=True)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="see datasets/README.md")
    answers = parser.add_mutually_exclusive_group(required=True)
    answers.add_argument("--weights", metavar="FILE", help="weight file, or the name of shipped weights")
    answers.add_argument("--predictions", type=Path, metavar="FILE", help="score these: .json, .h5, .mat or .npy")
    parser.add_argument("--split", help="lsp: test (default), train; mpii: val (default), test, train")
    parser.add_argument("--annotation", type=Path, metavar="FILE", help="mpii: a file in the official layout")
    parser.add_argument("--flip", action=argparse.BooleanOptionalAction, help="average with the mirrored crop")
    parser.add_argument("--crops", type=int, metavar="N", help="average N window sizes (default: 1; mpii test: 3)")
    parser.add_argument("--refine", type=int, default=0, metavar="N", help="re-centre on the prediction N times")
    parser.add_argument("--inside-only", action="store_true", help="mpii: drop joints outside the crop, as the authors")
    parser.add_argument("--shard", metavar="I/N", help="predict the Ith of every N people, for experiments.merge")
    parser.add_argument("--output", type=Path, metavar="DIR", help="keep scores and predictions here")
    parser.add_argument("--force", action="store_true", help="replace what an earlier evaluation left in --output")
    parser.add_argument("--sheet", type=Path, metavar="FILE", help="draw 48 people, from the best to the worst")
    parser.add_argument("--worst", action="store_true", help="of --sheet: the 48 with the largest errors instead")
    options = parser.parse_args()

    splits = BENCHMARKS[options.benchmark].splits
    options.split = options.split or splits[0]
    if options.split not in splits:
        raise PoseError(f"--split of {options.benchmark} is one of {', '.join(splits)}. Received: {options.split}")
    if options.benchmark == "lsp" and (options.inside_only or options.annotation):
        raise PoseError("--inside-only and --annotation are for --benchmark mpii; LSP's protocol has neither.")
    if options.predictions and (options.flip is not None or options.crops is not None or options.refine):
        raise PoseError("--flip, --crops and --refine say how to predict with --weights; --predictions is predicted.")
    if options.shard and (options.predictions or not options.output):
        raise PoseError("--shard divides the work of --weights, and needs --output for its part.")
    if options.worst and not options.sheet:
        raise PoseError("--worst chooses the people on --sheet, which is not given.")
    test = options.benchmark == "mpii" and options.split == "test"
    options.flip = test if options.flip is None else options.flip
    options.crops = (TEST_CROPS if test else 1) if options.crops is None else options.crops
    if options.crops < 1 or options.refine < 0:
        raise PoseError(
            f"--crops must be at least 1 and --refine at least 0. Received: {options.crops}, {options.refine}"
        )
    if options.output and (options.output / "scores.json").exists() and not options.force:
        raise PoseError(f"{options.output} holds an earlier evaluation; give --force to replace it.")
    return options


def load(benchmark: str, data: Path, split: str, annotation: Path | None = None) -> list[Sample]:
    """The people of a split, in the benchmark's order; LSP with the crop that it ships."""
    if benchmark == "lsp":
        return lsp.load(data, split)
    return mpii.load(data, split, annotation=annotation)


def require_images(samples: Sequence[Sample], data: Path) -> None:
    """`PoseError` that says what to download if an image is not there."""
    images = sorted({sample.image for sample in samples})
    missing = [image for image in images if not Path(image).is_file()]
    if missing:
        raise PoseError(
            f"{len(missing):,} of {len(images):,} images are missing, such as {missing[0]}; download MPII's images "
            f"(12.9 GB) from http://human-pose.mpi-inf.mpg.de into {data / 'images'}, see datasets/README.md."
        )


def annotated(samples: Sequence[Sample]) -> bool:
    """Whether anything can be scored; MPII's test people mostly come without joints."""
    return any(sample.present.any() for sample in samples)


def identities(samples: Sequence[Sample]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """File name and person within the image, of every sample."""
    return tuple(Path(sample.image).name for sample in samples), tuple(sample.person for sample in samples)


def sha256(path: Path) -> str:
    """Of a file's content, in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


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


def mean_pose(training: Sequence[Sample], samples: Sequence[Sample]) -> np.ndarray:
    """The baseline that looks at no picture: the training people's mean within their crops, put into each crop.

    Returns:
        (N, 16, 2) pixels in the order PA16J; NaN for joints that no training person has.
    """
    poses = transform_points(_affine(training), np.stack([sample.joints for sample in training]))
    known = np.isfinite(poses)
    with np.errstate(invalid="ignore"):
        mean = np.where(known, poses, 0).sum(axis=0) / known.sum(axis=0)
    return transform_points(invert(_affine(samples)), np.broadcast_to(mean, (len(samples), *mean.shape)))


def scores(benchmark: str, samples: Sequence[Sample], pixels: np.ndarray, *, inside_only: bool = False) -> Scores:
    """The benchmark's tables: metric -> column -> per cent, of (N, J, 2) pixels in the benchmark's joint order."""
    of_network = reorder(pixels, BENCHMARKS[benchmark].joints, PA16J)
    if benchmark == "mpii":
        return {"PCKh@0.5": evaluation.score_mpii(samples, of_network, inside_only=inside_only)}
    truth = reorder(np.stack([sample.joints for sample in samples]), PA16J, LSP)
    return {"PCK@0.2": evaluation.score_lsp(samples, of_network), "PCP@0.5": metrics.pcp_lsp(truth, pixels)}


def distances_of(
    benchmark: str, samples: Sequence[Sample], pixels: np.ndarray, *, inside_only: bool = False
) -> np.ndarray:
    """(N, J) distances to the annotation in the metric's unit, in the benchmark's order; NaN where nothing is scored.

    LSP: torso lengths, MPII: head sizes; the joints that `scores` counts.
    """
    joints = np.stack([sample.joints for sample in samples])
    if benchmark == "lsp":
        return metrics.lsp_distances(reorder(joints, PA16J, LSP), pixels)
    head_size = np.array([sample.head_size for sample in samples])
    present = np.isfinite(joints).all(axis=-1) & (head_size > 0)[:, None]
    if inside_only:
        present &= metrics.inside_crop(transform_points(_affine(samples), joints))
    present = reorder(present, PA16J, MPII, axis=-1)
    return metrics.mpii_distances(reorder(joints, PA16J, MPII), pixels, head_size, present)


def protocol(options: argparse.Namespace) -> str:
    """How was predicted and scored, in words."""
    crops = "single crop" if options.crops == 1 else f"{options.crops} crops"
    how = [crops, "with flip" if options.flip else "no flip"]
    if options.predictions:
        how = ["given predictions"]
    if options.refine:
        how.append(f"refined {options.refine}x")
    if options.inside_only:
        how.append("joints inside the crop only")
    return ", ".join(how)


def report(result: Mapping[str, Any], label: str) -> str:
    """The scores of `main` as text: the paper's tables, then joint by joint, then block by block."""
    benchmark = BENCHMARKS[result["benchmark"]]
    tables = {"PCK@0.2": paper.TABLE_2, "PCP@0.5": paper.TABLE_3, "PCKh@0.5": paper.TABLE_1}
    if result["split"] == "test":
        tables["PCKh@0.5"] = paper.TABLE_4
    lines = [
        f"{result['benchmark'].upper()} {result['split']}: {result['people']:,} people in {result['images']:,} images, "
        f"{result['protocol']}"
    ]
    for metric, columns in result["scores"].items():
        ours = {"Mean pose": result["mean_pose"][metric]} if "mean_pose" in result else {}
        ours[label] = {name: value for name, value in columns.items() if name != "UBody"}
        lines += ["", f"{metric}, per cent", "", paper.format_table(paper.with_quoted(tables[metric], ours))]
    lines += ["", f"{benchmark.metric} by joint", "", paper.format_table(by_side(result["joints"]))]
    if len(result["blocks"]) > 1:
        rows = [
            (f"block {k}", {name: value for name, value in columns.items() if name != "UBody"})
            for k, columns in enumerate(result["blocks"], start=1)
        ]
        lines += ["", f"{benchmark.metric} by block, the last one being the answer", "", paper.format_table(rows)]
    return "\n".join(lines)


def by_side(rates: Mapping[str, float]) -> list[tuple[str, dict[str, float]]]:
    """Rates by joint name as rows of a table: person's right, person's left, both alike."""
    rows: dict[str, dict[str, float]] = {"right": {}, "left": {}, "centre": {}}
    for name, rate in rates.items():
        side, _, part = name.partition("_")
        rows[side if part else "centre"][part or name] = rate
    return list(rows.items())


def save(directory: Path, result: Mapping[str, Any], predictions: Predictions, release: Path | None = None) -> None:
    """Write the predictions in every format, and last `scores.json`, whose presence says that all is there.

    `release` is MPII's official annotation if the predictions are of its test people, for the submission.
    """
    (directory / "scores.json").unlink(missing_ok=True)
    for suffix in (".json", ".h5", ".mat"):
        save_predictions(directory / f"predictions{suffix}", predictions)
    if release:
        save_mpii_submission(directory / "pred_keypoints_mpii.mat", predictions, release)
    with atomic_path(directory / "scores.json") as temporary:
        temporary.write_text(json.dumps(_without_nan(result), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def mean_errors(distances: np.ndarray) -> np.ndarray:
    """(N,) mean of each person's distances, NaN for a person without any; a missing prediction counts as 10 units."""
    known = ~np.isnan(distances)
    total = np.where(known, np.minimum(distances, 10.0), 0.0).sum(axis=1)
    with np.errstate(invalid="ignore"):
        return total / known.sum(axis=1)


def choose(errors: np.ndarray, *, worst: bool, count: int = SHOWN) -> np.ndarray:
    """Indices of `count` people sorted by (N,) errors: the worst first, or spread evenly from best to worst."""
    order = np.argsort(errors, kind="stable")  # NaN, a person without annotation, comes last.
    if worst:
        return order[np.isfinite(errors[order])][::-1][:count]
    return order[spread(len(order), count)]


def spread(total: int, count: int = SHOWN) -> np.ndarray:
    """Up to `count` indices spread evenly over 0 to `total` - 1, the first and the last among them."""
    return np.linspace(0, total - 1, min(count, total)).round().astype(int)


def draw_people(
    samples: Sequence[Sample],
    pixels: np.ndarray,
    joints: Skeleton,
    captions: Sequence[str] | None = None,
    *,
    columns: int = 8,
) -> np.ndarray:
    """Contact sheet of the crops that the network sees: prediction in colour over the annotation in white.

    Args:
        samples: N people, joints in the order PA16J.
        pixels: (N, J, 2) predictions in image pixels, in the order of `joints`.
        joints: what to draw.
        captions: N, or none.
        columns: people in a row.

    Returns:
        uint8 RGB.
    """
    if not len(samples):
        raise PoseError("There is nobody to draw.")
    affine = _affine(samples)
    crops = np.concatenate(
        list(evaluation_dataset([s.image for s in samples], affine, size=TILE, batch_size=32).as_numpy_iterator())
    )
    to_tile = to_crop_pixels(affine, TILE)
    predicted = transform_points(to_tile, pixels)
    truth = transform_points(to_tile, reorder(np.stack([s.joints for s in samples]), PA16J, joints))
    pictures = [
        draw_pose(np.rint((crop + 1) * 127.5).astype(np.uint8), pose, joints, truth=true)
        for crop, pose, true in zip(crops, predicted, truth, strict=True)
    ]
    return contact_sheet(pictures, captions=captions, columns=columns)


def _affine(samples: Sequence[Sample]) -> np.ndarray:
    """(N, 3, 3) image pixels -> the sample's crop."""
    return crop_affine(np.stack([s.center for s in samples]), np.array([s.side for s in samples]))


def _without_nan(value: Any) -> Any:
    """The same nested structure with None for NaN, as JSON has none."""
    if isinstance(value, Mapping):
        return {name: _without_nan(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


if __name__ == "__main__":
    run(main)
