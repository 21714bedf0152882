"""TensorBoard's view of a training: every number of the history, and four people with poses and part maps."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from pose_regression.data.crop import normalize
from pose_regression.data.sample import Sample
from pose_regression.evaluation.windows import crops_of
from pose_regression.model.network import PoseRegressor
from pose_regression.skeleton import Skeleton
from pose_regression.visualize import draw_pose, heatmaps_to_rgb, softmax_map

PICTURES = 4


class TensorBoard:
    """Called after each epoch with network, epoch (from 0) and its row of the history; shows four of `validation`."""

    def __init__(self, directory: Path, validation: Sequence[Sample], skeleton: Skeleton):
        self.writer = tf.summary.create_file_writer(str(directory))
        self.shown = validation[:: max(len(validation) // PICTURES, 1)][:PICTURES]
        self.skeleton = skeleton
        self.viewer: PoseRegressor | None = None

    def __call__(self, model: PoseRegressor, epoch: int, row: dict[str, float]) -> None:
        if self.viewer is None:
            self.viewer = model.with_outputs("maps")
        else:
            self.viewer.set_weights(model.get_weights())
        poses, maps = self._pictures(self.viewer)
        with self.writer.as_default(epoch + 1):
            for name, value in row.items():
                tf.summary.scalar(name, value)
            tf.summary.image("pose", poses, max_outputs=PICTURES)
            tf.summary.image("part maps", maps, max_outputs=PICTURES)
        self.writer.flush()

    def _pictures(self, viewer: PoseRegressor) -> tuple[np.ndarray, np.ndarray]:
        """(N, S, S, 3) uint8 each: the crops with poses, and with part maps."""
        shown, size = self.shown, viewer.input_shape[1]
        crops = crops_of(shown, size=size)
        images = normalize(crops).numpy()
        output = {k: np.asarray(v) for k, v in viewer.predict(images, verbose=0).items()}
        poses = [
            draw_pose(crop, pose * size, self.skeleton, probability=probability[:, 0])
            for crop, pose, probability in zip(crops, output["pose"], output["probability"], strict=True)
        ]
        maps = [
            heatmaps_to_rgb(softmax_map(heatmaps), self.skeleton, background=crop)
            for crop, heatmaps in zip(crops, output["heatmaps"], strict=True)
        ]
        return np.stack(poses), np.stack(maps)
