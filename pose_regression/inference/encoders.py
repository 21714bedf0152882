"""Overlay videos: H.264 or VP9, which browsers play, through PyAV; MPEG-4 part 2 through OpenCV without it."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pose_regression.errors import PoseError
from pose_regression.files import atomic_path
from pose_regression.inference.decoders import opencv

__all__ = ["FALLBACK", "Write", "codec", "video_writer"]

ENCODERS = {"libx264": "H.264", "libopenh264": "H.264", "libvpx-vp9": "VP9"}
"""PyAV's, by preference."""

FALLBACK = "MPEG-4 part 2"
"""What OpenCV writes."""

TICK = Fraction(1, 90_000)
"""Of time stamps, in seconds."""

DEFAULT_RATE = 25.0
"""Frames per second, of a video that does not say."""

Write = Callable[[np.ndarray, float], None]
"""Write the next frame, (H, W, 3) uint8 RGB, that is shown from that many seconds after the start."""


def codec() -> str:
    """What `video_writer` writes: "H.264", "VP9" or `FALLBACK`."""
    encoder = _encoder()
    return ENCODERS[encoder] if encoder else FALLBACK


def _encoder() -> str | None:
    try:
        import av
    except ImportError:
        return None
    return next((name for name in ENCODERS if name in av.codecs_available), None)


@contextmanager
def video_writer(path: Path, *, size: tuple[int, int], rate: float) -> Iterator[Write]:
    """Yield what writes one frame after another; the file appears whole at the end, or never.

    Args:
        path: an .mp4.
        size: width and height of the video; frames of another size are scaled. H.264 gets even ones, by black pixels on
            the right and at the bottom.
        rate: frames per second, 0 if unknown. With PyAV each frame has its own time; OpenCV writes this rate alone, or
            `DEFAULT_RATE`.

    Raises:
        PoseError: neither PyAV nor OpenCV, no encoder in it, or the file cannot be written.
    """
    rate = rate if math.isfinite(rate) and rate > 0 else DEFAULT_RATE
    encoder = _encoder()
    with atomic_path(path) as temporary:
        if encoder:
            with _av_writer(path, temporary, encoder, size=size, rate=rate) as write:
                yield write
        else:
            with _opencv_writer(path, temporary, size=size, rate=rate) as write:
                yield write


@contextmanager
def _av_writer(path: Path, file: Path, encoder: str, *, size: tuple[int, int], rate: float) -> Iterator[Write]:
    import av

    last = -1

    def write(picture: np.ndarray, seconds: float) -> None:
        nonlocal last
        frame = av.VideoFrame.from_ndarray(_even(picture, size), format="rgb24")
        last = max(last + 1, round(seconds / TICK))
        frame.pts, frame.time_base = last, TICK
        try:
            container.mux(stream.encode(frame.reformat(format="yuv420p")))
        except av.error.FFmpegError as error:
            raise _unwritten(path, error) from error

    try:
        with av.open(str(file), "w", format="mp4", options={"movflags": "+faststart"}) as container:
            stream: Any = container.add_stream(encoder, rate=Fraction(rate).limit_denominator(1001))
            stream.width, stream.height, stream.pix_fmt = size[0] + size[0] % 2, size[1] + size[1] % 2, "yuv420p"
            stream.codec_context.time_base = TICK
            stream.options = {"crf": "20", "preset": "veryfast"} if encoder == "libx264" else {}
            yield write
            container.mux(stream.encode(None))
    except av.error.FFmpegError as error:
        raise _unwritten(path, error) from error


def _unwritten(path: Path, error: Any) -> PoseError:
    return PoseError(f"{path} could not be written: {error.strerror or error}.")


def _even(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The picture in that size, which black pixels make even."""
    if picture.shape[1::-1] != size:
        picture = _scaled(picture, size)
    return np.pad(picture, ((0, size[1] % 2), (0, size[0] % 2), (0, 0)))


def _scaled(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR))


@contextmanager
def _opencv_writer(path: Path, file: Path, *, size: tuple[int, int], rate: float) -> Iterator[Write]:
    cv2 = opencv()
    count = 0

    def write(picture: np.ndarray, seconds: float) -> None:
        nonlocal count
        if picture.shape[1::-1] != size:
            picture = _scaled(picture, size)
        writer.write(np.ascontiguousarray(picture[..., ::-1]))
        count += 1

    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"mp4v"), rate, size)
    if not writer.isOpened():
        raise PoseError(f"{path} could not be written: this OpenCV has no encoder for it.")
    try:
        yield write
    finally:
        writer.release()
    # OpenCV says nothing of a full disk.
    if cv2.VideoCapture(str(file)).get(cv2.CAP_PROP_FRAME_COUNT) != count:
        raise PoseError(f"{path} could not be written: it is not whole; is the disk full?")
