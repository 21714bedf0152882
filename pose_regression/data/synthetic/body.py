"""Bones -> a dressed body of about 35 parts in the body's coordinates."""

from dataclasses import dataclass, field, replace

import numpy as np

from pose_regression.data.synthetic import clothes
from pose_regression.data.synthetic.bones import SIDES, Bones, Random, Vector
from pose_regression.data.synthetic.clothes import (
    HAIR,
    SKIN,
    Cloth,
    Paint,
    Part,
    draw_cloth,
    draw_colour,
    sections,
    solid,
)


@dataclass(frozen=True, eq=False)
class _Wardrobe:
    """What one person wears, and the shape of the body."""

    skin: Cloth
    hair: Cloth
    shirt: Cloth
    trousers: Cloth
    shoes: Cloth
    sock: Cloth
    sleeve: float
    """Where it ends, in segments of the arm."""
    leg_end: float
    """Where the trousers end, in segments of the leg."""
    skirt: bool
    girth: float
    slim: float


@dataclass
class _Body:
    """The parts so far."""

    parts: list[Part] = field(default_factory=list)

    def add(
        self,
        name: str,
        start: Vector,
        end: Vector,
        frame: np.ndarray,
        axes: tuple | float,
        paint: Paint,
        gloss: float = 0.0,
    ) -> None:
        """One more part; `axes` for its three stations, or one radius."""
        rows = np.array([np.broadcast_to(a, 3) for a in (axes if isinstance(axes, tuple) else (axes,) * 3)], float)
        self.parts.append(Part(name, np.asarray(start, float), np.asarray(end, float), frame, rows, paint, gloss))


def dress(rng: Random, bones: Bones) -> list[Part]:
    """Dress the bones: about 35 parts in the body's coordinates."""
    wear = _draw_wardrobe(rng, bones)
    body = _Body()
    _trunk(rng, body, bones, wear)
    _head(rng, body, bones, wear)
    for side, sign in SIDES:
        arm, leg = wear.girth * rng.uniform(0.92, 1.08, 2)
        _arm(body, bones, wear, side, sign, arm)
        _leg(body, bones, wear, side, leg)
    if wear.skirt:
        _skirt(rng, body, bones, wear)
    if rng.random() < 0.08:
        side, _ = SIDES[rng.integers(2)]
        ball = bones.joints[f"{side}_wrist"] + bones.frames[f"{side}_forearm"] @ (0, -0.1, 0.03)
        body.add(
            "ball", ball, ball, np.eye(3), rng.uniform(0.03, 0.06), solid(draw_cloth(rng, ("plain", "hoops"))), 0.4
        )
    return body.parts


def _draw_wardrobe(rng: Random, bones: Bones) -> _Wardrobe:
    tone = float(rng.uniform(0, len(SKIN) - 1))
    skin = Cloth(np.array([np.interp(tone, range(len(SKIN)), SKIN[:, c]) for c in range(3)]))
    hair = Cloth(HAIR[rng.choice(len(HAIR), p=(0.35, 0.3, 0.15, 0.12, 0.08))] * rng.uniform(0.8, 1.2))
    shirt = draw_cloth(rng, ("plain", "plain", "plain", "hoops", "checks", "pinstripes", "band"))
    trousers = draw_cloth(rng, ("plain", "plain", "plain", "pinstripes", "checks"))
    if np.abs(trousers.colour - shirt.colour).sum() < 0.35:
        trousers = replace(trousers, colour=np.clip(shirt.colour * 0.45, 0.03, 1))
    shoes, sock = Cloth(draw_colour(rng, saturation=(0.0, 0.4))), Cloth(np.full(3, rng.uniform(0.2, 0.95)))
    sleeve = float(rng.choice([0.08, 0.55, 0.6, 2.1, 1.95]))  # bare, short, short, long, long
    leg_end = float(rng.choice([0.5, 0.8, 1.5, 2.1, 2.1, 2.1]))  # shorts to trousers
    skirt = bones.skirt_fits and rng.random() < 0.35
    one_piece = skirt and rng.random() < 0.5
    if skirt:
        leg_end, trousers = 0.1, shirt if one_piece else trousers
    girth, slim = rng.uniform(0.88, 1.2), rng.uniform(0.9, 1.08)
    return _Wardrobe(skin, hair, shirt, trousers, shoes, sock, sleeve, leg_end, skirt, girth, slim)


def _trunk(rng: Random, body: _Body, bones: Bones, wear: _Wardrobe) -> None:
    """Pelvis, belly and chest. The semi-axis along the trunk is small so that its ends stay flat."""
    pelvis, chest, thorax = bones.frames["pelvis"], bones.frames["chest"], bones.joints["thorax"]
    girth, waist = wear.girth, bones.frames["pelvis"] @ (0, 0.12, 0)
    axes: tuple = (
        (0.085 * girth, 0.045, 0.07 * girth), (0.088 * girth, 0.04, 0.068 * girth), (0.08 * girth, 0.03, 0.06 * girth)
    )  # fmt: skip
    body.add("pelvis", pelvis @ (0, -0.03, 0), pelvis @ (0, 0.06, 0), pelvis, axes, solid(wear.trousers))
    axes = (
        (0.082 * girth, 0.03, 0.062 * girth),
        (0.084 * girth * wear.slim, 0.03, 0.064 * girth),
        (0.088 * girth, 0.04, 0.064 * girth),
    )
    body.add("chest", pelvis @ (0, 0.045, 0), waist + chest @ (0, 0.05, 0), chest, axes, solid(wear.shirt))
    axes = ((0.088 * girth, 0.04, 0.064 * girth), (0.1 * girth, 0.04, 0.068 * girth), (0.085, 0.035, 0.05))
    paint = clothes.torso(wear.shirt, wear.skin, rng.uniform(0.0, 0.06))
    body.add("chest", waist + chest @ (0, 0.0, 0), thorax - chest @ (0, 0.025, 0), chest, axes, paint)


def _head(rng: Random, body: _Body, bones: Bones, wear: _Wardrobe) -> None:
    """Neck, head, nose, ears, and what is on top."""
    chest, head, neck = bones.frames["chest"], bones.frames["head"], bones.joints["neck"]
    low, skin = bones.joints["thorax"] + chest @ (0, 0.0, -0.004), solid(wear.skin)
    body.add("neck", low, neck + head @ (0, 0.05, -0.012), head, 0.031 * (0.5 + 0.5 * wear.girth), skin)
    middle = neck + head @ (0, 0.08, 0)
    size = np.array((0.053, 0.08, 0.063)) * (rng.uniform(0.94, 1.06), 1, 1)
    body.add("head", middle, middle, head, (size,) * 3, clothes.face(wear.skin.colour, wear.hair.colour), 0.1)
    body.add("head", middle + head @ (0, -0.012, 0.057), middle + head @ (0, -0.02, 0.062), head, 0.0095, skin, 0.1)
    style = str(rng.choice(["short", "short", "long", "long", "bun", "cap", "bald"]))
    if style == "bald":
        body.parts[-2] = replace(body.parts[-2], paint=clothes.face(wear.skin.colour, wear.skin.colour * 0.97))
    for _, sign in SIDES:
        ear = middle + head @ (sign * size[0], -0.004, -0.004)
        body.add("head", ear, ear, head, ((0.008, 0.018, 0.011),) * 3, skin)
    if style in ("short", "long", "bun"):
        _hair(rng, body, head, middle, style, solid(wear.hair))
    if style == "cap":
        _cap(body, head, middle, Cloth(draw_colour(rng)))


def _hair(rng: Random, body: _Body, head: np.ndarray, middle: Vector, style: str, hair: Paint) -> None:
    top, back = middle + head @ (0, 0.03, -0.011), middle + head @ (0, 0.02, -0.02)
    body.add("head", top, back, head, ((0.057, 0.056, 0.058),) * 3, hair, 0.15)
    if style == "long":
        back, length = middle + head @ (0, 0.02, -0.035), rng.uniform(0.08, 0.2)
        body.add("head", back, back + head @ (0, -length, -0.012), head, ((0.058, 0.04, 0.034),) * 3, hair, 0.15)
    if style == "bun":
        bun = middle + head @ (0, 0.07, -0.06)
        body.add("head", bun, bun, head, 0.03, hair, 0.15)


def _cap(body: _Body, head: np.ndarray, middle: Vector, cap: Cloth) -> None:
    top, back = middle + head @ (0, 0.034, -0.003), middle + head @ (0, 0.03, -0.008)
    body.add("head", top, back, head, ((0.058, 0.054, 0.064),) * 3, solid(cap))
    start, end = middle + head @ (0, 0.035, 0.05), middle + head @ (0, 0.031, 0.085)
    body.add("head", start, end, head, ((0.05, 0.006, 0.02),) * 3, solid(cap))


def _arm(body: _Body, bones: Bones, wear: _Wardrobe, side: str, sign: float, girth: float) -> None:
    shoulder, elbow, wrist = (bones.joints[f"{side}_{name}"] for name in ("shoulder", "elbow", "wrist"))
    chest, upper, fore = (bones.frames[name] for name in ("chest", f"{side}_upper_arm", f"{side}_forearm"))
    sleeve, shirt, skin = wear.sleeve, wear.shirt, wear.skin
    strap = sections((0.65, skin), (9, shirt)) if sleeve < 0.1 else solid(shirt)
    start = bones.joints["thorax"] + chest @ (sign * 0.012, 0.012, -0.008)
    body.add(f"{side}_shoulder", start, shoulder, chest, (0.034, 0.036, 0.036 * girth), strap)
    thick = 0.004 if sleeve > 0.3 else 0.0
    axes: tuple = (0.036 * girth + thick, 0.034 * girth + thick, 0.027 * girth + (thick if sleeve > 1 else 0))
    body.add(f"{side}_upper_arm", shoulder, elbow, upper, axes, sections((sleeve, shirt), (9, skin)))
    thick = 0.004 if sleeve > 1 else 0.0
    axes = (0.027 * girth + thick, 0.027 * girth + thick, 0.018 * girth + thick)
    body.add(f"{side}_forearm", elbow, wrist, fore, axes, sections((sleeve - 1, shirt), (9, skin)))
    palm = ((0.014, 0.016, 0.012), (0.021, 0.02, 0.013), (0.015, 0.018, 0.01))
    body.add(f"{side}_hand", wrist + fore @ (0, -0.01, 0), wrist + fore @ (0, -0.068, 0.006), fore, palm, solid(skin))
    thumb = wrist + fore @ (-sign * 0.016, -0.02, 0.004)
    body.add(f"{side}_hand", thumb, thumb + fore @ (-sign * 0.01, -0.03, 0.008), fore, 0.0085, solid(skin))


def _leg(body: _Body, bones: Bones, wear: _Wardrobe, side: str, girth: float) -> None:
    hip, knee, ankle = (bones.joints[f"{side}_{name}"] for name in ("hip", "knee", "ankle"))
    thigh, shin, foot = (bones.frames[f"{side}_{name}"] for name in ("thigh", "shin", "foot"))
    end, trousers, skin = wear.leg_end, wear.trousers, wear.skin
    thick = 0.005 if end > 0.3 else 0.0
    axes: tuple = (0.06 * girth + thick, 0.053 * girth + thick, 0.039 * girth + (thick if end > 0.9 else 0))
    body.add(f"{side}_thigh", hip, knee, thigh, axes, sections((end, trousers), (9, skin)))
    thick = 0.005 if end > 1.2 else 0.0
    axes = (0.038 * girth + thick, 0.037 * girth + thick, 0.023 * girth + 1.4 * thick)
    paint = sections((end - 1, trousers), (0.82, skin), (9, wear.sock))
    body.add(f"{side}_shin", knee, ankle, shin, axes, paint)
    sole = ((0.026, 0.022, 0.028), (0.028, 0.022, 0.026), (0.024, 0.016, 0.022))
    heel, toes = ankle + foot @ (0, -0.018, -0.012), ankle + foot @ (0, -0.026, 0.085)
    body.add(f"{side}_foot", heel, toes, foot, sole, solid(wear.shoes), 0.2)


def _skirt(rng: Random, body: _Body, bones: Bones, wear: _Wardrobe) -> None:
    joints, pelvis, girth = bones.joints, bones.frames["pelvis"], wear.girth
    knees = 0.5 * (joints["left_knee"] + joints["right_knee"])
    hem = pelvis @ (0, 0.03, 0) + rng.uniform(0.55, 0.95) * (knees - pelvis @ (0, 0.03, 0))
    spread = 0.5 * abs(joints["left_knee"][0] - joints["right_knee"][0]) + rng.uniform(0.06, 0.09)
    axes = (
        (0.09 * girth, 0.02, 0.07 * girth),
        (0.128 * girth, 0.02, 0.098 * girth),
        (max(spread, 0.128 * girth), 0.02, 0.11 * girth),
    )
    body.add("skirt", pelvis @ (0, 0.03, 0), hem, pelvis, axes, solid(wear.trousers))
