"""One person's part maps and context maps as small pictures, each with its joint's name."""

from typing import Any

import numpy as np
from PIL import Image

from pose_regression.inference.demo.answers import Person, check_box, data_uri
from pose_regression.inference.limits import as_file
from pose_regression.inference.photographs import open_photograph
from pose_regression.inference.predictor import PosePredictor
from pose_regression.skeleton import Skeleton
from pose_regression.visualize import heatmaps_to_rgb, softmax_map

CELL = 150
"""Side, in pixels, of one map."""


def maps_of(predictor: PosePredictor, content: bytes, name: str, person: Person) -> dict[str, Any]:
    """What the network made of one person's crop, ready for JSON.

    Args:
        predictor: of any weights.
        content: the encoded photograph.
        name: of the file, for messages.
        person: whom.

    Returns:
        `all`, a picture of all part maps over the crop; `parts` and `context`, lists of `{"name", "picture"}`. A
        network without context has none of the latter; joints that it has not learned have none of either.

    Raises:
        PoseError: as `PosePredictor.inspect`, the photograph being called `name`.
    """
    with as_file(content, name) as path:
        check_box(person, open_photograph(path, str(path)).size)
        pose, seen = predictor.inspect(path, person.window())
    crop = Image.fromarray(seen["crop"])
    parts, context = softmax_map(seen["heatmaps"]), softmax_map(seen.get("context_heatmaps", np.zeros((1, 1, 0))))
    large = np.asarray(crop.resize((2 * CELL, 2 * CELL)))
    together = heatmaps_to_rgb(parts, pose.skeleton, probability=pose.probability, background=large)
    return {
        "all": data_uri(together),
        "parts": cells(parts[:, :, None], pose.skeleton, crop),
        "context": cells(by_joint(context, len(pose.names)), pose.skeleton, crop),
    }


def by_joint(maps: np.ndarray, joints: int) -> np.ndarray:
    """(H, W, J·N) context maps, joint-major as the network gives them -> (H, W, N, J)."""
    return maps.reshape(*maps.shape[:2], joints, maps.shape[2] // joints).swapaxes(2, 3)


def cells(maps: np.ndarray, skeleton: Skeleton, crop: Image.Image) -> list[dict[str, str]]:
    """Every map of (H, W, N, J) by itself over the crop, in its joint's colour; the N of a joint are neighbours."""
    dim = 0.4 * np.asarray(crop.resize((CELL, CELL)))
    return [
        {
            "name": skeleton.names[joint].replace("_", " ") + (f" {number + 1}" if maps.shape[2] > 1 else ""),
            "picture": data_uri(_cell(maps[:, :, number], joint, skeleton, dim)),
        }
        for joint in map(int, np.flatnonzero(skeleton.known))
        for number in range(maps.shape[2])
    ]


def _cell(maps: np.ndarray, joint: int, skeleton: Skeleton, dim: np.ndarray) -> np.ndarray:
    """(CELL, CELL, 3): one joint's map of (H, W, J), over the dimmed crop."""
    alone = maps * (np.arange(len(skeleton)) == joint)
    # Coloured small and then enlarged: a fifteenth of the time of having every map laid over the crop.
    light = Image.fromarray(heatmaps_to_rgb(alone, skeleton)).resize((CELL, CELL), Image.Resampling.BILINEAR)
    return np.maximum(np.asarray(light), dim).astype(np.uint8)
