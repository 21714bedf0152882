"""A person as geometry: joint angles -> posed bones -> dressed body parts. `synthetic.py` draws them.

The body's coordinates: x to the person's left, y up, z to where the person faces, the pelvis at the origin, the
standing height being 1.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

SIDES = (("right", -1.0), ("left", 1.0))
Vector = np.ndarray
Random = np.random.Generator


def rotation(axis: int, degrees: float) -> np.ndarray:
    """(3, 3) right-handed rotation about coordinate axis 0, 1 or 2."""
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    i, j = (axis + 1) % 3, (axis + 2) % 3
    result = np.eye(3)
    result[i, i] = result[j, j] = cos
    result[i, j], result[j, i] = -sin, sin
    return result


@dataclass(frozen=True)
class _Limb:
    """Angles of an arm or a leg in degrees; all zero hangs straight down."""

    flex: float
    """Forwards."""
    raise_: float
    """Sideways, away from the body."""
    twist: float
    """About the upper segment; positive turns the bend inwards."""
    bend: float
    """Of the elbow or the knee."""


# Ranges of (flex, raise, twist, bend), the weight first. Elbows bend forwards, knees backwards.
_ARMS = (
    (30, (-25, 30), (6, 24), (-10, 40), (0, 45)),  # hanging
    (12, (-15, 10), (32, 50), (75, 100), (80, 110)),  # hand on the hip
    (10, (0, 25), (130, 168), (-90, -20), (5, 70)),  # raised
    (10, (-10, 25), (65, 110), (-30, 30), (0, 60)),  # out to the side
    (12, (-10, 20), (75, 110), (-110, -75), (40, 115)),  # waving, flexing the biceps
    (12, (40, 100), (5, 35), (-20, 40), (0, 70)),  # reaching forwards
    (14, (10, 45), (10, 25), (30, 80), (70, 120)),  # hand before the body
)
# The same for a pair of legs: weight, lead leg, other leg; whether they carry the weight on the seat.
_LEGS = (
    (34, ((-6, 10), (1, 9), (-25, 5), (0, 10)), ((-6, 10), (1, 9), (-25, 5), (0, 10)), False),  # standing
    (14, ((-4, 10), (12, 26), (-25, 5), (0, 15)), ((-4, 10), (12, 26), (-25, 5), (0, 15)), False),  # legs apart
    (18, ((12, 32), (0, 8), (-15, 5), (0, 25)), ((-28, -5), (0, 8), (-15, 5), (5, 35)), False),  # walking
    (8, ((45, 75), (0, 10), (-15, 5), (55, 100)), ((-30, 0), (0, 8), (-15, 5), (15, 90)), False),  # running
    (7, ((70, 95), (3, 18), (-15, 5), (70, 100)), ((70, 95), (3, 18), (-15, 5), (70, 100)), True),  # sitting
    (6, ((60, 95), (10, 30), (-15, 5), (80, 120)), ((60, 95), (10, 30), (-15, 5), (80, 120)), False),  # squatting
    (6, ((40, 90), (0, 35), (-20, 10), (0, 40)), ((-10, 5), (0, 8), (-15, 5), (0, 15)), False),  # kicking
    (7, ((-5, 10), (30, 55), (-25, 0), (40, 70)), ((-5, 8), (5, 15), (-20, 0), (0, 10)), False),  # lunging sideways
)


def _draw_limb(rng: Random, ranges: tuple) -> _Limb:
    return _Limb(*(float(rng.uniform(low, high)) for low, high in ranges))


def _choose(rng: Random, table: tuple) -> tuple:
    """A row of `table`, whose first column is the weight, without that column."""
    weights = np.array([row[0] for row in table], float)
    return table[rng.choice(len(table), p=weights / weights.sum())][1:]


@dataclass(frozen=True)
class Bones:
    """A posed skeleton in the body's coordinates."""

    joints: dict[str, Vector]
    frames: dict[str, np.ndarray]
    """(3, 3) axes as columns: pelvis, chest, head, and per side upper_arm, forearm, thigh, shin, foot."""
    seated: bool
    skirt_fits: bool


def draw_pose(rng: Random) -> Bones:
    """Draw joint angles within human limits and put the bones together."""
    lead, other, seated = _choose(rng, _LEGS)
    legs = {
        side: _draw_limb(rng, ranges)
        for side, ranges in zip(rng.permutation(["left", "right"]), (lead, other), strict=True)
    }
    arm_rows = [_choose(rng, _ARMS)]
    arm_rows.append(arm_rows[0] if rng.random() < 0.35 else _choose(rng, _ARMS))
    arms = {side: _draw_limb(rng, ranges) for (side, _), ranges in zip(SIDES, arm_rows, strict=True)}
    squat = min(legs["left"].flex, legs["right"].flex) > 50 and not seated
    lean = rng.uniform(15, 40) if squat else rng.normal(4, 8)

    length = rng.uniform(0.95, 1.06, 4)  # thigh, shin, upper arm, forearm
    shoulder, hip = rng.uniform(0.098, 0.118), rng.uniform(0.052, 0.062)
    joints: dict[str, Vector] = {"pelvis": np.zeros(3)}
    pelvis = rotation(0, 0.5 * lean) @ rotation(2, rng.normal(0, 3))
    waist = pelvis @ (0, 0.12, 0)
    chest = pelvis @ rotation(1, rng.normal(0, 10)) @ rotation(2, rng.normal(0, 7)) @ rotation(0, 0.5 * lean)
    joints["thorax"] = waist + chest @ (0, 0.165, 0)
    head = chest @ rotation(1, np.clip(rng.normal(0, 18), -50, 50)) @ rotation(2, rng.normal(0, 6))
    head = head @ rotation(0, rng.normal(0, 9) - 0.4 * lean)
    joints["neck"] = joints["thorax"] + 0.5 * (chest + head) @ (0, 0.042, 0.006)
    joints["head"] = joints["neck"] + head @ (0, 0.16, 0)
    frames = {"pelvis": pelvis, "chest": chest, "head": head}
    for side, sign in SIDES:
        arm, leg = arms[side], legs[side]
        lift = 0.0003 * max(arm.raise_ - 60, 0)  # a raised arm takes its shoulder along
        joints[f"{side}_shoulder"] = joints["thorax"] + chest @ (sign * (shoulder - 0.6 * lift), lift - 0.006, 0)
        upper = chest @ rotation(2, sign * arm.raise_) @ rotation(0, -arm.flex) @ rotation(1, -sign * arm.twist)
        fore = upper @ rotation(0, -arm.bend)
        joints[f"{side}_elbow"] = joints[f"{side}_shoulder"] + upper @ (0, -0.165 * length[2], 0)
        joints[f"{side}_wrist"] = joints[f"{side}_elbow"] + fore @ (0, -0.138 * length[3], 0)
        # Thighs hang from the vertical, not from the leaning pelvis: the weight stays above the feet.
        joints[f"{side}_hip"] = pelvis @ (sign * hip, -0.012, 0)
        thigh = rotation(2, sign * leg.raise_) @ rotation(0, -leg.flex) @ rotation(1, -sign * leg.twist)
        shin = thigh @ rotation(0, leg.bend)
        joints[f"{side}_knee"] = joints[f"{side}_hip"] + thigh @ (0, -0.24 * length[0], 0)
        joints[f"{side}_ankle"] = joints[f"{side}_knee"] + shin @ (0, -0.232 * length[1], 0)
        foot = shin @ rotation(0, rng.uniform(-4, 8) - (0.5 * (leg.bend - leg.flex) if leg.bend > 20 else 0))
        frames |= {f"{side}_upper_arm": upper, f"{side}_forearm": fore, f"{side}_thigh": thigh, f"{side}_shin": shin}
        frames[f"{side}_foot"] = foot
    skirt_fits = max(abs(leg.flex) for leg in legs.values()) < 25 and max(leg.bend for leg in legs.values()) < 30
    return Bones(joints, frames, seated, skirt_fits)


# ---------------------------------------------------------------------------------------------- clothes and parts


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
    paint: Callable[[np.ndarray, np.ndarray], np.ndarray]
    """(t (N,) position along the chain, local (N, 3) coordinates) -> (N, 3) colours."""
    gloss: float = 0.0


def solid(cloth: Cloth) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """One cloth all along the part."""
    return lambda t, local: cloth.at(local)


def _sections(*sections: tuple[float, Cloth]) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Cloth after cloth along the part: (where it ends, cloth)."""

    def paint(t: np.ndarray, local: np.ndarray) -> np.ndarray:
        colours = sections[-1][1].at(local)
        for end, cloth in reversed(sections[:-1]):
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
_HAIR = np.array([(0.10, 0.08, 0.07), (0.25, 0.16, 0.10), (0.45, 0.30, 0.16), (0.80, 0.64, 0.36), (0.60, 0.59, 0.57)])


def _face(skin: Vector, hair: Vector) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
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


def _torso(shirt: Cloth, skin: Cloth, neckline: float) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Paint of the chest: the shirt, with a neckline in front."""

    def paint(t: np.ndarray, local: np.ndarray) -> np.ndarray:
        bare = (local[:, 2] > 0) & (local[:, 1] > 0.21 - neckline + 1.2 * np.abs(local[:, 0]))
        return np.where(bare[:, None], skin.at(local), shirt.at(local))

    return paint


def dress(rng: Random, bones: Bones) -> list[Part]:
    """Dress the bones: about 35 parts in the body's coordinates."""
    joints, frames = bones.joints, bones.frames
    tone = float(rng.uniform(0, len(SKIN) - 1))
    skin_colour = np.array([np.interp(tone, range(len(SKIN)), SKIN[:, c]) for c in range(3)])
    hair_colour = _HAIR[rng.choice(len(_HAIR), p=(0.35, 0.3, 0.15, 0.12, 0.08))] * rng.uniform(0.8, 1.2)
    skin, hair = Cloth(skin_colour), Cloth(hair_colour)
    shirt = draw_cloth(rng, ("plain", "plain", "plain", "hoops", "checks", "pinstripes", "band"))
    trousers = draw_cloth(rng, ("plain", "plain", "plain", "pinstripes", "checks"))
    if np.abs(trousers.colour - shirt.colour).sum() < 0.35:
        trousers = replace(trousers, colour=np.clip(shirt.colour * 0.45, 0.03, 1))
    shoes, sock = Cloth(draw_colour(rng, saturation=(0.0, 0.4))), Cloth(np.full(3, rng.uniform(0.2, 0.95)))
    sleeve = float(rng.choice([0.08, 0.55, 0.6, 2.1, 1.95]))  # bare, short, short, long, long, in segments of the arm
    leg_end = float(rng.choice([0.5, 0.8, 1.5, 2.1, 2.1, 2.1]))  # shorts to trousers, in segments of the leg
    skirt = bones.skirt_fits and rng.random() < 0.35
    dress = skirt and rng.random() < 0.5
    if skirt:
        leg_end, trousers = 0.1, shirt if dress else trousers
    girth = rng.uniform(0.88, 1.2)
    slim = rng.uniform(0.9, 1.08)
    parts: list[Part] = []

    def add(
        name: str,
        start: Vector,
        end: Vector,
        frame: np.ndarray,
        axes: tuple | float,
        paint: Callable,
        gloss: float = 0.0,
    ) -> None:
        rows = np.array([np.broadcast_to(a, 3) for a in (axes if isinstance(axes, tuple) else (axes,) * 3)], float)
        parts.append(Part(name, np.asarray(start, float), np.asarray(end, float), frame, rows, paint, gloss))

    # Trunk. The semi-axis along the trunk is small so that its ends stay flat.
    pelvis, chest, head = frames["pelvis"], frames["chest"], frames["head"]
    thorax, neck = joints["thorax"], joints["neck"]
    add(
        "pelvis",
        pelvis @ (0, -0.03, 0),
        pelvis @ (0, 0.06, 0),
        pelvis,
        (
            (0.085 * girth, 0.045, 0.07 * girth),
            (0.088 * girth, 0.04, 0.068 * girth),
            (0.08 * girth, 0.03, 0.06 * girth),
        ),
        solid(trousers),
    )
    waist = pelvis @ (0, 0.12, 0)
    axes = (
        (0.082 * girth, 0.03, 0.062 * girth),
        (0.084 * girth * slim, 0.03, 0.064 * girth),
        (0.088 * girth, 0.04, 0.064 * girth),
    )
    add("chest", pelvis @ (0, 0.045, 0), waist + chest @ (0, 0.05, 0), chest, axes, solid(shirt))
    axes = ((0.088 * girth, 0.04, 0.064 * girth), (0.1 * girth, 0.04, 0.068 * girth), (0.085, 0.035, 0.05))
    neckline = rng.uniform(0.0, 0.06)
    add(
        "chest", waist + chest @ (0, 0.0, 0), thorax - chest @ (0, 0.025, 0), chest, axes, _torso(shirt, skin, neckline)
    )
    # Neck and head.
    radius = 0.031 * (0.5 + 0.5 * girth)
    add("neck", thorax + chest @ (0, 0.0, -0.004), neck + head @ (0, 0.05, -0.012), head, radius, solid(skin))
    middle = neck + head @ (0, 0.08, 0)
    size = np.array((0.053, 0.08, 0.063)) * (rng.uniform(0.94, 1.06), 1, 1)
    add("head", middle, middle, head, (size,) * 3, _face(skin_colour, hair_colour), 0.1)
    add("head", middle + head @ (0, -0.012, 0.057), middle + head @ (0, -0.02, 0.062), head, 0.0095, solid(skin), 0.1)
    style = str(rng.choice(["short", "short", "long", "long", "bun", "cap", "bald"]))
    if style == "bald":
        parts[-2] = replace(parts[-2], paint=_face(skin_colour, skin_colour * 0.97))
    for _, sign in SIDES:
        ear = middle + head @ (sign * size[0], -0.004, -0.004)
        add("head", ear, ear, head, ((0.008, 0.018, 0.011),) * 3, solid(skin))
    if style in ("short", "long", "bun"):
        add(
            "head",
            middle + head @ (0, 0.03, -0.011),
            middle + head @ (0, 0.02, -0.02),
            head,
            ((0.057, 0.056, 0.058),) * 3,
            solid(hair),
            0.15,
        )
    if style == "long":
        back, length = middle + head @ (0, 0.02, -0.035), rng.uniform(0.08, 0.2)
        add("head", back, back + head @ (0, -length, -0.012), head, ((0.058, 0.04, 0.034),) * 3, solid(hair), 0.15)
    if style == "bun":
        bun = middle + head @ (0, 0.07, -0.06)
        add("head", bun, bun, head, 0.03, solid(hair), 0.15)
    if style == "cap":
        cap = Cloth(draw_colour(rng))
        add(
            "head",
            middle + head @ (0, 0.034, -0.003),
            middle + head @ (0, 0.03, -0.008),
            head,
            ((0.058, 0.054, 0.064),) * 3,
            solid(cap),
        )
        brim = ((0.05, 0.006, 0.02),) * 3
        add("head", middle + head @ (0, 0.035, 0.05), middle + head @ (0, 0.031, 0.085), head, brim, solid(cap))

    for side, sign in SIDES:
        shoulder, elbow, wrist = (joints[f"{side}_{name}"] for name in ("shoulder", "elbow", "wrist"))
        hip, knee, ankle = (joints[f"{side}_{name}"] for name in ("hip", "knee", "ankle"))
        upper, fore = frames[f"{side}_upper_arm"], frames[f"{side}_forearm"]
        thigh, shin, foot = frames[f"{side}_thigh"], frames[f"{side}_shin"], frames[f"{side}_foot"]
        arm, leg = girth * rng.uniform(0.92, 1.08, 2)
        strap = _sections((0.65, skin), (9, shirt)) if sleeve < 0.1 else solid(shirt)
        add(
            f"{side}_shoulder",
            thorax + chest @ (sign * 0.012, 0.012, -0.008),
            shoulder,
            chest,
            (0.034, 0.036, 0.036 * arm),
            strap,
        )
        thick = 0.004 if sleeve > 0.3 else 0.0
        axes = (0.036 * arm + thick, 0.034 * arm + thick, 0.027 * arm + (thick if sleeve > 1 else 0))
        add(f"{side}_upper_arm", shoulder, elbow, upper, axes, _sections((sleeve, shirt), (9, skin)))
        thick = 0.004 if sleeve > 1 else 0.0
        axes = (0.027 * arm + thick, 0.027 * arm + thick, 0.018 * arm + thick)
        add(f"{side}_forearm", elbow, wrist, fore, axes, _sections((sleeve - 1, shirt), (9, skin)))
        palm = ((0.014, 0.016, 0.012), (0.021, 0.02, 0.013), (0.015, 0.018, 0.01))
        add(f"{side}_hand", wrist + fore @ (0, -0.01, 0), wrist + fore @ (0, -0.068, 0.006), fore, palm, solid(skin))
        thumb = wrist + fore @ (-sign * 0.016, -0.02, 0.004)
        add(f"{side}_hand", thumb, thumb + fore @ (-sign * 0.01, -0.03, 0.008), fore, 0.0085, solid(skin))
        thick = 0.005 if leg_end > 0.3 else 0.0
        axes = (0.06 * leg + thick, 0.053 * leg + thick, 0.039 * leg + (thick if leg_end > 0.9 else 0))
        add(f"{side}_thigh", hip, knee, thigh, axes, _sections((leg_end, trousers), (9, skin)))
        thick = 0.005 if leg_end > 1.2 else 0.0
        axes = (0.038 * leg + thick, 0.037 * leg + thick, 0.023 * leg + 1.4 * thick)
        add(f"{side}_shin", knee, ankle, shin, axes, _sections((leg_end - 1, trousers), (0.82, skin), (9, sock)))
        sole = ((0.026, 0.022, 0.028), (0.028, 0.022, 0.026), (0.024, 0.016, 0.022))
        add(
            f"{side}_foot",
            ankle + foot @ (0, -0.018, -0.012),
            ankle + foot @ (0, -0.026, 0.085),
            foot,
            sole,
            solid(shoes),
            0.2,
        )
    if skirt:
        knees = 0.5 * (joints["left_knee"] + joints["right_knee"])
        hem = pelvis @ (0, 0.03, 0) + rng.uniform(0.55, 0.95) * (knees - pelvis @ (0, 0.03, 0))
        spread = 0.5 * abs(joints["left_knee"][0] - joints["right_knee"][0]) + rng.uniform(0.06, 0.09)
        axes = (
            (0.09 * girth, 0.02, 0.07 * girth),
            (0.128 * girth, 0.02, 0.098 * girth),
            (max(spread, 0.128 * girth), 0.02, 0.11 * girth),
        )
        add("skirt", pelvis @ (0, 0.03, 0), hem, pelvis, axes, solid(trousers))
    if rng.random() < 0.08:
        side, sign = SIDES[rng.integers(2)]
        ball = joints[f"{side}_wrist"] + frames[f"{side}_forearm"] @ (0, -0.1, 0.03)
        add("ball", ball, ball, np.eye(3), rng.uniform(0.03, 0.06), solid(draw_cloth(rng, ("plain", "hoops"))), 0.4)
    return parts
