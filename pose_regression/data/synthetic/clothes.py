"""Cloth, skin and hair: colours and patterns, and the parts of a body that wear them."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from pose_regression.data.synthetic.bones import Random, Vector

Paint = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(t (N,) position along the part, local (N, 3) coordinates) -> (N, 3) colours in [0, 1]."""


@dataclass(frozen=True)
class Cloth:
    """A colour with an optional pattern, evaluated on a part's own coordinates."""

    colour: Vector
    other: Vector = field(default_factory=lambda: np.zeros(3))
    pattern: str = "plain"
    pitch: float = 0.05

    def at(self, local: np.ndarray) -> np.ndarray:
        """(N, 3) colours in [0, 1] at the points (N, 3) of the part, heights of the person."""
        if self.pattern == "plain":
            return np.broadcast_to(self.colour, local.shape)
        around = np.arctan2(local[:, 0], local[:, 2]) * 0.08 / self.pitch
        along = local[:, 1] / self.pitch
        if self.pattern == "hoops":
            swap = along % 1 < 0.5
        elif self.pattern == "pinstripes":
            swap = around * 2 % 1 < 0.25
        elif self.pattern == "checks":
            swap = (around % 1 < 0.5) ^ (along % 1 < 0.5)
        else:  # one band across the chest, or about the limb
            swap = np.abs(local[:, 1] % 0.285 - 0.09) < 0.03
        return np.where(swap[:, None], self.other, self.colour)


@dataclass(frozen=True, eq=False)
class Part:
    """A chain of ellipsoids from `start` to `end`, its semi-axes interpolated through three stations."""

    name: str
    start: Vector
    end: Vector
    frame: np.ndarray
    """(3, 3) axes as columns."""
    axes: np.ndarray
    """(3, 3) semi-axes at the start, the middle and the end (rows) along the frame's axes (columns)."""
    paint: Paint
    gloss: float = 0.0


def solid(cloth: Cloth) -> Paint:
    """One cloth all along the part."""
    return lambda t, local: cloth.at(local)


def sections(*cloths: tuple[float, Cloth]) -> Paint:
    """Cloth after cloth along the part: (where it ends, cloth)."""

    def paint(t: np.ndarray, local: np.ndarray) -> np.ndarray:
        colours = cloths[-1][1].at(local)
        for end, cloth in reversed(cloths[:-1]):
            colours = np.where((t < end)[:, None], cloth.at(local), colours)
        return colours

    return paint


def draw_colour(rng: Random, *, saturation: tuple[float, float] = (0.1, 0.85)) -> Vector:
    """A random colour (3,) in [0, 1], greys, darks and lights included."""
    hue, strength, value = rng.random(), rng.uniform(*saturation), rng.uniform(0.15, 0.95)
    wheel = np.clip(np.abs((hue * 6 + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    return value * (1 - strength + strength * wheel)


def draw_cloth(rng: Random, patterns: tuple[str, ...]) -> Cloth:
    """Two colours that differ, one of the patterns, and its size."""
    first, second = draw_colour(rng), draw_colour(rng)
    if np.abs(first - second).sum() < 0.6:
        second = 1 - first
    return Cloth(first, second, str(rng.choice(patterns)), rng.uniform(0.035, 0.07))


SKIN = np.array([(0.96, 0.80, 0.69), (0.90, 0.71, 0.58), (0.80, 0.59, 0.44), (0.60, 0.41, 0.29), (0.40, 0.27, 0.19)])
HAIR = np.array([(0.10, 0.08, 0.07), (0.25, 0.16, 0.10), (0.45, 0.30, 0.16), (0.80, 0.64, 0.36), (0.60, 0.59, 0.57)])


def face(skin: Vector, hair: Vector) -> Paint:
    """Paint of the head: eyes, brows and mouth in front, hair elsewhere above."""

    def paint(t: np.ndarray, local: np.ndarray) -> np.ndarray:
        x, y, z = np.abs(local[:, 0]), local[:, 1], local[:, 2]
        colours = np.tile(skin, (len(t), 1))
        front = z > 0
        colours[
            (y > 0.045 - 0.4 * x) & front | (z < 0.005) & (y > -0.03) & ~((x > 0.03) & (y < 0.01) & (z > -0.02))
        ] = hair
        for where, shade in (
            ((x - 0.021) ** 2 / 0.0105**2 + (y - 0.004) ** 2 / 0.0062**2 < 1, np.full(3, 0.93)),
            ((x - 0.021) ** 2 + (y - 0.004) ** 2 < 0.0056**2, np.full(3, 0.08)),
            ((np.abs(x - 0.021) < 0.012) & (np.abs(y - 0.018) < 0.0035), 0.6 * hair),
            (x**2 / 0.02**2 + (y + 0.043) ** 2 / 0.006**2 < 1, skin * (0.75, 0.42, 0.42)),
        ):
            colours[where & front] = shade
        return colours

    return paint


def torso(shirt: Cloth, skin: Cloth, neckline: float) -> Paint:
    """Paint of the chest: the shirt, with a neckline in front."""

    def paint(t: np.ndarray, local: np.ndarray) -> np.ndarray:
        bare = (local[:, 2] > 0) & (local[:, 1] > 0.21 - neckline + 1.2 * np.abs(local[:, 0]))
        return np.where(bare[:, None], skin.at(local), shirt.at(local))

    return paint
