"""`Sample`: one annotated person, the same whatever data set it came from."""

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, eq=False)
class Sample:
    """One person in one image.

    Coordinates are pixels of the image file, x right, y down; pixel i covers [i, i+1), as in the authors' code.
    """

    image: str
    """Path of the image file."""
    center: np.ndarray
    """(2,) float64, centre of the square crop in pixels."""
    side: float
    """Side of the square crop in pixels, before augmentation."""
    joints: np.ndarray
    """(J, 2) float64 pixels in the skeleton's order; NaN where this person's joint is not annotated."""
    supervised: np.ndarray
    """(J,) bool: False for joints that the data set never annotates (LSP has no pelvis and no thorax)."""
    head_size: float = field(default=float("nan"))
    """The unit of PCKh in pixels: 0.6 times the diagonal of MPII's head box; NaN where there is none."""
    person: int = -1
    """0-based index of the person within the image's annotation."""
    weight: np.ndarray | None = None
    """(J,) in [0, 1], of each joint in the losses; None is 1 throughout. Below 1 where a network labelled the joint."""
    turn: np.ndarray = field(default_factory=lambda: np.eye(2))
    """(2, 2) where the file's axes point in the upright picture, as columns (`orientation.turn_of`). The network sees
    people upright; coordinates are of the file all the same."""

    @property
    def present(self) -> np.ndarray:
        """(J,) bool: joints with an annotated position."""
        return np.isfinite(self.joints).all(axis=-1)
