"""Annotated people as a detector sees them: its windows in place of the annotation's, to score both together."""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np

from pose_regression.data.sample import Sample
from pose_regression.geometry import window_of_box
from pose_regression.inference.people import Detector, Find, find_detector, look_for
from pose_regression.inference.photographs import open_photograph


def seen_by(people: str | Find | Detector, samples: Sequence[Sample]) -> tuple[list[Sample], np.ndarray]:
    """The samples in the windows of the people whom a detector finds.

    Args:
        people: who looks, see `find_detector`; "whole" looks for nobody and takes the whole picture.
        samples: annotated people; pictures are taken as stored, as their annotation is.

    Returns:
        The samples in the same order, each in the window of the found person whose box's centre is nearest to that of
        the annotated window; and (N,) bool, the samples in whose picture nobody was found, as they were.

    Raises:
        PoseError: no such detector, or a picture that cannot be read.
    """
    detector = find_detector(people)
    pairs = [_seen(detector, sample) for sample in samples]
    return [sample for sample, _ in pairs], np.array([missed for _, missed in pairs], bool)


def _seen(detector: Detector | None, sample: Sample) -> tuple[Sample, bool]:
    """The sample in its new window, and whether nobody was found."""
    picture = cast(np.ndarray, open_photograph(sample.image, sample.image).decoded().content)
    if detector is None:
        boxes, margin = np.array([[0.0, 0.0, picture.shape[1], picture.shape[0]]]), 1.0
    else:
        boxes, margin = look_for(detector, picture)[0], detector.margin
    if not len(boxes):
        return sample, True
    center, side = window_of_box(boxes.astype(np.float64), margin=margin)
    nearest = np.linalg.norm(center - sample.center, axis=1).argmin()
    return replace(sample, center=center[nearest], side=float(side[nearest])), False
