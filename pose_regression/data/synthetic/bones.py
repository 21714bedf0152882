"""A person's bones: joint angles drawn within human limits -> joints and frames in the body's coordinates.

The body's coordinates: x to the person's left, y up, z to where the person faces, the pelvis at the origin, the
standing height being 1.
"""

from dataclasses import dataclass

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
    legs, seated = _draw_legs(rng)
    arms = _draw_arms(rng)
    squat = min(legs["left"].flex, legs["right"].flex) > 50 and not seated
    lean = rng.uniform(15, 40) if squat else rng.normal(4, 8)
    length = rng.uniform(0.95, 1.06, 4)  # thigh, shin, upper arm, forearm
    shoulder, hip = rng.uniform(0.098, 0.118), rng.uniform(0.052, 0.062)
    joints, frames = _trunk(rng, lean)
    for side, sign in SIDES:
        _put_arm(joints, frames, arms[side], side, sign, shoulder, length[2:])
        _put_leg(joints, frames, legs[side], side, sign, hip, length[:2])
        bend = 0.5 * (legs[side].bend - legs[side].flex) if legs[side].bend > 20 else 0
        frames[f"{side}_foot"] = frames[f"{side}_shin"] @ rotation(0, rng.uniform(-4, 8) - bend)
    skirt_fits = max(abs(leg.flex) for leg in legs.values()) < 25 and max(leg.bend for leg in legs.values()) < 30
    return Bones(joints, frames, seated, skirt_fits)


def _draw_legs(rng: Random) -> tuple[dict[str, _Limb], bool]:
    """Both legs by side, and whether they carry the weight on the seat."""
    lead, other, seated = _choose(rng, _LEGS)
    sides = rng.permutation(["left", "right"])
    return {side: _draw_limb(rng, ranges) for side, ranges in zip(sides, (lead, other), strict=True)}, seated


def _draw_arms(rng: Random) -> dict[str, _Limb]:
    """Both arms by side, often alike."""
    rows = [_choose(rng, _ARMS)]
    rows.append(rows[0] if rng.random() < 0.35 else _choose(rng, _ARMS))
    return {side: _draw_limb(rng, ranges) for (side, _), ranges in zip(SIDES, rows, strict=True)}


def _trunk(rng: Random, lean: float) -> tuple[dict[str, Vector], dict[str, np.ndarray]]:
    """Joints and frames of pelvis, chest and head; `lean` in degrees."""
    joints: dict[str, Vector] = {"pelvis": np.zeros(3)}
    pelvis = rotation(0, 0.5 * lean) @ rotation(2, rng.normal(0, 3))
    waist = pelvis @ (0, 0.12, 0)
    chest = pelvis @ rotation(1, rng.normal(0, 10)) @ rotation(2, rng.normal(0, 7)) @ rotation(0, 0.5 * lean)
    joints["thorax"] = waist + chest @ (0, 0.165, 0)
    head = chest @ rotation(1, np.clip(rng.normal(0, 18), -50, 50)) @ rotation(2, rng.normal(0, 6))
    head = head @ rotation(0, rng.normal(0, 9) - 0.4 * lean)
    joints["neck"] = joints["thorax"] + 0.5 * (chest + head) @ (0, 0.042, 0.006)
    joints["head"] = joints["neck"] + head @ (0, 0.16, 0)
    return joints, {"pelvis": pelvis, "chest": chest, "head": head}


def _put_arm(
    joints: dict[str, Vector],
    frames: dict[str, np.ndarray],
    arm: _Limb,
    side: str,
    sign: float,
    shoulder: float,
    length: np.ndarray,
) -> None:
    """Add an arm: half the shoulders' width, lengths of upper arm and forearm as parts of the usual."""
    chest = frames["chest"]
    lift = 0.0003 * max(arm.raise_ - 60, 0)  # a raised arm takes its shoulder along
    joints[f"{side}_shoulder"] = joints["thorax"] + chest @ (sign * (shoulder - 0.6 * lift), lift - 0.006, 0)
    upper = chest @ rotation(2, sign * arm.raise_) @ rotation(0, -arm.flex) @ rotation(1, -sign * arm.twist)
    fore = upper @ rotation(0, -arm.bend)
    joints[f"{side}_elbow"] = joints[f"{side}_shoulder"] + upper @ (0, -0.165 * length[0], 0)
    joints[f"{side}_wrist"] = joints[f"{side}_elbow"] + fore @ (0, -0.138 * length[1], 0)
    frames |= {f"{side}_upper_arm": upper, f"{side}_forearm": fore}


def _put_leg(
    joints: dict[str, Vector],
    frames: dict[str, np.ndarray],
    leg: _Limb,
    side: str,
    sign: float,
    hip: float,
    length: np.ndarray,
) -> None:
    """Add a leg without its foot: half the hips' width, lengths of thigh and shin as parts of the usual."""
    # Thighs hang from the vertical, not from the leaning pelvis: the weight stays above the feet.
    joints[f"{side}_hip"] = frames["pelvis"] @ (sign * hip, -0.012, 0)
    thigh = rotation(2, sign * leg.raise_) @ rotation(0, -leg.flex) @ rotation(1, -sign * leg.twist)
    shin = thigh @ rotation(0, leg.bend)
    joints[f"{side}_knee"] = joints[f"{side}_hip"] + thigh @ (0, -0.24 * length[0], 0)
    joints[f"{side}_ankle"] = joints[f"{side}_knee"] + shin @ (0, -0.232 * length[1], 0)
    frames |= {f"{side}_thigh": thigh, f"{side}_shin": shin}
