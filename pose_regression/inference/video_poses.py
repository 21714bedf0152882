"""The people of a video: frames -> poses -> who is who -> smoothing -> overlay."""

import re
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from itertools import chain, tee
from pathlib import Path
from typing import Any

import numpy as np

from pose_regression.data.orientation import upright_size
from pose_regression.errors import PoseError
from pose_regression.inference.boxes import Boxes, People
from pose_regression.inference.decoders import Decoder, Frame
from pose_regression.inference.encoders import DEFAULT_RATE, FALLBACK, Write, codec, video_writer
from pose_regression.inference.pose import VISIBLE, Pose, draw_people
from pose_regression.inference.tracks import OneEuro, Tracker, joint_box
from pose_regression.inference.video import Source, frame_name, opened, shown

__all__ = ["Following", "predict_video"]

Stream = Callable[..., Iterator[list[Pose]]]
"""`PosePredictor.stream`."""


@dataclass(frozen=True)
class Following:
    """How people are followed through a video."""

    smooth: bool = False
    """Joints by the One-Euro filter, each person's for themselves."""
    detect_every: int = 1
    """Look for people on every Nth frame; on those between, each person's box is that of the last pose."""


def predict_video(
    stream: Stream,
    source: Source,
    overlay: Path,
    boxes: Boxes | None,
    people: Mapping[int, People],
    *,
    output: Any,
    progress: Any,
    following: Following | None = None,
) -> None:
    """A video, frame by frame; see `bulk.predict_files`.

    Args:
        source: a file, or a stream's URL, which is read until it ends or the process is interrupted.
        boxes: None lets `stream` find the people.
        people: those of the frames, by number; not looked at if `boxes` is None.
    """
    found, following = output.found, following or Following()
    empty = 0
    progress.step()
    started = time.monotonic()
    try:
        decoder, size, frames = _begun(source)
    except PoseError as error:
        found.broken.append(str(error))
        return
    given, to_labels = _given(boxes, people, decoder, size)
    answers = (_followed if following.detect_every > 1 else _streamed)(
        stream, frames, given, every=following.detect_every
    )
    known = _Known(smooth=following.smooth)
    with _Overlay(video_writer(overlay, size=size, rate=decoder.rate)) as drawn:
        for frame, unnumbered, failure in answers:
            name = frame_name(source, frame.number)
            if failure is not None:
                found.broken.append(_named(failure, name))
            poses = known.recognise(frame.seconds, unnumbered)
            id = people[frame.number].id if frame.number in people else None
            found.add(name, frame.pixels, poses, id=id, frame=frame.number, seconds=frame.seconds, to_labels=to_labels)
            empty += not poses
            output.keep()
            drawn.add(frame, poses, numbered=known.numbering.count > 1)
            share = frame.number / decoder.count if decoder.count else 0.0
            progress.show(f"frame {frame.number + 1}" + (f" of {decoder.count}" if decoder.count else ""), share=share)
    if lost := decoder.missing():
        found.broken.append(f"{shown(source)}: {lost}.")
    if drawn.error is not None:
        found.broken.append(str(drawn.error))
    note = _note(source, decoder, time.monotonic() - started, drawn)
    found.notes.append(note + (f" Nobody found on {empty} of them." if boxes is None and empty else ""))


def _begun(source: Source) -> tuple[Decoder, tuple[int, int], Iterator[Frame]]:
    """A video of which a frame can be read, the width and height of its upright frames, and these.

    Raises:
        PoseError: there is none.
    """
    decoder = opened(source)
    frames = decoder.frames()
    first = next(frames, None)
    if first is None:
        raise PoseError(f"{shown(source)} cannot be read as a video: none of its frames can be decoded.")
    return decoder, (first.pixels.shape[1], first.pixels.shape[0]), chain([first], frames)


def _given(
    boxes: Boxes | None, people: Mapping[int, People], decoder: Decoder, size: tuple[int, int]
) -> tuple[Callable[[Frame], list[list[float]] | None], np.ndarray | None]:
    """What gives a frame's boxes, None if there are no boxes at all; and `to_labels` of `Boxes.upright_frames`."""
    if boxes is None:
        return lambda frame: None, None
    stored = upright_size(decoder.turn, size)  # a quarter turn is its own way back
    of_number, to_labels = boxes.upright_frames(people, stored, decoder.turn)
    return lambda frame: of_number(frame.number), to_labels


class _Known:
    """The people seen so far."""

    def __init__(self, *, smooth: bool):
        self.numbering = Tracker()
        self._smooth, self._smoothing = smooth, defaultdict[int, OneEuro](OneEuro)

    def recognise(self, seconds: float, poses: Sequence[Pose]) -> list[Pose]:
        """A frame's poses with their people's numbers, smoothed if that is asked for."""
        numbers = self.numbering.update(seconds, [pose.pixels for pose in poses])
        numbered = [replace(pose, person=number) for pose, number in zip(poses, numbers, strict=True)]
        if not self._smooth:
            return numbered
        return [_smoothed(pose, self._smoothing[pose.person], seconds) for pose in numbered]


def _named(error: PoseError, name: str) -> str:
    """What is wrong with a frame, by the frame's name in place of its position in the stream."""
    return re.sub(r"images\[\d+\]", lambda _: name, str(error))


def _note(source: Source, decoder: Decoder, elapsed: float, drawn: "_Overlay") -> str:
    text = (
        f"{shown(source)}: {decoder.read} frames in {elapsed:.1f} s, {decoder.read / max(elapsed, 1e-3):.1f} a second"
    )
    if drawn.error is not None:
        return text + "."
    text += f"; overlay in {codec()}"
    if not decoder.rate:
        text += f", whose rate is taken as {DEFAULT_RATE:g} frames a second, as the video says none"
    if codec() == FALLBACK:
        text += ", which browsers do not play; for H.264: pip install av"
    return text + "."


def _streamed(
    stream: Stream, frames: Iterable[Frame], given: Callable[[Frame], Any], *, every: int
) -> Iterator[tuple[Frame, list[Pose], PoseError | None]]:
    """All frames' people, in batches that span frames; as many frames are kept as `stream` reads ahead."""
    waiting: deque[Frame] = deque()
    errors: dict[int, PoseError] = {}

    def kept() -> Iterator[Frame]:
        for frame in frames:
            waiting.append(frame)
            yield frame

    pictures, framed = tee(kept())
    answers = stream((f.pixels for f in pictures), (given(f) for f in framed), on_error=errors.__setitem__)
    for position, poses in enumerate(answers):
        yield waiting.popleft(), poses, errors.pop(position, None)


def _followed(
    stream: Stream, frames: Iterable[Frame], given: Callable[[Frame], Any], *, every: int
) -> Iterator[tuple[Frame, list[Pose], PoseError | None]]:
    """People looked for on every Nth frame, and in between where they were on the frame before."""
    boxes: Any = []
    due = 0
    for frame in frames:
        if frame.number >= due:
            boxes, due = given(frame), frame.number + every
        errors: list[PoseError] = []
        (poses,) = stream([frame.pixels], [boxes], on_error=lambda _, error: errors.append(error))  # noqa: B023
        yield frame, poses, errors[0] if errors else None
        boxes = boxes_of_poses(poses, frame.pixels.shape[1], frame.pixels.shape[0])


def boxes_of_poses(poses: Iterable[Pose], width: int, height: int) -> list[np.ndarray]:
    """(4,) x0 y0 x1 y1 about the visible joints of each pose, for the next frame.

    Whoever is less than half visible, or outside of the picture of that many pixels, is lost.
    """
    boxes = []
    for pose in poses:
        visible = pose.probability >= VISIBLE
        if 2 * visible.sum() < len(visible):
            continue
        box = joint_box(pose.pixels[visible])
        if (box[:2] < (width, height)).all() and (box[2:] > 0).all() and (box[2:] - box[:2] >= 1).all():
            boxes.append(box)
    return boxes


def _smoothed(pose: Pose, smooth: OneEuro, seconds: float) -> Pose:
    box = joint_box(pose.pixels)
    pixels = smooth(seconds, pose.pixels.astype(np.float64), unit=max(1.0, float(np.hypot(*(box[2:] - box[:2])))))
    return replace(pose, pixels=pixels.astype(np.float32))


class _Overlay:
    """The video with poses drawn. What goes wrong with it costs no pose; interrupted, it is whole up to there."""

    def __init__(self, writer: AbstractContextManager[Write]):
        self._writer = writer
        self.error: PoseError | None = None

    def __enter__(self) -> "_Overlay":
        try:
            self._write = self._writer.__enter__()
        except PoseError as error:
            self.error = error
        return self

    def add(self, frame: Frame, poses: Sequence[Pose], *, numbered: bool) -> None:
        if self.error is not None:
            return
        try:
            self._write(draw_people(frame.pixels, poses, numbered=numbered), frame.seconds)
        except PoseError as error:
            self.error = error
            with suppress(PoseError):
                self._writer.__exit__(type(error), error, error.__traceback__)

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        if self.error is not None:
            return
        whole = kind is None or issubclass(kind, KeyboardInterrupt)
        try:
            self._writer.__exit__(*((None,) * 3 if whole else (kind, error, traceback)))
        except PoseError as failure:
            self.error = failure
