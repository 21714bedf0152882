"""What is a video: a file's content says it, not its name; a stream's URL is one."""

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit, urlunsplit

import numpy as np
from PIL import Image, UnidentifiedImageError

from pose_regression.errors import PoseError
from pose_regression.inference.decoders import Decoder, open_decoder

__all__ = ["Source", "frame_name", "is_url", "is_video", "opened", "read_frames", "shown", "stem"]

VIDEOS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm")
"""Suffixes of files that are called broken videos, where they are broken."""

Source = Path | str
"""A file, or a stream's URL as text."""


def is_url(text: str) -> bool:
    """Whether that names a stream, such as rtsp://camera/1 or https://example.org/dance.mp4."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text) is not None


def is_video(source: Source) -> bool:
    """Whether to read it as a video.

    A file in an image format is a picture. Of the others a video is what is called so, and what has two frames.
    """
    if isinstance(source, str):
        return True
    if _is_picture(source):
        return False
    return source.suffix.lower() in VIDEOS or (_is_binary(source) and _has_two_frames(source))


def _is_picture(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            return image.format != "MPEG"  # which Pillow recognises, and cannot read
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False


def _is_binary(path: Path) -> bool:
    """Text is no video, though decoders make one of it; and it may be a list of other files."""
    try:
        with path.open("rb") as file:
            return b"\0" in file.read(4096)
    except OSError:
        return False


def _has_two_frames(path: Path) -> bool:
    """A damaged picture may still have one for a video's decoder."""
    try:
        return len(list(islice(open_decoder(str(path)).frames(), 2))) == 2
    except PoseError:
        return False


def shown(source: Source) -> str:
    """What boxes, poses and messages call it: a URL goes without its user and password."""
    if isinstance(source, Path):
        return str(source)
    parts = urlsplit(source)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def stem(source: Source) -> str:
    """The name without folder and suffix; of a URL without any, its host."""
    if isinstance(source, Path):
        return source.stem
    parts = urlsplit(source)
    return PurePosixPath(parts.path).stem or parts.hostname or "stream"


def frame_name(source: Source, number: int) -> str:
    """What boxes and poses call a frame, counted from 0."""
    return f"{shown(source)}#{number:06d}"


def read_frames(source: Source) -> Iterator[np.ndarray]:
    """The frames of a video that can be read, (H, W, 3) uint8 RGB, upright.

    Raises:
        PoseError: it cannot be opened as a video.
    """
    return (frame.pixels for frame in opened(source).frames())


def opened(source: Source) -> Decoder:
    """A video to be read.

    Raises:
        PoseError: it cannot be opened as one.
    """
    try:
        return open_decoder(str(source))
    except PoseError as error:
        raise PoseError(f"{shown(source)} cannot be read as a video: {error}.") from error
