"""Videos through OpenCV: their frames, the names of those, and overlays written frame by frame."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pose_regression.errors import PoseError
from pose_regression.files import atomic_path

VIDEOS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm")


def is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEOS


def frame_name(path: Path, number: int) -> str:
    """What boxes and poses call a frame, counted from 0."""
    return f"{path}#{number:06d}"


def read_frames(path: Path) -> Iterator[np.ndarray]:
    """The frames of a video, (H, W, 3) uint8 RGB, upright; none if it isn't one."""
    cv2 = opencv()
    capture = cv2.VideoCapture(str(path))
    try:
        while (read := capture.read())[0]:
            yield np.ascontiguousarray(read[1][..., ::-1])
    finally:
        capture.release()


def opencv() -> Any:
    """The module `cv2`.

    Raises:
        PoseError: it isn't installed.
    """
    try:
        import cv2
    except ImportError as error:
        raise PoseError("Videos and cameras need OpenCV; install it with: pip install opencv-python") from error
    return cv2


def rate_and_count(path: Path) -> tuple[float, int]:
    """Frames per second and the number of frames, as the container has them; 0 where it has none."""
    cv2 = opencv()
    capture = cv2.VideoCapture(str(path))
    try:
        return capture.get(cv2.CAP_PROP_FPS), int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    finally:
        capture.release()


@contextmanager
def video_writer(path: Path, *, size: tuple[int, int], rate: float) -> Iterator[Callable[[np.ndarray], None]]:
    """Yield what writes one frame after another, (H, W, 3) uint8 RGB; the file appears whole at the end, or never.

    Args:
        path: an .mp4.
        size: width and height of every frame.
        rate: frames per second; what is out of [1, 240] becomes 25.

    Raises:
        PoseError: no OpenCV, no encoder in it, or the file cannot be written.
    """
    cv2 = opencv()
    count = 0

    def write(frame: np.ndarray) -> None:
        nonlocal count
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
        count += 1

    with atomic_path(path) as temporary:
        fourcc = cv2.VideoWriter.fourcc(*"mp4v")
        writer = cv2.VideoWriter(str(temporary), fourcc, rate if 1 <= rate <= 240 else 25.0, size)
        if not writer.isOpened():
            raise PoseError(f"{path} could not be written: this OpenCV has no encoder for it.")
        try:
            yield write
        finally:
            writer.release()
        # OpenCV says nothing of a full disk.
        if cv2.VideoCapture(str(temporary)).get(cv2.CAP_PROP_FRAME_COUNT) != count:
            raise PoseError(f"{path} could not be written: it is not whole; is the disk full?")
