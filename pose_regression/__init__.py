"""Human pose regression by combining indirect part detection and contextual information, in Keras 3.

Importing the package registers its layers with Keras, so that `keras.saving.load_model` finds them.
"""

from pose_regression.model.network import PoseRegressor

__all__ = ["PoseRegressor"]
