"""Videos and streams through PyAV, or OpenCV where that is not installed: every frame with its number and its time.

A video's end is not taken on trust: what the decoder gives is compared with what the container promises.
"""

import math
import os
from abc import ABC, abstractmethod
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from pose_regression.errors import PoseError

__all__ = ["AvDecoder", "CvDecoder", "Decoder", "Frame", "open_decoder", "opencv"]

PATIENCE = 20.0
"""Seconds to wait for a stream's answer."""

_RETRIES = 100
"""Failures in a row after which OpenCV is believed that a video has ended."""

_HIGHEST_RATE = 10_000.0
"""Frames per second; a container that says more does not know."""

_ANTICLOCKWISE = np.array([[0, 1], [-1, 0]])
"""A quarter turn: where the axes point then, as columns."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a video."""

    number: int
    """Its position in the video, counted from 0, whether or not those before it could be read."""
    seconds: float
    """From the video's start."""
    pixels: np.ndarray
    """(H, W, 3) uint8 RGB, upright."""


class Decoder(ABC):
    """A video that is read once; afterwards `missing()` says what could not be read."""

    def __init__(self, rate: float, count: int):
        self.rate = rate if 0 < rate <= _HIGHEST_RATE else 0.0
        """Frames per second, on average; 0 if the container does not say."""
        self.count = max(count, 0)
        """Frames that the container promises; 0 if it does not say."""
        self.turn = np.eye(2, dtype=int)
        """(2, 2) where the stored axes point in the upright pictures, as columns; known when the first is read."""
        self.read = 0
        self.end = 0.0
        """Seconds, at which the last frame that was read began."""
        self._next = 0
        self._gaps: list[tuple[int, int]] = []

    @abstractmethod
    def frames(self) -> Iterator[Frame]:
        """What can be read, once."""

    @abstractmethod
    def missing(self) -> str:
        """What could not be read, as the end of a sentence that begins with the video's name; nothing if all could."""

    def _frame(self, number: int, seconds: float, pixels: np.ndarray) -> Frame:
        """Keep account of a frame."""
        number = max(number, self._next)
        if number > self._next:
            self._gaps.append((self._next, number - 1))
        self.read, self.end, self._next = self.read + 1, seconds, number + 1
        return Frame(number, seconds, pixels)


class AvDecoder(Decoder):
    """Through PyAV.

    Raises:
        PoseError: not a video, or nobody answers; the reason alone.
    """

    def __init__(self, source: str):
        import av

        self._errors = (av.error.FFmpegError, OSError, ValueError)
        try:
            self._container = av.open(source, timeout=PATIENCE, metadata_errors="replace")
        except self._errors as error:
            raise PoseError(getattr(error, "strerror", None) or str(error)) from error
        if not self._container.streams.video:
            self._container.close()
            raise PoseError("it has no pictures")
        self._stream = self._container.streams.video[0]
        self._stream.thread_type = "SLICE"  # decoding frames in threads loses good ones beside a bad one
        super().__init__(float(self._stream.average_rate or 0), self._stream.frames)
        self._lost = self._discarded = 0
        self._length = (self._container.duration or 0) / 1e6
        """Seconds; 0 if the container does not say."""
        if self._length and "matroska" in self._container.format.name:  # it counts from zero, not from the first frame
            self._length -= (self._container.start_time or 0) / 1e6

    def frames(self) -> Iterator[Frame]:
        times, start = _Times(self._container, self._stream), self._stream.start_time
        self._discarded = times.repeated
        for packet in self._packets():
            if packet.is_discard:  # the container itself says that it is not to be shown
                self._discarded += 1
            else:
                times.add(packet)
            try:
                decoded = packet.decode()
            except self._errors:
                self._lost += 1
                continue
            for frame in decoded:
                time = times.of(frame)
                if time is None or self._stream.time_base is None:
                    yield self._frame(self._next, self._next / (self.rate or 25.0), self._upright(frame))
                    continue
                start = time if start is None else start
                seconds = float((time - start) * self._stream.time_base)
                yield self._frame(times.number(time), seconds, self._upright(frame))
        self._container.close()

    def _upright(self, frame: Any) -> np.ndarray:
        pixels, quarters = frame.to_ndarray(format="rgb24"), round(frame.rotation / 90) % 4
        self.turn = np.linalg.matrix_power(_ANTICLOCKWISE, quarters)
        return np.ascontiguousarray(np.rot90(pixels, quarters)) if quarters else pixels

    def _packets(self) -> Iterator[Any]:
        """Up to the end of what can be read."""
        packets = self._container.demux(self._stream)
        while True:
            try:
                yield next(packets)
            except StopIteration:
                return
            except self._errors:
                self._lost += 1
                return

    def missing(self) -> str:
        expected = self.count - self._discarded
        if self.count:
            return self._counted(expected) if self.read < expected else ""
        frame = 1 / self.rate if self.rate else 0.0
        if self._length - self.end - frame > max(1.0, 2 * frame):
            return f"{self.end + frame:.1f} of {self._length:.1f} seconds could be read"
        return f"{self._lost} frame{'s' if self._lost > 1 else ''} could not be read" if self._lost else ""

    def _counted(self, expected: int) -> str:
        gaps = self._gaps + ([(self._next, expected - 1)] if self._next < expected else [])
        named = ", ".join(f"{a}" if a == b else f"{a} to {b}" for a, b in gaps[:3]) + (", ..." if gaps[3:] else "")
        return f"{self.read} of {expected} frames could be read" + (f", without {named}" if named else "")


class _Times:
    """The time stamps of a video's frames, whether or not these can be decoded.

    A frame's number is the count of earlier ones: of packets, which come before their frames. An AVI's reader takes the
    next packet for a lost one; there the index at the file's end says which one it is, by its place in the file. It
    leaves out the places at which an AVI repeats the frame before, as those write that drop frames.
    """

    def __init__(self, container: Any, stream: Any):
        entries = list(stream.index_entries) if container.format.name == "avi" else []
        self.repeated = entries[-1].timestamp + 1 - len(entries) if entries else 0
        """Places without a frame of their own."""
        if not entries or entries[-1].timestamp + 1 < stream.frames:  # the index went with the file's end
            entries = []
        self._places = [entry.pos for entry in entries]
        self._indexed = [entry.timestamp for entry in entries]
        self._known = sorted(self._indexed)
        self._coming: dict[int, int] = {}

    def add(self, packet: Any) -> None:
        if packet.pts is None:
            return
        time = packet.pts
        if self._places:
            time = self._indexed[max(bisect_right(self._places, packet.pos) - 1, 0)]
        self._coming[packet.pts] = time
        place = bisect_left(self._known, time)
        if place == len(self._known) or self._known[place] != time:
            self._known.insert(place, time)

    def of(self, frame: Any) -> int | None:
        """A decoded frame's time stamp; None if it has none."""
        time = self._coming.get(frame.pts, frame.pts)
        if time is not None:
            self._coming = {pts: known for pts, known in self._coming.items() if pts > frame.pts}
        return time

    def number(self, time: int) -> int:
        return bisect_left(self._known, time)


class CvDecoder(Decoder):
    """Through OpenCV, which turns pictures upright by itself.

    Raises:
        PoseError: not a video, or nobody answers.
    """

    def __init__(self, source: str):
        self._cv2 = opencv()
        self._capture = self._cv2.VideoCapture(source, self._cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            raise PoseError("OpenCV cannot open it")
        rate, count = (self._capture.get(key) for key in (self._cv2.CAP_PROP_FPS, self._cv2.CAP_PROP_FRAME_COUNT))
        super().__init__(rate, int(count) if math.isfinite(count) else 0)
        clockwise = round(self._capture.get(self._cv2.CAP_PROP_ORIENTATION_META) / 90)
        self.turn = np.linalg.matrix_power(_ANTICLOCKWISE, -clockwise % 4)

    def frames(self) -> Iterator[Frame]:
        failed = 0
        try:
            while True:
                ok, image = self._capture.read()
                if ok:
                    number = self._next + failed
                    failed = 0
                    yield self._frame(number, self._seconds(number), np.ascontiguousarray(image[..., ::-1]))
                else:
                    failed += 1
                    if self._next + failed >= self.count or failed > _RETRIES:
                        return
        finally:
            self._capture.release()

    def _seconds(self, number: int) -> float:
        seconds = self._capture.get(self._cv2.CAP_PROP_POS_MSEC) / 1000
        return seconds if seconds > 0 or not number else number / (self.rate or 25.0)

    def missing(self) -> str:
        # Without a count in the container OpenCV makes one up from the length, too large at a variable rate.
        short = self.rate > 0 and self.end + 1.5 / self.rate < self.count / self.rate
        if self.read == self.count or not (self._gaps or short):
            return ""
        return f"{self.read} of {self.count} frames could be read (which, can be told where PyAV is installed)"


def open_decoder(source: str) -> Decoder:
    """A file or a stream's URL, to be read.

    Raises:
        PoseError: neither PyAV nor OpenCV is installed, or it cannot be opened; the reason alone, without its name.
    """
    try:
        import av  # noqa: F401
    except ImportError:
        return CvDecoder(source)
    return AvDecoder(source)


def opencv() -> Any:
    """The module `cv2`.

    Raises:
        PoseError: it isn't installed.
    """
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    try:
        import cv2
    except ImportError as error:
        raise PoseError(
            "Videos need PyAV or OpenCV, cameras OpenCV; install them with: pip install av opencv-python"
        ) from error
    return cv2
