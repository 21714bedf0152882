"""Pictures for people: poses on photographs, part maps in colour, contact sheets.

Arrays are uint8 (H, W, 3) RGB; coordinates are image pixels, x right, y down, pixel i covering [i, i+1).
The person's left is blue, the right orange to yellow, the centre line grey to white: hues that the colour-blind
tell apart.
"""

import colorsys
import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.special import softmax

from pose_regression.errors import PoseError
from pose_regression.files import write_file
from pose_regression.skeleton import Skeleton

LEFT, RIGHT, CENTRE = (40, 150, 255), (255, 140, 0), (235, 235, 235)
"""Colours of the limbs of either side and of the centre line."""

INK = (15, 15, 20)
"""Outlines, which keep every colour visible on every photograph."""

PAPER = (255, 255, 255)
"""Background and marks that belong to no side."""


def draw_pose(
    image: np.ndarray,
    pixels: np.ndarray,
    skeleton: Skeleton,
    *,
    probability: np.ndarray | None = None,
    truth: np.ndarray | None = None,
    outline: tuple[int, int, int] | None = None,
) -> np.ndarray:
    """Draw one person's limbs and joints; lines are as thick as the person is large.

    Args:
        image: (H, W, 3) or grey (H, W), uint8. It is not changed.
        pixels: (J, 2) joints in image pixels, in the order of `skeleton`; a joint with a NaN is left out, with its
            limbs. What lies outside of the image is cut off.
        skeleton: names and limbs of the joints.
        probability: (J,) or (J, 1) in [0, 1]: limbs fade with that of their less probable end, joints below 0.5 are
            hollow. None draws everything solid.
        truth: (J, 2) annotated joints, drawn below the pose as a broad white figure.
        outline: the colour about the limbs, which tells people apart; None is a faint dark one.

    Returns:
        (H, W, 3) uint8.

    Raises:
        PoseError: an array of another shape or type.
    """
    image = _rgb(image)
    points = _points(pixels, skeleton, "pixels")
    annotated = np.full_like(points, np.nan) if truth is None else _points(truth, skeleton, "truth")
    certainty = np.ones(len(skeleton)) if probability is None else _probability(probability, skeleton)

    person = np.concatenate([points, annotated])
    person = person[np.isfinite(person).all(axis=1)]
    if not len(person):
        return image
    stroke = max(1.2, 0.014 * min(np.ptp(person, axis=0).max(), max(image.shape)))
    region = _region(person, image.shape, margin=4 * stroke)
    if region is None:
        return image
    scale = max(1, min(4, 3000 // max(region[2] - region[0], region[3] - region[1])))
    canvas = _Canvas(image, region, scale)

    _draw_truth(canvas, annotated, skeleton, stroke)
    limbs = [(a, b) for a, b in skeleton.drawn_limbs if np.isfinite(points[[a, b]]).all()]
    opacity = {limb: 0.25 + 0.75 * certainty[list(limb)].min() for limb in limbs}
    for a, b in limbs:
        if outline is not None:
            canvas.line(points[a], points[b], 3.2 * stroke, INK, 0.6 * opacity[a, b])
            canvas.line(points[a], points[b], 2.6 * stroke, outline, opacity[a, b])
        else:
            canvas.line(points[a], points[b], 1.9 * stroke, INK, 0.6 * opacity[a, b])
    for a, b in limbs:
        canvas.line(points[a], points[b], stroke, _limb_color(skeleton, a, b), opacity[a, b])
    for joint, color in enumerate(joint_colors(skeleton)):
        if np.isfinite(points[joint]).all():
            canvas.joint(points[joint], 1.15 * stroke, tuple(color), hollow=certainty[joint] < 0.5)
    return canvas.onto(image)


def _draw_truth(canvas: "_Canvas", points: np.ndarray, skeleton: Skeleton, stroke: float) -> None:
    """A broad white figure, in strokes of the pose above it."""
    for width, color in ((3 * stroke, INK), (2.5 * stroke, PAPER)):
        for a, b in skeleton.drawn_limbs:
            if np.isfinite(points[[a, b]]).all():
                canvas.line(points[a], points[b], width, color, 1)
        for point in points[np.isfinite(points).all(axis=1)]:
            canvas.line(point, point, width + 1.2 * stroke, color, 1)


def person_color(number: int) -> tuple[int, int, int]:
    """A person's colour; twelve hues far from their neighbours in number, then the same again."""
    red, green, blue = colorsys.hsv_to_rgb((0.33 + 5 * number / 12) % 1, 0.75 if number % 2 else 0.95, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)


def draw_label(image: np.ndarray, text: str, place: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    """(H, W, 3) uint8 with a short text on a patch of colour above (x, y) `place`, moved to lie inside the image."""
    picture = Image.fromarray(_rgb(image))
    draw, size = ImageDraw.Draw(picture), max(11, round(0.03 * max(picture.size)))
    font = ImageFont.load_default(size)
    width, height = max(size, round(draw.textlength(text, font)) + size // 2), round(1.3 * size)
    x = int(np.clip(place[0] - width / 2, 0, max(0, picture.width - width)))
    y = int(np.clip(place[1] - 1.8 * size, 0, max(0, picture.height - height)))
    draw.rectangle((x, y, x + width, y + height), color, INK)
    draw.text((x + width / 2, y + height / 2), text, INK, font, anchor="mm")
    return np.asarray(picture)


def joint_colors(skeleton: Skeleton) -> np.ndarray:
    """(J, 3) uint8, a colour per joint: yellow to red for the right, cyan to violet for the left, greys between.

    A joint's colour depends on the names alone, not on their order: it is the same in the skeletons of MPII and LSP,
    if both have the joint's whole side.
    """
    sides: dict[str, list[str]] = {"left_": [], "right_": [], "": []}
    for name in sorted(skeleton.names):
        sides[_side(name)].append(name)
    colors = {}
    for side, names in sides.items():
        for name, t in zip(names, np.linspace(0, 1, len(names)), strict=True):
            if side == "":
                rgb = (1 - 0.55 * t,) * 3
            else:
                hue, saturation = (0.14 - 0.13 * t, 0.9) if side == "right_" else (0.49 + 0.23 * t, 0.9 - 0.25 * t)
                rgb = colorsys.hsv_to_rgb(hue, saturation, 1)
            colors[name] = [round(255 * channel) for channel in rgb]
    return np.array([colors[name] for name in skeleton.names], np.uint8).reshape(-1, 3)


def softmax_map(heatmaps: np.ndarray) -> np.ndarray:
    """Softmax over the cells of each map: (H, W, C) logits -> (H, W, C), each map adding up to 1 (eq. 1)."""
    heatmaps = np.asarray(heatmaps, np.float64)
    if heatmaps.ndim != 3 or not np.isfinite(heatmaps).all():
        raise PoseError(f"heatmaps must be finite and of shape (H, W, C). Received: shape {heatmaps.shape}")
    return softmax(heatmaps, axis=(0, 1))


def heatmaps_to_rgb(
    heatmaps: np.ndarray,
    skeleton: Skeleton,
    *,
    probability: np.ndarray | None = None,
    background: np.ndarray | None = None,
) -> np.ndarray:
    """All part maps as one picture, each in the colour that `joint_colors` gives its joint (Fig. 1); learned ones only.

    Args:
        heatmaps: (H, W, J) values of 0 and more, as `softmax_map` gives; each map is scaled by its own peak.
        skeleton: the joints, in the order of the maps.
        probability: (J,) or (J, 1) in [0, 1], the brightness of each map's peak; None is 1.
        background: (h, w, 3) or (h, w) uint8: a photograph to lay the maps, enlarged, over; None is black.

    Returns:
        (H, W, 3) uint8, or (h, w, 3) with a background.

    Raises:
        PoseError: an array of another shape, or a negative or non-finite value.
    """
    heatmaps = np.asarray(heatmaps, np.float64)
    if heatmaps.ndim != 3 or heatmaps.shape[2] != len(skeleton):
        raise PoseError(f"heatmaps must be of shape (H, W, {len(skeleton)}). Received: shape {heatmaps.shape}")
    if not (np.isfinite(heatmaps) & (heatmaps >= 0)).all():
        raise PoseError("heatmaps must be finite and not negative; softmax_map makes them so. Received: other values")
    peak = heatmaps.max(axis=(0, 1))
    strength = np.divide(heatmaps, peak, out=np.zeros_like(heatmaps), where=(peak > 0) & skeleton.known)
    if probability is not None:
        strength = strength * _probability(probability, skeleton)
    if background is not None:
        background = _rgb(background)
        strength = np.stack([_resize(m, background.shape[:2]) for m in np.moveaxis(strength, 2, 0)], axis=2)
    # The brightest joint wins channel by channel: overlapping maps stay in gamut and keep their hues.
    light = np.max(strength[..., None] * joint_colors(skeleton), axis=2)
    if background is not None:
        cover = strength.max(axis=2)[..., None]
        light = light + (1 - cover) * 0.4 * background
    return np.clip(np.rint(light), 0, 255).astype(np.uint8)


def contact_sheet(images: Sequence[np.ndarray], *, columns: int, captions: Sequence[str] | None = None) -> np.ndarray:
    """Pictures in rows, each centred in a cell that holds the largest, with a caption below.

    Args:
        images: (H, W, 3) or (H, W) uint8, of any sizes.
        columns: pictures in a row.
        captions: one for each picture; what is too long for a cell is cut.

    Returns:
        uint8 RGB on white.

    Raises:
        PoseError: no images, an image of another shape or type, or a wrong number of captions.
    """
    if not len(images) or columns < 1:
        raise PoseError(f"A sheet needs images and columns. Received: {len(images)} images, columns={columns}")
    if captions is not None and len(captions) != len(images):
        raise PoseError(f"captions must be as many as images, {len(images)}. Received: {len(captions)}")
    pictures = [Image.fromarray(_rgb(image)) for image in images]
    columns = min(columns, len(pictures))
    width, height = max(p.width for p in pictures), max(p.height for p in pictures)
    gap = max(2, max(width, height) // 50)
    letter = min(24, max(10, width // 16))
    strip = 0 if captions is None else round(1.5 * letter)
    rows = math.ceil(len(pictures) / columns)
    sheet = Image.new("RGB", (gap + columns * (width + gap), gap + rows * (height + strip + gap)), PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(letter)
    for i, picture in enumerate(pictures):
        x, y = gap + i % columns * (width + gap), gap + i // columns * (height + strip + gap)
        sheet.paste(picture, (x + (width - picture.width) // 2, y + (height - picture.height) // 2))
        if captions is not None:
            caption = _shorten(captions[i], width, font)
            draw.text((x + width // 2, y + height + strip // 2), caption, INK, font, anchor="mm")
    return np.asarray(sheet)


def save_image(path: str | Path, image: np.ndarray, *, quality: int = 92) -> None:
    """Write an (H, W, 3) or (H, W) uint8 image, whole or not at all; the suffix chooses the format.

    Args:
        path: ends in .png, .jpg or .webp.
        image: the pixels.
        quality: 0 to 100, of the formats that lose some.

    Raises:
        PoseError: a suffix that is no image format, an array that is no image, or a file that can't be written.
    """
    path = Path(path)
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise PoseError(f"{path} must end in .png, .jpg or .webp. Received: {path.suffix or 'no suffix'}")
    buffer = io.BytesIO()  # to a file, PIL would cut a JPEG short without a word where the disk is full
    Image.fromarray(_rgb(image)).save(buffer, Image.registered_extensions()[path.suffix.lower()], quality=quality)
    write_file(path, buffer.getvalue())


class _Canvas:
    """A part of an image, enlarged to draw on with floating-point coordinates and reduced again: anti-aliasing.

    What is not drawn on comes back exactly as it was.
    """

    def __init__(self, image: np.ndarray, region: tuple[int, int, int, int], scale: int):
        left, top, right, bottom = region
        self.region, self.scale = region, scale
        part = Image.fromarray(image[top:bottom, left:right])
        self.picture = part.resize((part.width * scale, part.height * scale), Image.Resampling.NEAREST)
        self.draw = ImageDraw.Draw(self.picture, "RGBA")

    def line(self, start: np.ndarray, end: np.ndarray, width: float, color: tuple, opacity: float) -> None:
        """A straight line with round ends, `width` image pixels wide, one even layer of paint."""
        offset = np.array(self.region[:2])
        (x0, y0), (x1, y1) = ((point - offset) * self.scale - 0.5 for point in (start, end))
        length, angle = math.hypot(x1 - x0, y1 - y0), math.atan2(y1 - y0, x1 - x0)
        radius = max(width * self.scale, 1) / 2
        turn = np.linspace(-math.pi / 2, math.pi / 2, 13)
        along = np.concatenate([length + radius * np.cos(turn), -radius * np.cos(turn)])
        across = np.concatenate([radius * np.sin(turn), -radius * np.sin(turn)])
        x = x0 + along * math.cos(angle) - across * math.sin(angle)
        y = y0 + along * math.sin(angle) + across * math.cos(angle)
        self.draw.polygon(list(zip(x.tolist(), y.tolist(), strict=True)), (*color, round(255 * opacity)))

    def joint(self, center: np.ndarray, radius: float, color: tuple, *, hollow: bool) -> None:
        """A disc with a dark edge, or a ring."""
        x, y = (center - np.array(self.region[:2])) * self.scale - 0.5
        for size, paint, thickness in ((1.35, INK, 0.75), (1.15, color, 0.4)):
            r = size * radius * self.scale
            box = (x - r, y - r, x + r, y + r)
            if hollow:
                self.draw.ellipse(box, None, paint, max(1, round(thickness * radius * self.scale)))
            else:
                self.draw.ellipse(box, paint)

    def onto(self, image: np.ndarray) -> np.ndarray:
        """`image` with this part of it replaced by what was drawn."""
        left, top, right, bottom = self.region
        result = image.copy()
        result[top:bottom, left:right] = np.asarray(self.picture.reduce(self.scale))
        return result


def _region(points: np.ndarray, shape: tuple[int, ...], *, margin: float) -> tuple[int, int, int, int] | None:
    """Left, top, right, bottom of the part of the image that holds the points and a margin; None if there is none."""
    limit = np.array([shape[1], shape[0]])
    low = np.clip(np.floor(points.min(axis=0) - margin), 0, limit).astype(int)
    high = np.clip(np.ceil(points.max(axis=0) + margin), 0, limit).astype(int)
    return None if (low >= high).any() else (int(low[0]), int(low[1]), int(high[0]), int(high[1]))


def _side(name: str) -> str:
    """`left_`, `right_` or nothing: the side that a joint's name begins with."""
    return next((side for side in ("left_", "right_") if name.startswith(side)), "")


def _limb_color(skeleton: Skeleton, a: int, b: int) -> tuple[int, int, int]:
    """The side's colour where either end has a side; the centre's where none has, or both differ."""
    sides = {_side(skeleton.names[a]), _side(skeleton.names[b])} - {""}
    return CENTRE if len(sides) != 1 else LEFT if sides == {"left_"} else RIGHT


def _rgb(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 of a colour or grey image; `PoseError` for anything else."""
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,)) or not image.size:
        raise PoseError(
            f"An image must be uint8 of shape (H, W, 3) or (H, W). Received: {image.dtype} of shape {image.shape}"
        )
    return np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image.copy()


def _points(points: np.ndarray, skeleton: Skeleton, name: str) -> np.ndarray:
    """(J, 2) float64 with NaN for joints that are absent."""
    points = np.array(points, np.float64)
    if points.shape != (len(skeleton), 2):
        raise PoseError(f"{name} must be of shape ({len(skeleton)}, 2). Received: shape {points.shape}")
    points[~np.isfinite(points).all(axis=1)] = np.nan
    return np.clip(points, -1e5, 1e5)  # beyond any image, and within the integers of the drawing library


def _probability(probability: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """(J,) in [0, 1]; a NaN counts as 0."""
    probability = np.asarray(probability, np.float64)
    if probability.shape not in ((len(skeleton),), (len(skeleton), 1)):
        raise PoseError(f"probability must be of shape ({len(skeleton)},). Received: shape {probability.shape}")
    return np.clip(np.nan_to_num(probability.reshape(-1)), 0, 1)


def _resize(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """One map, bilinearly, to (height, width)."""
    picture = Image.fromarray(values.astype(np.float32))
    return np.asarray(picture.resize((shape[1], shape[0]), Image.Resampling.BILINEAR), np.float64)


def _shorten(text: str, width: int, font) -> str:
    """`text`, cut at its end with an ellipsis until it is no wider than `width` pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
