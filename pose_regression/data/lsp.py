"""Leeds Sports Pose and its extended training set: `joints.mat` and `images/` -> samples.

The two files differ in axis order, 3 x 14 x 2000 against 14 x 3 x 10000, and in what the third value means:
in LSP 1 is "occluded" and every joint has a position; in LSPET 1 is "annotated" and 0 goes with a placeholder.
Left and right are the person's own.  Source: the data sets' READMEs and their files (Johnson and Everingham,
BMVC 2010 and CVPR 2011).

Neither has boxes. The crop is a square about the longer side of a box, and `crop` says which box:

- "image": the whole image. LSP ships images already cut round the person: the box of the joints, widened by 0.4 of
  its shorter side on every side and clipped to the photograph. Evaluation uses this, so that nothing of the test
  annotation is looked at beyond what LSP itself shows.
- "joints": the box that the same rule gives from the annotated joints. Training uses this, LSPET above all, whose
  images are whole photographs; people so appear at the size they have in the test.
"""

from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from pose_regression import skeleton
from pose_regression.data.matlab import read_variables
from pose_regression.data.sample import Sample
from pose_regression.errors import PoseError
from pose_regression.geometry import window_of_box

Crop = Literal["image", "joints"]

SPLITS = {"train": range(0, 1000), "test": range(1000, 2000)}
"""0-based indices of the standard protocol: im0001-im1000 and im1001-im2000."""

PHOTOGRAPHS = 1000
"""Images at the end of LSPET that are kept out of all training."""

MARGIN = 0.4
"""Part of the joint box's shorter side that is added on every side; recovered from LSP's own crops."""

SMALLEST_BOX = 32.0
"""Pixels, lower bound of the crop's side: joints that nearly coincide would else magnify a spot into a picture."""

_SUPERVISED = skeleton.reorder(np.ones((len(skeleton.LSP), 1), bool), skeleton.LSP, skeleton.PA16J)[:, 0]


def load(directory: str | Path, split: str, *, crop: Crop = "image") -> list[Sample]:
    """Read one half of LSP.

    Args:
        directory: folder with `joints.mat` and `images/im0001.jpg` to `im2000.jpg`.
        split: "train" (im0001-im1000) or "test" (im1001-im2000).
        crop: "image" (evaluation) or "joints" (training); see the module's docstring.

    Returns:
        1,000 samples in the network's order PA16J: 14 joints supervised, pelvis and thorax not.

    Raises:
        PoseError: a file is absent or damaged, `joints` has another shape, or `split` or `crop` is unknown.
    """
    if split not in SPLITS:
        raise PoseError(f"LSP has the splits {', '.join(SPLITS)}. Received: split={split!r}")
    directory = Path(directory)
    values = _read_joints(directory, "LSP", minimum=2000)
    images = [directory / "images" / f"im{i + 1:04d}.jpg" for i in SPLITS[split]]
    return _samples(images, values[SPLITS[split], :, :2], crop=crop)


def load_extended(directory: str | Path, split: str = "train", *, crop: Crop = "joints") -> list[Sample]:
    """Read the extended training set LSPET, whole or a subset with its images numbered from 1.

    Args:
        directory: folder with `joints.mat` and `images/im00001.jpg` onwards.
        split: "photographs", the last 1,000 images, on which finding people in whole photographs is measured, and
            which no training sees; "train", those before them. With no more than 1,000 images, all are for training.
        crop: "joints", or "image" for the whole photograph.

    Returns:
        One sample per image, in the order PA16J; joints flagged 0 are placeholders in the file and NaN here.

    Raises:
        PoseError: as for `load`.
    """
    directory = Path(directory)
    values = _read_joints(directory, "LSPET", minimum=1)
    joints = np.where(values[..., 2:] == 1, values[..., :2], np.nan)
    images = [directory / "images" / f"im{i + 1:05d}.jpg" for i in range(len(joints))]
    if split not in ("train", "photographs"):
        raise PoseError(f"LSPET has the splits train, photographs. Received: split={split!r}")
    last = len(joints) - PHOTOGRAPHS if len(joints) > PHOTOGRAPHS else len(joints)
    rows = slice(None, last) if split == "train" else slice(last, None)
    return _samples(images[rows], joints[rows], crop=crop)


def person_box(joints: np.ndarray, image_size: tuple[float, float] | None) -> np.ndarray:
    """The box that LSP's cropping rule gives one person.

    Args:
        joints: (J, 2) pixels; NaN where absent.
        image_size: width and height in pixels to clip to; None does not clip.

    Returns:
        (4,) float64: x0, y0, x1, y1 in pixels. With fewer than two distinct joints present, or with all of them outside
        the image, it is the whole image (NaN where `image_size` is None).
    """
    size = np.array(image_size or (np.nan, np.nan), np.float64)
    whole = np.concatenate([np.zeros(2), size])
    present = joints[np.isfinite(joints).all(axis=-1)]
    if not len(present):
        return whole
    low, high = present.min(axis=0), present.max(axis=0)
    margin = MARGIN * (high - low).min()
    box = np.concatenate([low - margin, high + margin])
    outside = (box[2:] <= 0).any() or (box[:2] >= size).any()
    if outside or (low == high).all():
        return whole
    return box if image_size is None else np.clip(box, 0.0, np.tile(size, 2))


def _samples(images: list[Path], joints: np.ndarray, *, crop: Crop) -> list[Sample]:
    """Samples from image paths and (N, 14, 2) pixels in LSP's order."""
    if crop not in ("image", "joints"):
        raise PoseError(f"crop must be 'image' or 'joints'. Received: crop={crop!r}")
    joints = skeleton.reorder(joints, skeleton.LSP, skeleton.PA16J)
    samples = []
    for image, person in zip(images, joints, strict=True):
        size = _image_size(image)
        if size is None and crop == "image":
            raise PoseError(f"{image} is damaged or not an image; crop='image' needs its size.")
        box = np.array([0.0, 0.0, *size]) if crop == "image" and size else person_box(person, size)
        if not np.isfinite(box).all():
            box = np.zeros(4)  # Neither joints nor a readable image: the pipeline will name the image and skip it.
        center, length = window_of_box(box, margin=1.0)
        side = max(float(length), SMALLEST_BOX)
        samples.append(Sample(str(image), center, side, person, _SUPERVISED, person=0))
    return samples


def _image_size(path: Path) -> tuple[int, int] | None:
    """Width and height from the file's header, without decoding it; None if it is no readable image."""
    try:
        with Image.open(path) as image:
            return image.size
    except FileNotFoundError as error:
        raise PoseError(f"{path} does not exist; every image that joints.mat describes must be there.") from error
    except Exception:  # PIL raises OSError, SyntaxError, ValueError, struct.error, DecompressionBombError, ...
        return None


def _read_joints(directory: Path, name: str, *, minimum: int) -> np.ndarray:
    """(N, 14, 3) float64 of `joints.mat`: x, y and the flag, N >= `minimum`."""
    path = directory / "joints.mat"
    if not path.is_file():
        raise PoseError(
            f"{path} does not exist: unpack {name} into {directory}, so that joints.mat and images/ lie in it; "
            "datasets/README.md says where to get it."
        )
    (values,) = read_variables(path, ("joints",))
    values = np.asarray(values)
    if values.ndim == 3 and values.shape[:2] == (3, 14):
        values = values.transpose(1, 0, 2)
    if values.ndim != 3 or values.shape[:2] != (14, 3) or values.shape[2] < minimum or values.dtype.kind not in "fiu":
        raise PoseError(
            f"{path} is not {name}'s: expected numbers 3 x 14 x N or 14 x 3 x N with N >= {minimum}. "
            f"Received: shape {values.shape}, dtype {values.dtype}"
        )
    return values.transpose(2, 0, 1).astype(np.float64)
