"""How likely a joint is to be right, which the paper's probability does not say: that one is of being in the crop.

Not in the paper. A part map that knows where its joint is has its softmax in one place; one that hesitates spreads it.
"""

import keras
from keras import ops

from pose_regression.errors import PoseError
from pose_regression.model.regression import register

UNCALIBRATED = (1.0, 3.0)
"""Slope and offset of networks that nobody has calibrated: a map spread over twenty cells gets ½."""


@register
class JointConfidence(keras.layers.Layer):
    """Confidence of each joint: sigmoid(slope · log Σ φ² + offset), φ being the softmax of its part map.

    Σ φ² is the chance that two draws from the map fall on one cell: 1 for a map that is sure, 1/(W·H) for one that
    knows nothing. Slope and offset make a probability of it (`evaluation.calibration`).

    Args:
        calibration: slope, positive, and offset.

    Input shape: `(batch, height, width, joints)` logits.
    Output shape: `(batch, joints, 1)`, in [0, 1].
    """

    def __init__(self, *, calibration: tuple[float, float] = UNCALIBRATED, **kwargs):
        super().__init__(**kwargs | {"dtype": "float32"})
        numbers = isinstance(calibration, tuple | list) and len(calibration) == 2
        if not numbers or not all(isinstance(n, int | float) and abs(n) < 1e6 for n in calibration):
            raise PoseError(f"calibration must be slope and offset. Received: calibration={calibration!r}")
        if calibration[0] <= 0:
            raise PoseError(f"The slope of calibration must be positive. Received: calibration={calibration!r}")
        self.calibration = (float(calibration[0]), float(calibration[1]))

    def call(self, heatmaps):
        _, height, width, joints = heatmaps.shape
        slope, offset = self.calibration
        share = ops.softmax(ops.reshape(heatmaps, (-1, height * width, joints)), axis=1)
        together = ops.sum(ops.square(share), axis=1)
        return ops.sigmoid(slope * ops.log(ops.maximum(together, 1e-30)) + offset)[..., None]

    def compute_output_shape(self, input_shape):
        return (input_shape[0], input_shape[3], 1)

    def get_config(self):
        return super().get_config() | {"calibration": self.calibration}
