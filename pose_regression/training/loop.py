"""Training, section 4.1 of the paper: recipes, and the loop."""

import csv
import io
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from pose_regression.data.augment import AUTHORS, PAPER, Augmentation, Plan, plan_epoch
from pose_regression.data.pipeline import training_dataset
from pose_regression.data.sample import Sample
from pose_regression.errors import PoseError
from pose_regression.files import atomic_path
from pose_regression.model.layers import register
from pose_regression.model.network import PoseRegressor
from pose_regression.model.weights import save_weights
from pose_regression.skeleton import PA16J, Skeleton
from pose_regression.training import hosts
from pose_regression.training.checkpoint import save_state
from pose_regression.training.losses import PROBABILITY_WEIGHT, PoseLoss, ProbabilityLoss, elastic_net
from pose_regression.training.optimizer import RMSprop


@dataclass(frozen=True)
class Recipe:
    """How to train. The defaults are the paper's; what the paper does not have is off."""

    epochs: int = 120
    batch_size: int = 16
    optimizer: str = "rmsprop"
    """`"rmsprop"` as Keras 2 computed it, or `"adamw"`."""
    learning_rate: float = 1e-3
    schedule: str = "plateau"
    """`"plateau"`: times `decay` when the validation score has not risen for `patience` epochs; `"steps"`: times
    `decay` at each of `milestones`; `"cosine"`: to 1 % over the whole run, after one epoch of linear warm-up;
    `"constant"`."""
    decay: float = 0.4
    patience: int = 5
    milestones: tuple[int, ...] = ()
    """0-based epochs."""
    weight_decay: float = 0.0
    """Of AdamW."""
    entropy: bool = False
    """The authors' pose loss, `losses.elastic_net_with_entropy`, instead of eq. 7."""
    map_weight: float = 0.0
    """Of `map_supervision`, against the pose loss; 0 leaves it out."""
    augmentation: Augmentation = PAPER


RECIPES = {
    # Section 4.1. The patience is ours: the paper does not give it.
    "paper": Recipe(),
    # train_mpii_singleperson.py of deephar.
    "deephar": Recipe(
        batch_size=24, schedule="steps", decay=0.2, milestones=(80, 100), entropy=True, augmentation=AUTHORS
    ),
    # For small networks and few epochs, on one's own account.
    "quick": Recipe(
        epochs=20, optimizer="adamw", schedule="cosine", weight_decay=0.01,
        augmentation=replace(PAPER, translation=0.05),
    ),
}  # fmt: skip


@dataclass
class Progress:
    """Where a run stands. A state between epochs has `batch` 0."""

    epoch: int = 0
    batch: int = 0
    factor: float = 1.0
    """On the learning rate, of the plateau schedule."""
    waiting: int = 0
    """Epochs since the validation score last rose."""
    best: float = -math.inf
    history: list[dict[str, float]] | None = None


class Terminated(Exception):
    """SIGTERM arrived; the state has been saved."""


Validate = Callable[[PoseRegressor, Sequence[keras.callbacks.Callback]], dict[str, float]]


def train(
    model: PoseRegressor,
    samples: Sequence[Sample],
    validate: Validate,
    recipe: Recipe,
    directory: Path,
    *,
    seed: int = 0,
    skeleton: Skeleton = PA16J,
    save_every: int = 1000,
    report: Callable[[PoseRegressor, int, dict[str, float]], None] | None = None,
) -> Progress:
    """Train a compiled model, or go on with the run in `directory`, until the recipe's last epoch.

    After each epoch `validate` scores the model; its entry `"score"` decides the plateau and which weights are kept
    as `best.weights.h5`. `last.weights.h5` and `history.csv` follow every epoch. With TensorFlow's deterministic
    kernels, a run that is killed at any moment and continued ends bit for bit where it would have ended.

    Args:
        model: a `PoseRegressor` with `outputs="all"`, compiled by `compile_model` with the same recipe.
        samples: the people to train on, joints in the order of `skeleton`.
        validate: model and callbacks for its `predict` -> scores, among them `"score"`, higher is better.
        recipe: see `Recipe`.
        directory: of the run, see `checkpoint.run_directory`.
        seed: of order and augmentation.
        skeleton: the joints.
        save_every: batches between two saved states within an epoch.
        report: called after each epoch with model, epoch and its row of the history.

    Raises:
        PoseError: a loss, weight or score that is not finite (the last good state stays), or a state of another model.
        Terminated: SIGTERM; the state is saved.
    """
    steps = len(samples) // recipe.batch_size
    if not steps:
        raise PoseError(f"{len(samples)} samples do not fill one batch of {recipe.batch_size}.")
    progress = Progress(history=[])
    model.optimizer.build(model.trainable_variables)
    restored = hosts.load_state(directory, model)
    if restored:
        progress = Progress(**restored)
        print(f"Resuming at epoch {progress.epoch + 1}, batch {progress.batch}.", flush=True)
    weight_sum = _weight_sum(model)
    with _sigterm() as terminated:
        stop = _StopOnSignal(terminated)
        while progress.epoch < recipe.epochs:
            if terminated.is_set():  # the state is on the disk
                raise Terminated
            epoch, started, first = progress.epoch, time.monotonic(), progress.batch
            if recipe.schedule != "cosine":
                model.optimizer.learning_rate = learning_rate(recipe, progress)
            plan = plan_epoch(samples, skeleton, seed=seed, epoch=epoch, augmentation=recipe.augmentation)
            keeper = _Keeper(model, plan, progress, directory, recipe.batch_size, save_every, terminated, weight_sum)
            if first < steps:
                size = model.input_shape[1]
                batches = training_dataset(
                    hosts.share(plan, recipe.batch_size), size=size, batch_size=recipe.batch_size // hosts.count(),
                    first_batch=first,
                )  # fmt: skip
                model.fit(
                    batches, epochs=epoch + 1, initial_epoch=epoch, steps_per_epoch=steps - first, callbacks=[keeper],
                    shuffle=False, verbose=1 if sys.stdout.isatty() else 0,
                )  # fmt: skip
                keeper.save()
            losses = {m: float(v) for m, v in _flat(model.get_metrics_result()).items()}
            rate = float(ops.convert_to_numpy(model.optimizer.learning_rate))
            seconds = time.monotonic() - started
            try:
                scores = validate(model, [stop])
            except _Stopped:
                raise Terminated from None
            if not math.isfinite(scores["score"]):
                raise PoseError(f"The validation score of epoch {epoch + 1} is {scores['score']}, not a finite number.")
            row = {"epoch": epoch + 1, "learning_rate": rate, **losses, **scores}
            progress = _advance(progress, recipe, row)
            if not hosts.first():
                continue
            if progress.waiting == 0:
                save_weights(model, directory / "best.weights.h5", skeleton=skeleton, notes={"scores": scores})
            save_weights(model, directory / "last.weights.h5", skeleton=skeleton, notes={"scores": scores})
            if report:
                report(model, epoch, row)
            save_state(directory, model, asdict(progress))
            _write_history(directory / "history.csv", progress.history or [])
            speed = (steps - first) * recipe.batch_size / seconds
            print(
                f"epoch {epoch + 1}/{recipe.epochs}  loss {losses['loss']:.4f}  score {scores['score']:.2f}  "
                f"best {progress.best:.2f}  learning rate {rate:.2e}  {speed:.1f} images/s", flush=True,
            )  # fmt: skip
    return progress


def compile_model(model: PoseRegressor, recipe: Recipe, *, steps_per_epoch: int) -> None:
    """Attach losses (eqs. 7 and 8 on every block), per-block losses and the recipe's optimizer."""
    model.compile(
        make_optimizer(recipe, steps_per_epoch=steps_per_epoch),
        loss={"pose": PoseLoss(entropy=recipe.entropy), "probability": ProbabilityLoss()},
        loss_weights={"pose": 1.0, "probability": PROBABILITY_WEIGHT},
        metrics={"pose": [BlockLosses(model.get_config()["num_blocks"], name="blocks")]},
    )
    create_running_losses(model)


def make_optimizer(recipe: Recipe, *, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    """The recipe's optimizer, with its schedule where that changes within an epoch."""
    rate: Any = recipe.learning_rate
    if recipe.schedule == "cosine":
        total = steps_per_epoch * recipe.epochs
        warm = min(steps_per_epoch, max(total // 10, 1))
        rate = keras.optimizers.schedules.CosineDecay(
            0.0, max(total - warm, 1), alpha=0.01, warmup_target=recipe.learning_rate, warmup_steps=warm
        )
    if recipe.optimizer == "rmsprop":
        return RMSprop(rate)
    if recipe.optimizer == "adamw":
        optimizer = keras.optimizers.AdamW(rate, weight_decay=recipe.weight_decay)
        optimizer.exclude_from_weight_decay(var_names=["beta"])
        return optimizer
    raise PoseError(f"optimizer must be 'rmsprop' or 'adamw'. Received: {recipe.optimizer!r}")


def create_running_losses(model: keras.Model) -> None:
    """Create the variables of a compiled model's running losses.

    Keras creates them at the first batch; a state restored before it needs them.
    """
    blank = {name: np.zeros((1, *output.shape[1:]), np.float32) for name, output in model.output.items()}
    joints = model.get_config()["num_joints"]
    targets = {"pose": np.zeros((1, joints, 3), np.float32), "probability": np.zeros((1, joints, 2), np.float32)}
    model.compute_loss(y=targets, y_pred=blank)
    model.compute_metrics(None, targets, blank)
    model.reset_metrics()


def learning_rate(recipe: Recipe, progress: Progress) -> float:
    """The rate of the coming epoch under the schedules that change between epochs."""
    if recipe.schedule == "plateau":
        return recipe.learning_rate * progress.factor
    if recipe.schedule == "steps":
        return recipe.learning_rate * recipe.decay ** sum(progress.epoch >= epoch for epoch in recipe.milestones)
    return recipe.learning_rate


def _advance(progress: Progress, recipe: Recipe, row: dict[str, float]) -> Progress:
    """The progress after an epoch whose results are `row`."""
    better = row["score"] > progress.best
    waiting = 0 if better else progress.waiting + 1
    drop = recipe.schedule == "plateau" and waiting > 0 and waiting % recipe.patience == 0
    return Progress(
        epoch=progress.epoch + 1,
        batch=0,
        factor=progress.factor * (recipe.decay if drop else 1.0),
        waiting=waiting,
        best=max(progress.best, row["score"]),
        history=[*(progress.history or []), row],
    )


@register
class BlockLosses(keras.metrics.Metric):
    """Running mean of eq. 7 for each block: `block_1` ... `block_K`."""

    def __init__(self, num_blocks: int, *, name: str = "blocks", **kwargs):
        super().__init__(name=name, **kwargs)
        self.num_blocks = num_blocks
        self.total = self.add_variable((num_blocks,), initializer="zeros", name="total")
        self.count = self.add_variable((), initializer="zeros", name="count")

    def update_state(self, y_true, y_pred, sample_weight=None):
        loss = elastic_net(y_true[..., :2], y_pred, y_true[..., 2])
        self.total.assign_add(ops.sum(loss, axis=0))
        self.count.assign_add(ops.cast(ops.shape(loss)[0], "float32"))

    def result(self):
        mean = self.total / ops.maximum(self.count, 1)
        return {f"block_{k + 1}": mean[k] for k in range(self.num_blocks)}

    def get_config(self):
        return super().get_config() | {"num_blocks": self.num_blocks}


class _Keeper(keras.callbacks.Callback):
    """Carries running losses over a restart, saves states, and stops on what is not finite or on SIGTERM."""

    def __init__(self, model, plan: Plan, progress, directory, batch_size, save_every, terminated, weight_sum):
        super().__init__()
        self.weight_sum = weight_sum
        self.run, self.plan, self.progress, self.directory = model, plan, progress, directory
        self.batch_size, self.save_every, self.terminated = batch_size, save_every, terminated
        self.running = [ops.convert_to_numpy(v.value) for v in model.metrics_variables] if progress.batch else None

    def on_epoch_begin(self, epoch, logs=None):
        if self.running:  # fit has just reset them
            for variable, value in zip(self.run.metrics_variables, self.running, strict=True):
                variable.assign(value)

    def on_train_batch_end(self, batch, logs=None):
        # ReLU turns NaN into 0: weights can be spoilt while the loss still looks sound.
        finite_loss, finite_weights = np.isfinite([logs["loss"], self.weight_sum()])
        if not (finite_loss and finite_weights):
            first = self.progress.batch * self.batch_size
            images = ", ".join(dict.fromkeys(map(str, self.plan.image[first : first + self.batch_size])))
            raise PoseError(
                f"{'A weight' if finite_loss else 'The loss'} is not finite in epoch {self.progress.epoch + 1}, "
                f"batch {self.progress.batch} "
                f"(images {images}). Training stopped; the last good state is kept in {self.directory}."
            )
        self.progress.batch += 1
        if self.terminated.is_set():
            self.save()
            raise Terminated
        if self.progress.batch % self.save_every == 0:
            self.save()
            if not sys.stdout.isatty():
                print(f"epoch {self.progress.epoch + 1}, batch {self.progress.batch}: {logs['loss']:.4f}", flush=True)

    def save(self) -> None:
        if hasattr(self.run, "jax_state_sync"):
            self.run.jax_state_sync()
        if hosts.first():
            save_state(self.directory, self.run, asdict(self.progress))


def _weight_sum(model: keras.Model) -> Callable[[], float]:
    """Computes the sum of a model's trained weights, finite if they all are; compiled, as it runs each step."""
    if keras.backend.backend() == "tensorflow":
        total = tf.function(lambda: tf.add_n([tf.reduce_sum(weight.value) for weight in model.trainable_variables]))
        return lambda: float(total())
    import jax

    total_of = jax.jit(lambda weights: sum(weight.sum() for weight in weights))

    def synchronized() -> float:
        model.jax_state_sync()
        return float(total_of([weight.value for weight in model.trainable_variables]))

    return synchronized


class _Stopped(Exception):
    pass


class _StopOnSignal(keras.callbacks.Callback):
    """Leaves a long validation when SIGTERM has arrived; the state was saved before it began."""

    def __init__(self, terminated):
        super().__init__()
        self.terminated = terminated

    def on_predict_batch_end(self, batch, logs=None):
        if self.terminated.is_set():
            raise _Stopped


class _Flag:
    """Set by a signal handler, where a lock (of threading.Event) could deadlock."""

    def __init__(self) -> None:
        self.value = False

    def is_set(self) -> bool:
        return self.value


@contextmanager
def _sigterm() -> Iterator[_Flag]:
    flag = _Flag()

    def handle(number, frame):
        flag.value = True

    try:
        previous = signal.signal(signal.SIGTERM, handle)
    except ValueError:  # not the main thread: whoever runs that one handles signals
        yield flag
        return
    try:
        yield flag
    finally:
        signal.signal(signal.SIGTERM, previous)


def _flat(logs: dict) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in logs.items():
        flat |= {k.removeprefix("pose_"): v for k, v in value.items()} if isinstance(value, dict) else {name: value}
    return flat


def _write_history(path: Path, history: list[dict[str, float]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(history[-1]))
    writer.writeheader()
    writer.writerows(history)
    with atomic_path(path) as temporary:
        temporary.write_text(text.getvalue())
