"""Make a network's confidence a probability: fit it on people of LSP's training half that no training saw.

    python -m experiments.calibrate --weights runs/small/best.weights.h5 --data datasets/lsp \\
        --output weights/small.weights.h5

Of the last `--holdout` people, on which trainings choose their best epoch, a joint is right within 0.2 torso lengths.
Writes the same weights with the slope and offset that the logistic regression gives, and prints the area under the
risk-coverage curve (per cent, less is better) of confidence and probability, there and on LSP test. Cost: a minute.
"""

import argparse
from pathlib import Path

from experiments.command import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True, metavar="FILE", help="weight file, or the name of shipped weights")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="LSP: joints.mat, images/")
    parser.add_argument("--holdout", type=int, default=200, metavar="N", help="training people to fit on, the last")
    parser.add_argument("--half", action="store_true", help="store convolution kernels as float16: half the size")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the weight file to write")
    options = parser.parse_args()

    from pose_regression.evaluation.calibration import calibrate

    slope, offset, areas = calibrate(
        options.weights, options.data, options.output, holdout=options.holdout, half=options.half
    )
    print(f"confidence = sigmoid({slope:.3f} log(sum of squares) + {offset:.3f}), in {options.output}\n")
    print(f"{'area under the risk-coverage curve':36}{'confidence':>12}{'probability':>12}")
    for split, (confidence, probability) in areas.items():
        print(f"{split:36}{confidence:12.2f}{probability:12.2f}")


if __name__ == "__main__":
    run(main)
