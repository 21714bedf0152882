"""A picture of people from a seed, with what MPII would say about them. Pixel i covers [i, i+1)."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from pose_regression.data.synthetic.backdrop import background, contact_shadow, occluder, seat, things
from pose_regression.data.synthetic.body import dress
from pose_regression.data.synthetic.bones import Random, draw_pose, rotation
from pose_regression.data.synthetic.clothes import Part
from pose_regression.data.synthetic.scene import Camera, Light, Placed, rasterise, shade
from pose_regression.skeleton import MPII

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


@dataclass(frozen=True, eq=False)
class _Figure:
    """A person before the camera."""

    owner: int
    camera: Camera
    joints: np.ndarray
    """(16, 3) in the camera's coordinates, in the order of `skeleton.MPII`."""
    parts: list[Placed]
    seated: bool


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
    name: str, point: np.ndarray, owner: int, scale: float, scene: list[Placed], index: np.ndarray, depth: np.ndarray
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
    figures: list[_Figure] = []
    for owner in range(2 if rng.random() < 0.14 else 1):
        figures.append(_place(rng, owner, figures, size))
    scale, first = figures[0].camera.scale, figures[0].joints
    feet = first[:, 1].max() + 0.03 * scale
    ground = feet - rng.uniform(0.05, 0.4) * scale
    scene = [part for figure in figures for part in figure.parts] + things(rng, size, ground)
    light = _draw_light(rng)
    picture = background(rng, size, ground)
    for figure in figures:
        picture *= contact_shadow(figure.joints, size)
    if figures[0].seated:
        picture = seat(rng, picture, first, scale)
    index, depth = rasterise(scene, size, OVERSAMPLING)
    colour, coverage = shade(scene, index, depth, light, OVERSAMPLING)
    picture = picture * (1 - coverage) + colour
    hidden = np.zeros(size, bool)
    if rng.random() < 0.16:
        colour, coverage = occluder(rng, first[:, :2], scale, size)
        picture = picture * (1 - coverage) + colour * coverage
        hidden = coverage[..., 0] > 0.5
    people = [_seen(rng, figure, scene, index, depth, hidden) for figure in figures]
    return _photograph(rng, picture), [person for person in people if person is not None]


def _place(rng: Random, owner: int, others: list[_Figure], size: tuple[int, int]) -> _Figure:
    """Draw a person and put them into the picture; a second one is smaller, farther away, beside the first."""
    bones, turn = draw_pose(rng), _turn(rng)
    unit = np.array([bones.joints[name] for name in MPII.names])
    plane = (unit @ turn.T)[:, :2]
    scale, offset = _frame_person(rng, plane, size)
    away = 0.0
    if owner:
        nearest, joints = others[0].camera, others[0].joints
        scale, away = nearest.scale * rng.uniform(0.4, 0.65), -1000.0
        x = nearest.offset[0] + rng.choice([-1, 1]) * rng.uniform(0.4, 0.6) * nearest.scale
        feet = np.nanmax(joints[:, 1]) - rng.uniform(0.03, 0.1) * nearest.scale
        offset = np.array((x, feet - plane[:, 1].max() * scale))
    camera = Camera(turn, scale, np.array((*offset, away)))
    parts = [Placed(camera.see_part(part), owner, scale) for part in dress(rng, bones)]
    return _Figure(owner, camera, camera.see(unit), parts, bones.seated)


def _draw_light(rng: Random) -> Light:
    direction = np.array((rng.uniform(-0.8, 0.8), -rng.uniform(0.3, 1.0), rng.uniform(0.4, 1.0)))
    direction = (direction / np.linalg.norm(direction)).astype(np.float32)
    return Light(direction, rng.uniform(0.3, 0.55), 1 + rng.uniform(-0.08, 0.08, 3))


def _seen(
    rng: Random, figure: _Figure, scene: list[Placed], index: np.ndarray, depth: np.ndarray, hidden: np.ndarray
) -> Person | None:
    """What is annotated of a person; None of a second one who is hardly there. `hidden` (H, W): something is before."""
    points, (height, width) = figure.joints, hidden.shape
    inside = np.all((points[:, :2] >= 0) & (points[:, :2] < (width, height)), axis=1)
    visible = inside.copy()
    for i in np.flatnonzero(inside):
        shown = _shown(MPII.names[i], points[i], figure.owner, figure.camera.scale, scene, index, depth)
        visible[i] = shown and not hidden[int(points[i, 1]), int(points[i, 0])]
    if figure.owner and visible.sum() < 10:
        return None
    head = next(placed.part for placed in figure.parts if placed.part.name == "head")
    return _annotate(rng, np.where(inside[:, None], points[:, :2], np.nan), visible, head)


def _photograph(rng: Random, picture: np.ndarray) -> np.ndarray:
    """Exposure, slight blur and sensor noise: (H, W, 3) float in [0, 1] -> uint8."""
    picture = np.clip(picture, 0, 1) ** rng.uniform(0.8, 1.2) * rng.uniform(0.85, 1.1)
    image = Image.fromarray((np.clip(picture, 0, 1) * 255).astype(np.uint8))
    pixels = np.asarray(image.filter(ImageFilter.GaussianBlur(rng.uniform(0.0, 0.7))), np.float32)
    grain = rng.standard_normal(pixels.shape[:2], np.float32)[..., None] * np.float32(rng.uniform(1, 6))
    return np.clip(np.rint(pixels + grain), 0, 255).astype(np.uint8)
