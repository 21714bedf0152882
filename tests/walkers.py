"""A film of two rendered people who walk to and fro and pass each other, with where they really are."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pose_regression.data.synthetic import bones, picture
from pose_regression.data.synthetic.backdrop import background, contact_shadow
from pose_regression.data.synthetic.body import dress
from pose_regression.data.synthetic.scene import Camera, Placed, rasterise, shade
from pose_regression.skeleton import MPII

WIDTH, HEIGHT, MARGIN = 640, 320, 55
SPEED = 0.85
"""Heights a second; a pair of steps leads as far."""


@dataclass(frozen=True)
class _Walker:
    seed: int
    starts_right: bool
    height: float
    feet: float
    away: float


_WALKERS = (_Walker(40, False, 200, 0.95 * HEIGHT, 0), _Walker(42, True, 186, 0.9 * HEIGHT, -1000))


def two_walkers(seconds: float, rate: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The frames, (HEIGHT, WIDTH, 3) uint8, and the joints (2, 16, 2) of both in pixels, hidden or not."""
    rng = np.random.default_rng(0)
    back, light = background(rng, (HEIGHT, WIDTH), 0.55 * HEIGHT), picture._draw_light(rng)
    for frame in range(round(seconds * rate)):
        both = [_walking(walker, owner, frame / rate) for owner, walker in enumerate(_WALKERS)]
        image = back.copy()
        for figure in both:
            image *= contact_shadow(figure.joints, (HEIGHT, WIDTH))
        scene = [part for figure in both for part in figure.parts]
        index, depth = rasterise(scene, (HEIGHT, WIDTH), picture.OVERSAMPLING)
        colour, coverage = shade(scene, index, depth, light, picture.OVERSAMPLING)
        image = 255 * (image * (1 - coverage) + colour)
        yield image.clip(0, 255).astype(np.uint8), np.stack([figure.joints[:, :2] for figure in both])


def _walking(walker: _Walker, owner: int, seconds: float) -> picture._Figure:
    """A person on the way between the picture's edges, turned round at each."""
    way = WIDTH - 2 * MARGIN
    travelled = (walker.starts_right + SPEED * walker.height * seconds / way) % 2
    rightwards = travelled < 1
    body = _stride(SPEED * seconds / 0.85 + 0.3 * owner, walker.seed)
    turn = np.diag((1.0, -1, 1)) @ bones.rotation(0, 5) @ bones.rotation(1, 75 if rightwards else -75)
    unit = np.array([body.joints[name] for name in MPII.names])
    x = MARGIN + way * (travelled if rightwards else 2 - travelled)
    y = walker.feet - (unit @ turn.T)[:, 1].max() * walker.height
    camera = Camera(turn, walker.height, np.array((x, y, walker.away)))
    clothed = dress(np.random.default_rng(walker.seed + 1), body)
    parts = [Placed(camera.see_part(part), owner, walker.height) for part in clothed]
    return picture._Figure(owner, camera, camera.see(unit), parts, seated=False)


def _stride(phase: float, seed: int) -> bones.Bones:
    """The body at a moment of walking; a pair of steps is one phase."""
    joints, frames = bones._trunk(np.random.default_rng(seed), 5.0)
    forwards, lifted = np.sin(2 * np.pi * phase), np.cos(2 * np.pi * phase)
    for side, sign in bones.SIDES:
        leg = bones._Limb(flex=28 * sign * forwards, raise_=2, twist=0, bend=max(5.0, 40 * sign * lifted))
        arm = bones._Limb(flex=-25 * sign * forwards, raise_=8, twist=0, bend=20)
        bones._put_arm(joints, frames, arm, side, sign, 0.108, np.ones(2))
        bones._put_leg(joints, frames, leg, side, sign, 0.057, np.ones(2))
        frames[f"{side}_foot"] = frames[f"{side}_shin"] @ bones.rotation(0, -0.5 * max(0.0, leg.bend - leg.flex))
    return bones.Bones(joints, frames, seated=False, skirt_fits=False)
