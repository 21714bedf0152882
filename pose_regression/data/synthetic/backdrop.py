"""What is around people: background, things, a seat, a shadow on the ground, something before them."""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from pose_regression.data.synthetic.bones import Random
from pose_regression.data.synthetic.clothes import SKIN, Cloth, Part, draw_cloth, draw_colour, solid
from pose_regression.data.synthetic.scene import Placed, shrink
from pose_regression.skeleton import MPII

Draw = ImageDraw.ImageDraw


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


def background(rng: Random, shape: tuple[int, int], ground: float) -> np.ndarray:
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
    if kind == "room":
        _room(rng, draw, shape, ground, first)
    elif kind != "blur":
        {"street": _street, "park": _park, "court": _court}[kind](rng, draw, shape, ground)
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 3.0)))
    if kind != "blur":
        _floor(rng, image, shape, ground, kind)
    if rng.random() < 0.35:  # a pole or a box somewhere behind
        x, wide = rng.uniform(0, width), rng.uniform(4, 40)
        draw = ImageDraw.Draw(image)
        top = rng.uniform(0, 0.2) * height if wide < 16 else ground - rng.uniform(20, 90)
        draw.rectangle((x, top, x + wide, ground + rng.uniform(0, 12)), fill=_rgb(draw_colour(rng)))
    pixels = np.asarray(image.filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 1.2))), np.float32) / 255
    strength = 0.12 if kind == "blur" else 0.03
    texture = _noise(rng, shape, 5) + 0.6 * _noise(rng, shape, 20) + 0.5 * _noise(rng, shape, 90)
    return pixels * (1 + strength * texture[..., None]).astype(np.float32)


def _street(rng: Random, draw: Draw, shape: tuple[int, int], ground: float) -> None:
    """Walls with windows."""
    width = shape[1]
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


def _park(rng: Random, draw: Draw, shape: tuple[int, int], ground: float) -> None:
    """Hills and trees."""
    height, width = shape
    for depth in range(2):
        waves = 0.5 + 0.5 * np.sin(np.arange(0, width + 8, 8) / rng.uniform(20, 70) + rng.uniform(0, 6))
        hills = ground - (0.25 - 0.12 * depth) * height * (waves)
        green = np.array((0.25, 0.42, 0.22)) * rng.uniform(0.5, 1.3) + rng.uniform(0, 0.1, 3)
        outline = [(0, height), *zip(range(0, width + 8, 8), hills, strict=True), (width, height)]
        draw.polygon(outline, fill=_rgb(green))
    for _ in range(rng.integers(0, 5)):
        x, tall = rng.uniform(0, width), rng.uniform(0.3, 0.9) * ground
        trunk, brown = 0.06 * tall, _rgb(np.array((0.3, 0.22, 0.15)))
        draw.rectangle((x - trunk / 2, ground - 0.6 * tall, x + trunk / 2, ground), fill=brown)
        green = np.array((0.2, 0.4, 0.15)) * rng.uniform(0.6, 1.4)
        for _ in range(14):
            cx, cy = x + rng.normal(0, 0.16) * tall, ground - tall * rng.uniform(0.5, 1.0)
            r = tall * rng.uniform(0.06, 0.16)
            draw.ellipse((cx - r, cy - r, cx + r, cy + r), fill=_rgb(green * rng.uniform(0.7, 1.25)))


def _room(rng: Random, draw: Draw, shape: tuple[int, int], ground: float, wall: np.ndarray) -> None:
    """Wallpaper, pictures, doors, windows, shelves."""
    height, width = shape
    pitch, stripe = rng.uniform(8, 40), _rgb(wall * rng.uniform(0.85, 1.1))
    if rng.random() < 0.4:
        for x in np.arange(rng.uniform(0, pitch), width, pitch):
            draw.rectangle((x, 0, x + 0.4 * pitch, ground), fill=stripe)
    for _ in range(rng.integers(0, 5)):
        x, y = rng.uniform(-0.1, 0.9) * width, rng.uniform(-0.1, 0.7) * ground
        box = (x, y, x + rng.uniform(0.12, 0.4) * width, y + rng.uniform(0.15, 0.6) * height)
        fill, outline = _rgb(draw_colour(rng, saturation=(0, 0.6))), _rgb(draw_colour(rng))
        draw.rectangle(box, fill=fill, outline=outline, width=3)


def _court(rng: Random, draw: Draw, shape: tuple[int, int], ground: float) -> None:
    """A crowd, out of focus, behind a board."""
    for _ in range(rng.integers(200, 500)):
        x, y, r = rng.uniform(0, shape[1]), rng.uniform(0, ground), rng.uniform(2, 5)
        draw.ellipse((x - r, y - r, x + r, y + r), fill=_rgb(draw_colour(rng)))
    draw.rectangle((0, ground - rng.uniform(10, 60), shape[1], ground), fill=_rgb(draw_colour(rng)))


def _floor(rng: Random, image: Image.Image, shape: tuple[int, int], ground: float, kind: str) -> None:
    """The ground, with lines in a court or a room."""
    height, width = shape
    floor = draw_colour(rng, saturation=(0.05, 0.5))
    if kind == "park":
        floor = np.array((0.3, 0.45, 0.2)) * rng.uniform(0.6, 1.4) + rng.uniform(0, 0.1, 3)
    if ground >= height - 1:
        return
    image.paste(_gradient((height - int(ground), width), floor * 0.8, floor * 1.1), (0, int(ground)))
    draw = ImageDraw.Draw(image)
    if kind in ("court", "room"):
        line, middle = _rgb(np.full(3, 0.9) if kind == "court" else floor * 0.7), rng.uniform(0, width)
        thick = 2 if kind == "court" else 1
        for x in np.arange(-3, 4) * rng.uniform(0.2, 0.5) * width:
            draw.line((middle + 0.5 * x, ground, middle + 2 * x, height), fill=line, width=thick)


def things(rng: Random, shape: tuple[int, int], ground: float) -> list[Placed]:
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
        scene.append(Placed(part, -1, float(shape[0])))
    return scene


def occluder(rng: Random, joints: np.ndarray, scale: float, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A pole, a table, a box or a bush before the person: (H, W, 3) colours and coverage (H, W, 1)."""
    height, width = shape
    limbs = np.array([i for i, name in enumerate(MPII.names) if name.endswith(("knee", "ankle", "wrist", "elbow"))])
    inside = ((joints[limbs] >= 0) & (joints[limbs] < (width, height))).all(axis=1)
    x, y = joints[rng.choice(limbs[inside] if inside.any() else [MPII.index("neck")])] + rng.normal(0, 0.03, 2) * scale
    mask = Image.new("L", (2 * width, 2 * height))
    kind = str(rng.choice(["pole", "table", "box", "bush"]))
    wide = scale * rng.uniform(
        *{"pole": (0.015, 0.035), "table": (0.25, 0.6), "box": (0.06, 0.16), "bush": (0.08, 0.2)}[kind]
    )
    table = joints[MPII.index("pelvis")][1]
    _outline(rng, ImageDraw.Draw(mask), kind, (x, y), wide, table, scale, height)
    colour = np.array((0.2, 0.4, 0.15)) * rng.uniform(0.6, 1.5) if kind == "bush" else draw_colour(rng)
    across = np.clip((np.arange(width) - x) / wide, -1, 1)
    light = (0.9 - 0.3 * across * rng.choice([-1, 1]))[None, :, None] * (1 + 0.08 * _noise(rng, shape, 60))[..., None]
    coverage = shrink(np.asarray(mask, np.float32)[..., None] / 255, 2)
    return np.clip(colour * light, 0, 1).astype(np.float32), coverage


def _outline(
    rng: Random,
    draw: Draw,
    kind: str,
    place: np.ndarray | tuple[float, float],
    wide: float,
    pelvis: float,
    scale: float,
    height: int,
) -> None:
    """White on the mask, which has twice the picture's pixels: what is before a joint at `place`."""
    x, y = place
    top, bottom = y - wide * rng.uniform(0.5, 1.0), height + 1.0
    if kind == "pole":
        top = -1.0
    elif kind == "table":
        top = pelvis + rng.uniform(0.08, 0.3) * scale
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
            lx, thin = x + leg * wide, 0.015 * scale
            draw.rectangle((2 * (lx - thin), 2 * bottom, 2 * (lx + thin), 2 * (bottom + 0.45 * scale)), fill=255)


def contact_shadow(joints: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
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


def seat(rng: Random, picture: np.ndarray, joints: np.ndarray, scale: float) -> np.ndarray:
    """Put a box under a seated person's pelvis."""
    x, y = joints[MPII.index("pelvis")][:2] + (0, 0.055 * scale)
    bottom = joints[:, 1].max() + 0.02 * scale
    image = Image.fromarray((np.clip(picture, 0, 1) * 255).astype(np.uint8))
    draw, colour, wide = ImageDraw.Draw(image), draw_colour(rng, saturation=(0.1, 0.6)), rng.uniform(0.12, 0.22) * scale
    draw.rectangle((x - wide, y, x + wide, max(bottom, y + 1)), fill=_rgb(colour * 0.7))
    draw.rectangle((x - 1.05 * wide, y, x + 1.05 * wide, y + 0.04 * scale), fill=_rgb(colour))
    return np.asarray(image, np.float32) / 255
