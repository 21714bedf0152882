"""The loop of training, section 4.1 of the paper."""

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

from pose_regression.data.augment import Plan, plan_epoch
from pose_regression.data.pipeline import training_dataset
from pose_regression.data.sample import Sample
from pose_regression.errors import PoseError, Terminated
from pose_regression.files import write_file
from pose_regression.model.network import PoseRegressor
from pose_regression.model.weights import save_weights
from pose_regression.skeleton import PA16J, Skeleton
from pose_regression.training import hosts
from pose_regression.training.averages import Shown
from pose_regression.training.checkpoint import save_state
from pose_regression.training.experiment import Recipe
from pose_regression.training.supervision import supervision_of

if keras.backend.backend() == "jax":
    import jax


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


Validate = Callable[[PoseRegressor, Sequence[keras.callbacks.Callback]], dict[str, float]]
"""Network and callbacks for its `predict` -> scores."""

Report = Callable[[PoseRegressor, int, dict[str, float]], None]
"""Network, epoch from 0, its row of the history."""


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
    report: Report | None = None,
) -> Progress:
    """Train a compiled model, or go on with the run in `directory`, until the recipe's last epoch.

    After each epoch `validate` scores the network, or its copy with averages (`averages.Shown`); its entry `"score"`
    decides the plateau and which weights are kept as `best.weights.h5`. `last.weights.h5` and `history.csv` follow
    every epoch. With TensorFlow's deterministic kernels, a run that is killed at any moment and continued ends bit for
    bit where it would have ended.

    Args:
        model: compiled by `supervision.compile_model` with the same recipe.
        samples: the people to train on, joints in the order of `skeleton`; each is seen in every epoch if
            `batch_of` chose the recipe's batch, else the last ones of an epoch's order may be left over.
        validate: network and callbacks for its `predict` -> scores, among them `"score"`, higher is better.
        recipe: see `Recipe`.
        directory: of the run, see `checkpoint.run_directory`.
        seed: of order and augmentation.
        skeleton: the joints.
        save_every: batches between two saved states within an epoch.
        report: called after each epoch with the network that was validated, epoch and its row of the history.

    Raises:
        PoseError: a loss, weight or score that is not finite (the last good state stays), or a state of another model.
        Terminated: SIGTERM; the state is saved.
    """
    shown = Shown(model, recipe)
    model.optimizer.build(model.trainable_variables)
    restored = hosts.load_state(directory, model, extra=shown.variables)
    progress = Progress(**restored or {"history": []})
    if restored:
        print(f"Resuming at epoch {progress.epoch + 1}, batch {progress.batch}.", flush=True)
    with _sigterm() as terminated:
        run = _Run(model, samples, skeleton, recipe, directory, seed, save_every, shown, terminated)
        while progress.epoch < recipe.epochs:
            if terminated.is_set():  # the state is on the disk
                raise Terminated
            started, first, plan = time.monotonic(), progress.batch, run.plan(progress.epoch)
            run.fit(plan, progress)
            rate = float(ops.convert_to_numpy(model.optimizer.learning_rate))
            row = {"epoch": progress.epoch + 1, "learning_rate": rate, **_flat(model.get_metrics_result())}
            seconds = time.monotonic() - started
            scores = run.validated(validate, plan, progress.epoch)
            progress = _advance(progress, recipe, row | scores)
            if not hosts.first():
                continue
            run.keep(progress, scores, report)
            speed = (run.steps - first) * recipe.batch_size / seconds
            print(
                f"epoch {progress.epoch}/{recipe.epochs}  loss {row['loss']:.4f}  score {scores['score']:.2f}  best "
                f"{progress.best:.2f}  learning rate {rate:.2e}  {speed:.1f} images/s  "
                f"{run.clock.left(progress.epoch)}", flush=True,
            )  # fmt: skip
    return progress


@dataclass(eq=False)
class _Run:
    """What stays the same over the epochs of a training."""

    model: PoseRegressor
    samples: Sequence[Sample]
    skeleton: Skeleton
    recipe: Recipe
    directory: Path
    seed: int
    save_every: int
    shown: Shown
    terminated: "_Flag"

    def __post_init__(self):
        self.steps, self.size = steps_of(len(self.samples), self.recipe.batch_size), self.model.input_shape[1]
        self.supervision = supervision_of(self.recipe, grid=self.model.get_config()["grid"])
        self.clock, self.weight_sum = Clock(self.recipe.epochs), _weight_sum(self.model)
        self.taught = with_learned(self.skeleton, self.samples)

    def plan(self, epoch: int) -> Plan:
        """Of an epoch's full batches."""
        plan = plan_epoch(
            self.samples, self.skeleton, seed=self.seed, epoch=epoch, augmentation=self.recipe.augmentation
        )
        return plan[np.arange(self.steps * self.recipe.batch_size) % len(plan)]

    def fit(self, plan: Plan, progress: Progress) -> None:
        """Train on what is left of an epoch, counting its batches in `progress`, and save the state."""
        if self.recipe.schedule != "cosine":
            self.model.optimizer.learning_rate = learning_rate(self.recipe, progress)
        self.clock.epoch(progress.epoch, progress.batch / self.steps)
        if progress.batch == self.steps:
            return
        batch_size, keeper = self.recipe.batch_size, _Keeper(self, plan, progress)
        batches = training_dataset(
            hosts.share(plan, batch_size), size=self.size, batch_size=batch_size // hosts.count(),
            first_batch=progress.batch,
        ).map(lambda image, targets: (image, self.supervision.targets(targets)))  # fmt: skip
        self.model.fit(
            batches, epochs=progress.epoch + 1, initial_epoch=progress.epoch,
            steps_per_epoch=self.steps - progress.batch, callbacks=[keeper], shuffle=False,
            verbose=1 if sys.stdout.isatty() else 0,
        )  # fmt: skip
        keeper.save()

    def validated(self, validate: Validate, plan: Plan, epoch: int) -> dict[str, float]:
        """The scores of the network with averages, whose statistics are of the first images of `plan`."""
        batch_size = self.recipe.batch_size
        self.shown.renew(_images(plan[: self.shown.batches * batch_size], self.size, batch_size))
        scores = validate(self.shown.network, [_StopOnSignal(self.terminated)])
        if not math.isfinite(scores["score"]):
            raise PoseError(f"The validation score of epoch {epoch + 1} is {scores['score']}, not a finite number.")
        return scores

    def keep(self, progress: Progress, scores: dict[str, float], report: Report | None) -> None:
        """Write weights, state and history after an epoch."""
        network, history = self.shown.network, progress.history or []
        for name in ("best", "last") if progress.waiting == 0 else ("last",):
            path = self.directory / f"{name}.weights.h5"
            save_weights(network, path, skeleton=self.taught, notes={"scores": scores})
        if report:
            report(network, progress.epoch - 1, history[-1])
        save_state(self.directory, self.model, asdict(progress), extra=self.shown.variables)
        _write_history(self.directory / "history.csv", history)


def with_learned(skeleton: Skeleton, samples: Sequence[Sample]) -> Skeleton:
    """The skeleton with the joints that some sample supervises and has."""
    taught = np.any([sample.supervised & sample.present for sample in samples], axis=0)
    if taught.all():
        return replace(skeleton, learned=None)
    return replace(skeleton, learned=tuple(name for name, known in zip(skeleton.names, taught, strict=True) if known))


def steps_of(count: int, batch_size: int) -> int:
    """Batches of an epoch: all that are full; of fewer people than two batches, as many as take them all.

    In those the first people of the epoch's order fill the last batch, so that nobody is left out where few are.

    Raises:
        PoseError: fewer people than one batch, see `batch_of`.
    """
    if count < batch_size:
        raise PoseError(f"{count} samples do not fill one batch of {batch_size}.")
    return count // batch_size if count >= 2 * batch_size else -(-count // batch_size)


def batch_of(count: int, batch_size: int, devices: int = 1) -> int:
    """The batch for `count` people: `batch_size`, or all of them where they are fewer, in parts of `devices`."""
    if count >= batch_size:
        return batch_size
    return max(count // devices * devices, 1)


class Clock:
    """How long a run of so many epochs will go on, from the epochs since this process began."""

    def __init__(self, epochs: int):
        self.epochs, self.begun = epochs, time.monotonic()
        self.first: float | None = None

    def epoch(self, epoch: int, part: float) -> None:
        """An epoch of which `part` was done before begins; the first call says where this process began."""
        if self.first is None:
            self.first, self.begun = epoch + part, time.monotonic()

    def left(self, done: float) -> str:
        """What to say after `done` epochs of the run: "1 h 05 min left"."""
        first = self.first or 0.0
        if done <= first:
            return ""
        minutes = (time.monotonic() - self.begun) / (done - first) * (self.epochs - done) / 60
        hours, minutes = divmod(round(minutes), 60)
        return f"{hours} h {minutes:02d} min left" if hours else f"{minutes} min left"


def _images(plan: Plan, size: int, batch_size: int) -> Iterator[tf.Tensor]:
    """The images of a plan in batches, as training sees them; nothing is read before the first is asked for."""
    if len(plan):
        yield from training_dataset(plan, size=size, batch_size=batch_size).map(lambda image, _: image)


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


class _Keeper(keras.callbacks.Callback):
    """Carries running losses over a restart, saves states, and stops on what is not finite or on SIGTERM."""

    def __init__(self, run: _Run, plan: Plan, progress: Progress):
        super().__init__()
        self.run, self.plan, self.progress, metrics = run, plan, progress, run.model.metrics_variables
        self.running = [ops.convert_to_numpy(v.value) for v in metrics] if progress.batch else None

    def on_epoch_begin(self, epoch, logs=None):
        if self.running:  # fit has just reset them
            for variable, value in zip(self.run.model.metrics_variables, self.running, strict=True):
                variable.assign(value)

    def on_train_batch_end(self, batch, logs=None):
        self._require_finite(logs["loss"])
        run, progress = self.run, self.progress
        progress.batch += 1
        if run.shown.average:
            run.shown.average.update(progress.epoch * run.steps + progress.batch)
        if run.terminated.is_set():
            self.save()
            raise Terminated
        if progress.batch % run.save_every == 0:
            self.save()
            if not sys.stdout.isatty():
                where = f"epoch {progress.epoch + 1}, batch {progress.batch}"
                left = run.clock.left(progress.epoch + progress.batch / run.steps)
                print(f"{where}: {logs['loss']:.4f}  {left}", flush=True)

    def _require_finite(self, loss: float) -> None:
        # ReLU turns NaN into 0: weights can be spoilt while the loss still looks sound.
        finite_loss, finite_weights = np.isfinite([loss, self.run.weight_sum()])
        if not (finite_loss and finite_weights):
            first, size = self.progress.batch * self.run.recipe.batch_size, self.run.recipe.batch_size
            images = ", ".join(dict.fromkeys(map(str, self.plan.image[first : first + size])))
            raise PoseError(
                f"{'A weight' if finite_loss else 'The loss'} is not finite in epoch {self.progress.epoch + 1}, "
                f"batch {self.progress.batch} "
                f"(images {images}). Training stopped; the last good state is kept in {self.run.directory}."
            )

    def save(self) -> None:
        if hasattr(self.run.model, "jax_state_sync"):
            self.run.model.jax_state_sync()
        if hosts.first():
            save_state(self.run.directory, self.run.model, asdict(self.progress), extra=self.run.shown.variables)


def _weight_sum(model: keras.Model) -> Callable[[], float]:
    """Computes the sum of a model's trained weights, finite if they all are; compiled, as it runs each step."""
    if keras.backend.backend() == "tensorflow":
        total = tf.function(lambda: tf.add_n([tf.reduce_sum(weight.value) for weight in model.trainable_variables]))
        return lambda: float(total())
    total_of = jax.jit(lambda weights: sum(weight.sum() for weight in weights))

    def synchronized() -> float:
        model.jax_state_sync()
        return float(total_of([weight.value for weight in model.trainable_variables]))

    return synchronized


class _StopOnSignal(keras.callbacks.Callback):
    """Leaves a long validation when SIGTERM has arrived; the state was saved before it began."""

    def __init__(self, terminated):
        super().__init__()
        self.terminated = terminated

    def on_predict_batch_end(self, batch, logs=None):
        if self.terminated.is_set():
            raise Terminated


class _Flag:
    """Set by a signal handler, where a lock (of threading.Event) could deadlock."""

    def __init__(self) -> None:
        self.value = False

    def is_set(self) -> bool:
        return self.value

    def set(self, number, frame) -> None:
        self.value = True


@contextmanager
def _sigterm() -> Iterator[_Flag]:
    flag = _Flag()
    try:
        previous = signal.signal(signal.SIGTERM, flag.set)
    except ValueError:  # not the main thread: whoever runs that one handles signals
        yield flag
        return
    try:
        yield flag
    finally:
        signal.signal(signal.SIGTERM, previous)


def _flat(logs: dict) -> dict[str, float]:
    flat: dict[str, Any] = {}
    for name, value in logs.items():
        flat |= {k.removeprefix("pose_"): v for k, v in value.items()} if isinstance(value, dict) else {name: value}
    return {name: float(value) for name, value in flat.items()}


def _write_history(path: Path, history: list[dict[str, float]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(history[-1]))
    writer.writeheader()
    writer.writerows(history)
    write_file(path, text.getvalue())
