"""What the tests of pixels share: files of pictures, and batches as arrays."""

import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from pose_regression.skeleton import Skeleton

SKELETON = Skeleton(names=("head", "right_hand", "left_hand"))
SIZE = 64


def encode(pixels: np.ndarray | Image.Image, kind: str = "PNG", **options) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = io.BytesIO()
    image.save(buffer, kind, **({"quality": 98, "subsampling": 0} if kind == "JPEG" else {}), **options)
    return buffer.getvalue()


def collect(dataset: Iterable) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images, poses and probabilities of a training data set, each with the batches along the first axis."""
    batches = [(image.numpy(), target["pose"].numpy(), target["probability"].numpy()) for image, target in dataset]
    image, pose, probability = zip(*batches, strict=True)
    return np.stack(image), np.stack(pose), np.stack(probability)


def photo(seed: int, width: int = 90, height: int = 120) -> np.ndarray:
    """(height, width, 3) uint8 of soft random colours."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def save(path: Path, pixels: np.ndarray | Image.Image, **options) -> Path:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(path, **options)
    return path


def pixels_of(poses: Iterable) -> np.ndarray:
    return np.stack([pose.pixels for pose in poses])


def turn_video(path: Path, clockwise: int) -> None:
    """Have the metadata of an .mp4 say by how many degrees, 90, 180 or 270, it is to be turned."""
    content = bytearray(path.read_bytes())
    one = 1 << 16  # of 16.16 fixed point numbers; rows a, b, u and c, d, v of the display matrix
    a, b = {90: (0, one), 180: (-one, 0), 270: (0, -one)}[clockwise]
    start = content.index(b"tkhd") + 4 + 40
    for place, value in ((0, a), (4, b), (12, -b), (16, a)):
        content[start + place : start + place + 4] = value.to_bytes(4, "big", signed=True)
    path.write_bytes(content)
