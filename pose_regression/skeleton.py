"""Joint names, orders, flip pairs and limbs: the only place that knows which index is which joint."""

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from pose_regression.errors import PoseError

_SIDE = re.compile(r"(?:^|(?<=_))(?:left|right)(?=_)|^(?:left|right)$")


@dataclass(frozen=True)
class Skeleton:
    """An ordered set of named joints and the limbs that connect them.

    A joint with the word `left` before another (`left_knee`, `front_left_paw`) is mirrored by the one with `right`
    there, and the other way round; every other joint is its own mirror image.
    """

    names: tuple[str, ...]
    limbs: tuple[tuple[str, str], ...] = ()
    learned: tuple[str, ...] | None = field(default=None, compare=False)
    """The joints that a network was trained on, where that is known and they are not all."""

    def __post_init__(self) -> None:
        if len(set(self.names)) != len(self.names):
            raise PoseError(f"Joint names must be unique. Received: names={self.names}")
        for limb in self.limbs:
            for name in limb:
                self.index(name)
        for name in self.learned or ():
            self.index(name)

    def to_config(self) -> dict[str, Any]:
        """Names, limbs and learned joints as JSON holds them."""
        learned = None if self.learned is None else list(self.learned)
        return {"names": list(self.names), "limbs": [list(limb) for limb in self.limbs], "learned": learned}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Skeleton":
        """What `to_config` describes; KeyError, TypeError or ValueError where it describes none."""
        learned = config.get("learned")
        limbs = tuple((a, b) for a, b in config["limbs"])
        return cls(tuple(config["names"]), limbs, None if learned is None else tuple(learned))

    def __len__(self) -> int:
        return len(self.names)

    def index(self, name: str) -> int:
        """Position of the joint `name`; `PoseError` if there is none."""
        if name not in self.names:
            raise PoseError(f"No joint is called {name!r}; the joints are {', '.join(self.names)}.")
        return self.names.index(name)

    @cached_property
    def flip(self) -> tuple[int, ...]:
        """Permutation (J,): the joint that takes each joint's place in a mirrored image."""
        return tuple(self.names.index(m) if (m := mirrored(n)) in self.names else i for i, n in enumerate(self.names))

    @cached_property
    def known(self) -> np.ndarray:
        """(J,) bool: joints that the network has learned; all where nothing is said."""
        return np.array([self.learned is None or name in self.learned for name in self.names])

    @cached_property
    def derived(self) -> dict[int, tuple[int, int]]:
        """Joints that were not learned, with the two learned ones they lie midway between (see `MIDPOINTS`)."""
        return {
            self.index(name): (self.index(a), self.index(b))
            for name, (a, b) in MIDPOINTS.items()
            if name in self.names and not self.known[self.index(name)]
            and {a, b} <= {n for n, known in zip(self.names, self.known, strict=True) if known}
        }  # fmt: skip

    @cached_property
    def drawn_limbs(self) -> tuple[tuple[int, int], ...]:
        """The limbs between joints that are known or derived; through one that is neither, its neighbours are joined.

        They are joined to the first of them that has no side: arms end at the neck where there is no thorax.
        """
        limbs = [set(limb) for limb in self.limb_indices]
        for joint in map(int, np.flatnonzero(~self.known)):
            if joint in self.derived:
                continue
            ends = [min(limb - {joint}) for limb in limbs if joint in limb and len(limb) == 2]
            hub = next((end for end in ends if self.flip[end] == end), ends[0] if ends else joint)
            limbs = [(limb - {joint}) | {hub} if joint in limb else limb for limb in limbs]
        return tuple((min(limb), max(limb)) for limb in limbs if len(limb) == 2)

    @cached_property
    def limb_indices(self) -> tuple[tuple[int, int], ...]:
        """The limbs as pairs of joint indices."""
        return tuple((self.index(a), self.index(b)) for a, b in self.limbs)


MIDPOINTS = {"pelvis": ("right_hip", "left_hip"), "thorax": ("right_shoulder", "left_shoulder")}
"""What MPII's pelvis and thorax are: within 0.008 head sizes (median) of it in 1,992 of its validation people."""


def complete(values: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Put what follows from learned joints in the place of joints that were not learned.

    Args:
        values: (..., J, C) pixels of the joints, or anything else that has a midpoint.
        skeleton: the joints, with those that were learned.

    Returns:
        A copy in which each of `skeleton.derived` is the mean of its two joints, and what neither was learned nor can
        be derived is NaN.
    """
    result = np.array(values)
    result[..., ~skeleton.known, :] = np.nan
    for joint, (a, b) in skeleton.derived.items():
        result[..., joint, :] = (result[..., a, :] + result[..., b, :]) / 2
    return result


def mirrored(name: str) -> str:
    """`left_knee` for `right_knee` and the reverse; a joint without a side is its own mirror image."""
    if side := _SIDE.search(name):
        return name[: side.start()] + ("right" if side[0] == "left" else "left") + name[side.end() :]
    return name


def reorder(values: np.ndarray, source: Skeleton, target: Skeleton, axis: int = -2) -> np.ndarray:
    """Rearrange `axis` of `values` from the order of `source` to that of `target`, by joint name.

    Joints that `source` lacks become NaN (False for a bool array).
    """
    if values.shape[axis] != len(source):
        raise PoseError(f"Expected {len(source)} joints on axis {axis}. Received: values.shape={values.shape}")
    values = np.moveaxis(values, axis, 0)
    result = np.full((len(target), *values.shape[1:]), False if values.dtype == bool else np.nan, values.dtype)
    for i, name in enumerate(target.names):
        if name in source.names:
            result[i] = values[source.names.index(name)]
    return np.moveaxis(result, 0, axis)


# The network's order: the published weights and the authors' code use it ("PA16J").
PA16J = Skeleton(
    names=(
        "pelvis", "thorax", "neck", "head",
        "right_shoulder", "left_shoulder", "right_elbow", "left_elbow", "right_wrist", "left_wrist",
        "right_hip", "left_hip", "right_knee", "left_knee", "right_ankle", "left_ankle",
    ),
    limbs=(
        ("pelvis", "thorax"), ("thorax", "neck"), ("neck", "head"),
        ("thorax", "right_shoulder"), ("right_shoulder", "right_elbow"), ("right_elbow", "right_wrist"),
        ("thorax", "left_shoulder"), ("left_shoulder", "left_elbow"), ("left_elbow", "left_wrist"),
        ("pelvis", "right_hip"), ("right_hip", "right_knee"), ("right_knee", "right_ankle"),
        ("pelvis", "left_hip"), ("left_hip", "left_knee"), ("left_knee", "left_ankle"),
    ),
)  # fmt: skip

# MPII's joint ids 0-15.
MPII = Skeleton(
    names=(
        "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle",
        "pelvis", "thorax", "neck", "head",
        "right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist",
    ),
    limbs=PA16J.limbs,
)  # fmt: skip

# The 14 joints of LSP and LSPET; "head" is the top of the head, as in MPII.
LSP = Skeleton(
    names=(
        "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle",
        "right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist",
        "neck", "head",
    ),
    limbs=(
        ("neck", "head"), ("right_shoulder", "left_shoulder"), ("right_hip", "left_hip"),
        ("right_shoulder", "right_hip"), ("left_shoulder", "left_hip"),
        ("right_shoulder", "right_elbow"), ("right_elbow", "right_wrist"),
        ("left_shoulder", "left_elbow"), ("left_elbow", "left_wrist"),
        ("right_hip", "right_knee"), ("right_knee", "right_ankle"),
        ("left_hip", "left_knee"), ("left_knee", "left_ankle"),
    ),
)  # fmt: skip

# The 17 joints of COCO's people.
COCO = Skeleton(
    names=(
        "nose", "left_eye", "right_eye", "left_ear", "right_ear",
        "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
        "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
    ),
    limbs=(
        ("left_ankle", "left_knee"), ("left_knee", "left_hip"), ("right_ankle", "right_knee"),
        ("right_knee", "right_hip"), ("left_hip", "right_hip"), ("left_shoulder", "left_hip"),
        ("right_shoulder", "right_hip"), ("left_shoulder", "right_shoulder"), ("left_shoulder", "left_elbow"),
        ("right_shoulder", "right_elbow"), ("left_elbow", "left_wrist"), ("right_elbow", "right_wrist"),
        ("left_eye", "right_eye"), ("nose", "left_eye"), ("nose", "right_eye"),
        ("left_eye", "left_ear"), ("right_eye", "right_ear"), ("left_ear", "left_shoulder"),
        ("right_ear", "right_shoulder"),
    ),
)  # fmt: skip
