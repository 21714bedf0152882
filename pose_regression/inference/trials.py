"""What an export is tried on: crops of photographs, and LSP's test half."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from pose_regression.data.pipeline import evaluation_dataset
from pose_regression.data.sample import Sample
from pose_regression.data.windows import windows_of_samples
from pose_regression.errors import PoseError
from pose_regression.evaluation.benchmarks import LSP
from pose_regression.geometry import crop_affine, invert, transform_points

EXTENSIONS = (".jpg", ".jpeg", ".png")


def pck_on_lsp(predict: Callable[[np.ndarray], dict[str, np.ndarray]], people: list[Sample], size: int) -> float:
    """PCK@0.2 in per cent of a network given as a function of its crops."""
    affines = windows_of_samples(people).affine()
    dataset = evaluation_dataset([person.image for person in people], affines, size=size, batch_size=8)
    pose = np.concatenate([predict(batch)["pose"] for batch in dataset.as_numpy_iterator()])
    return LSP.score(people, transform_points(invert(affines), pose.astype(np.float64)))["PCK"]


def photograph_crops(directory: Path, count: int, size: int) -> np.ndarray:
    """(n, size, size, 3) in [-1, 1]: `count` images spread evenly over a folder's, or all, each as one person."""
    if not directory.is_dir():
        raise PoseError(f"--images must be a folder of photographs. Received: {directory}")
    paths = sorted(path for path in directory.iterdir() if path.suffix.lower() in EXTENSIONS)
    if len(paths) < 2:
        raise PoseError(f"{directory} must hold at least 2 JPEG or PNG images. Found: {len(paths)}")
    paths = [paths[i] for i in np.unique(np.linspace(0, len(paths) - 1, count).round().astype(int))]
    affines = []
    for path in paths:
        try:
            with Image.open(path) as image:
                affines.append(crop_affine(np.array(image.size) / 2, max(image.size)))
        except OSError as error:
            raise PoseError(f"{path} cannot be read as an image.") from error
    dataset = evaluation_dataset(paths, np.stack(affines), size=size, batch_size=8)
    return np.concatenate(list(dataset.as_numpy_iterator()))
