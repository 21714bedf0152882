"""The square about each person that the network looks at: from annotations or boxes to one affine."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pose_regression.data.sample import Sample
from pose_regression.geometry import BOX_MARGIN, crop_affine, window_of_box


@dataclass(frozen=True, eq=False)
class Windows:
    """The squares that the network looks at, one for each of N people."""

    center: np.ndarray
    """(N, 2) float64, image pixels."""
    side: np.ndarray
    """(N,) float64, image pixels."""
    turn: np.ndarray | None = None
    """(N, 2, 2) of `crop_affine`."""

    def affine(self, *, zoom: float = 1.0, flip: bool = False) -> np.ndarray:
        """(N, 3, 3) float64, image pixels -> crop, of windows `zoom` times as wide, mirrored if `flip`."""
        return crop_affine(self.center, self.side * zoom, flip=flip, turn=self.turn)


def windows_of_samples(samples: Sequence[Sample]) -> Windows:
    """The samples' own windows."""
    return Windows(
        np.stack([sample.center for sample in samples]),
        np.array([sample.side for sample in samples]),
        np.stack([sample.turn for sample in samples]),
    )


def windows_of_boxes(boxes: np.ndarray, *, margin: float = BOX_MARGIN) -> Windows:
    """The windows about boxes (N, 4), x0 y0 x1 y1 in image pixels, `margin` times their longer sides wide."""
    return Windows(*window_of_box(np.asarray(boxes, np.float64), margin=margin))
