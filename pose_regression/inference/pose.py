"""One person's joints: in pixels, as a dictionary, in COCO's format, drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pose_regression.inference.photographs import ImageLike, load_upright
from pose_regression.skeleton import Skeleton
from pose_regression.visualize import draw_label, draw_pose, person_color

VISIBLE = 0.5
"""Joints of at least this probability count as visible in COCO's sense."""


@dataclass(frozen=True, eq=False)
class Pose:
    """One person's joints. Coordinates are pixels of the upright image, x right, y down, pixel i covering [i, i+1)."""

    skeleton: Skeleton
    """Names, order and limbs of the joints."""
    pixels: np.ndarray
    """(J, 2) float32. Of joints that the network has not learned, pelvis and thorax lie midway between the learned
    joints that define them (`Skeleton.derived`); what nothing defines is NaN."""
    probability: np.ndarray
    """(J,) float32 in [0, 1], that the joint is in the picture; the mean of the two for a derived one, 0 for an absent
    one."""
    box: np.ndarray
    """(4,) float32: x0, y0, x1, y1 of the person as given or found, or of the whole image."""
    confidence: np.ndarray | None = None
    """(J,) float32 in [0, 1], that the joint is right, within 0.2 torso lengths if the weights are calibrated so; None
    from an export of a version that had no confidence."""
    person: int = 0
    """The person's number within the picture, from 0."""
    detection: float | None = None
    """How sure the detector is of the person; None where no detector was asked."""

    @property
    def names(self) -> tuple[str, ...]:
        """The J joint names, such as "left_knee": the person's own left."""
        return self.skeleton.names

    @property
    def score(self) -> float:
        """Mean probability of the joints."""
        return float(self.probability.mean())

    def __str__(self) -> str:
        """Five lines: who, then the joints in four, each with x, y and how sure it is."""
        box = " ".join(f"{value:.0f}" for value in self.box)
        found = "" if self.detection is None else f", found with {self.detection:.2f}"
        sure = "probability" if self.confidence is None else "confidence"
        joints = [
            f"{name} {x:.0f} {y:.0f} ({value:.2f})" if np.isfinite(x) else f"{name} -"
            for name, (x, y), value in zip(self.names, self.pixels, self.sure, strict=True)
        ]
        longest, columns = max(map(len, joints)), -(-len(joints) // 4)
        rows = [joints[start : start + columns] for start in range(0, len(joints), columns)]
        lines = ["  ".join(joint.ljust(longest) for joint in row).rstrip() for row in rows]
        return "\n  ".join([f"person {self.person}, box {box}{found}; joint x y ({sure}):", *lines])

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON: `{"box": [x0, y0, x1, y1], "joints": {name: {"x": ..., "y": ..., "probability": ...}},
        "person": ..., "detection": ...}`.

        Where there is a confidence it stands beside the probability. A derived joint also has `"derived": true`; one
        that is absent has null for x and y.
        """
        joints: dict[str, dict[str, Any]] = {}
        for i, name in enumerate(self.names):
            x, y = (float(value) if np.isfinite(value) else None for value in self.pixels[i])
            joints[name] = {"x": x, "y": y, "probability": float(self.probability[i])}
            if self.confidence is not None:
                joints[name]["confidence"] = float(self.confidence[i])
            if i in self.skeleton.derived:
                joints[name]["derived"] = True
        return {"box": self.box.tolist(), "joints": joints, "person": self.person, "detection": self.detection}

    def to_coco(self) -> dict[str, Any]:
        """One annotation in the COCO keypoints format, without `id` and `image_id`, which the file's writer gives.

        `keypoints` is [x, y, v] * J with v 2 for a probability of at least 0.5, else 0. Coordinates are kept at v = 0
        too: COCO's evaluation of results looks at them, not at v; an absent joint is 0, 0, 0. `bbox` is
        [x, y, width, height]; `probability` and `confidence`, (J,), `person`, the number within the picture, and
        `detection`, the detector's score or null, are additions.
        """
        x0, y0, x1, y1 = self.box.tolist()
        visible = self.probability >= VISIBLE
        places = np.nan_to_num(self.pixels.astype(np.float64)).round(2)
        keypoints = np.column_stack([places, np.where(visible, 2, 0)])
        return {
            "category_id": 1,
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "area": (x1 - x0) * (y1 - y0),
            "iscrowd": 0,
            "keypoints": [int(v) if i % 3 == 2 else v for i, v in enumerate(keypoints.ravel().tolist())],
            "num_keypoints": int(visible.sum()),
            "score": round(self.score, 4),
            "probability": self.probability.astype(np.float64).round(4).tolist(),
            "person": self.person,
            "detection": None if self.detection is None else round(self.detection, 4),
        } | ({} if self.confidence is None else {"confidence": self.confidence.astype(np.float64).round(4).tolist()})

    def draw(self, image: ImageLike) -> np.ndarray:
        """The picture with this pose in it, unsure joints faint; for several people, draw into the one before's result.

        Args:
            image: what was given to `predict`.

        Returns:
            (H, W, 3) uint8, upright.
        """
        return draw_pose(load_upright(image), self.pixels, self.skeleton, probability=self.sure)

    @property
    def sure(self) -> np.ndarray:
        """(J,) the confidence where there is one, else the probability: how solid a joint is drawn."""
        return self.probability if self.confidence is None else self.confidence


def draw_people(image: ImageLike, poses: Sequence[Pose], *, numbered: bool | None = None) -> np.ndarray:
    """The picture with everybody in it: of several people each has a colour of their own and their number.

    Args:
        image: what was given to `predict`.
        poses: of its people.
        numbered: whether people have a colour and a number; None: if there are several.

    Returns:
        (H, W, 3) uint8, upright.
    """
    picture = load_upright(image)
    numbered = len(poses) > 1 if numbered is None else numbered
    for pose in poses:
        color = person_color(pose.person) if numbered else None
        picture = draw_pose(picture, pose.pixels, pose.skeleton, probability=pose.sure, outline=color)
    for pose in poses if numbered else ():
        picture = draw_label(picture, str(pose.person), _top(pose), person_color(pose.person))
    return picture


def _top(pose: Pose) -> np.ndarray:
    """(2,) pixels: the uppermost joint; where there is none, the middle of the box's upper edge."""
    height = np.nan_to_num(pose.pixels[:, 1], nan=np.inf)
    if not np.isfinite(height).any():
        return np.array([pose.box[[0, 2]].mean(), pose.box[1]])
    return pose.pixels[height.argmin()]
