"""A stronger network's poses of LSP's and LSPET's training people, to learn from beside the labels.

    python -m experiments.soft_labels --teacher movenet_thunder.tflite --data datasets/lsp --extra datasets/lspet \\
        --output weights/soft_labels.csv.gz

The file goes to `train_lsp --soft-labels`; weights/README.md says where the one that ships comes from. The last
`--holdout` training images of LSP, on which trainings are validated, and LSPET's photographs are left out; LSP test is
never read. Cost: a quarter of a second for each person on two CPU cores, 35 minutes for 8,482.
"""

import argparse
from pathlib import Path

import numpy as np

from experiments.command import run
from pose_regression.data import lsp, soft_labels
from pose_regression.skeleton import COCO
from pose_regression.wording import quantity


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", type=Path, required=True, metavar="FILE", help="MoveNet single-pose, .tflite")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="LSP: joints.mat, images/")
    parser.add_argument("--extra", type=Path, metavar="DIR", help="LSPET: joints.mat, images/")
    parser.add_argument("--holdout", type=int, default=200, metavar="N", help="training images of LSP to leave out")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the .csv.gz to write")
    options = parser.parse_args()

    from pose_regression.inference.teacher import movenet, taught, weight_of

    samples = lsp.load(options.data, "train", crop="joints")[: -options.holdout or None]
    samples += lsp.load_extended(options.extra) if options.extra else []
    teacher, size = movenet(options.teacher)
    values = np.stack(list(taught(teacher, samples, size=size)))
    values[..., 2] = weight_of(values[..., 2])
    soft_labels.write(options.output, [soft_labels.digest(sample.image) for sample in samples], values, COCO)
    labelled = np.mean(values[..., 2] > 0)
    print(f"{quantity(len(samples), 'person')}, {labelled:.0%} of the joints labelled, in {options.output}")


if __name__ == "__main__":
    run(main)
