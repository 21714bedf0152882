"""Find the labels of LSPET that are likely wrong, by predictions of networks that never saw them.

    python -m experiments.find_label_errors --data datasets/lspet --predictions fold_1.json fold_2.json fold_3.json \\
        --output labels.csv --sheet labels.png

Each file holds predictions (`predictions.json` as `experiments.evaluate` writes it) of the images that its network
was not trained on. Two kinds are found, only in people whose other joints agree with the prediction, as a network
that is lost says nothing about the label:

- swap: both joints of a pair fit well once they are exchanged;
- misplaced: a joint that the network is sure to see lies far from where it sees it.

The list is as good as the networks. With three that reach 42 PCK, 2.1 % of the labels were listed: by eye, half of the
swaps were wrong labels, and nearly all that was called misplaced were the networks' own errors
(docs/results/lsp_trials.md). So look at the sheet first; the CSV, for `train_lsp --corrections`, may be edited. Cost:
under a minute, once the predictions exist. LSP test is never touched: predictions of images outside --data are refused.
"""

import argparse
from pathlib import Path

from experiments.command import run
from pose_regression.data import lsp
from pose_regression.data.corrections import write
from pose_regression.evaluation.label_errors import AGREEMENT, DISAGREEMENT, draw, find, out_of_fold, summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="LSPET: joints.mat, images/")
    parser.add_argument(
        "--predictions", type=Path, nargs="+", required=True, metavar="FILE", help="one per fold, .json"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the CSV to write")
    parser.add_argument("--agreement", type=float, default=AGREEMENT, help=f"torso lengths (default: {AGREEMENT})")
    parser.add_argument(
        "--disagreement", type=float, default=DISAGREEMENT, help=f"torso lengths (default: {DISAGREEMENT})"
    )
    parser.add_argument("--sheet", type=Path, metavar="FILE", help="draw 48 people found, evenly from the list")
    options = parser.parse_args()

    samples, pixels, probability = out_of_fold(lsp.load_extended(options.data), options.predictions)
    found = find(samples, pixels, probability, agreement=options.agreement, disagreement=options.disagreement)
    write(options.output, found)
    print(summary(samples, found))
    if options.sheet:
        drawn = draw(options.sheet, samples, pixels, found)
        legend = "s: swap, m: misplaced. Label white, person's right orange, left blue."
        print(
            f"{drawn} people drawn in {options.sheet}; {legend}"
            if drawn
            else "Nothing was found, so no sheet was drawn."
        )


if __name__ == "__main__":
    run(main)
