"""What validation sees: weights or their average, with moving averages or new statistics of batch norm.

    python -m tests.stress.validation_trial --data datasets/lsp --extra datasets/lspet --optimizer rmsprop \\
        --schedule constant --learning-rate 1e-3 --epochs 30 --seed 0 --output runs/validation_rmsprop_0

Trains one small network (K = 2, 192 features, 96x96) from scratch and scores four readings of it after each epoch: the
steps are the same for all of them, as neither the average nor the statistics touch the training. Prints each as a line,
and after which epochs the paper's plateau schedule would have lowered the rate, had it decided by that reading. A
command that was interrupted goes on when given again. About half a minute an epoch on two cores.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np

from experiments.command import run as command
from pose_regression.data.augment import plan_epoch
from pose_regression.data.cache import prepare_crops
from pose_regression.data.pipeline import training_dataset
from pose_regression.data.sample import Sample
from pose_regression.evaluation.windows import predict
from pose_regression.model.network import PoseRegressor
from pose_regression.skeleton import PA16J
from pose_regression.training.averages import Statistics
from pose_regression.training.curves import read_history
from pose_regression.training.experiment import RECIPES, Lsp, Recipe
from pose_regression.training.loop import Validate, steps_of, train
from pose_regression.training.people import People, load_people
from pose_regression.training.supervision import compile_model, supervision_of

SIZE = 96
READINGS = (
    "weights, moving averages",
    "weights, new statistics",
    "average, moving averages",
    "average, new statistics",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="LSP")
    parser.add_argument("--extra", type=Path, metavar="DIR", help="LSPET, of which the first 2,200 images are taken")
    parser.add_argument("--optimizer", choices=("rmsprop", "adamw"), default="adamw")
    parser.add_argument("--schedule", choices=("constant", "cosine"), default="cosine")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="for the run, history.csv among it")
    options = parser.parse_args()
    recipe = replace(
        RECIPES["quick"], optimizer=options.optimizer, schedule=options.schedule, epochs=options.epochs,
        learning_rate=options.learning_rate,
    )  # fmt: skip
    people = load_people(Lsp(options.data, extra=options.extra, limit=2200 if options.extra else None))
    trial(people, recipe, options.output, options.seed)
    history = read_history(options.output / "history.csv")
    for reading in READINGS:
        scores = history[reading]
        lowered = plateaus(scores, recipe.patience)
        print(f"{reading}: {' '.join(f'{score:.1f}' for score in scores)}; plateau after {lowered or 'no epoch'}")


def trial(people: People, recipe: Recipe, directory: Path, seed: int) -> None:
    """Train, or go on; history.csv gets a column for each of `READINGS`."""
    keras.utils.set_random_seed(seed)
    keras.config.set_dtype_policy("mixed_bfloat16")
    directory.mkdir(parents=True, exist_ok=True)
    training = prepare_crops(
        people.training, directory.parent / "crops", augmentation=recipe.augmentation, size=448 * SIZE // 256
    )
    network = PoseRegressor((SIZE, SIZE, 3), num_blocks=2, width=192, outputs=supervision_of(recipe).outputs)
    compile_model(network, recipe, steps_per_epoch=steps_of(len(training), recipe.batch_size))
    train(network, training, readings(network, people, training, recipe, seed), recipe, directory, seed=seed)


def readings(network: PoseRegressor, people: People, training: list[Sample], recipe: Recipe, seed: int) -> Validate:
    """Scores of all `READINGS`; of the trained network, and of the copy with averages that `train` gives."""
    reader = network.with_outputs("last")
    statistics = Statistics(reader)
    plan = plan_epoch(training, PA16J, seed=seed, epoch=0, augmentation=recipe.augmentation)
    plan = plan[: recipe.statistics_batches * recipe.batch_size]
    images = training_dataset(plan, size=SIZE, batch_size=recipe.batch_size).map(lambda image, _: image)
    moving = ["moving" in weight.name for weight in network.weights]

    def score(weights: list[np.ndarray], *, anew: bool = False) -> float:
        reader.set_weights(weights)
        if anew:
            statistics.renew(images)
        return people.score(people.validation, predict(reader, people.validation).pixels)[people.total]

    def validate(shown: PoseRegressor, _) -> dict[str, float]:
        weights, average = network.get_weights(), shown.get_weights()
        mixed = [w if old else a for w, a, old in zip(weights, average, moving, strict=True)]
        scores = score(weights), score(weights, anew=True), score(mixed), score(average)
        return {"score": scores[-1], **dict(zip(READINGS, scores, strict=True))}

    return validate


def plateaus(scores: np.ndarray, patience: int) -> list[int]:
    """Epochs, from 1, after which the plateau schedule lowers the rate."""
    lowered, best, waiting = [], -np.inf, 0
    for epoch, score in enumerate(scores, 1):
        waiting = 0 if score > best else waiting + 1
        best = max(best, score)
        if waiting and waiting % patience == 0:
            lowered.append(epoch)
    return lowered


if __name__ == "__main__":
    command(main)
