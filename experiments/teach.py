"""Train `full`, let it mend LSPET's labels, and train `small` on them, on one GPU by PyTorch: how both came to be.

    python -m experiments.teach --data datasets/lsp --extra datasets/lspet --soft-labels weights/soft_labels.csv.gz \\
        --large full --small small --minutes 6.7 --output runs/taught

Needs `pip install -e '.[torch]'` and a GPU of 18 GB. Writes large.weights.h5 and small.weights.h5, those that score
best on LSP's last 200 training people; `experiments.calibrate` then fits their confidence. LSP test is not read.
"""

import argparse
from pathlib import Path

from experiments.command import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="LSP: joints.mat, images/")
    parser.add_argument("--extra", type=Path, required=True, metavar="DIR", help="LSPET: joints.mat, images/")
    parser.add_argument("--soft-labels", type=Path, required=True, metavar="FILE", help="of experiments.soft_labels")
    parser.add_argument("--large", default="full", metavar="NAME_OR_FILE", help="weights to start from (default: full)")
    parser.add_argument("--small", default="small", metavar="NAME_OR_FILE", help="the same (default: small)")
    parser.add_argument("--minutes", type=float, required=True, help="of training, both networks together")
    parser.add_argument("--seed", type=int, default=11, help="of order and augmentation (default: 11)")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="for the two weight files")
    options = parser.parse_args()

    from pose_regression.training.experiment import Lsp
    from pose_regression.training.teaching import teach

    data = Lsp(options.data, extra=options.extra, soft_labels=options.soft_labels)
    written = teach(
        data, options.output, minutes=options.minutes, large=options.large, small=options.small, seed=options.seed
    )
    for name, path in written.items():
        print(f"{name}: {path}")


if __name__ == "__main__":
    run(main)
