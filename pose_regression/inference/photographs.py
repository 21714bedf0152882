"""Any image, upright: what the file is, where its pixels lie, crops of it as evaluation cuts them.

Every picture is used upright: EXIF orientation is applied, and boxes and joints are in pixels of the upright image, as
viewers show it (`data.orientation`).

What every kind of image becomes: 8-bit RGB, or float where that keeps more. Grey is repeated; 16 bits are scaled by
255/65535; CMYK is converted without a colour profile; transparency lies over black, as the crop's outside is black; of
an animation or a multi-page file the first picture counts.
"""

import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import tensorflow as tf
from PIL import Image, UnidentifiedImageError

from pose_regression.data.orientation import to_upright, turn_of, upright_size
from pose_regression.errors import PoseError
from pose_regression.files import MAX_PIXELS
from pose_regression.inference.cutting import cut, decode_whole

with suppress(ImportError):  # an extra: phones' HEIC
    from pillow_heif import register_heif_opener

    register_heif_opener()

__all__ = [
    "MAX_PIXELS",
    "ImageLike",
    "Photograph",
    "load_upright",
    "name_of",
    "open_photograph",
    "stored_size_and_turn",
]

ImageLike = str | os.PathLike[str] | bytes | Image.Image | np.ndarray
"""A path, the bytes of a picture file, a PIL image, or an array (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA:
uint8, uint16, or float in [0, 1]."""


def stored_size_and_turn(path: str | os.PathLike[str]) -> tuple[tuple[int, int], np.ndarray]:
    """Width and height of a picture file as it is stored, and `turn_of` it, from its header.

    Raises:
        PoseError: the header can't be read.
    """
    with _opened(path, name_of(path, 0)) as picture:
        return picture.size, turn_of(picture)


@dataclass(frozen=True, eq=False)
class Photograph:
    """An image to cut crops from: encoded, as evaluation reads it, wherever evaluation's decoder gives what we want."""

    name: str
    content: bytes | np.ndarray
    """A JPEG or PNG, or (h, w, 3) uint8 or float32 in [0, 255]; as stored, not upright."""
    size: tuple[int, int]
    """Width and height of the upright image."""
    upright: np.ndarray
    """(3, 3) stored pixels -> pixels of the upright image."""

    def cut(self, affine: np.ndarray, size: int) -> np.ndarray:
        """(size, size, 3) float32 in [-1, 1]; `affine` (3, 3): pixels of the upright image -> crop-normalised."""
        try:
            return cut(self.content, _stored_size(self), affine @ self.upright, size)
        except tf.errors.InvalidArgumentError as error:
            raise PoseError(f"{self.name} is truncated or damaged.") from error

    def decoded(self) -> "Photograph":
        """The same photograph with its pixels: for more than one crop, or the whole of it."""
        if not isinstance(self.content, bytes):
            return self
        try:
            pixels = decode_whole(self.content, _stored_size(self))
        except tf.errors.InvalidArgumentError as error:
            raise PoseError(f"{self.name} is truncated or damaged.") from error
        return replace(self, content=pixels)

    def whole(self) -> np.ndarray:
        """(H, W, 3) uint8, upright."""
        pixels = cast(np.ndarray, self.decoded().content)
        return _turned(pixels, self.upright[:2, :2])


def _stored_size(photograph: Photograph) -> tuple[int, int]:
    """Width and height as stored."""
    return upright_size(photograph.upright[:2, :2], photograph.size)


def _turned(pixels: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """(h, w, 3) pixels as stored -> (H, W, 3) uint8, upright; `turn` (2, 2) says where the stored axes point."""
    if pixels.dtype != np.uint8:
        pixels = np.rint(pixels).astype(np.uint8)
    if turn[0, 0] == 0:
        pixels = pixels.transpose(1, 0, 2)
    horizontal, vertical = turn.sum(axis=1).astype(int)
    return np.ascontiguousarray(pixels[::vertical, ::horizontal])


def open_photograph(image: ImageLike, name: str) -> Photograph:
    """Check an image's header; decode it only if evaluation's decoder would not give what is promised above."""
    if isinstance(image, (str, os.PathLike, bytes)):
        with _opened(image, name) as picture:
            if picture.format in ("JPEG", "MPO", "PNG") and not picture.has_transparency_data:
                content = image if isinstance(image, bytes) else Path(image).read_bytes()
                return _photograph(name, content, picture.size, turn_of(picture))
            pixels = _pixels(picture, name)  # first: PIL turns TIFF upright, and takes its tag away, on decoding
            return _photograph(name, pixels, picture.size, turn_of(picture))
    if isinstance(image, Image.Image):
        _check_size(image, name)
        return _photograph(name, _pixels(image, name), image.size, turn_of(image))
    pixels = _array(image, name)
    return _photograph(name, pixels, (pixels.shape[1], pixels.shape[0]), np.eye(2, dtype=int))


def _photograph(name: str, content: bytes | np.ndarray, stored: tuple[int, int], turn: np.ndarray) -> Photograph:
    return Photograph(name, content, upright_size(turn, stored), to_upright(turn, stored))


@contextmanager
def _opened(image: str | os.PathLike[str] | bytes, name: str) -> Iterator[Image.Image]:
    """The picture with its header read; whatever goes wrong with the file, here or in the block, is a `PoseError`."""
    try:
        with _open_large(io.BytesIO(image) if isinstance(image, bytes) else image) as picture:
            _check_size(picture, name)
            if picture.format == "EPS":  # PIL would have Ghostscript run it
                raise PoseError(f"{name} is PostScript, a program and no picture.")
            yield picture
    except PoseError:
        raise
    except Image.DecompressionBombError as error:
        raise PoseError(f"{name} announces far more than {MAX_PIXELS} pixels.") from error
    except UnidentifiedImageError as error:
        start = _start_of(image)
        if not start:
            raise PoseError(f"{name} is empty.") from error
        if start[4:8] == b"ftyp" and start[8:12] in _HEIC:
            raise PoseError(f"{name} is damaged, or needs pip install pillow-heif: it is HEIC.") from error
        raise PoseError(f"{name} is not an image of a known format, or is damaged.") from error
    except OSError as error:
        reason = f"cannot be read: {error.strerror}" if error.strerror else "is truncated or damaged"
        raise PoseError(f"{name} {reason}.") from error
    except ValueError as error:
        raise PoseError(f"{name} cannot be read: {error}.") from error


def _start_of(image: str | os.PathLike[str] | bytes) -> bytes:
    with io.BytesIO(image) if isinstance(image, bytes) else open(image, "rb") as file:
        return file.read(12)


_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")


_OPENING = threading.Lock()


def _open_large(file: str | os.PathLike[str] | io.BytesIO) -> Image.Image:
    """`Image.open` of any size, which the caller checks: PIL's own limit is lower, and a process has only one."""
    with _OPENING:
        before = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            return Image.open(file)
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _check_size(picture: Image.Image, name: str) -> None:
    if picture.width * picture.height > MAX_PIXELS:
        raise PoseError(f"{name} has {picture.width} x {picture.height} pixels, more than {MAX_PIXELS} in all.")


def _pixels(picture: Image.Image, name: str) -> np.ndarray:
    """(h, w, 3) of a PIL image as stored: uint8, or float32 in [0, 255] where it has 16 bits."""
    try:
        picture.load()
        if picture.mode.startswith("I;16"):
            return _array(np.asarray(picture).astype(np.uint16), name)
        if picture.mode not in ("I", "F"):
            if picture.has_transparency_data:
                picture = picture.convert("RGBA")
                picture = Image.alpha_composite(Image.new("RGBA", picture.size, (0, 0, 0, 255)), picture)
            return np.asarray(picture.convert("RGB"))
    except Exception as error:  # PIL's decoders raise OSError, SyntaxError, ValueError, struct.error, IndexError, ...
        raise PoseError(f"{name} is truncated or damaged.") from error
    raise PoseError(f"{name} has pixels of PIL's mode {picture.mode!r}, whose range is unknown; expected 8 or 16 bits.")


def _array(image: Any, name: str) -> np.ndarray:
    """(h, w, 3) uint8, or float32 in [0, 255], of an array as `PosePredictor.predict` takes it."""
    try:
        pixels = np.asarray(image)
    except (TypeError, ValueError):
        pixels = np.empty(0, object)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4) or not pixels.size:
        raise PoseError(
            f"{name} must be a path, a PIL image or an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4). "
            f"Received: {type(image).__name__} of shape {getattr(image, 'shape', None)}"
        )
    floating = np.issubdtype(pixels.dtype, np.floating)
    if floating and not (pixels.min() >= 0 and pixels.max() <= 1):
        raise PoseError(
            f"{name} must have values in [0, 1], as its type is {pixels.dtype}. "
            f"Received: values from {pixels.min():g} to {pixels.max():g}"
        )
    if floating:
        pixels = pixels.astype(np.float32) * 255
    elif pixels.dtype == np.uint16:
        pixels = pixels.astype(np.float32) / 257
    elif pixels.dtype != np.uint8:
        raise PoseError(f"{name} must be uint8, uint16 or floating point. Received: {pixels.dtype}")
    if pixels.shape[2] == 1:
        return np.repeat(pixels, 3, axis=2)
    if pixels.shape[2] == 4:
        return pixels[..., :3] * (pixels[..., 3:] / np.float32(255))
    return pixels


def load_upright(image: ImageLike) -> np.ndarray:
    """The whole image as it is meant to be seen, (H, W, 3) uint8: the pixels that boxes and joints refer to.

    Raises:
        PoseError: as for `PosePredictor.predict`.
    """
    name = name_of(image, 0)
    if isinstance(image, (str, os.PathLike, bytes)):
        with _opened(image, name) as picture:
            pixels, turn = _pixels(picture, name), turn_of(picture)
    elif isinstance(image, Image.Image):
        pixels, turn = _pixels(image, name), turn_of(image)
    else:
        pixels, turn = _array(image, name), np.eye(2, dtype=int)
    return _turned(pixels, turn)


def name_of(image: Any, position: int) -> str:
    """What messages call the image: its path, or its place among the images."""
    path = image if isinstance(image, (str, os.PathLike)) else getattr(image, "filename", None)
    return str(path) if path else f"images[{position}]"
