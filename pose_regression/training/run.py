"""`run(experiment, directory)`: what every training command, notebook and test calls."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Literal

import keras
import numpy as np

from pose_regression.data.cache import prepare_crops
from pose_regression.data.images import check_images, without_broken
from pose_regression.data.sample import Sample
from pose_regression.errors import PoseError
from pose_regression.evaluation.windows import predict, predict_blocks
from pose_regression.model.growth import grown
from pose_regression.model.load import load_model
from pose_regression.model.named_weights import named_weights
from pose_regression.model.network import DEFAULTS, PoseRegressor
from pose_regression.model.weights import read_weights
from pose_regression.skeleton import Skeleton
from pose_regression.training import hosts
from pose_regression.training.checkpoint import require_empty, run_directory
from pose_regression.training.curves import plot_history
from pose_regression.training.experiment import Experiment, Network, keep_experiment
from pose_regression.training.loop import Validate, batch_of, steps_of, train
from pose_regression.training.machine import Scope, device_count, dtype_of, set_up
from pose_regression.training.people import People, load_people
from pose_regression.training.supervision import Supervision, compile_model, supervision_of
from pose_regression.training.tensorboard import TensorBoard
from pose_regression.wording import quantity

_MAPS_AXIS = {"/heatmaps/kernel": 3, "/project/kernel": 2}
"""The weights whose shape the joints decide, and along which axis their maps lie."""

FEW = 50
"""People to validate on; with fewer, a score's standard error exceeds 5 points or so."""


def run(experiment: Experiment, directory: str | Path, *, resume: bool = False, force: bool = False) -> Path:
    """Train, validating after every epoch.

    Args:
        experiment: what to train.
        directory: of the run.
        resume: it may hold a run of the same experiment, which goes on.
        force: it may hold a run, which is deleted.

    Returns:
        The directory, with `best.weights.h5`, `last.weights.h5`, `history.csv`, `curves.png`, `options.json` and
        `tensorboard/`. The processes of all hosts but the first end here.

    Raises:
        PoseError: files, values or machines at fault.
        Terminated: SIGTERM; the state is saved.
    """
    machine, batch = experiment.machine, experiment.recipe.batch_size
    devices, directory = device_count(machine), Path(directory)
    if batch % devices:
        raise PoseError(f"--batch-size {batch} does not divide by the number of devices, {devices}.")
    if directory.is_dir() and not (resume or force):
        require_empty(directory)  # before anything that takes long
    scope = set_up(machine)
    keras.utils.set_random_seed(experiment.seed)
    keras.config.set_floatx("float32")  # of losses and of the optimizer's state, whatever keras.json says
    machine = replace(machine, dtype=dtype_of(machine))
    experiment = replace(experiment, machine=machine)
    keras.config.set_dtype_policy(machine.dtype)
    people = load_people(experiment.data)
    for note in people.notes:
        print(note, flush=True)
    first = machine.host_index == 0
    with run_directory(directory, resume=resume, force=force) if first else nullcontext(directory):
        if first:
            keep_experiment(directory / "options.json", experiment, resume=resume)
        check_images(people.validation)
        training = without_broken(people.training)
        if machine.cache:
            size = max(448 * experiment.network.input_size // 256, experiment.network.input_size)
            training = prepare_crops(training, machine.cache, augmentation=experiment.recipe.augmentation, size=size)
        with hosts.watched():
            _train(experiment, replace(people, training=training), directory, scope)
        hosts.leave()
    if not first:
        raise SystemExit(0)
    return directory


def _train(experiment: Experiment, people: People, directory: Path, scope: Scope) -> None:
    """What `run` does once directory, devices and images are ready."""
    recipe, training, validation = experiment.recipe, people.training, people.validation
    batch = batch_of(len(training), recipe.batch_size, device_count(experiment.machine))
    if batch != recipe.batch_size:
        print(f"A batch has {batch} in place of {recipe.batch_size}: there are no more to train on.", flush=True)
        recipe = replace(recipe, batch_size=batch)
    if people.lonely and recipe.augmentation.flip:
        print(f"No picture is mirrored, as {', '.join(people.lonely)} show a side and have no partner: say with "
              "flip_pairs in the category which joints trade places, or --no-flip.", flush=True)  # fmt: skip
        recipe = replace(recipe, augmentation=replace(recipe.augmentation, flip=0.0))
    steps = steps_of(len(training), batch)
    if len(validation) < hosts.count():
        raise PoseError(f"{hosts.count()} hosts need as many people to validate on. Received: {len(validation)}")
    supervision = supervision_of(recipe)
    with scope():
        network = _network(experiment, people, supervision.outputs)
        compile_model(network, recipe, steps_per_epoch=steps)
    print(
        f"{quantity(len(training), 'person')} to train on, {len(validation):,} to validate on, "
        f"{network.count_params():,} parameters, {quantity(steps, 'batch')} an epoch.", flush=True,
    )  # fmt: skip
    if len(validation) < FEW:
        few = quantity(len(validation), "person")
        print(f"With {few} to validate on, scores say little: trust no difference.", flush=True)
    report = TensorBoard(directory / "tensorboard", validation, people.skeleton) if hosts.first() else None
    train(
        network, training, _validation(people, supervision), recipe, directory, seed=experiment.seed,
        skeleton=people.skeleton, save_every=experiment.machine.save_every, report=report and _alone(report),
    )  # fmt: skip
    if hosts.first():
        plot_history(directory / "history.csv", directory / "curves.png")


def _network(experiment: Experiment, people: People, outputs: str) -> PoseRegressor:
    size, asked = experiment.network.input_size, experiment.network
    network = PoseRegressor(
        (size, size, 3), num_joints=len(people.skeleton), num_blocks=asked.blocks, width=asked.width,
        num_context=asked.context, alpha=asked.alpha, outputs=outputs, skeleton=people.skeleton,
    )  # fmt: skip
    if experiment.weights != "none":
        start_from(network, experiment.weights, experiment.start)
    return network


def network_of(weights: str | Path) -> Network:
    """The network that a weight file, or weights by name, are of; `PoseError` if its backbone is not the paper's."""
    found = DEFAULTS | read_weights(weights).network
    if found["backbone"] is not None:
        raise PoseError(
            f"{weights} are of a network with another backbone than the paper's, which no flag describes: train it in "
            "Python, with training.loop.train."
        )
    return Network(
        blocks=found["num_blocks"], width=found["width"], input_size=found["input_shape"][0],
        context=found["num_context"], alpha=found["alpha"],
    )  # fmt: skip


def predict_best(directory: Path, samples: Sequence[Sample]) -> tuple[np.ndarray, Skeleton]:
    """(N, J, 2) image pixels that a run's best weights give `samples`, and the skeleton whose joints they are."""
    model, skeleton = load_model(directory / "best.weights.h5")
    return predict(model, samples, skeleton=skeleton).pixels, skeleton


def _validation(people: People, supervision: Supervision) -> Validate:
    """Scores of every block; on several hosts each predicts its share."""
    read = cache(supervision.read)
    samples, score, total = people.validation, people.score, people.total

    def validate(network, callbacks) -> dict[str, float]:
        with hosts.alone():
            mine = samples[hosts.index() :: hosts.count()]
            pixels = predict_blocks(read(network), mine, callbacks=callbacks, skeleton=people.skeleton).pixels
            poses = hosts.gather(pixels, len(samples))
        scores = score(samples, poses[:, -1])
        blocks = {f"score_block_{k + 1}": score(samples, poses[:, k])[total] for k in range(poses.shape[1])}
        return {"score": scores[total], **scores, **blocks}

    return validate


def _alone(report: Callable) -> Callable:
    def told(network, epoch, row) -> None:
        with hosts.alone():
            report(network, epoch, row)

    return told


def start_from(model: PoseRegressor, weights: str | Path, part: Literal["network", "stem"] = "network") -> None:
    """Give `model` the weights of a network for any joints; maps go by the joints' names, those of others begin afresh.

    Of a network with fewer features or blocks, it begins as that one grown (`model.growth`). Of the part "stem", only
    the stem goes on.

    Raises:
        PoseError: no such weights, or a network that is larger or built otherwise; `model` is then unchanged.
    """
    trained, skeleton = load_model(weights)
    source = {name: np.array(variable.value) for name, variable in named_weights(trained).items()}
    variables = named_weights(model)
    shapes = {name: tuple(variable.shape) for name, variable in variables.items()}
    if any(
        name not in source or _features(name, source[name].shape) != _features(name, s) for name, s in shapes.items()
    ):
        maps = next(source[name].shape[-1] for name in source if name.endswith("/heatmaps/kernel"))
        try:
            source = grown(source, {name: _features(name, shape, maps) for name, shape in shapes.items()})
        except PoseError as error:
            raise PoseError(f"--weights {weights} is a network of another size: {error}") from error
        print(f"{weights} is a smaller network: this one begins as it, grown.", flush=True)
    mine = model.skeleton
    if part == "network" and mine and mine.names != skeleton.names:
        known = [name for name in mine.names if name in skeleton.names]
        print(f"{weights}: maps of {len(known)} of {quantity(len(mine), 'joint')} go on, by name.", flush=True)
        for name, value in source.items():
            if axis := next((axis for end, axis in _MAPS_AXIS.items() if name.endswith(end)), 0):
                source[name] = _with_known(np.array(variables[name].value), value, axis, mine, skeleton)
    for name, variable in variables.items():
        if source[name].shape == shapes[name] and (part == "network" or name.startswith("stem/")):
            variable.assign(source[name])


def _with_known(fresh: np.ndarray, trained: np.ndarray, axis: int, mine: Skeleton, theirs: Skeleton) -> np.ndarray:
    """`fresh` with the trained maps, along `axis`, of the joints that both skeletons have."""
    result, source = np.moveaxis(fresh, axis, 0), np.moveaxis(trained, axis, 0)
    for name in set(mine.names) & set(theirs.names):
        for to, of in zip(_maps_of(name, mine, len(result)), _maps_of(name, theirs, len(source)), strict=False):
            result[to] = source[of]
    return fresh


def _maps_of(name: str, joints: Skeleton, maps: int) -> list[int]:
    """Which of a network's `maps` are a joint's: its part map, and its context maps."""
    joint, count = joints.index(name), len(joints)
    context = maps // count - 1
    return [joint, *range(count + joint * context, count + (joint + 1) * context)]


def _features(name: str, shape: tuple[int, ...], maps: int = 0) -> tuple[int, ...]:
    """A weight's shape with another number of maps."""
    axis = next((axis for end, axis in _MAPS_AXIS.items() if name.endswith(end)), len(shape))
    return tuple(maps if i == axis else length for i, length in enumerate(shape))
