"""How `full` and `small` were trained on one GPU: the large network mends the labels that the small one learns from."""

from collections.abc import Sequence
from pathlib import Path

import torch

from pose_regression.data.augment import Augmentation
from pose_regression.data.consensus import consensus
from pose_regression.data.sample import Sample
from pose_regression.errors import PoseError
from pose_regression.model.network import PoseRegressor
from pose_regression.model.torch_graph import Tensors
from pose_regression.model.weights import save_weights
from pose_regression.skeleton import PA16J
from pose_regression.training.experiment import Lsp
from pose_regression.training.loop import with_learned
from pose_regression.training.on_gpu import Pictures, Trainer, read_pictures
from pose_regression.training.people import People, load_people

WIDE = Augmentation(rotation=60.0, zoom=(0.65, 1.4), translation=0.1)
NARROW = Augmentation(rotation=45.0, zoom=(0.75, 1.3), translation=0.06)

LARGE_PART = 0.72
"""Of the time, for the large network."""


def teach(
    data: Lsp, directory: Path, *, minutes: float, large: str = "full", small: str = "small",
    large_size: int = 256, batch_sizes: tuple[int, int] = (64, 256), seed: int = 11, device: str = "cuda",
) -> dict[str, Path]:  # fmt: skip
    """Train a large network, let it mend LSPET's labels (`data.consensus`), train a small one on those.

    The large network learns from all labels as they are, for 30 per cent of its time; gives its poses; learns from LSP
    and the consensus while the rate falls, 54 per cent; and, under less augmentation at a low rate, 16 per cent. The
    small one learns from the consensus with the final large network, 80 and 20 per cent of its time.

    Args:
        data: LSP with `extra` and `soft_labels`.
        directory: for `large.weights.h5` and `small.weights.h5`.
        minutes: for both, reading the pictures left out.
        large, small: weights to start from.
        large_size: side of the large network's crops in pixels; a multiple of 32.
        batch_sizes: of both.
        seed: of order and augmentation. GPUs add up in any order, and the schedule is one of time: no two runs are
            alike in every bit.
        device: of PyTorch.

    Returns:
        The two files, by "large" and "small", each with the weights of best score on the people held out.

    Raises:
        PoseError: no GPU, no time, data without `extra` and `soft_labels`, or files at fault.
    """
    if not (data.extra and data.soft_labels):
        raise PoseError("--extra and --soft-labels must be given: labels are mended where two sources agree.")
    if minutes <= 0:
        raise PoseError(f"--minutes must be positive. Received: {minutes:g}")
    if device == "cuda" and not torch.cuda.is_available():
        raise PoseError("PyTorch finds no GPU here; experiments.train_lsp trains on processors.")
    people = load_people(data)
    pictures = read_pictures([*people.training, *people.validation], device)
    torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32 = True, False
    seconds = minutes * 60
    others = [sample for sample in people.training if sample.weight is not None]
    hard = [sample for sample in people.training if sample.weight is None]
    own = [sample for sample in hard if Path(sample.image).is_relative_to(data.folder)]
    labelled = [sample for sample in hard if not Path(sample.image).is_relative_to(data.folder)]

    teacher = _trainer(large, people, pictures, batch_sizes[0], size=large_size)
    share = LARGE_PART * seconds
    everybody = own * 8 + labelled + others
    teacher.stage(everybody, 0.30 * share, 6e-4, augmentation=WIDE, seed=seed)
    mended = _mended(teacher, labelled, others)
    teacher.stage(own * 6 + mended, 0.54 * share, 6e-4, augmentation=WIDE, seed=seed + 1, floor=0.08, looks=3)
    teacher.stage(own * 4 + mended, 0.16 * share, 1.2e-4, augmentation=NARROW, seed=seed + 2, floor=0.02, looks=2)

    mended = _mended(teacher, labelled, others)
    pupil = _trainer(small, people, pictures, batch_sizes[1])
    share = (1 - LARGE_PART) * seconds
    pupil.stage(own * 6 + mended, 0.8 * share, 1.5e-3, augmentation=WIDE, seed=seed + 10, floor=0.08, looks=3)
    pupil.stage(own * 6 + mended, 0.2 * share, 1.5e-4, augmentation=NARROW, seed=seed + 11, floor=0.02, looks=2)
    directory.mkdir(parents=True, exist_ok=True)
    trainers = {"large": teacher, "small": pupil}
    return {name: _written(trainer, people, directory / f"{name}.weights.h5") for name, trainer in trainers.items()}


def _trainer(weights: str, people: People, pictures: Pictures, batch_size: int, size: int | None = None) -> Trainer:
    network = PoseRegressor((size, size, 3) if size else None, weights=weights)

    def score(trainer: Trainer, tensors: Tensors) -> float:
        return people.score(people.validation, trainer.predict(people.validation, tensors)[0])[people.total]

    return Trainer(network, pictures, batch_size=batch_size, score=score)


def _mended(teacher: Trainer, labelled: Sequence[Sample], others: Sequence[Sample]) -> list[Sample]:
    return consensus(labelled, others, *teacher.predict(labelled, teacher.kept, flip=True))


def _written(trainer: Trainer, people: People, path: Path) -> Path:
    network = trainer.network
    network.set_weights(trainer.graph.weights(trainer.kept))
    skeleton = with_learned(network.skeleton or PA16J, people.training)
    save_weights(network, path, skeleton=skeleton, notes={"scores": {"score": trainer.best}})
    return path
