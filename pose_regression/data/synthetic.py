"""Pictures of people, rendered from a seed, in MPII's layout: the data set of the first run and of the tests.

Two layers over `figure.py`: a scene (body parts -> depth buffer -> shaded picture over a background) and a data set
(scenes -> JPEGs, `.mat`, list of validation people). The camera's coordinates: x right, y down, z towards the viewer,
parallel projection; the image's are the same without z. Pixel i covers [i, i+1).
"""

import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from PIL import Image, ImageDraw, ImageFilter
from scipy.ndimage import uniform_filter

from pose_regression.container import hdf5
from pose_regression.data.crop import crop_pixels, normalize
from pose_regression.data.figure import (
    SKIN,
    Cloth,
    Part,
    Random,
    draw_cloth,
    draw_colour,
    draw_pose,
    dress,
    rotation,
    solid,
)
from pose_regression.errors import PoseError
from pose_regression.files import atomic_path, read_json
from pose_regression.geometry import crop_affine
from pose_regression.skeleton import MPII
from pose_regression.visualize import save_image

RENDERER = 2  # raised whenever the pictures of a seed change, so that `ensure` renders them again
FOLDER = Path("datasets/synthetic")  # what `--data synthetic` means to every command
RELEASE_FILE = "mpii_human_pose_v1_u12_1.mat"
SIZES = ((320, 256), (288, 224), (288, 288), (256, 256), (256, 320), (320, 240))
OVERSAMPLING = 2


@dataclass(frozen=True, eq=False)
class Person:
    """What MPII says about one person; coordinates in pixels, pixel i covering [i, i+1)."""

    joints: np.ndarray
    """(16, 2) float64 in the order of `skeleton.MPII`; NaN outside the image."""
    visible: np.ndarray
    """(16,) bool; False where something hides the joint, or where it is outside the image."""
    head_box: np.ndarray
    """(4,) whole numbers x1 y1 x2 y2 around the head; 0.6 times its diagonal is the unit of PCKh."""
    objpos: np.ndarray
    """(2,) whole numbers, the rough middle of the person."""
    scale: float
    """Person's height / 200 px, by MPII's own rule: head size / 25."""


# ------------------------------------------------------------------------------------------------------ the scene


@dataclass(frozen=True)
class _Camera:
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
class _Placed:
    """A part in the camera's coordinates, whose it is and how many pixels are one height in its paint."""

    part: Part
    owner: int
    """Number of the person; -1 for things."""
    unit: float


@dataclass(frozen=True)
class _Light:
    direction: np.ndarray
    """(3,) unit vector towards the light, camera's coordinates."""
    ambient: float
    colour: np.ndarray


def _stations(t: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Semi-axes (N, 3) at t (N,) in [0, 1]: the parabola through the three stations of `Part.axes`."""
    t = t[:, None]
    return axes[0] * (1 - t) * (1 - 2 * t) + axes[1] * 4 * t * (1 - t) + axes[2] * t * (2 * t - 1)


def _rasterise(scene: list[_Placed], shape: tuple[int, int], factor: int) -> tuple[np.ndarray, np.ndarray]:
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


def _shade(
    scene: list[_Placed], index: np.ndarray, depth: np.ndarray, light: _Light, factor: int
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
        if not len(chosen):
            continue
        part, r, c = placed.part, rows[chosen], columns[chosen]
        frame = part.frame.astype(np.float32)
        points = np.stack([(c + 0.5) / factor, (r + 0.5) / factor, depth[r, c] / factor], axis=-1)
        local = (points - part.start).astype(np.float32) @ frame
        axis = ((part.end - part.start) @ part.frame).astype(np.float32)
        t = np.clip(local @ axis / max(axis @ axis, np.float32(1e-9)), 0, 1)
        normal = (local - t[:, None] * axis) / _stations(t, part.axes.astype(np.float32)) ** 2 @ frame.T
        normal /= np.sqrt((normal**2).sum(axis=1, keepdims=True)) + np.float32(1e-9)
        local /= np.float32(placed.unit)
        facing = normal @ light.direction
        lit = light.ambient + (1 - light.ambient) * np.clip(0.25 + 0.75 * facing, 0, 1)
        lit *= 1 - 0.65 * shadow[r, c]
        waves = np.sin(local @ _FOLDS + number)
        folds = 1 + 0.05 * waves[:, 0] * waves[:, 1]
        half = light.direction + (0, 0, 1)
        shine = part.gloss * np.clip(normal @ half / np.linalg.norm(half), 0, 1) ** 12
        painted = part.paint(t, local) * (lit * folds)[:, None] * light.colour + shine[:, None]
        colour[r, c] = np.clip(painted, 0, 1)
    return _shrink(colour, factor), _shrink(figure[..., None].astype(np.float32), factor)


def _shrink(image: np.ndarray, factor: int) -> np.ndarray:
    """Mean of `factor` x `factor` blocks of (H, W, C)."""
    corners = [image[i::factor, j::factor] for i in range(factor) for j in range(factor)]
    return sum(corners[1:], corners[0]) * np.float32(1 / factor**2)


def _noise(rng: Random, shape: tuple[int, int], cells: int) -> np.ndarray:
    """(H, W) smooth noise, about standard normal, with `cells` cells along the longer side."""
    size = [max(2, round(cells * side / max(shape))) for side in shape]
    coarse = Image.fromarray(rng.standard_normal(size).astype(np.float32))
    return np.asarray(coarse.resize((shape[1], shape[0]), Image.Resampling.BICUBIC))


def _rgb(colour: np.ndarray) -> tuple[int, ...]:
    return tuple(int(255 * v) for v in np.clip(colour, 0, 1))


def _gradient(shape: tuple[int, int], top: np.ndarray, bottom: np.ndarray) -> Image.Image:
    ramp = np.linspace(0, 1, shape[0])[:, None, None]
    rows = np.clip(top * (1 - ramp) + bottom * ramp, 0, 1) * 255
    return Image.fromarray(np.broadcast_to(rows, (*shape, 3)).astype(np.uint8))


def _background(rng: Random, shape: tuple[int, int], ground: float) -> np.ndarray:
    """(H, W, 3) float32 in [0, 1]: a street, a park, a room, a court or a blur; the ground begins at row `ground`."""
    height, width = shape
    ground = float(np.clip(ground, 0.25 * height, 1.2 * height))
    kind = str(rng.choice(["street", "park", "room", "court", "blur"], p=[0.22, 0.25, 0.28, 0.13, 0.12]))
    muted = (0.05, 0.45)
    first, second = draw_colour(rng, saturation=muted), draw_colour(rng, saturation=muted)
    image = _gradient(shape, first, 0.5 * (first + second))
    if kind in ("street", "park"):
        sky = np.array((0.55, 0.7, 0.9)) * rng.uniform(0.6, 1.1) + rng.uniform(-0.1, 0.15)
        image = _gradient(shape, sky, sky * 0.6 + 0.38)
    draw = ImageDraw.Draw(image)
    if kind == "street":
        left = -rng.uniform(0, 60)
        while left < width:
            wide, tall = rng.uniform(0.15, 0.5) * width, rng.uniform(0.3, 1.1) * ground
            wall = draw_colour(rng, saturation=(0.05, 0.5))
            draw.rectangle((left, ground - tall, left + wide, ground), fill=_rgb(wall))
            pane, gap = _rgb(wall * rng.uniform(0.3, 0.8) + rng.uniform(0, 0.2)), rng.uniform(14, 34)
            for x in np.arange(left + 0.3 * gap, left + wide - 0.7 * gap, gap):
                for y in np.arange(ground - tall + 0.3 * gap, ground - 0.6 * gap, 1.3 * gap):
                    draw.rectangle((x, y, x + 0.5 * gap, y + 0.7 * gap), fill=pane)
            left += wide + rng.choice([0, 0, rng.uniform(0, 50)])
    elif kind == "park":
        for depth in range(2):
            hills = ground - (0.25 - 0.12 * depth) * height * (
                0.5 + 0.5 * np.sin(np.arange(0, width + 8, 8) / rng.uniform(20, 70) + rng.uniform(0, 6))
            )
            green = np.array((0.25, 0.42, 0.22)) * rng.uniform(0.5, 1.3) + rng.uniform(0, 0.1, 3)
            draw.polygon(
                [(0, height), *zip(range(0, width + 8, 8), hills, strict=True), (width, height)], fill=_rgb(green)
            )
        for _ in range(rng.integers(0, 5)):
            x, tall = rng.uniform(0, width), rng.uniform(0.3, 0.9) * ground
            trunk = 0.06 * tall
            draw.rectangle(
                (x - trunk / 2, ground - 0.6 * tall, x + trunk / 2, ground), fill=_rgb(np.array((0.3, 0.22, 0.15)))
            )
            green = np.array((0.2, 0.4, 0.15)) * rng.uniform(0.6, 1.4)
            for _ in range(14):
                cx, cy = x + rng.normal(0, 0.16) * tall, ground - tall * rng.uniform(0.5, 1.0)
                r = tall * rng.uniform(0.06, 0.16)
                draw.ellipse((cx - r, cy - r, cx + r, cy + r), fill=_rgb(green * rng.uniform(0.7, 1.25)))
    elif kind == "room":
        pitch, stripe = rng.uniform(8, 40), _rgb(first * rng.uniform(0.85, 1.1))
        if rng.random() < 0.4:
            for x in np.arange(rng.uniform(0, pitch), width, pitch):
                draw.rectangle((x, 0, x + 0.4 * pitch, ground), fill=stripe)
        for _ in range(rng.integers(0, 5)):  # pictures, doors, windows, shelves
            x, y = rng.uniform(-0.1, 0.9) * width, rng.uniform(-0.1, 0.7) * ground
            box = (x, y, x + rng.uniform(0.12, 0.4) * width, y + rng.uniform(0.15, 0.6) * height)
            draw.rectangle(
                box, fill=_rgb(draw_colour(rng, saturation=(0, 0.6))), outline=_rgb(draw_colour(rng)), width=3
            )
    elif kind == "court":
        for _ in range(rng.integers(200, 500)):  # a crowd, out of focus
            x, y, r = rng.uniform(0, width), rng.uniform(0, ground), rng.uniform(2, 5)
            draw.ellipse((x - r, y - r, x + r, y + r), fill=_rgb(draw_colour(rng)))
        draw.rectangle((0, ground - rng.uniform(10, 60), width, ground), fill=_rgb(draw_colour(rng)))
    if kind in ("court", "park", "street"):
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 3.0)))
    if kind != "blur":
        floor = draw_colour(rng, saturation=(0.05, 0.5))
        if kind == "park":
            floor = np.array((0.3, 0.45, 0.2)) * rng.uniform(0.6, 1.4) + rng.uniform(0, 0.1, 3)
        if ground < height - 1:
            rows = height - int(ground)
            image.paste(_gradient((rows, width), floor * 0.8, floor * 1.1), (0, int(ground)))
            draw = ImageDraw.Draw(image)
            if kind in ("court", "room"):
                line, middle = _rgb(np.full(3, 0.9) if kind == "court" else floor * 0.7), rng.uniform(0, width)
                for x in np.arange(-3, 4) * rng.uniform(0.2, 0.5) * width:
                    draw.line(
                        (middle + 0.5 * x, ground, middle + 2 * x, height), fill=line, width=2 if kind == "court" else 1
                    )
    if rng.random() < 0.35:  # a pole or a box somewhere behind
        x, wide = rng.uniform(0, width), rng.uniform(4, 40)
        draw = ImageDraw.Draw(image)
        top = rng.uniform(0, 0.2) * height if wide < 16 else ground - rng.uniform(20, 90)
        draw.rectangle((x, top, x + wide, ground + rng.uniform(0, 12)), fill=_rgb(draw_colour(rng)))
    pixels = np.asarray(image.filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 1.2))), np.float32) / 255
    strength = 0.12 if kind == "blur" else 0.03
    texture = _noise(rng, shape, 5) + 0.6 * _noise(rng, shape, 20) + 0.5 * _noise(rng, shape, 90)
    return pixels * (1 + strength * texture[..., None]).astype(np.float32)


def _things(rng: Random, shape: tuple[int, int], ground: float) -> list[_Placed]:
    """Balls and sausages of skin and cloth colours behind the people, so that colour alone is no answer."""
    scene = []
    for _ in range(rng.integers(0, 4)):
        start = np.array((*rng.uniform(0, 1, 2) * (shape[1], shape[0]), -1e4))
        angle, length = rng.uniform(0, np.pi), rng.choice([0, rng.uniform(0.1, 0.4)]) * shape[0]
        end = start + length * np.array((np.cos(angle), np.sin(angle), 0))
        if length == 0:
            start[1] = end[1] = ground + rng.uniform(0, 0.15) * shape[0]
        radius = rng.uniform(0.015, 0.05) * shape[0]
        cloth = (
            Cloth(SKIN[rng.integers(len(SKIN))])
            if rng.random() < 0.3
            else draw_cloth(rng, ("plain", "hoops", "checks"))
        )
        part = Part("thing", start, end, np.eye(3), np.full((3, 3), radius), solid(cloth), 0.2)
        scene.append(_Placed(part, -1, float(shape[0])))
    return scene


def _occluder(rng: Random, joints: np.ndarray, scale: float, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A pole, a table, a box or a bush before the person: (H, W, 3) colours and coverage (H, W, 1)."""
    height, width = shape
    limbs = np.array([i for i, name in enumerate(MPII.names) if name.endswith(("knee", "ankle", "wrist", "elbow"))])
    inside = ((joints[limbs] >= 0) & (joints[limbs] < (width, height))).all(axis=1)
    x, y = joints[rng.choice(limbs[inside] if inside.any() else [MPII.index("neck")])] + rng.normal(0, 0.03, 2) * scale
    mask = Image.new("L", (2 * width, 2 * height))
    draw = ImageDraw.Draw(mask)
    kind = str(rng.choice(["pole", "table", "box", "bush"]))
    wide = scale * rng.uniform(
        *{"pole": (0.015, 0.035), "table": (0.25, 0.6), "box": (0.06, 0.16), "bush": (0.08, 0.2)}[kind]
    )
    top, bottom = y - wide * rng.uniform(0.5, 1.0), height + 1.0
    if kind == "pole":
        top = -1.0
    elif kind == "table":
        top = joints[MPII.index("pelvis")][1] + rng.uniform(0.08, 0.3) * scale
        bottom = top + rng.uniform(0.03, 0.08) * scale
    if kind == "bush":
        for _ in range(40):
            cx, cy = x + rng.normal(0, 0.5) * wide, max(top, y) + abs(rng.normal(0, 1)) * wide
            r = wide * rng.uniform(0.08, 0.2)
            draw.ellipse((2 * (cx - r), 2 * (cy - r), 2 * (cx + r), 2 * (cy + r)), fill=255)
    else:
        draw.rectangle((2 * (x - wide), 2 * top, 2 * (x + wide), 2 * bottom), fill=255)
    if kind == "table":
        for leg in (-0.9, 0.9):
            lx = x + leg * wide
            draw.rectangle(
                (2 * (lx - 0.015 * scale), 2 * bottom, 2 * (lx + 0.015 * scale), 2 * (bottom + 0.45 * scale)), fill=255
            )
    colour = np.array((0.2, 0.4, 0.15)) * rng.uniform(0.6, 1.5) if kind == "bush" else draw_colour(rng)
    across = np.clip((np.arange(width) - x) / wide, -1, 1)
    light = (0.9 - 0.3 * across * rng.choice([-1, 1]))[None, :, None] * (1 + 0.08 * _noise(rng, shape, 60))[..., None]
    coverage = _shrink(np.asarray(mask, np.float32)[..., None] / 255, 2)
    return np.clip(colour * light, 0, 1).astype(np.float32), coverage


def _turn(rng: Random) -> np.ndarray:
    """(3, 3) of a camera that mostly sees the person's front, sometimes the side or the back, nearly upright."""
    yaw = rng.choice(
        [rng.normal(0, 28), rng.choice([-1, 1]) * rng.uniform(50, 95), 180 + rng.normal(0, 25)], p=[0.62, 0.18, 0.2]
    )
    down = np.diag((1.0, -1.0, 1.0))
    return rotation(2, rng.normal(0, 5)) @ down @ rotation(0, rng.normal(6, 7)) @ rotation(1, yaw)


def _frame_person(rng: Random, joints: np.ndarray, shape: tuple[int, int]) -> tuple[float, np.ndarray]:
    """Scale and offset (2,) that put the unit-height `joints` (16, 2) into the picture, whole or cut off."""
    size = np.array((shape[1], shape[0]), float)
    low, high = joints.min(axis=0) - 0.05, joints.max(axis=0) + 0.05
    fit = float((size / (high - low)).min())
    cut = str(rng.choice(["none", "legs", "side"], p=[0.84, 0.1, 0.06]))
    if cut == "legs":
        scale = float(rng.uniform(1.15, 1.7) * shape[0])
        offset = np.array((0.5 + rng.uniform(-0.1, 0.1), rng.uniform(0.04, 0.15))) * size
        return scale, offset - np.array((joints[MPII.index("neck")][0], low[1])) * scale
    scale = min(fit, float(rng.uniform(0.6, 0.98) * shape[0]))
    offset = rng.uniform(0, 1, 2) * (size - (high - low) * scale) - low * scale
    if cut == "side":
        trunk = joints[[MPII.index(n) for n in ("thorax", "neck", "head", "pelvis")]][:, 0]
        if rng.random() < 0.5:
            offset[0] = rng.uniform(0.02, 0.1) * scale - trunk.min() * scale
        else:
            offset[0] = size[0] - rng.uniform(0.02, 0.1) * scale - trunk.max() * scale
    return scale, offset


_WEARERS = {  # parts that show a joint
    "pelvis": ("pelvis", "chest", "skirt"),
    "thorax": ("chest", "neck", "left_shoulder", "right_shoulder"),
    "neck": ("neck", "head"),
    "head": ("head",),
    "shoulder": ("_shoulder", "_upper_arm", "chest"),
    "elbow": ("_upper_arm", "_forearm"),
    "wrist": ("_forearm", "_hand"),
    "hip": ("_thigh", "pelvis", "chest", "skirt"),
    "knee": ("_thigh", "_shin", "skirt"),
    "ankle": ("_shin", "_foot"),
}


def _shown(
    name: str, point: np.ndarray, owner: int, scale: float, scene: list[_Placed], index: np.ndarray, depth: np.ndarray
) -> bool:
    """Whether the surface in the joint's pixel is that of the joint's own limb."""
    column, row = (int(v * OVERSAMPLING) for v in point[:2])
    number = index[row, column]
    if number < 0:
        return True
    side, _, plain = name.rpartition("_")
    wearers = [side + part if part.startswith("_") else part for part in _WEARERS[plain]]
    seen = scene[number]
    near = depth[row, column] / OVERSAMPLING - point[2] < 0.13 * scale
    return seen.owner == owner and seen.part.name in wearers and bool(near)


def _annotate(rng: Random, joints: np.ndarray, visible: np.ndarray, head: Part) -> Person:
    """MPII's record of a person; `head` is the head's ellipsoid in the camera's coordinates."""
    reach = np.sqrt(np.diag((head.frame * head.axes[1] ** 2) @ head.frame.T))[:2]
    head_box = np.round(np.concatenate([head.start[:2] - reach, head.start[:2] + reach]))
    scale = 0.6 * float(np.hypot(*(head_box[2:] - head_box[:2]))) / 25
    middle = 0.5 * (np.nanmin(joints, axis=0) + np.nanmax(joints, axis=0))
    # Means and spreads measured on MPII's 2,958 validation people.
    objpos = middle + (rng.normal(0, 0.03), rng.normal(-0.03, 0.03)) * np.full(2, 200 * scale)
    return Person(joints, visible, head_box, np.round(objpos), scale)


def render(seed: int, *, size: tuple[int, int] = (320, 256)) -> tuple[np.ndarray, list[Person]]:
    """Render a picture of one person, sometimes two, the nearest first.

    Args:
        seed: the picture is a pure function of seed and size.
        size: (height, width) in pixels.

    Returns:
        uint8 (H, W, 3) RGB, and its people.
    """
    rng = np.random.default_rng(seed)
    figures: list[tuple[_Camera, np.ndarray]] = []
    scene: list[_Placed] = []
    heads: list[Part] = []
    seated = False
    for owner in range(2 if rng.random() < 0.14 else 1):
        bones, turn = draw_pose(rng), _turn(rng)
        unit = np.array([bones.joints[name] for name in MPII.names])
        plane = (unit @ turn.T)[:, :2]
        scale, offset = _frame_person(rng, plane, size)
        away = 0.0
        if owner:  # a smaller one farther away, to one side of the first
            scale, away = figures[0][0].scale * rng.uniform(0.4, 0.65), -1000.0
            x = figures[0][0].offset[0] + rng.choice([-1, 1]) * rng.uniform(0.4, 0.6) * figures[0][0].scale
            feet = np.nanmax(figures[0][1][:, 1]) - rng.uniform(0.03, 0.1) * figures[0][0].scale
            offset = np.array((x, feet - plane[:, 1].max() * scale))
        else:
            seated = bones.seated
        camera = _Camera(turn, scale, np.array((*offset, away)))
        parts = [camera.see_part(part) for part in dress(rng, bones)]
        heads.append(next(part for part in parts if part.name == "head"))
        scene += [_Placed(part, owner, scale) for part in parts]
        figures.append((camera, camera.see(unit)))
    scale, first = figures[0][0].scale, figures[0][1]
    feet = first[:, 1].max() + 0.03 * scale
    ground = feet - rng.uniform(0.05, 0.4) * scale
    scene += _things(rng, size, ground)

    direction = np.array((rng.uniform(-0.8, 0.8), -rng.uniform(0.3, 1.0), rng.uniform(0.4, 1.0)))
    light = _Light(
        (direction / np.linalg.norm(direction)).astype(np.float32),
        rng.uniform(0.3, 0.55),
        1 + rng.uniform(-0.08, 0.08, 3),
    )
    picture = _background(rng, size, ground)
    for _, joints in figures:
        picture *= _contact_shadow(joints, size)
    if seated:
        picture = _seat(rng, picture, first, scale)
    index, depth = _rasterise(scene, size, OVERSAMPLING)
    colour, coverage = _shade(scene, index, depth, light, OVERSAMPLING)
    picture = picture * (1 - coverage) + colour
    hidden = np.zeros(size, bool)
    if rng.random() < 0.16:
        colour, coverage = _occluder(rng, first[:, :2], scale, size)
        picture = picture * (1 - coverage) + colour * coverage
        hidden = coverage[..., 0] > 0.5

    people = []
    for owner, (camera, points) in enumerate(figures):
        inside = np.all((points[:, :2] >= 0) & (points[:, :2] < (size[1], size[0])), axis=1)
        visible = inside.copy()
        for i in np.flatnonzero(inside):
            shown = _shown(MPII.names[i], points[i], owner, camera.scale, scene, index, depth)
            visible[i] = shown and not hidden[int(points[i, 1]), int(points[i, 0])]
        joints = np.where(inside[:, None], points[:, :2], np.nan)
        if owner == 0 or visible.sum() >= 10:  # nobody annotates a person who is hardly there
            people.append(_annotate(rng, joints, visible, heads[owner]))
    return _photograph(rng, picture), people


def _contact_shadow(joints: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(H, W, 1) factors that darken the ground under the ankles."""
    ankles = joints[[MPII.index("right_ankle"), MPII.index("left_ankle")]]
    tall = joints[:, 1].max() - joints[:, 1].min()
    x, y = np.arange(shape[1]) + 0.5, np.arange(shape[0]) + 0.5
    result = np.ones((*shape, 1), np.float32)
    for ankle in ankles:
        across, down = (x - ankle[0]) / (0.1 * tall), (y - ankles[:, 1].max() - 0.035 * tall) / (0.025 * tall)
        result[..., 0] *= 1 - 0.45 * np.exp(-np.clip(down[:, None] ** 2 + across[None, :] ** 2, 0, 50)).astype(
            np.float32
        )
    return result


def _seat(rng: Random, picture: np.ndarray, joints: np.ndarray, scale: float) -> np.ndarray:
    """Put a box under a seated person's pelvis."""
    x, y = joints[MPII.index("pelvis")][:2] + (0, 0.055 * scale)
    bottom = joints[:, 1].max() + 0.02 * scale
    image = Image.fromarray((np.clip(picture, 0, 1) * 255).astype(np.uint8))
    draw, colour, wide = ImageDraw.Draw(image), draw_colour(rng, saturation=(0.1, 0.6)), rng.uniform(0.12, 0.22) * scale
    draw.rectangle((x - wide, y, x + wide, max(bottom, y + 1)), fill=_rgb(colour * 0.7))
    draw.rectangle((x - 1.05 * wide, y, x + 1.05 * wide, y + 0.04 * scale), fill=_rgb(colour))
    return np.asarray(image, np.float32) / 255


def _photograph(rng: Random, picture: np.ndarray) -> np.ndarray:
    """Exposure, slight blur and sensor noise: (H, W, 3) float in [0, 1] -> uint8."""
    picture = np.clip(picture, 0, 1) ** rng.uniform(0.8, 1.2) * rng.uniform(0.85, 1.1)
    image = Image.fromarray((np.clip(picture, 0, 1) * 255).astype(np.uint8))
    pixels = np.asarray(image.filter(ImageFilter.GaussianBlur(rng.uniform(0.0, 0.7))), np.float32)
    grain = rng.standard_normal(pixels.shape[:2], np.float32)[..., None] * np.float32(rng.uniform(1, 6))
    return np.clip(np.rint(pixels + grain), 0, 255).astype(np.uint8)


# --------------------------------------------------------------------------------------------------- the data set


def folder_of(data: str | Path) -> Path:
    """The folder that a command's `--data` means: the word "synthetic" stands for `FOLDER`."""
    return FOLDER if str(data) == FOLDER.name else Path(data)


def ensure(directory: str | Path, *, train: int = 3000, validation: int = 200, seed: int = 0) -> Path:
    """Render the data set into `directory` unless it is there already, and say which in one line.

    Args, errors: as `write`.

    Returns:
        `directory`, for `mpii.load`.
    """
    directory = Path(directory)
    wanted = _parameters(train, validation, seed)
    if (directory / RELEASE_FILE).is_file() and _read_parameters(directory) == wanted:
        print(f"Synthetic people: using {directory} ({train} training, {validation} validation pictures).", flush=True)
    else:
        print(f"Synthetic people: rendering {train + validation} pictures into {directory} ...", flush=True)
        write(directory, train=train, validation=validation, seed=seed)
    return directory


def write(directory: str | Path, *, train: int = 3000, validation: int = 200, seed: int = 0) -> None:
    """Render a data set in MPII's layout: `images/`, the official `.mat`, `annot/valid.h5`.

    The `.mat` is written last: where it is, everything is. About 40 ms a picture and core; beyond 100 pictures two
    processes share the work, so a script that calls this needs the usual `if __name__ == "__main__":`.

    Coordinates are written as the loader and the authors' code read them, pixel i covering [i, i+1), joints with their
    fractions; MPII's own, whole and counting from 1, leave open where in a pixel they lie.

    Args:
        directory: absent, empty, or an older synthetic data set, which is replaced.
        train: number of training pictures; one in eight has a second person.
        validation: number of validation pictures, the same for a seed whatever `train` is.
        seed: not negative.

    Raises:
        PoseError: `directory` holds something else, a number is out of range, or a file could not be written.
    """
    directory = Path(directory)
    if train < 1 or validation < 1 or seed < 0:
        raise PoseError(
            "Expected train and validation of at least 1 and a seed of at least 0. "
            f"Received: train={train}, validation={validation}, seed={seed}"
        )
    if (
        directory.exists()
        and _read_parameters(directory) is None
        and (not directory.is_dir() or any(directory.iterdir()))
    ):
        raise PoseError(f"{directory} holds something else than synthetic people; name an empty or a new folder.")
    (directory / RELEASE_FILE).unlink(missing_ok=True)
    with atomic_path(directory / _PARAMETERS_FILE) as path:
        path.write_text(json.dumps(_parameters(train, validation, seed)) + "\n")
    (directory / "images").mkdir(exist_ok=True)
    jobs = [(directory, i, _picture_seed(seed, 0, i)) for i in range(train)]
    jobs += [(directory, train + i, _picture_seed(seed, 1, i)) for i in range(validation)]
    if len(jobs) > 100:
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
            people = list(pool.map(_write_picture, jobs, chunksize=16))
    else:
        people = list(map(_write_picture, jobs))
    _write_validation(directory / "annot" / "valid.h5", people, train)
    with atomic_path(directory / RELEASE_FILE) as path:
        scipy.io.savemat(path, {"RELEASE": _release(people)}, do_compression=True)


_PARAMETERS_FILE = "synthetic.json"


def _parameters(train: int, validation: int, seed: int) -> dict[str, int]:
    return {"renderer": RENDERER, "train": train, "validation": validation, "seed": seed}


def _read_parameters(directory: Path) -> dict[str, int] | None:
    """What `directory` was rendered with; None if it is no synthetic data set."""
    try:
        return read_json(directory / _PARAMETERS_FILE)
    except PoseError:
        return None


def _picture_seed(seed: int, split: int, index: int) -> int:
    return int(np.random.SeedSequence((seed, split, index)).generate_state(1, np.uint64)[0])


def _image_name(index: int) -> str:
    return f"{index + 1:09d}.jpg"


def _write_picture(job: tuple[Path, int, int]) -> list[Person]:
    """Render one JPEG of varying size and quality."""
    directory, index, seed = job
    image, people = render(seed, size=SIZES[seed % len(SIZES)])
    save_image(directory / "images" / _image_name(index), image, quality=85 + seed // len(SIZES) % 8)
    return people


def _annotated(index: int, person: int) -> bool:
    """Whether somebody annotated this person's joints: every third second person has a head box alone."""
    return person == 0 or index % 3 > 0


def _write_validation(path: Path, people: list[list[Person]], first: int) -> None:
    """The annotated people of the pictures from `first` on, as the stacked hourglass' `valid.h5` has them."""
    rows = [(i, k, p) for i in range(first, len(people)) for k, p in enumerate(people[i]) if _annotated(i, k)]
    persons = [person for _, _, person in rows]
    columns = {
        "imgname": np.array([_image_name(i).encode() for i, _, _ in rows]),
        "index": np.array([i for i, _, _ in rows], float),
        "person": np.array([k for _, k, _ in rows], float),
        "part": np.array([np.nan_to_num(p.joints) for p in persons]),
        "visible": np.array([p.visible for p in persons], float),
        "center": np.array([p.objpos + (0, 15 * p.scale) for p in persons]),
        "scale": np.array([1.25 * p.scale for p in persons]),
        "normalize": np.array([25 * p.scale for p in persons]),
    }
    with atomic_path(path) as temporary:
        temporary.write_bytes(hdf5(columns))


_EMPTY = np.zeros((0, 0))


def _struct(records: list[dict[str, Any]]) -> np.ndarray:
    """A MATLAB struct array (1, N)."""
    result = np.empty((1, len(records)), [(name, object) for name in records[0]])
    for i, record in enumerate(records):
        result[0, i] = tuple(record.values())
    return result


def _release(people: list[list[Person]]) -> np.ndarray:
    """The struct RELEASE, with the official file's habits: varying field order, flags of three types, empty fields."""
    annolist = []
    for i, persons in enumerate(people):
        rects = _struct([_rect(person, i, k) for k, person in enumerate(persons)])
        image = _struct([{"name": _image_name(i)}])
        annolist.append({"image": image, "annorect": rects, "frame_sec": _EMPTY, "vididx": _EMPTY})
    single = np.empty((len(people), 1), object)
    for i, persons in enumerate(people):
        # Two people are never far apart here: only who is alone is "sufficiently separated".
        single[i, 0] = np.ones((1, 1), np.uint8) if len(persons) == 1 else _EMPTY
    act = _struct([{"cat_name": _EMPTY, "act_name": _EMPTY, "act_id": -1}] * len(people)).T
    release = {
        "annolist": _struct(annolist),
        "img_train": np.ones((1, len(people)), np.uint8),
        "version": "12",
        "single_person": single,
        "act": act,
        "video_list": np.empty((1, 0), object),
    }
    return _struct([release])


def _rect(person: Person, image: int, number: int) -> dict[str, Any]:
    record: dict[str, Any] = dict(zip(("x1", "y1", "x2", "y2"), person.head_box.astype(np.int16), strict=True))
    if not _annotated(image, number):
        return record | {"annopoints": _EMPTY, "scale": _EMPTY, "objpos": _EMPTY}
    points = []
    for joint in np.flatnonzero(np.isfinite(person.joints).all(axis=1)):
        point: dict[str, Any] = {"x": person.joints[joint, 0], "y": person.joints[joint, 1], "id": np.uint8(joint)}
        flag: Any = str(int(person.visible[joint])) if image % 14 == 5 else person.visible[joint]
        point["is_visible"] = _EMPTY if MPII.names[joint] in ("neck", "head") else flag
        if image % 15 == 7:
            point = {name: point[name] for name in ("id", "x", "y", "is_visible")}
        points.append(point)
    objpos = _struct([dict(zip(("x", "y"), person.objpos, strict=True))])
    return record | {"annopoints": _struct([{"point": _struct(points)}]), "scale": person.scale, "objpos": objpos}


def rendered_crops(count: int, size: int) -> np.ndarray:
    """(count, size, size, 3) float32 in [-1, 1]: people of the synthetic data set, whole pictures, to compare on."""
    crops = []
    for seed in range(count):
        pixels, _ = render(seed)
        height, width, _ = pixels.shape
        affine = crop_affine(np.array([width, height]) / 2, max(width, height)).astype(np.float32)
        crops.append(normalize(crop_pixels(pixels, affine, size)).numpy())
    return np.stack(crops)
