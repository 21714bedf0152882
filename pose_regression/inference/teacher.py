"""A stronger network's poses of annotated people, for `data.soft_labels`.

The teacher is any function from an upright square crop to joints and certainties. Each person is shown to it four
times: as the photograph is and turned so that the annotated trunk stands upright, since networks for everyday pictures
know few people upside down, each also mirrored; and once more in the window about the better of the two answers.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from pose_regression.data.lsp import SMALLEST_BOX
from pose_regression.data.pipeline import evaluation_dataset
from pose_regression.data.sample import Sample
from pose_regression.errors import PoseError
from pose_regression.geometry import crop_affine, invert, transform_points
from pose_regression.inference.loaders import litert_interpreter
from pose_regression.skeleton import COCO, PA16J, Skeleton

Teacher = Callable[[np.ndarray], np.ndarray]
"""(S, S, 3) float32 in [0, 255] -> (J, 3): x, y in [0, 1] of the crop and certainty in [0, 1], in `COCO`'s order."""

MARGIN = 1.25
"""Side of the window in longer sides of the person's box."""

SPREAD = 0.1
"""Torso lengths: a joint whose mirrored answer lies this far from the other loses a factor e of its certainty."""

UNSURE, SURE = 0.15, 0.5
"""Certainties that weigh 0 and 1. On 200 people of LSP's training half, MoveNet Thunder is right (PCK@0.2) for 42 % of
the joints below 0.1, 72 % from 0.2 to 0.3, 88 % from 0.3 to 0.4, and for 93 to 99 % above."""


def movenet(path: str | Path) -> tuple[Teacher, int]:
    """MoveNet single-pose (Lightning or Thunder) as a LiteRT file; and the side of its crops.

    Raises:
        PoseError: no LiteRT runtime, or a file that is not such a network.
    """
    try:
        interpreter = litert_interpreter()(str(path))
    except (ValueError, RuntimeError) as error:
        raise PoseError(f"{path} is no LiteRT file that can be read ({error}).") from error
    (taken,), answers = interpreter.get_input_details(), interpreter.get_output_details()
    shape, given = taken["shape"].tolist(), answers[0]["shape"].tolist()
    if shape != [1, shape[1], shape[1], 3] or given != [1, 1, 17, 3]:
        raise PoseError(f"{path} takes {shape} and gives {given}; expected MoveNet's [1, S, S, 3] and [1, 1, 17, 3].")

    def teacher(crop: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(taken["index"], np.rint(crop)[None].astype(taken["dtype"]))
        interpreter.invoke()
        y, x, certainty = interpreter.get_tensor(answers[0]["index"])[0, 0].T
        return np.stack([x, y, certainty], axis=1)

    return teacher, shape[1]


def taught(teacher: Teacher, samples: Sequence[Sample], *, size: int) -> Iterator[np.ndarray]:
    """The teacher's poses of `samples`, one by one.

    Args:
        teacher: see `Teacher`.
        samples: people in the order PA16J; the window is about the box of their joints.
        size: side of the crops in pixels.

    Yields:
        (J, 3) in `COCO`'s order: x, y in image pixels and certainty in [0, 1].
    """
    for first in range(0, len(samples), 64):
        part = samples[first : first + 64]
        center = np.stack([sample.center for sample in part])
        side = MARGIN * np.array([sample.side for sample in part])
        tilt = np.array([trunk_tilt(sample.joints) for sample in part])
        views = [_both_ways(teacher, part, center, side, turn, size) for turn in (np.zeros(len(part)), tilt)]
        upright = views[1][..., 2].mean(axis=1) > views[0][..., 2].mean(axis=1)
        best = np.where(upright[:, None, None], views[1], views[0])
        low, high = best[..., :2].min(axis=1), best[..., :2].max(axis=1)
        side = MARGIN * np.maximum((high - low).max(axis=1), SMALLEST_BOX)
        again = _both_ways(teacher, part, (low + high) / 2, side, np.where(upright, tilt, 0.0), size)
        better = again[..., 2].mean(axis=1) > best[..., 2].mean(axis=1)
        yield from np.where(better[:, None, None], again, best)


def weight_of(certainty: np.ndarray) -> np.ndarray:
    """The weight in [0, 1] that a soft label of this certainty deserves, linear from `UNSURE` to `SURE`."""
    return np.clip((certainty - UNSURE) / (SURE - UNSURE), 0.0, 1.0)


def trunk_tilt(joints: np.ndarray) -> float:
    """Degrees by which the picture has to turn counter-clockwise for the trunk to stand upright; 0 if it is unknown.

    Args:
        joints: (16, 2) pixels in the order PA16J, NaN where absent.
    """
    hips = joints[[PA16J.index("right_hip"), PA16J.index("left_hip")]]
    x, y = joints[PA16J.index("neck")] - hips.mean(axis=0)
    return float(np.degrees(np.arctan2(x, -y))) if np.isfinite([x, y]).all() else 0.0


def _both_ways(teacher, samples, center, side, turn, size) -> np.ndarray:
    """(N, J, 3) means of the picture's and its mirror image's answers, less certain where they differ."""
    answers = []
    for mirrored in (False, True):
        affine = crop_affine(center, side, rotation=turn, flip=mirrored)
        crops = evaluation_dataset([sample.image for sample in samples], affine, size=size, batch_size=16)
        found = np.stack([teacher(crop) for batch in crops for crop in (batch.numpy() + 1) * 127.5])
        if mirrored:
            found = found[:, list(COCO.flip)]
        pixels = transform_points(invert(affine), found[..., :2].astype(np.float64))
        answers.append(np.concatenate([pixels, found[..., 2:]], axis=-1))
    mean = np.mean(answers, axis=0)
    apart = np.linalg.norm(answers[0][..., :2] - answers[1][..., :2], axis=-1)
    mean[..., 2] *= np.exp(-apart / (SPREAD * torso(mean[..., :2], COCO)[:, None]))
    return mean


def torso(pixels: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """(N,) distance of left shoulder and right hip of (N, J, 2) poses, at least a pixel."""
    shoulder, hip = skeleton.index("left_shoulder"), skeleton.index("right_hip")
    return np.maximum(np.linalg.norm(pixels[:, shoulder] - pixels[:, hip], axis=-1), 1.0)
