"""What the training commands share: options, set-up of the devices, the run, its report."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from experiments.curves import plot_history
from pose_regression.errors import PoseError
from pose_regression.files import atomic_path, read_json
from pose_regression.skeleton import PA16J, Skeleton


def add_options(parser: argparse.ArgumentParser, *, recipe: str) -> None:
    """The options of every training command; `recipe` is the default one."""
    run = parser.add_argument_group("run")
    run.add_argument("--output", type=Path, metavar="DIR", help="run directory (default: runs/NAME of the command)")
    run.add_argument("--resume", action="store_true", help="go on with the run in --output")
    run.add_argument("--force", action="store_true", help="delete what is in --output first")
    run.add_argument("--seed", type=int, default=0, help="of initial weights, order and augmentation")
    run.add_argument("--save-every", type=int, default=1000, metavar="N", help="batches between saved states")
    run.add_argument("--cache", type=Path, metavar="DIR", help="prepare generous crops here once, and train on them")

    machine = parser.add_argument_group("machine")
    machine.add_argument("--dtype", choices=("float32", "mixed_bfloat16"), default="float32")
    machine.add_argument(
        "--devices", type=int, default=1, metavar="N", help="GPUs of this host to train on (CPU: virtual)"
    )
    machine.add_argument(
        "--hosts", metavar="HOST:PORT,HOST,...", help="all machines of this training, with KERAS_BACKEND=jax"
    )
    machine.add_argument("--host-index", type=int, default=0, metavar="N", help="which of --hosts this is, from 0")
    machine.add_argument("--deterministic", action="store_true", help="bit-for-bit repeatable; a third slower")
    machine.add_argument("--gpu-memory", type=int, metavar="MB", help="use no more of the GPU (a Tesla K20 has 5120)")

    how = parser.add_argument_group("recipe")
    how.add_argument("--recipe", choices=("paper", "deephar", "quick"), default=recipe)
    how.add_argument(
        "--epochs", type=int, help="passes over the people (default of this and what follows: the recipe's)"
    )
    how.add_argument("--batch-size", type=int, help="people in a batch, over all devices and hosts")
    how.add_argument("--learning-rate", type=float, help="the largest of the schedule")
    how.add_argument("--schedule", choices=("plateau", "steps", "cosine", "constant"))
    how.add_argument("--optimizer", choices=("rmsprop", "adamw"))
    how.add_argument("--map-weight", type=float, metavar="WEIGHT", help="of the part maps' own loss; not in the paper")
    how.add_argument("--rotation", type=float, metavar="DEGREES", help="largest rotation in augmentation")
    how.add_argument("--zoom", type=float, nargs=2, metavar="FACTOR", help="range of the window's side in augmentation")
    how.add_argument("--translation", type=float, metavar="FRACTION", help="largest shift in augmentation")

    network = parser.add_argument_group("network")
    network.add_argument("--blocks", type=int, default=8, help="K")
    network.add_argument("--width", type=int, default=576, help="features")
    network.add_argument("--input-size", type=int, default=256, help="side of the crop in pixels, a multiple of 32")
    network.add_argument("--context", type=int, default=2, help="context maps per joint, 0 for none")
    network.add_argument("--alpha", type=float, default=0.8, help="weight of the part maps in eq. 6")


def recipe_of(options: argparse.Namespace):
    """The recipe named by `--recipe` with the other options' changes."""
    from pose_regression.training.loop import RECIPES

    names = ("epochs", "batch_size", "learning_rate", "schedule", "optimizer", "map_weight")
    given = {name: value for name in names if (value := getattr(options, name)) is not None}
    for name in ("epochs", "batch_size", "learning_rate"):
        if given.get(name, 1) <= 0:
            raise PoseError(f"--{name.replace('_', '-')} must be positive. Received: {given[name]}")
    recipe = replace(RECIPES[options.recipe], **given)
    ranges = ("rotation", "zoom", "translation")
    changes = {name: value for name in ranges if (value := getattr(options, name)) is not None}
    if options.zoom and not 0 < options.zoom[0] <= options.zoom[1]:
        raise PoseError(f"--zoom must be two positive factors, the smaller one first. Received: {options.zoom}")
    return replace(recipe, augmentation=replace(recipe.augmentation, **changes))


def set_up(options: argparse.Namespace) -> Callable[[], AbstractContextManager]:
    """Hosts, devices, memory, determinism, seed and dtype; returns what makes the scope to build a model in."""
    import keras

    scope = (_jax_scope if keras.backend.backend() == "jax" else _tensorflow_scope)(options)
    keras.utils.set_random_seed(options.seed)
    keras.config.set_dtype_policy(options.dtype)
    return scope


def _tensorflow_scope(options: argparse.Namespace) -> Callable[[], AbstractContextManager]:
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if options.gpu_memory and not gpus:
        print("--gpu-memory has no effect: there is no GPU.", flush=True)
    for gpu in gpus if options.gpu_memory else []:
        tf.config.set_logical_device_configuration(
            gpu, [tf.config.LogicalDeviceConfiguration(memory_limit=options.gpu_memory)]
        )
    if options.devices > 1 and not gpus:
        virtual = [tf.config.LogicalDeviceConfiguration()] * options.devices
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], virtual)
    if options.deterministic:
        tf.config.experimental.enable_op_determinism()
    if options.devices == 1:
        return nullcontext
    kind = "GPU" if gpus else "CPU"
    if gpus and len(gpus) < options.devices:
        raise PoseError(f"--devices {options.devices}: this host has {len(gpus)} GPUs.")
    return tf.distribute.MirroredStrategy([f"{kind}:{i}" for i in range(options.devices)]).scope


def _jax_scope(options: argparse.Namespace) -> Callable[[], AbstractContextManager]:
    import jax
    import tensorflow as tf

    from pose_regression.training import hosts

    if options.gpu_memory or options.deterministic:
        raise PoseError("--gpu-memory and --deterministic are options of the TensorFlow backend.")
    tf.config.set_visible_devices([], "GPU")  # it only reads pictures here, and must leave the memory to JAX
    if options.devices > 1:
        jax.config.update("jax_num_cpu_devices", options.devices)
    if options.hosts:
        hosts.join(options.hosts, options.host_index)
    if options.hosts or options.devices > 1:
        hosts.distribute(options.devices)
    return nullcontext


def run_training(
    options: argparse.Namespace,
    *,
    training: Sequence,
    validation: Sequence,
    score: Callable[[Sequence, Any], dict[str, float]],
    total: str,
    skeleton: Skeleton = PA16J,
    initial: Callable[[Any], None] | None = None,
) -> Path:
    """Build the network, train it on `training`, validate on `validation` after every epoch.

    Args:
        options: of `add_options`.
        training, validation: samples.
        score: samples and (N, J, 2) pixels -> scores by name.
        total: the entry of `score` that decides.
        skeleton: the joints of the samples and of the network.
        initial: gives a fresh model its first weights.

    Returns:
        The run directory, with `best.weights.h5`, `last.weights.h5`, `history.csv`, `curves.png`, `options.json`. The
        processes of all hosts but the first end here.
    """
    from pose_regression.data.cache import prepare_crops
    from pose_regression.data.images import without_broken
    from pose_regression.training import hosts
    from pose_regression.training.checkpoint import run_directory

    recipe = recipe_of(options)
    if options.hosts:
        hosts.check(options.hosts, options.host_index)
    devices = options.devices * len((options.hosts or "one").split(","))
    if recipe.batch_size % devices:
        raise PoseError(f"--batch-size {recipe.batch_size} does not divide by the number of devices, {devices}.")
    writes = options.host_index == 0
    with (
        run_directory(options.output, resume=options.resume, force=options.force)
        if writes else nullcontext(options.output)
    ) as directory:  # fmt: skip
        if writes:
            keep_options(directory / "options.json", options, asdict(recipe))
        scope = set_up(options)
        training = without_broken(training)
        if options.cache:
            training = prepare_crops(training, options.cache, augmentation=recipe.augmentation)
        with hosts.watched():
            train_network(
                options, directory, scope, training=training, validation=validation, score=score, total=total,
                skeleton=skeleton, initial=initial,
                report=_tensorboard(directory / "tensorboard", validation, skeleton) if writes else None,
            )  # fmt: skip
        hosts.leave()
    if not writes:
        raise SystemExit(0)
    return directory


def by_coordinates(network, recipe, *, steps_per_epoch: int) -> tuple[Any, dict[str, Any]]:
    """The paper's supervision, with that of the maps if the recipe has it; the network answers itself."""
    from pose_regression.training.loop import compile_model
    from pose_regression.training.map_supervision import MapSupervised

    model = MapSupervised(network, recipe.map_weight) if recipe.map_weight else network
    compile_model(model, recipe, steps_per_epoch=steps_per_epoch)
    return model, {"network": network}


def train_network(
    options: argparse.Namespace,
    directory: Path,
    scope: Callable[[], AbstractContextManager],
    *,
    training: Sequence,
    validation: Sequence,
    score: Callable[[Sequence, Any], dict[str, float]],
    total: str,
    skeleton: Skeleton = PA16J,
    initial: Callable[[Any], None] | None = None,
    supervise: Callable[..., tuple[Any, dict[str, Any]]] = by_coordinates,
    report: Callable[[Any, int, dict[str, float]], None] | None = None,
) -> None:
    """What `run_training` does once directory, devices and images are ready.

    Args:
        options: of `add_options`.
        directory: of the run, held by `run_directory`.
        scope: of `set_up`.
        training, validation, score, total, skeleton, initial: as for `run_training`; every training image can be read.
        supervise: network, recipe and steps_per_epoch -> the compiled model to train, which shares the network's
            weights, and by name the models that answer in validation: the first is scored, and the others' totals
            are `score_NAME` in the history.
        report: called after each epoch with network, epoch and its row of the history.
    """
    import keras

    from pose_regression.evaluation.windows import predict_blocks
    from pose_regression.model.network import PoseRegressor
    from pose_regression.training import hosts
    from pose_regression.training.loop import train

    recipe = recipe_of(options)
    steps = len(training) // recipe.batch_size
    if len(validation) < hosts.count():
        raise PoseError(f"{len(validation)} people to validate on are too few for {hosts.count()} hosts.")
    with scope():
        network = PoseRegressor(
            (options.input_size, options.input_size, 3), num_joints=len(skeleton), num_blocks=options.blocks,
            width=options.width, num_context=options.context, alpha=options.alpha, outputs="all",
        )  # fmt: skip
        if initial:
            initial(network)
        model, answering = supervise(network, recipe, steps_per_epoch=steps)
    local = network
    if keras.distribution.distribution():  # a host's share of the validation is its own affair
        with hosts.alone():
            local = network.with_outputs("all")
            _, answering = supervise(local, recipe, steps_per_epoch=steps)
    print(
        f"{len(training)} people to train on, {len(validation)} to validate on, "
        f"{network.count_params():,} parameters, {steps} batches an epoch.", flush=True,
    )  # fmt: skip

    def validate(_, callbacks):
        mine, poses = validation[hosts.index() :: hosts.count()], {}
        with hosts.alone():
            if local is not network:
                local.set_weights(network.get_weights())
            for name, reader in answering.items():
                pixels = predict_blocks(reader, mine, callbacks=callbacks).pixels
                poses[name] = hosts.gather(pixels, len(validation))
        first, *others = poses
        scores = score(validation, poses[first][:, -1])
        blocks = {
            f"score_block_{k + 1}": score(validation, poses[first][:, k])[total] for k in range(poses[first].shape[1])
        }
        more = {f"score_{name}": score(validation, poses[name][:, -1])[total] for name in others}
        return {"score": scores[total], **scores, **blocks, **more}

    def tell(_, epoch, row):
        with hosts.alone():
            report(local, epoch, row)  # type: ignore[misc]

    train(
        model, training, validate, recipe, directory, seed=options.seed, skeleton=skeleton,
        save_every=options.save_every, report=report and tell,
    )  # fmt: skip
    if hosts.first():
        plot_history(directory / "history.csv", directory / "curves.png", total=total)


def read_options(path: Path) -> dict[str, dict]:
    """What `keep_options` wrote: `options` and `recipe`, among others; `PoseError` if it is not that."""
    kept = read_json(path)
    if not (isinstance(kept, dict) and all(isinstance(kept.get(name), dict) for name in ("options", "recipe"))):
        raise PoseError(f"{path} is damaged: it has no options or no recipe.")
    return kept


def keep_options(path: Path, options: argparse.Namespace, recipe: dict) -> None:
    """Write the options of a new run; of a continued one, refuse those that would make it another run."""
    fixed = {
        k: v
        for k, v in vars(options).items()
        if k not in ("output", "resume", "force", "save_every", "cache", "hosts", "host_index")
    }
    new = json.loads(json.dumps({"options": fixed, "recipe": recipe}, default=str))
    if path.exists() and options.resume:
        for name, value in read_options(path)["options"].items():
            if new["options"].get(name) != value:
                raise PoseError(
                    f"--resume: the run in {path.parent} was started with {name}={value}. "
                    f"Received: {new['options'].get(name)}"
                )
        return
    new["command"] = " ".join(sys.argv)
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(new, indent=1))


def _tensorboard(directory: Path, validation: Sequence, skeleton: Skeleton):
    """After each epoch: every number of the history, and four validation pictures with poses and part maps."""
    import numpy as np
    import tensorflow as tf

    from pose_regression.data.pipeline import evaluation_dataset
    from pose_regression.geometry import crop_affine
    from pose_regression.visualize import draw_pose, heatmaps_to_rgb, softmax_map

    writer = tf.summary.create_file_writer(str(directory))
    shown = validation[:: max(len(validation) // 4, 1)][:4]
    viewer = None

    def report(model, epoch: int, row: dict[str, float]) -> None:
        nonlocal viewer
        if viewer is None:
            viewer = model.with_outputs("maps")
        else:
            viewer.set_weights(model.get_weights())
        affine = crop_affine(np.stack([s.center for s in shown]), np.array([s.side for s in shown]))
        size = model.input_shape[1]
        images = np.concatenate(list(evaluation_dataset([s.image for s in shown], affine, size=size, batch_size=4)))
        output = {k: np.asarray(v) for k, v in viewer.predict(images, verbose=0).items()}
        crops = ((images + 1) * 127.5).astype(np.uint8)
        poses = [
            draw_pose(crop, pose * size, skeleton, probability=probability[:, 0])
            for crop, pose, probability in zip(crops, output["pose"], output["probability"], strict=True)
        ]
        maps = [
            heatmaps_to_rgb(softmax_map(heatmaps), skeleton, background=crop)
            for crop, heatmaps in zip(crops, output["heatmaps"], strict=True)
        ]
        with writer.as_default(epoch + 1):
            for name, value in row.items():
                tf.summary.scalar(name, value)
            tf.summary.image("pose", np.stack(poses), max_outputs=4)
            tf.summary.image("part maps", np.stack(maps), max_outputs=4)
        writer.flush()

    return report


def main_of(command: Callable[[], int | None]) -> None:
    """As `command.run`, with SIGTERM's exit code 143 once the state is saved."""
    from experiments.command import run

    def wrapped() -> int | None:
        from pose_regression.training.loop import Terminated

        try:
            return command()
        except Terminated:
            print("SIGTERM: the state is saved; continue with --resume.", flush=True)
            return 128 + 15

    run(wrapped)
