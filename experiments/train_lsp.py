"""Train on Leeds Sports Pose, from MPII weights or from scratch, and score on its test half.

    python -m experiments.train_lsp --config small_1 --data datasets/lsp --extra datasets/lspet
    python -m experiments.train_lsp --config lsp_fine_tuning --data datasets/lsp --weights mpii.weights.h5

The second is the paper's: fine-tuning for 70 epochs at 2e-5 (section 4.1), which is also what --weights without a
--config means. 14 of the 16 joints are supervised. The last 200 of the 1,000 training images choose the weights to keep
(`--holdout`); the test half is looked at once, at the end.
"""

from dataclasses import replace
from typing import Any

from experiments.command import run as command
from experiments.flags import experiment_of, parser_of, show
from pose_regression.evaluation.benchmarks import LSP
from pose_regression.evaluation.paper import format_table
from pose_regression.training.experiment import Lsp

FINE_TUNING: dict[str, Any] = {"epochs": 70, "learning_rate": 2e-5}


def main() -> None:
    options = parser_of(__doc__, Lsp, output="runs/lsp").parse_args()
    experiment, output, how = experiment_of(options, Lsp)
    if experiment.weights != "none" and not options.config:
        given = vars(options)
        tuning = {name: value for name, value in FINE_TUNING.items() if f"Recipe.{name}" not in given}
        experiment = replace(experiment, recipe=replace(experiment.recipe, **tuning))
    if options.show:
        return show(experiment, options.show)

    from pose_regression.training.run import predict_best, run

    directory = run(experiment, output, **how)
    test = LSP.load(experiment.data.folder, "test")  # type: ignore[union-attr]
    scores = LSP.score(test, predict_best(directory, test)[0])
    print("\nLSP test, PCK@0.2, person-centric, single crop\n")
    print(format_table([("best.weights.h5", scores)]))


if __name__ == "__main__":
    command(main)
