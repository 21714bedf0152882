"""Train on Leeds Sports Pose, from MPII weights or from scratch, and score on its test half.

    python -m experiments.train_lsp --data datasets/lsp --extra datasets/lspet --weights none --recipe quick \\
        --map-weight 0.3 --blocks 4 --width 288 --input-size 128 --dtype mixed_bfloat16 --output runs/lsp_small
    python -m experiments.train_lsp --data datasets/lsp --weights mpii.weights.h5 --output runs/lsp

The second is the paper's: fine-tuning for 70 epochs at 2e-5 (section 4.1). 14 of the 16 joints are supervised. The
last 200 of the 1,000 training images choose the weights to keep (`--holdout`); the test half is looked at once, at
the end.

For `experiments.find_label_errors`, `--fold 1/3` leaves every third image of LSPET out and ends with predictions of
those, `left_out.json`, in place of the score on LSP test; `--corrections` trains without the labels that it found.
"""

import argparse
from pathlib import Path

from experiments.training_run import add_options, main_of, run_training
from pose_regression.evaluation.merging import shard

FINE_TUNING = {"epochs": 70, "learning_rate": 2e-5}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="LSP: joints.mat, images/")
    parser.add_argument("--extra", type=Path, metavar="DIR", help="LSPET: joints.mat, images/")
    parser.add_argument("--weights", default="none", metavar="FILE", help="start from these; 'none' for from scratch")
    parser.add_argument("--holdout", type=int, default=200, metavar="N", help="training images kept for validation")
    parser.add_argument("--corrections", type=Path, metavar="CSV", help="for --extra, from find_label_errors")
    parser.add_argument(
        "--fold", metavar="I/N", help="leave every Nth image of --extra out, from the Ith, and predict it"
    )
    parser.add_argument(
        "--soft-labels", type=Path, metavar="CSV", help="a network's poses, from experiments.soft_labels"
    )
    parser.add_argument("--soft-weight", type=float, default=1.0, help="of those against the labels")
    add_options(parser, recipe="paper")
    options = parser.parse_args()
    options.output = options.output or Path("runs/lsp")
    if options.weights != "none":
        for name, value in FINE_TUNING.items():
            if getattr(options, name) is None:
                setattr(options, name, value)

    from pose_regression.data import corrections, lsp, soft_labels
    from pose_regression.errors import PoseError
    from pose_regression.evaluation import benchmarks
    from pose_regression.evaluation.paper import format_table
    from pose_regression.evaluation.predictions import Predictions, identities, save_predictions
    from pose_regression.evaluation.windows import predict
    from pose_regression.model.weights import load_model, load_weights
    from pose_regression.skeleton import LSP, PA16J, reorder

    people = lsp.load(options.data, "train", crop="image")
    if not 0 < options.holdout < len(people):
        raise PoseError(f"--holdout must lie between 1 and {len(people) - 1}. Received: {options.holdout}")
    training, validation = people[: -options.holdout], people[-options.holdout :]
    if (options.corrections or options.fold) and not options.extra:
        raise PoseError("--corrections and --fold are about the images of --extra, which is not given.")
    extended = lsp.load_extended(options.extra) if options.extra else []
    left_out: list = []
    if options.corrections:
        extended = corrections.without(extended, options.corrections)
    if options.fold:
        left_out, extended = shard(extended, options.fold, option="--fold")
        if not extended:
            raise PoseError(f"--fold must leave something to train on, such as 1/3. Received: {options.fold}")
    training = training + extended
    if options.soft_labels:
        pictures = [sample.image for sample in training]
        training += soft_labels.read(options.soft_labels, pictures, skeleton=PA16J, weight=options.soft_weight)
    initial = None if options.weights == "none" else lambda model: load_weights(model, options.weights)
    directory = run_training(
        options, training=training, validation=validation, score=benchmarks.LSP.score, total="PCK", initial=initial
    )  # fmt: skip

    model, _ = load_model(directory / "best.weights.h5")
    if left_out:
        found = predict(model, left_out)
        pixels = reorder(found.pixels, PA16J, LSP).astype(float)
        probability = reorder(found.probability, PA16J, LSP, axis=-1)
        path = directory / "left_out.json"
        save_predictions(path, Predictions(LSP, pixels, probability, *identities(left_out)))
        print(f"\n{len(left_out)} people who were left out are predicted in {path}")
        return
    test = lsp.load(options.data, "test")
    scores = benchmarks.LSP.score(test, predict(model, test).pixels)
    print("\nLSP test, PCK@0.2, person-centric, single crop\n")
    print(format_table([("best.weights.h5", scores)]))


if __name__ == "__main__":
    main_of(main)
