"""Who is who from frame to frame, where somebody was last seen, and joints without jitter."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

__all__ = ["GAP", "OneEuro", "Tracker", "affinity", "joint_box", "smoothing_factor"]

GAP = 0.5
"""Seconds for which somebody may be unseen and still keep the number. Who was seen on the frame before keeps it however
long that is ago: a time lapse has no gaps."""

MEMORY = 0.8
"""Seconds of somebody's path that say where it leads."""

LEAST_AFFINITY = 0.2
"""Two poses that are less alike are two people."""


def joint_box(pixels: np.ndarray) -> np.ndarray:
    """(4,) x0 y0 x1 y1 about the (J, 2) joints that are no NaN."""
    return np.concatenate([np.nanmin(pixels, axis=0), np.nanmax(pixels, axis=0)])


def affinity(a: np.ndarray, b: np.ndarray) -> float:
    """How well two poses, (J, 2) pixels, may be one person's: from 0 to 1, which is the same pose.

    It is the mean of the boxes' overlap (intersection over union) and of 1 - d, at least 0, where d is the mean
    distance of the joints in halves of the larger box's diagonal.
    """
    box_a, box_b = joint_box(a), joint_box(b)
    sides = np.minimum(box_a[2:], box_b[2:]) - np.maximum(box_a[:2], box_b[:2])
    common = np.prod(np.maximum(sides, 0))
    total = np.prod(box_a[2:] - box_a[:2]) + np.prod(box_b[2:] - box_b[:2]) - common
    half = max(np.hypot(*(box_a[2:] - box_a[:2])), np.hypot(*(box_b[2:] - box_b[:2])), 1e-6) / 2
    distance = np.nanmean(np.linalg.norm(a - b, axis=1)) / half
    return float((common / max(total, 1e-6) + max(0.0, 1 - distance)) / 2)


@dataclass(eq=False)
class _Track:
    number: int
    pixels: np.ndarray
    """The joints where they were seen last."""
    seconds: float
    path: deque[tuple[float, np.ndarray]] = field(default_factory=deque)
    """When and where, (2,) the mean of the joints: the last `MEMORY` seconds, without what may be somebody else's."""
    missed: bool = False

    def expected(self, seconds: float) -> np.ndarray:
        """The joints, if the person goes on as on the path."""
        if not self.path or seconds - self.path[-1][0] > MEMORY:
            return self.pixels
        times, places = np.array([time for time, _ in self.path]), np.array([place for _, place in self.path])
        from_mean = times - times.mean()
        velocity = from_mean @ places / max(float(from_mean @ from_mean), 1e-6)  # the line of least squares
        return self.pixels - np.nanmean(self.pixels, axis=0) + places[-1] + velocity * (seconds - times[-1])

    def seen(self, seconds: float, pixels: np.ndarray, *, clearly: bool) -> None:
        self.pixels, self.seconds, self.missed = pixels, seconds, False
        if clearly:
            self.path.append((seconds, np.nanmean(pixels, axis=0)))
        while self.path and seconds - self.path[0][0] > MEMORY:
            self.path.popleft()


class Tracker:
    """Numbers people by whom they continue: the assignment that makes the sum of affinities largest.

    While two people meet, poses mix them, and one of them may be seen alone. So nobody's path is made of poses that
    may be another's: when the two part, each is expected where the path before the meeting leads.
    """

    def __init__(self) -> None:
        self.tracks: list[_Track] = []
        self.count = 0

    def update(self, seconds: float, people: Sequence[np.ndarray]) -> list[int]:
        """The numbers of a frame's people, counted from 0 in the order of their first sight.

        Args:
            seconds: the frame's time, later than that of the frame before.
            people: (J, 2) joints of each, in pixels.
        """
        self.tracks = [t for t in self.tracks if not t.missed or seconds - t.seconds <= GAP]
        alike = np.array([[affinity(t.expected(seconds), person) for t in self.tracks] for person in people])
        found: dict[int, _Track] = {}
        if alike.size:
            rows, columns = linear_sum_assignment(alike, maximize=True)
            found = {r: self.tracks[c] for r, c in zip(rows, columns, strict=True) if alike[r, c] >= LEAST_AFFINITY}
        clearly = [(of_person >= LEAST_AFFINITY).sum() <= 1 for of_person in alike]
        for track in self.tracks:
            track.missed = True
        return [
            self._number(seconds, person, found.get(row), clearly=bool(clearly[row]))
            for row, person in enumerate(people)
        ]

    def _number(self, seconds: float, person: np.ndarray, track: _Track | None, *, clearly: bool) -> int:
        if track is None:
            track = _Track(self.count, person, seconds)
            self.tracks.append(track)
            self.count += 1
        track.seen(seconds, person, clearly=clearly)
        return track.number


def smoothing_factor(cutoff: np.ndarray | float, elapsed: float) -> np.ndarray | float:
    """What share a new value has in exponential smoothing of that cutoff in Hz, `elapsed` seconds after the last."""
    return 1 / (1 + 1 / (2 * np.pi * cutoff * elapsed))


class OneEuro:
    """The One-Euro filter (Casiez, Roussel and Vogel, CHI 2012): smooth at rest, quick in motion.

    Args:
        min_cutoff: Hz, of what stands still; lower is smoother.
        beta: how many Hz more for each unit per second; higher follows faster.
        speed_cutoff: Hz, of the speed's own smoothing.
    """

    def __init__(self, *, min_cutoff: float = 1.0, beta: float = 2.0, speed_cutoff: float = 1.0):
        self.min_cutoff, self.beta, self.speed_cutoff = min_cutoff, beta, speed_cutoff
        self.seconds = 0.0
        self.last: np.ndarray | None = None
        self.speed = np.zeros(())

    def __call__(self, seconds: float, values: np.ndarray, *, unit: float = 1.0) -> np.ndarray:
        """The values of any shape, smoothed; each by itself.

        Args:
            seconds: their time, later than that of the last ones.
            values: NaN where something is unknown.
            unit: what `beta` is measured in, such as the person's size in pixels.
        """
        if self.last is None:
            self.seconds, self.last, self.speed = seconds, values, np.zeros_like(values)
            return values
        elapsed = max(seconds - self.seconds, 1e-6)
        share = smoothing_factor(self.speed_cutoff, elapsed)
        speed = np.nan_to_num((values - self.last) / elapsed)
        self.speed = share * speed + (1 - share) * self.speed
        share = smoothing_factor(self.min_cutoff + self.beta * np.abs(self.speed) / unit, elapsed)
        smooth = share * values + (1 - share) * self.last
        self.seconds, self.last = seconds, np.where(np.isnan(self.last), values, smooth)
        return self.last
