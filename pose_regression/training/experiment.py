"""What a training is: network, recipe, data, machine. The only source of flags, config files, options.json and the API.

    run(Experiment(data=Lsp("datasets/lsp"), recipe=RECIPES["quick"]), "runs/lsp")

The string below a field says what it is; `experiments.flags` shows it as the flag's help.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_type_hints

from pose_regression.data.augment import AUTHORS, PAPER, Augmentation
from pose_regression.data.orientation import Labels
from pose_regression.errors import PoseError
from pose_regression.files import read_json, write_json


@dataclass(frozen=True)
class Network:
    """The arguments of `PoseRegressor` that a training chooses; the defaults are the paper's."""

    blocks: int = 8
    """K"""
    width: int = 576
    """features"""
    input_size: int = 256
    """side of the crop in pixels, a multiple of 32"""
    context: int = 2
    """context maps per joint, 0 for none"""
    alpha: float = 0.8
    """weight of the part maps in eq. 6"""


@dataclass(frozen=True)
class Recipe:
    """How to train. The defaults are the paper's; what the paper does not have is off."""

    epochs: int = 120
    """passes over the people"""
    batch_size: int = 16
    """people in a batch, over all devices and hosts"""
    optimizer: Literal["rmsprop", "adamw"] = "rmsprop"
    """rmsprop as Keras 2 computed it, or adamw"""
    learning_rate: float = 1e-3
    """the largest of the schedule"""
    schedule: Literal["plateau", "steps", "cosine", "constant"] = "plateau"
    """plateau: times decay when the validation score has not risen for patience epochs; steps: times decay at each of
    milestones; cosine: to 1 % over the whole run, after one epoch of linear warm-up; constant"""
    decay: float = 0.4
    """factor on the learning rate, of plateau and steps"""
    patience: int = 5
    """epochs without progress, of plateau"""
    milestones: tuple[int, ...] = ()
    """0-based epochs, of steps"""
    weight_decay: float = 0.0
    """of adamw"""
    entropy: bool = False
    """the authors' pose loss, with a cross-entropy of the coordinates, instead of eq. 7"""
    supervise: Literal["pose", "heatmaps"] = "pose"
    """pose: the paper's losses; heatmaps: part maps are to be Gaussians, read at their maxima, as before the paper"""
    map_weight: float = 0.0
    """of the part maps' divergence from Gaussians, beside the pose losses; not in the paper"""
    statistics_batches: int = 0
    """before each validation, batch norm's statistics are computed anew over so many training batches, each a third of
    a training step's cost; 0 takes the moving averages, which lag behind the weights"""
    average: float = 0.0
    """of the weights, that part of the average kept at each step, such as 0.999: the average is validated and saved;
    its window never exceeds a tenth of the steps so far; 0 for none"""
    augmentation: Augmentation = PAPER

    def __post_init__(self):
        for name in ("epochs", "batch_size", "learning_rate", "patience"):
            if getattr(self, name) <= 0:
                raise PoseError(f"{name} must be positive. Received: {getattr(self, name)}")
        for name in ("map_weight", "statistics_batches"):
            if getattr(self, name) < 0:
                raise PoseError(f"{name} must not be negative. Received: {getattr(self, name)}")
        if not 0 <= self.average < 1:
            raise PoseError(f"average must be at least 0 and below 1. Received: {self.average}")
        if self.average and not self.statistics_batches:
            raise PoseError("average needs statistics_batches: averaged weights have no statistics of their own.")
        for name, hint in get_type_hints(type(self)).items():
            if (choices := getattr(hint, "__args__", ())) and isinstance(choices[0], str):
                if getattr(self, name) not in choices:
                    raise PoseError(f"{name} must be one of {', '.join(choices)}. Received: {getattr(self, name)}")
        low, high = self.augmentation.zoom
        if not 0 < low <= high:
            raise PoseError(f"zoom must be two positive factors, the smaller one first. Received: {low}, {high}")


RECIPES = {
    # Section 4.1. The patience is ours: the paper does not give it.
    "paper": Recipe(),
    # train_mpii_singleperson.py of deephar.
    "deephar": Recipe(
        batch_size=24, schedule="steps", decay=0.2, milestones=(80, 100), entropy=True, augmentation=AUTHORS
    ),
    # For small networks and few epochs, on one's own account.
    "quick": Recipe(
        epochs=20, optimizer="adamw", schedule="cosine", weight_decay=0.01, statistics_batches=30, average=0.999,
        augmentation=replace(PAPER, translation=0.05),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Mpii:
    """MPII, or rendered people in its layout."""

    folder: Path
    """MPII (see datasets/README.md), or 'synthetic' to render people"""
    pictures: int = 2000
    """training pictures to render, of 'synthetic'; another number than before replaces those"""


@dataclass(frozen=True)
class Lsp:
    """Leeds Sports Pose, and its extended training set."""

    folder: Path
    """LSP: joints.mat, images/"""
    extra: Path | None = None
    """LSPET: joints.mat, images/"""
    limit: int | None = None
    """of extra, the first so many images only"""
    holdout: int = 200
    """training images, the last, kept for validation"""
    repeat: int = 1
    """times that each of LSP's own people is shown in an epoch: their labels are the careful ones"""
    soft_labels: Path | None = None
    """CSV of a network's poses, from experiments.soft_labels"""
    soft_weight: float = 1.0
    """of those against the labels"""


@dataclass(frozen=True)
class Coco:
    """One's own joints and pictures, annotated in the COCO keypoints format."""

    annotations: Path
    """COCO keypoints, .json"""
    images: Path
    """where its file names start from"""
    validation: Path | None = None
    """another file of the same joints to validate on"""
    validation_images: Path | None = None
    """of validation, if not those of images"""
    holdout: float = 0.1
    """of the pictures, the last, kept for validation where there is no other file"""
    category: str | None = None
    """name of the only category to take, where several have joints"""
    labels: Labels | None = None
    """pictures that EXIF turns are labelled upright, or as in the file; else the labels tell"""


Data = Mpii | Lsp | Coco


Dtype = Literal["float32", "mixed_bfloat16", "auto"]


@dataclass(frozen=True)
class Machine:
    """Where to train: nothing of it but `dtype`, `devices` and `deterministic` shows in the result."""

    dtype: Dtype = "float32"
    """of the convolutions; auto: mixed_bfloat16 where processor or GPU computes in it, else float32"""
    devices: int = 1
    """GPUs of this host to train on (CPU: virtual)"""
    hosts: str | None = None
    """HOST:PORT,HOST,...: all machines of this training, with KERAS_BACKEND=jax"""
    host_index: int = 0
    """which of hosts this is, from 0"""
    deterministic: bool = False
    """bit-for-bit repeatable; a third slower"""
    gpu_memory: int | None = None
    """use no more MiB of the GPU (a Tesla K20 has 5120)"""
    save_every: int = 1000
    """batches between saved states"""
    cache: Path | None = None
    """prepare generous crops here once, and train on them"""


@dataclass(frozen=True)
class Experiment:
    """One training."""

    data: Data
    network: Network = field(default_factory=Network)
    recipe: Recipe = field(default_factory=Recipe)
    machine: Machine = field(default_factory=Machine)
    weights: str = "none"
    """name or file of weights to start from, of any joints; 'none' for from scratch"""
    start: Literal["network", "stem"] = "network"
    """what of those weights: all that fits, or the stem alone, so that every block is learned afresh"""
    seed: int = 0
    """of initial weights, order and augmentation"""

    def __post_init__(self):
        if self.start not in ("network", "stem"):
            raise PoseError(f"start must be network or stem. Received: {self.start}")
        if self.start == "stem" and self.weights == "none":
            raise PoseError("start=stem needs weights, whose stem it is.")


FREE = ("machine.hosts", "machine.host_index", "machine.gpu_memory", "machine.save_every", "machine.cache")
"""What may change when a run is continued."""


def to_json(experiment: Experiment) -> dict[str, Any]:
    """As JSON takes it. A path below the working directory is kept relative to it, of any other only the name."""
    content = asdict(experiment)
    content["data"]["kind"] = type(experiment.data).__name__
    return json.loads(json.dumps(content, default=portable))


def from_json(content: dict[str, Any], path: Path) -> Experiment:
    """The experiment that `to_json` gave; `path` is where it was read from, for the error."""
    try:
        kinds = {kind.__name__: kind for kind in (Mpii, Lsp, Coco)}
        values = dict(content["data"])
        data = _built(kinds[values.pop("kind")], values)
        return _built(Experiment, {k: v for k, v in content.items() if k != "data"}, data=data)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PoseError(f"{path} describes no experiment of this version: {error!r}.") from error


def _built(kind: type, values: dict[str, Any], **known: Any) -> Any:
    hints = get_type_hints(kind)
    made = {}
    for name, value in values.items():
        hint = hints[name]
        if is_dataclass(hint):
            value = _built(hint, value)  # type: ignore[arg-type]
        elif isinstance(value, list):
            value = tuple(value)
        elif isinstance(value, str) and Path in (hint, *getattr(hint, "__args__", ())):
            value = Path(value)
        made[name] = value
    return kind(**made, **known)


def portable(path: Path) -> str:
    """A path as it may be shown to others: nothing of this machine above the working directory."""
    path = Path(path)
    if not path.is_absolute():
        return path.as_posix()
    here = Path.cwd()
    return path.relative_to(here).as_posix() if path.is_relative_to(here) else path.name


def keep_experiment(path: Path, experiment: Experiment, *, resume: bool) -> None:
    """Write options.json of a new run; of a continued one, refuse what would make it another.

    Raises:
        PoseError: naming the first field that differs.
    """
    new = to_json(experiment)
    if path.exists() and resume:
        kept = read_options(path)["experiment"]
        if "data" not in kept:
            raise PoseError(f"--resume: the run in {path.parent} was started by an earlier version; continue it there.")
        old, now = dict(_leaves(kept)), dict(_leaves(new))
        for name in old | now:
            if name not in FREE and old.get(name) != now.get(name):
                raise PoseError(
                    f"--resume: the run in {path.parent} was started with {name.rpartition('.')[2]}={old.get(name)}. "
                    f"Received: {now.get(name)}"
                )
        return
    command = [portable(Path(word)) if Path(word).is_absolute() else word for word in sys.argv]
    write_json(path, {"experiment": new, "command": " ".join(command)})


def read_options(path: Path) -> dict[str, Any]:
    """The content of a run's options.json: `experiment` (see `from_json`) and `command`.

    Of a run of an earlier version the experiment has `network` and `recipe` alone.

    Raises:
        PoseError: the file cannot be read or is damaged.
    """
    kept = read_json(path)
    if isinstance(kept, dict) and isinstance(kept.get("options"), dict):
        earlier = {"network": kept["options"], "recipe": kept.get("recipe")}
        kept = {"experiment": earlier, "command": kept.get("command", "")}
    parts = kept.get("experiment") if isinstance(kept, dict) else None
    if not isinstance(parts, dict) or not all(isinstance(parts.get(name), dict) for name in ("network", "recipe")):
        raise PoseError(f"{path} is damaged: it has no experiment with a network and a recipe.")
    return kept


def _leaves(content: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in content.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def changed(value: Any, changes: dict[str, Any]) -> Any:
    """A dataclass with some of its fields, or of those of the dataclasses in it, replaced: {"Recipe.epochs": 3}."""
    kind, new = type(value).__name__, {}
    for entry in fields(value):
        old = getattr(value, entry.name)
        new[entry.name] = changed(old, changes) if is_dataclass(old) else changes.get(f"{kind}.{entry.name}", old)
    return type(value)(**new)
