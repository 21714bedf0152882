"""How much longer than its network a predictor takes, from a file to joints and from a picture to everybody in it."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from pose_regression.data.synthetic import render
from pose_regression.errors import PoseError
from pose_regression.inference.people import find_detector
from pose_regression.inference.predictor import PosePredictor
from pose_regression.inference.speed import in_turns, median_ratio

__all__ = ["file_to_joints", "looking_for_three"]

_PICTURES = 4
"""Predicted together where people are looked for."""


def file_to_joints(weights: str, files: Sequence[Path], runtimes: Sequence[str], *, repeats: int) -> dict[str, Any]:
    """A predictor's time over its network's, in each runtime, one picture at a time and many.

    Args:
        weights: as for `PosePredictor`.
        files: pictures cut about one person; each round takes the next one, and all of them for "many".
        runtimes: of `RUNTIMES`.
        repeats: rounds.

    Returns:
        For each runtime `network_ms` and `file_ms`, medians, their `ratio` and that `of_fastest` network, the medians
        over rounds; `many_per_second` and `many_ratio`, of all files against the network alone on as many crops.
    """
    predictors = {runtime: PosePredictor(weights, runtime=runtime) for runtime in runtimes}
    calls: dict[tuple[str, str], Callable[[], Any]] = {}
    for runtime, predictor in predictors.items():
        crops = np.zeros((predictor.batch_size, predictor.size, predictor.size, 3), np.float32)
        calls[runtime, "network"] = partial(predictor.network, crops[:1])
        calls[runtime, "file"] = _one_after_another(predictor, files)
        calls[runtime, "crops"] = partial(_in_batches, predictor, crops, len(files))
        calls[runtime, "files"] = partial(predictor.predict, files, people="whole")
    seconds = in_turns(calls, rounds=repeats)
    fastest = min(runtimes, key=lambda runtime: median(seconds[runtime, "network"]))
    return {
        runtime: {
            "network_ms": 1000 * median(seconds[runtime, "network"]),
            "file_ms": 1000 * median(seconds[runtime, "file"]),
            "ratio": median_ratio(seconds[runtime, "file"], seconds[runtime, "network"]),
            "of_fastest": median_ratio(seconds[runtime, "file"], seconds[fastest, "network"]),
            "many_per_second": len(files) / median(seconds[runtime, "files"]),
            "many_ratio": median_ratio(seconds[runtime, "files"], seconds[runtime, "crops"]),
        }
        for runtime in runtimes
    }


def _one_after_another(predictor: PosePredictor, files: Sequence[Path]) -> Callable[[], Any]:
    coming = cycle(files)
    return lambda: predictor.predict(next(coming), people="whole")


def _in_batches(predictor: PosePredictor, crops: np.ndarray, count: int) -> None:
    for first in range(0, count, len(crops)):
        predictor.network(crops[: count - first])


def looking_for_three(weights: str, *, repeats: int) -> float:
    """How many times as long it takes to look for three rendered people and pose them as to pose them in given boxes.

    Raises:
        PoseError: nothing here can look for people, or the three are not found.
    """
    predictor, detector = PosePredictor(weights), find_detector("shipped")
    picture = np.concatenate([render(seed, size=(480, 240))[0] for seed in (0, 1, 2)], axis=1)
    boxes = [pose.box for pose in predictor.predict(picture, people=detector or "whole")]
    if len(boxes) != 3:
        raise PoseError(f"Of the three people in the benchmark's picture {len(boxes)} are found.")
    pictures = [picture] * _PICTURES
    calls = {
        "looked for": partial(predictor.predict, pictures, people=detector or "whole"),
        "given": partial(predictor.predict, pictures, [boxes] * _PICTURES),
    }
    seconds = in_turns(calls, rounds=repeats)
    return median_ratio(seconds["looked for"], seconds["given"])
