"""Body parts before a camera: depth buffer, then light.

The camera's coordinates: x right, y down, z towards the viewer, parallel projection; the image's are the same without
z. Pixel i covers [i, i+1).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import uniform_filter

from pose_regression.data.synthetic.clothes import Part


@dataclass(frozen=True)
class Camera:
    """Body's coordinates -> camera's, in pixels."""

    turn: np.ndarray
    """(3, 3) orthonormal; its second row points down, so it mirrors."""
    scale: float
    """Pixels per standing height."""
    offset: np.ndarray
    """(3,) where the pelvis goes."""

    def see(self, points: np.ndarray) -> np.ndarray:
        return points @ self.turn.T * self.scale + self.offset

    def see_part(self, part: Part) -> Part:
        frame = self.turn @ part.frame
        start, end = self.see(part.start), self.see(part.end)
        return replace(part, start=start, end=end, frame=frame, axes=part.axes * self.scale)


@dataclass(frozen=True)
class Placed:
    """A part in the camera's coordinates, whose it is and how many pixels are one height in its paint."""

    part: Part
    owner: int
    """Number of the person; -1 for things."""
    unit: float


@dataclass(frozen=True)
class Light:
    direction: np.ndarray
    """(3,) unit vector towards the light, camera's coordinates."""
    ambient: float
    colour: np.ndarray


def _stations(t: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Semi-axes (N, 3) at t (N,) in [0, 1]: the parabola through the three stations of `Part.axes`."""
    t = t[:, None]
    return axes[0] * (1 - t) * (1 - 2 * t) + axes[1] * 4 * t * (1 - t) + axes[2] * t * (2 * t - 1)


def rasterise(scene: list[Placed], shape: tuple[int, int], factor: int) -> tuple[np.ndarray, np.ndarray]:
    """Depth buffer: which part is nearest the viewer in each pixel (-1 none), and its z; both (H, W) x `factor`."""
    height, width = shape[0] * factor, shape[1] * factor
    index, depth = np.full((height, width), -1, np.int16), np.full((height, width), -np.inf, np.float32)
    for number, placed in enumerate(scene):
        for centre, reach, shape_matrix in _ellipsoids(placed.part, factor):
            left, top = (max(0, int(np.ceil(c - r - 0.5))) for c, r in zip(centre, reach, strict=False))
            right, bottom = min(width, int(centre[0] + reach[0] + 0.5)), min(height, int(centre[1] + reach[1] + 0.5))
            if left >= right or top >= bottom:
                continue
            # p' A p = 1 along the ray (x, y, .) is a quadratic in z; the nearer root is the surface.
            (a, b, c), (_, d, e), (_, _, f) = shape_matrix
            x = np.arange(left + 0.5 - centre[0], right - centre[0], dtype=np.float32)[None, :]
            y = np.arange(top + 0.5 - centre[1], bottom - centre[1], dtype=np.float32)[:, None]
            root = ((c * c - f * a) * x * x + f) + y * (2 * (c * e - f * b) * x + (e * e - f * d) * y)
            z = (np.sqrt(np.maximum(root, 0)) - (c * x + e * y)) * (1 / f) + centre[2]
            region = (slice(top, bottom), slice(left, right))
            nearer = (root > 0) & (z > depth[region])
            np.copyto(depth[region], z, where=nearer)
            np.copyto(index[region], number, where=nearer)
    return index, depth


def _ellipsoids(part: Part, factor: int) -> Iterator[tuple[list[float], list[float], list[list[float]]]]:
    """The chain: centre (3), half width and height (2) of the outline, matrix (3, 3) of p' A p = 1, all x `factor`."""
    lengths = np.abs(part.frame.T @ (part.end - part.start)) / part.axes.min(axis=0)
    t = np.linspace(0, 1, 1 + int(np.ceil(np.linalg.norm(lengths) / 0.45)))  # so near that no waist is seen between
    centres = (part.start + t[:, None] * (part.end - part.start)) * factor
    squares = (_stations(t, part.axes) * factor) ** 2
    reaches = np.sqrt(squares @ (part.frame[:2] ** 2).T)
    matrices = (part.frame / squares[:, None, :]) @ part.frame.T
    return zip(centres.tolist(), reaches.tolist(), matrices.tolist(), strict=True)


_FOLDS = np.array([(60, 35, 50), (-30, 55, 40)], np.float32).T  # waves in cloth and skin, radians per height


def shade(
    scene: list[Placed], index: np.ndarray, depth: np.ndarray, light: Light, factor: int
) -> tuple[np.ndarray, np.ndarray]:
    """Colour the depth buffer: (H, W, 3) float32 in [0, 1] times coverage, and coverage (H, W, 1)."""
    # Something nearer in the neighbourhood takes light away: limbs cast a soft shadow on what is behind them.
    figure = index >= 0
    floor = depth[figure].min() if figure.any() else 0.0
    relief = np.where(figure, depth, floor).astype(np.float32)
    reach = max(3, int(0.035 * factor * max((s.unit for s in scene), default=0))) | 1
    shadow = np.clip((uniform_filter(relief, reach) - relief) / reach, 0, 1) * figure
    rows, columns = np.nonzero(figure)
    numbers = index[rows, columns]
    order = np.argsort(numbers, kind="stable")
    ends = np.cumsum(np.bincount(numbers, minlength=len(scene)))
    colour = np.zeros((*index.shape, 3), np.float32)
    for number, placed in enumerate(scene):
        chosen = order[ends[number - 1] if number else 0 : ends[number]]
        if len(chosen):
            r, c = rows[chosen], columns[chosen]
            points = np.stack([(c + 0.5) / factor, (r + 0.5) / factor, depth[r, c] / factor], axis=-1)
            colour[r, c] = _lit(placed, number, points, shadow[r, c], light)
    return shrink(colour, factor), shrink(figure[..., None].astype(np.float32), factor)


def _lit(placed: Placed, number: int, points: np.ndarray, shadow: np.ndarray, light: Light) -> np.ndarray:
    """(N, 3) colours in [0, 1] of the points (N, 3) of a part's surface, `shadow` (N,) taking light away."""
    part = placed.part
    frame = part.frame.astype(np.float32)
    local = (points - part.start).astype(np.float32) @ frame
    axis = ((part.end - part.start) @ part.frame).astype(np.float32)
    t = np.clip(local @ axis / max(axis @ axis, np.float32(1e-9)), 0, 1)
    normal = (local - t[:, None] * axis) / _stations(t, part.axes.astype(np.float32)) ** 2 @ frame.T
    normal /= np.sqrt((normal**2).sum(axis=1, keepdims=True)) + np.float32(1e-9)
    local /= np.float32(placed.unit)
    facing = normal @ light.direction
    lit = light.ambient + (1 - light.ambient) * np.clip(0.25 + 0.75 * facing, 0, 1)
    lit *= 1 - 0.65 * shadow
    waves = np.sin(local @ _FOLDS + number)
    folds = 1 + 0.05 * waves[:, 0] * waves[:, 1]
    half = light.direction + (0, 0, 1)
    shine = part.gloss * np.clip(normal @ half / np.linalg.norm(half), 0, 1) ** 12
    painted = part.paint(t, local) * (lit * folds)[:, None] * light.colour + shine[:, None]
    return np.clip(painted, 0, 1)


def shrink(image: np.ndarray, factor: int) -> np.ndarray:
    """Mean of `factor` x `factor` blocks of (H, W, C)."""
    corners = [image[i::factor, j::factor] for i in range(factor) for j in range(factor)]
    return sum(corners[1:], corners[0]) * np.float32(1 / factor**2)
