"""Table 1 of the paper: what soft-argmax, context maps and alpha each bring, under one recipe, over several seeds.

    python -m experiments.ablation_table1 --benchmark mpii --data datasets/mpii --output runs/table1
    python -m experiments.ablation_table1 --config table1_lsp --seeds 5
    python -m experiments.ablation_table1 --benchmark synthetic --recipe quick --epochs 4 --blocks 1 --width 72 \\
        --input-size 64 --output runs/table1_synthetic

Four networks are trained for each seed, with equal budgets: without context, without context on Gaussian heat maps,
with context and alpha = 0.9, and alpha = 0.8. They give five rows, for the paper does not describe its "simple
argmax": (a1) reads the maxima of the first network's maps, (a2) those of the second's. The paper's MPII validation
PCKh@0.5: 85.3 (simple argmax), 86.9, 88.7 and 89.1.

MPII and the synthetic people are scored on the validation people, single crop, as in the paper; LSP on its test half,
looked at once, while the last `--holdout` of its training people choose the weights to keep.

Writes `table1_BENCHMARK.json`, `.md` and `.png` to --output, where every training has its folder. A sweep that was
interrupted goes on with --resume: finished trainings are kept, the one that was cut off continues where it was, and a
larger --seeds adds to it. Cost: four times the recipe for each seed; the first command is weeks of one GPU's time,
the last a few minutes on a laptop.
"""

import argparse
from pathlib import Path

from experiments.command import run as command
from experiments.flags import config, experiment_of, parser_of, show
from pose_regression.errors import PoseError
from pose_regression.training.experiment import Lsp, Mpii

KINDS = {"mpii": Mpii, "lsp": Lsp, "synthetic": Mpii}


def main() -> None:
    known = argparse.ArgumentParser(add_help=False)
    known.add_argument("--benchmark", choices=tuple(KINDS), default="mpii", help="to train and score on")
    known.add_argument("--config")
    first, _ = known.parse_known_args()
    kind = type(config(first.config).data) if first.config else KINDS[first.benchmark]
    parser = parser_of(__doc__, kind, output=f"runs/table1_{first.benchmark}")
    parser.add_argument("--benchmark", choices=tuple(KINDS), default="mpii", help="to train and score on")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="trainings of each row, from --seed on")
    options = parser.parse_args()
    if "Network.alpha" in options:
        raise PoseError("--alpha is what the rows differ in; it cannot be chosen here.")
    if options.benchmark == "synthetic":
        vars(options)["Mpii.folder"] = Path("synthetic")
    experiment, output, how = experiment_of(options, kind)
    if options.show:
        return show(experiment, options.show)

    from pose_regression.training.ablation import sweep

    print(f"\n{sweep(experiment, output, seeds=options.seeds, **how)}")


if __name__ == "__main__":
    command(main)
