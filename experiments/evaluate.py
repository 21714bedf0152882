"""Score weights, or a file of predictions, as the paper's tables do, with the quoted rows beside.

    python -m experiments.evaluate --benchmark lsp --data datasets/lsp --weights small --output runs/lsp_test
    python -m experiments.evaluate --benchmark lsp --data datasets/lsp --weights small --sheet worst.png --worst
    python -m experiments.evaluate --benchmark lsp --data datasets/lsp --predictions runs/lsp_test/predictions.json
    python -m experiments.evaluate --benchmark mpii --data datasets/mpii --weights mpii.weights.h5
    python -m experiments.evaluate --benchmark mpii --data datasets/mpii --weights mpii.weights.h5 --split test \\
        --output runs/mpii_test
    python -m experiments.evaluate --benchmark synthetic --data synthetic --weights runs/synthetic/best.weights.h5

LSP: PCK@0.2 and strict PCP of the 1,000 test people, person-centric (Tables 2 and 3), beside the mean pose of the
training people, which gives 17.9 PCK. MPII: PCKh@0.5 of the 2,958 validation people (Table 1, the paper's 89.1), or
with `--split test` of the test people who stand alone (Table 4, the paper's 91.2), by default from three crops and
their mirror images; without the test annotation this writes the submission and scores nothing. The rendered people
of the first run are scored as MPII's, with nothing published to compare.

`--weights` takes our files, the names of weights that ship with the project, and the authors' published
`reception_mpii_weights_tf_ch_last_v1.h5`. `--output DIR` keeps `scores.json` (scores, command line, sha256, counts)
and the predictions in pixels of the original images: `predictions.json`, and `.h5` and `.mat` as the benchmarks' own
tools read them; for MPII test also `pred_keypoints_mpii.mat`, the official submission.

`--people shipped` has people found by the detector that ships with the project in place of the annotation's boxes, each
labelled person being the nearest one found (`whole` takes the whole picture; `keras-hub:PRESET` asks KerasHub's). Made
for `--benchmark lspet-photographs`, 1,000 whole photographs that no training has seen.

Cost: the network's time; 1,000 people and a small network at 128 px take about 20 s on two CPU cores, a forward pass
per crop and mirror image.
"""

import argparse
import shlex
import sys
from pathlib import Path

from experiments.command import run
from pose_regression.errors import PoseError
from pose_regression.evaluation.benchmarks import BENCHMARKS, annotated
from pose_regression.wording import quantity

SEVERAL_CROPS = 3
"""Windows per person where published scores come from several: the paper does not say how many it took."""


def main() -> None:
    options = parse()
    from pose_regression.evaluation.scoring import Protocol, draw_sheet, evaluate, given, predicted, report, save
    from pose_regression.inference.seen import seen_by

    benchmark = BENCHMARKS[options.benchmark]
    protocol = Protocol(options.flip, options.crops, options.refine, options.inside_only, options.people)
    samples = benchmark.load(options.data, options.split, annotation=options.annotation)
    if not annotated(samples) and not options.output:
        raise PoseError(
            f"{options.data} has no annotation of {benchmark.title} {options.split} to score with; "
            "give --output to predict."
        )
    if options.predictions:
        answers = given(benchmark, samples, options.predictions)
    else:
        seen, missed = seen_by(options.people, samples) if options.people else (samples, None)
        answers = predicted(benchmark, seen, options.weights, protocol, missed=missed)
        if missed is not None and missed.any():
            everybody = quantity(len(missed), "person")
            print(f"Not found: {missed.sum()} of {everybody}; the joints count as wrong.\n")
    training = benchmark.load(options.data, benchmark.mean_pose_of) if benchmark.mean_pose_of else ()
    command = shlex.join(["python", "-m", "experiments.evaluate", *sys.argv[1:]])
    evaluation = evaluate(
        benchmark, samples, answers, split=options.split, protocol=protocol, command=command, training=training
    )
    if annotated(samples):
        print(report(evaluation))
    if options.output:
        release = None
        if benchmark.official and options.split == "test":
            release = options.annotation or benchmark.official(options.data)
        save(options.output, evaluation, release=release)
        print(f"\nWritten to {options.output}: {', '.join(sorted(p.name for p in options.output.iterdir()))}")
    if options.sheet:
        shown = draw_sheet(options.sheet, evaluation, worst=options.worst)
        print(f"\n{quantity(shown, 'person')} drawn in {options.sheet}: "
              "annotation white, person's right orange, left blue.")  # fmt: skip


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--benchmark", choices=tuple(BENCHMARKS), required=True)
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="DIR",
        help="see datasets/README.md; synthetic people are rendered there",
    )
    answers = parser.add_mutually_exclusive_group(required=True)
    answers.add_argument("--weights", metavar="FILE", help="weight file, or the name of shipped weights")
    answers.add_argument("--predictions", type=Path, metavar="FILE", help="score these: .json, .h5, .mat or .npy")
    splits = "; ".join(f"{benchmark.name}: {', '.join(benchmark.splits)}" for benchmark in BENCHMARKS.values())
    parser.add_argument("--split", help=f"the first by default: {splits}")
    parser.add_argument("--annotation", type=Path, metavar="FILE", help="mpii: a file in the official layout")
    parser.add_argument("--flip", action=argparse.BooleanOptionalAction, help="average with the mirrored crop")
    parser.add_argument("--crops", type=int, metavar="N", help="average N window sizes (default: 1; mpii test: 3)")
    parser.add_argument("--refine", type=int, default=0, metavar="N", help="re-centre on the prediction N times")
    parser.add_argument("--inside-only", action="store_true", help="mpii: drop joints outside the crop, as the authors")
    parser.add_argument(
        "--people", default="", metavar="HOW", help="who says where people are: shipped, whole or keras-hub:PRESET"
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="keep scores and predictions here")
    parser.add_argument("--force", action="store_true", help="replace what an earlier evaluation left in --output")
    parser.add_argument("--sheet", type=Path, metavar="FILE", help="draw 48 people, from the best to the worst")
    parser.add_argument("--worst", action="store_true", help="of --sheet: the 48 with the largest errors instead")
    options = parser.parse_args()
    _complete(options)
    return options


def _complete(options: argparse.Namespace) -> None:
    """Fill in what depends on the benchmark; `PoseError` for options that do not fit together."""
    benchmark = BENCHMARKS[options.benchmark]
    options.split = options.split or benchmark.splits[0]
    if options.split not in benchmark.splits:
        splits = ", ".join(benchmark.splits)
        raise PoseError(f"--split of {benchmark.name} is one of {splits}. Received: {options.split}")
    if options.inside_only and not benchmark.omits:
        raise PoseError(f"--inside-only leaves joints out, but {benchmark.title} scores every joint.")
    if options.predictions and options.people:
        raise PoseError("--people says where --weights look for people; --predictions is predicted.")
    if options.predictions and (options.flip is not None or options.crops is not None or options.refine):
        raise PoseError("--flip, --crops and --refine say how to predict with --weights; --predictions is predicted.")
    if options.worst and not options.sheet:
        raise PoseError("--worst chooses the people on --sheet, which is not given.")
    several = options.split in benchmark.several_crops
    options.flip = several if options.flip is None else options.flip
    options.crops = (SEVERAL_CROPS if several else 1) if options.crops is None else options.crops
    if options.crops < 1 or options.refine < 0:
        raise PoseError(
            f"--crops must be at least 1 and --refine at least 0. Received: {options.crops}, {options.refine}"
        )
    if options.output and (options.output / "scores.json").exists() and not options.force:
        raise PoseError(f"{options.output} holds an earlier evaluation; give --force to replace it.")


if __name__ == "__main__":
    run(main)
