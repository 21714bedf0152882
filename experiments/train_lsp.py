"""Train on Leeds Sports Pose, from MPII weights or from scratch, and score on its test half.

    python -m experiments.train_lsp --config small_1 --data datasets/lsp --extra datasets/lspet
    python -m experiments.train_lsp --config lsp_fine_tuning --data datasets/lsp --weights mpii.weights.h5

The second is the paper's: fine-tuning for 70 epochs at 2e-5 (section 4.1), which is also what --weights without a
--config means. 14 of the 16 joints are supervised. The last 200 of the 1,000 training images choose the weights to keep
(`--holdout`); the test half is looked at once, at the end.

For `experiments.find_label_errors`, `--fold 1/3` leaves every third image of LSPET out and ends with predictions of
those, `left_out.json`, in place of the score on LSP test; `--corrections` trains without the labels that it found.
"""

from dataclasses import replace
from pathlib import Path

from experiments.command import run as command
from experiments.flags import experiment_of, parser_of
from pose_regression.training.experiment import Experiment, Lsp

FINE_TUNING = {"epochs": 70, "learning_rate": 2e-5}


def main() -> None:
    options = parser_of(__doc__, Lsp, output="runs/lsp").parse_args()
    experiment, output, how = experiment_of(options, Lsp)
    if experiment.weights != "none" and not options.config:
        given = vars(options)
        tuning = {name: value for name, value in FINE_TUNING.items() if f"Recipe.{name}" not in given}
        experiment = replace(experiment, recipe=replace(experiment.recipe, **tuning))

    from pose_regression.training.run import run

    directory = run(experiment, output, **how)
    if experiment.data.fold:
        predict_left_out(experiment, directory)
    else:
        score_test(experiment, directory)


def predict_left_out(experiment: Experiment, directory: Path) -> None:
    """Write `left_out.json`: the poses of the people of --fold."""
    from pose_regression.evaluation.predictions import Predictions, identities, save_predictions
    from pose_regression.evaluation.windows import predict
    from pose_regression.model.load import load_model
    from pose_regression.skeleton import LSP, PA16J, reorder
    from pose_regression.training.people import load_people

    left_out = load_people(experiment.data).left_out
    found = predict(load_model(directory / "best.weights.h5")[0], left_out)
    pixels = reorder(found.pixels, PA16J, LSP).astype(float)
    probability = reorder(found.probability, PA16J, LSP, axis=-1)
    path = directory / "left_out.json"
    save_predictions(path, Predictions(LSP, pixels, probability, *identities(left_out)))
    print(f"\n{len(left_out)} people who were left out are predicted in {path}")


def score_test(experiment: Experiment, directory: Path) -> None:
    """Print PCK of the best weights on LSP test."""
    from pose_regression.evaluation.benchmarks import LSP
    from pose_regression.evaluation.paper import format_table
    from pose_regression.evaluation.windows import predict
    from pose_regression.model.load import load_model

    test = LSP.load(experiment.data.folder, "test")  # type: ignore[union-attr]
    scores = LSP.score(test, predict(load_model(directory / "best.weights.h5")[0], test).pixels)
    print("\nLSP test, PCK@0.2, person-centric, single crop\n")
    print(format_table([("best.weights.h5", scores)]))


if __name__ == "__main__":
    command(main)
