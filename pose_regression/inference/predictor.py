"""From photographs and boxes to joints in pixels, with evaluation's own preprocessing."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby, islice, repeat, zip_longest
from pathlib import Path
from typing import Any, cast

import keras
import numpy as np
from PIL import Image

from pose_regression.errors import PoseError
from pose_regression.evaluation.windows import window_zooms
from pose_regression.geometry import BOX_MARGIN, crop_affine, invert, transform_points
from pose_regression.inference.photographs import ImageLike, Photograph, name_of, open_photograph
from pose_regression.inference.pose import Pose
from pose_regression.inference.runtimes import fastest_runtime, open_runtime
from pose_regression.model.network import PoseRegressor
from pose_regression.model.weights import load_model
from pose_regression.skeleton import PA16J, Skeleton

__all__ = ["BOX_MARGIN", "PosePredictor"]

_FARTHEST = 1e6


class PosePredictor:
    """Finds the joints of people in photographs.

    Args:
        model_or_weights: a `PoseRegressor`, a weight file, or weights by name: "small", "full", "mpii"
            (`weights.load_model`).
        runtime: what computes: "keras", "savedmodel", "onnxruntime", "openvino" or "litert", all in float32, or "auto",
            the fastest of them on this machine. All but "keras" export the weights the first time, check the export
            against the network, within 0.01 pixels of the crop, and keep it in `hub.cache_folder()`. The attribute
            `runtime` says which one "auto" took. `inspect` is always Keras'.
        batch_size: crops that go through the network at a time. On a CPU more than a few gain nothing.
        skeleton: the joints of a model given as such; a weight file names its own. Default: the 16 of MPII.

    Raises:
        PoseError: no such weights, or a damaged file; a model whose input isn't square or has other joints; no such
            runtime, its package is missing, or its answer is not the network's.

    Example:
        pose, = PosePredictor("small").predict("photo.jpg")
        Image.fromarray(pose.draw("photo.jpg")).save("pose.png")
    """

    def __init__(
        self,
        model_or_weights: PoseRegressor | str | os.PathLike[str] = "small",
        *,
        runtime: str = "keras",
        batch_size: int = 8,
        skeleton: Skeleton | None = None,
    ):
        if isinstance(model_or_weights, PoseRegressor):
            self.model, self.skeleton = model_or_weights, skeleton or PA16J
        elif isinstance(model_or_weights, (str, os.PathLike)):
            self.model, self.skeleton = load_model(Path(model_or_weights))
        else:
            raise PoseError(
                "model_or_weights must be a PoseRegressor, a weight file or the name of shipped weights. "
                f"Received: {type(model_or_weights).__name__}"
            )
        if batch_size < 1:
            raise PoseError(f"batch_size must be at least 1. Received: batch_size={batch_size}")
        height, width = self.model.input_shape[1:3]
        joints = self.model.get_config()["num_joints"]
        if height != width:
            raise PoseError(f"The crops are square, but the model takes images of {width} x {height} pixels.")
        if joints != len(self.skeleton):
            raise PoseError(f"The model predicts {joints} joints; the skeleton has {len(self.skeleton)}.")
        self.batch_size = batch_size
        self.size = int(height)
        if runtime == "auto":
            self.runtime, self._network = fastest_runtime(self.model, self.skeleton)
        else:
            self.runtime, self._network = runtime, open_runtime(self.model, self.skeleton, runtime)

    def predict(
        self, images: ImageLike | Sequence[ImageLike], boxes: Any = None, *, flip: bool = False, crops: int = 1
    ) -> list[Pose]:
        """The poses of all people, by image and box.

        Args:
            images: one image or a sequence of them, or an array (N, H, W, C). An image is a path, a PIL image, or an
                array (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA: uint8 in [0, 255], uint16 in [0, 65535] or
                float in [0, 1].
            boxes: None takes each whole image as one person: the crop is the square about its centre whose side is its
                longer side, as in LSP's evaluation. Otherwise the people in pixels of the upright image, x0 y0 x1 y1:
                (n, 4) or (4,) for one image; for a sequence, one such entry, or None, for each image. The crop is then
                the square about the box's centre whose side is `BOX_MARGIN` times its longer side; it may reach beyond
                the image, where it is black.
            flip: also predict the mirrored crop, its left and right joints exchanged back, and average.
            crops: windows per person, of sides between 1/1.25 and 1.25 of the one above, to average.

        Returns:
            One `Pose` for each box, images and boxes in the given order.

        Raises:
            PoseError: an image that can't be read or used, a box without area or outside its image, boxes that don't
                fit the images. `stream` can go on after a broken image.
        """
        if _is_single(images):
            images, boxes = [cast(ImageLike, images)], None if boxes is None else [boxes]
        every = cast(Sequence[ImageLike], images)
        return [pose for people in self.stream(every, boxes, flip=flip, crops=crops) for pose in people]

    def stream(
        self,
        images: Iterable[ImageLike],
        boxes: Iterable[Any] | None = None,
        *,
        flip: bool = False,
        crops: int = 1,
        on_error: Callable[[int, PoseError], None] | None = None,
    ) -> Iterator[list[Pose]]:
        """The people of each image, image by image, for any number of images.

        Batches span images. The next batch is read in a thread of its own while the network works on one, so no more
        than one decoded image and two batches of crops are in memory, whatever the number of images and people.

        Args:
            images: as for `predict`; may be a generator, which runs in that thread.
            boxes: an entry for each image, as for `predict`, or None.
            flip: as for `predict`.
            crops: as for `predict`.
            on_error: called with the position of a broken image and what is wrong with it; the image then has no
                people. None raises the error.

        Yields:
            A list for each image, in order.
        """
        if crops < 1:
            raise PoseError(f"crops must be at least 1. Received: crops={crops}")
        views = _views(images, boxes, zooms=window_zooms(crops), flip=flip, size=self.size)
        answers = (answer for batch in _ahead(_batched(views, self.batch_size)) for answer in self._answer(batch))
        for _, of_image in groupby(answers, key=lambda answer: answer.view.image):
            found = list(of_image)
            last = found[-1].view
            if last.error is not None:
                if on_error is None:
                    raise last.error
                on_error(last.image, last.error)
                yield []
            elif last.crop is None:
                yield []
            else:
                people = groupby(found, key=lambda answer: answer.view.person)
                yield [self._pose(list(of_person)) for _, of_person in people]

    def inspect(self, image: ImageLike, box: Any = None) -> tuple[Pose, dict[str, np.ndarray]]:
        """One person, and what the network made of its crop.

        Args:
            image: as for `predict`.
            box: x0, y0, x1, y1 of one person; None is the whole image.

        Returns:
            The pose, and a dictionary: `crop` (size, size, 3) uint8; `heatmaps` (h, w, J) and, if the network has
            context, `context_heatmaps` (h, w, N_c·J), logits of the last block, float32.

        Raises:
            PoseError: as `predict`, and if there isn't exactly one box.
        """
        views = list(_views([image], [box], zooms=np.ones(1), flip=False, size=self.size))
        if views[-1].error is not None:
            raise views[-1].error
        if len(views) != 1 or views[0].crop is None:
            raise PoseError(f"box must be one box or None. Received: {'no boxes' if len(views) == 1 else len(views)}")
        maps = self._maps_model.predict_on_batch(views[0].crop[None])
        crop_seen = np.rint((views[0].crop + 1) * 127.5).astype(np.uint8)
        logits = {name: maps[name][0] for name in ("heatmaps", "context_heatmaps") if maps[name].shape[-1]}
        return self._pose(self._read(views, maps)), {"crop": crop_seen} | logits

    @cached_property
    def _maps_model(self) -> keras.Model:
        return self.model.with_outputs("maps")

    def _answer(self, batch: list["_View"]) -> list["_Answer"]:
        """The network's answers to the views that have a crop; the others come along empty-handed."""
        crops = [view.crop for view in batch if view.crop is not None]
        if not crops:
            return [_Answer(view) for view in batch]
        output = self._network(np.stack(crops))
        answers = iter(self._read([view for view in batch if view.crop is not None], output))
        return [_Answer(view) if view.crop is None else next(answers) for view in batch]

    def _read(self, views: Sequence["_View"], output: dict[str, np.ndarray]) -> list["_Answer"]:
        """The last block's answers in pixels of the upright image, in the skeleton's order."""
        pose, probability = output["pose"], output["probability"][..., 0]
        if pose.ndim == 4:
            pose, probability = pose[:, -1], probability[:, -1]
        if not (np.isfinite(pose).all() and np.isfinite(probability).all()):
            raise PoseError("The network's answer has values that are not finite: its weights are damaged.")
        mirrored = list(self.skeleton.flip)
        return [
            _Answer(
                view,
                transform_points(invert(view.affine), (joints[mirrored] if view.mirrored else joints).astype(float)),
                visible[mirrored] if view.mirrored else visible,
            )
            for view, joints, visible in zip(views, pose, probability, strict=True)
        ]

    def _pose(self, answers: Sequence["_Answer"]) -> Pose:
        """The mean over one person's views."""
        return Pose(
            self.skeleton,
            np.mean([answer.pixels for answer in answers], axis=0).astype(np.float32),
            np.mean([answer.probability for answer in answers], axis=0).astype(np.float32),
            answers[0].view.box.astype(np.float32),
        )


@dataclass(frozen=True, eq=False)
class _View:
    """One crop on its way to the network; without a crop, the news that an image is broken or has no people."""

    image: int
    error: PoseError | None = None
    person: int = -1
    box: np.ndarray = field(default_factory=lambda: np.zeros(4))
    affine: np.ndarray = field(default_factory=lambda: np.eye(3))
    mirrored: bool = False
    crop: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class _Answer:
    view: _View
    pixels: np.ndarray = field(default_factory=lambda: np.empty((0, 2)))
    probability: np.ndarray = field(default_factory=lambda: np.empty(0))


def _views(
    images: Iterable[ImageLike], boxes: Iterable[Any] | None, *, zooms: np.ndarray, flip: bool, size: int
) -> Iterator[_View]:
    """Every person's crops; what is wrong with an image comes as its last view."""
    for position, (image, given) in enumerate(_pairs(images, boxes)):
        try:
            yield from _views_of_image(position, image, given, zooms=zooms, flip=flip, size=size)
        except PoseError as error:
            yield _View(position, error)


def _views_of_image(
    position: int, image: ImageLike, given: Any, *, zooms: np.ndarray, flip: bool, size: int
) -> Iterator[_View]:
    source = open_photograph(image, name_of(image, position))
    people = _windows(given, source)
    if not people:
        yield _View(position)
    for person, (box, center, side) in enumerate(people):
        for zoom in zooms:
            pixels = source.cut(crop_affine(center, side * zoom), size)
            for mirrored in (False, True) if flip else (False,):
                affine = crop_affine(center, side * zoom, flip=mirrored)
                yield _View(position, None, person, box, affine, mirrored, pixels[:, ::-1] if mirrored else pixels)


def _windows(given: Any, source: "Photograph") -> list[tuple[np.ndarray, np.ndarray, float]]:
    """Box (4,), centre (2,) and side of each person's window, in pixels of the upright image."""
    width, height = source.size
    if given is None:
        return [(np.array([0.0, 0.0, width, height]), np.array([width, height]) / 2, float(max(width, height)))]
    try:
        boxes = np.asarray(given, np.float64)
    except (TypeError, ValueError, OverflowError):
        boxes = np.full(1, np.nan)
    if boxes.size == 0:
        return []
    if boxes.shape == (4,):
        boxes = boxes[None]
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise PoseError(f"{source.name}: its boxes must be numbers of shape (n, 4) or (4,). Received: {_short(given)}")
    for box in boxes:
        shown = ", ".join(f"{value:g}" for value in box)
        if not (np.isfinite(box).all() and (np.abs(box) <= _FARTHEST).all()):
            raise PoseError(f"{source.name}: the box ({shown}) must have finite coordinates of at most {_FARTHEST:g}.")
        if (box[2:] - box[:2] < 1).any():
            raise PoseError(
                f"{source.name}: the box ({shown}) has no area; expected x0 y0 x1 y1, at least a pixel wide and high."
            )
        if (box[2:] <= 0).any() or (box[:2] >= (width, height)).any():
            raise PoseError(f"{source.name}: the box ({shown}) lies outside the image of {width} x {height} pixels.")
    return [(box, (box[:2] + box[2:]) / 2, BOX_MARGIN * float((box[2:] - box[:2]).max())) for box in boxes]


def _is_single(images: Any) -> bool:
    return isinstance(images, (str, os.PathLike, Image.Image)) or getattr(images, "ndim", 4) < 4


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _pairs(images: Iterable[ImageLike], boxes: Iterable[Any] | None) -> Iterator[tuple[ImageLike, Any]]:
    """Each image with its entry of `boxes`."""
    if boxes is None:
        yield from zip(images, repeat(None))
        return
    missing: Any = object()
    for image, given in zip_longest(images, boxes, fillvalue=missing):
        if image is missing or given is missing:
            raise PoseError("boxes must have one entry, which may be None, for each image. Received: more of one kind")
        yield image, given


def _batched(views: Iterator[_View], size: int) -> Iterator[list[_View]]:
    while batch := list(islice(views, size)):
        yield batch


def _ahead(batches: Iterator[list[_View]]) -> Iterator[list[_View]]:
    """The batches, each made in a thread while the one before it is worked on."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = pool.submit(next, batches, None)
            yield batch
