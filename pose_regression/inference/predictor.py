"""From photographs and boxes to joints in pixels, with evaluation's own preprocessing."""

import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from itertools import chain, groupby, islice, repeat, starmap, zip_longest
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar, cast

import keras
import numpy as np
from PIL import Image

from pose_regression.data.crop import to_uint8
from pose_regression.data.sides import lonely
from pose_regression.data.windows import windows_of_boxes
from pose_regression.errors import PoseError
from pose_regression.evaluation.windows import Estimate, answers_in_pixels, average, views
from pose_regression.forks import check_process
from pose_regression.geometry import BOX_MARGIN
from pose_regression.inference.loaders import cores
from pose_regression.inference.people import MAX_PEOPLE, Detector, Find, find_detector, look_for, once
from pose_regression.inference.photographs import ImageLike, Photograph, name_of, open_photograph
from pose_regression.inference.pose import Pose
from pose_regression.inference.runtimes import automatic_runtime, open_runtime
from pose_regression.model.load import load_model
from pose_regression.model.network import PoseRegressor
from pose_regression.skeleton import PA16J, Skeleton, complete

__all__ = ["BOX_MARGIN", "PosePredictor"]

_FARTHEST = 1e6

_R = TypeVar("_R")

_LOG = logging.getLogger(__name__)


@cache
def _warn_of_lonely(names: tuple[str, ...]) -> None:
    """Once, also where every frame of a video is a stream of its own."""
    if sided := lonely(names):
        text = "Averaged with the mirrored image, though %s shows a side and has no partner to trade places with."
        _LOG.warning(text, ", ".join(sided))


class PosePredictor:
    """Finds the joints of people in photographs.

    Args:
        model_or_weights: a `PoseRegressor`, a weight file, or "small", the weights that come with the project
            (`load_model`).
        runtime: what computes: "keras", "savedmodel", "onnxruntime", "openvino" or "litert", all in float32, or "auto",
            on a CPU LiteRT, if need be another that is installed. All but "keras" export the weights the first time,
            which takes seconds, check the export against the network, within 0.01 pixels of the crop, and keep it in
            `hub.cache_folder()`. Default: "auto" for a file of weights; "keras" for a model, which may still learn. The
            attribute `runtime` says which one "auto" took. `inspect` is always Keras'.
        batch_size: crops that go through the network at a time. On a CPU more than a few gain nothing.
        skeleton: the joints of a model given as such; default: the model's own. A file names its own.

    Raises:
        PoseError: no such weights, or a damaged file; a model whose input isn't square or has other joints; no such
            runtime, its package is missing, or its answer is not the network's; a process that was forked from
            one with a predictor, here and in every method.

    Example:
        pose, = PosePredictor("small").predict("photo.jpg")
        Image.fromarray(pose.draw("photo.jpg")).save("pose.png")
    """

    def __init__(
        self,
        model_or_weights: PoseRegressor | str | os.PathLike[str] = "small",
        *,
        runtime: str | None = None,
        batch_size: int = 8,
        skeleton: Skeleton | None = None,
    ):
        check_process()
        if isinstance(model_or_weights, PoseRegressor):
            self.model, self.skeleton = model_or_weights, skeleton or model_or_weights.skeleton or PA16J
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
        wanted = runtime or ("keras" if isinstance(model_or_weights, PoseRegressor) else "auto")
        if wanted == "auto":
            self.runtime, self.network = automatic_runtime(self.model, self.skeleton)
        else:
            self.runtime, self.network = wanted, open_runtime(self.model, self.skeleton, wanted)

    def predict(
        self,
        images: ImageLike | Sequence[ImageLike],
        boxes: Any = None,
        people: str | Find | Detector = "auto",
        *,
        max_people: int = MAX_PEOPLE,
        flip: bool = False,
        crops: int = 1,
    ) -> list[Pose]:
        """The poses of all people, image by image.

        Args:
            images: one image or a sequence of them, or an array (N, H, W, C). An image is a path, the bytes of a
                file, a PIL image, or an array (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA: uint8 in [0, 255],
                uint16 in [0, 65535] or float in [0, 1].
            boxes: None has the people looked for, as `people` says. Otherwise the people in pixels of the upright
                image, x0 y0 x1 y1: (n, 4) or (4,) for one image; for a sequence, one such entry, or None, for each
                image. The crop is then the square about the box's centre whose side is `BOX_MARGIN` times its longer
                side; it may reach beyond the image, where it is black.
            people: who looks for people where no boxes are given: "auto", "shipped", "whole", "keras-hub:PRESET", or a
                function (H, W, 3) uint8 -> boxes (n, 4), scores (n,); see `people.find_detector`. "whole" looks for
                nobody and takes each whole image as one person: the crop is the square about its centre whose side is
                its longer side, as in LSP's evaluation. That is right for pictures that are cut about one person, and
                was what happened before there were detectors.
            max_people: people of one image that are kept at most, of those that were looked for.
            flip: also predict the mirrored crop, its left and right joints exchanged back, and average.
            crops: windows per person, of sides between 1/1.25 and 1.25 of the one above, to average.

        Returns:
            One `Pose` for each box, images and boxes in the given order; or for each person who was found, the surest
            first. Where nobody is found there is none. Two found people with nearly the same pose
            (`people.SAME_POSE`) are one.

        Raises:
            PoseError: an image that can't be read or used, a box without area or outside its image, boxes that don't
                fit the images, a detector that is not there. `stream` can go on after a broken image.
        """
        if _is_single(images):
            images, boxes = [cast(ImageLike, images)], None if boxes is None else [boxes]
        every = cast(Sequence[ImageLike], images)
        found = self.stream(every, boxes, people, max_people=max_people, flip=flip, crops=crops)
        return [pose for of_image in found for pose in of_image]

    def stream(
        self,
        images: Iterable[ImageLike],
        boxes: Iterable[Any] | None = None,
        people: str | Find | Detector = "auto",
        *,
        max_people: int = MAX_PEOPLE,
        flip: bool = False,
        crops: int = 1,
        on_error: Callable[[int, PoseError], None] | None = None,
    ) -> Iterator[list[Pose]]:
        """The people of each image, image by image, for any number of images.

        Batches span images. The next batch is made in a thread of its own while the network works on one, its images
        read by as many threads as there are cores, but no more than `batch_size`: so few decoded images and three
        batches of crops at most are in memory, whatever the number of images and people.

        Args:
            images: as for `predict`; may be a generator, which runs in that thread.
            boxes: an entry for each image, as for `predict`, or None.
            people: as for `predict`; the detector looks in that thread, one image after the other, and a photograph is
                decoded once for it and for the crops.
            max_people: as for `predict`.
            flip: as for `predict`.
            crops: as for `predict`.
            on_error: called with the position of a broken image and what is wrong with it; the image then has no
                people. None raises the error.

        Yields:
            A list for each image, in order.
        """
        check_process()
        if crops < 1:
            raise PoseError(f"crops must be at least 1. Received: crops={crops}")
        if max_people < 1:
            raise PoseError(f"max_people must be at least 1. Received: max_people={max_people}")
        if flip:
            _warn_of_lonely(self.skeleton.names)
        looker = _Looker(people, max_people)
        alone = isinstance(images, Sequence) and len(images) == 1  # nothing to read beside the network
        readers = 0 if alone else min(cores(), self.batch_size)
        coming = _views(images, boxes, looker, crops=crops, flip=flip, size=self.size, readers=readers)
        batches = _batched(coming, self.batch_size)
        if not alone:
            batches = _ahead(batches)
        answers = (answer for batch in batches for answer in self._answer(batch))
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
                by_person = groupby(found, key=lambda answer: answer.view.person)
                yield _each_once([self._pose(list(of_person)) for _, of_person in by_person])

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
        check_process()
        seen = list(_views([image], [box], _Looker("whole"), crops=1, flip=False, size=self.size, readers=0))
        if seen[-1].error is not None:
            raise seen[-1].error
        if len(seen) != 1 or seen[0].crop is None:
            raise PoseError(f"box must be one box or None. Received: {'no boxes' if len(seen) == 1 else len(seen)}")
        maps = self._maps_model.predict_on_batch(seen[0].crop[None])
        crop_seen = to_uint8(seen[0].crop)
        logits = {name: maps[name][0] for name in ("heatmaps", "context_heatmaps") if maps[name].shape[-1]}
        return self._pose(self._read(seen, maps)), {"crop": crop_seen} | logits

    @cached_property
    def _maps_model(self) -> keras.Model:
        return self.model.with_outputs("maps")

    def _answer(self, batch: list["_View"]) -> list["_Answer"]:
        """The network's answers to the views that have a crop; the others come along empty-handed."""
        crops = [view.crop for view in batch if view.crop is not None]
        if not crops:
            return [_Answer(view) for view in batch]
        output = self.network(np.stack(crops))
        answers = iter(self._read([view for view in batch if view.crop is not None], output))
        return [_Answer(view) if view.crop is None else next(answers) for view in batch]

    def _read(self, views: Sequence["_View"], output: dict[str, np.ndarray]) -> list["_Answer"]:
        """The last block's answers in pixels of the upright image, in the skeleton's order."""
        if not (np.isfinite(output["pose"]).all() and np.isfinite(output["probability"]).all()):
            raise PoseError("The network's answer has values that are not finite: its weights are damaged.")
        affine, mirrored = np.stack([view.affine for view in views]), np.array([view.mirrored for view in views])
        found = answers_in_pixels(output, affine, mirrored=mirrored, skeleton=self.skeleton)
        sure = [None] * len(views) if found.confidence is None else list(found.confidence)
        return [
            _Answer(view, Estimate(pixels[-1], probability[-1], confidence))
            for view, pixels, probability, confidence in zip(views, found.pixels, found.probability, sure, strict=True)
        ]

    def _pose(self, answers: Sequence["_Answer"]) -> Pose:
        """The mean over one person's views."""
        mean = average([answer.estimate for answer in answers])
        pixels = complete(mean.pixels, self.skeleton)
        probability = self._of_every_joint(mean.probability)
        confidence = None if mean.confidence is None else self._of_every_joint(mean.confidence)
        view = answers[0].view
        box = view.box.astype(np.float32)
        return Pose(self.skeleton, pixels, probability, box, confidence, person=view.person, detection=view.detection)

    def _of_every_joint(self, values: np.ndarray) -> np.ndarray:
        """(J,) of the learned joints: a derived one has the mean of its two, an absent one 0."""
        return np.nan_to_num(complete(values[:, None], self.skeleton)[:, 0])


@dataclass(frozen=True, eq=False)
class _View:
    """One crop on its way to the network; without a crop, the news that an image is broken or has no people."""

    image: int
    error: PoseError | None = None
    person: int = -1
    detection: float | None = None
    box: np.ndarray = field(default_factory=lambda: np.zeros(4))
    affine: np.ndarray = field(default_factory=lambda: np.eye(3))
    mirrored: bool = False
    crop: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class _Answer:
    view: _View
    estimate: Estimate = field(default_factory=lambda: Estimate(np.empty((0, 2)), np.empty(0)))
    """Of this person alone: pixels (J, 2), probability (J,)."""


class _Looker:
    """Finds the people of a photograph; the detector is opened when it is needed first, by whichever thread."""

    def __init__(self, people: str | Find | Detector, max_people: int = MAX_PEOPLE):
        self.people, self.max_people, self._opening = people, max_people, Lock()

    @property
    def detector(self) -> Detector | None:
        with self._opening:
            return self._detector

    @cached_property
    def _detector(self) -> Detector | None:
        return find_detector(self.people)


@dataclass(frozen=True, eq=False)
class _Person:
    """Somebody to be cropped."""

    box: np.ndarray
    margin: float
    detection: float | None = None


def _views(
    images: Iterable[ImageLike],
    boxes: Iterable[Any] | None,
    looker: _Looker,
    *,
    crops: int,
    flip: bool,
    size: int,
    readers: int,
) -> Iterator[_View]:
    """Every person's crops; what is wrong with an image comes as its last view.

    Images are read by `readers` threads, as many images ahead of the one that is asked for; 0: when they are asked for.
    """
    cut = partial(_views_of_people, looker=looker, crops=crops, flip=flip, size=size)
    items = ((position, *pair) for position, pair in enumerate(_pairs(images, boxes)))
    read = partial(_read, looker=looker, cut=cut)
    return chain.from_iterable(_in_threads(read, items, threads=readers) if readers else starmap(read, items))


def _in_threads(function: Callable[..., _R], items: Iterable[tuple[Any, ...]], *, threads: int) -> Iterator[_R]:
    """`function(*item)` of each, in order; `threads` of them are under way beyond the one that is asked for."""
    with ThreadPoolExecutor(threads) as pool:
        coming: deque[Future[_R]] = deque()
        for item in items:
            coming.append(pool.submit(function, *item))
            if len(coming) > threads:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()


def _read(
    position: int, image: ImageLike, given: Any, *, looker: _Looker, cut: Callable[..., Iterator[_View]]
) -> Iterator[_View]:
    """One image's views, made as far as any thread may: its first crop, or its pixels if people are to be looked for.

    Detectors are asked by whoever takes the views, one image after the other.
    """
    try:
        source = open_photograph(image, name_of(image, position))
        looking = given is None and looker.detector is not None
        if looking:
            source = source.decoded()
    except PoseError as error:
        return iter([_View(position, error)])
    coming = _to_the_end(position, cut(position, source, given))
    return coming if looking else chain(list(islice(coming, 1)), coming)


def _to_the_end(position: int, views: Iterator[_View]) -> Iterator[_View]:
    try:
        yield from views
    except PoseError as error:
        yield _View(position, error)


def _views_of_people(
    position: int, source: Photograph, given: Any, *, looker: _Looker, crops: int, flip: bool, size: int
) -> Iterator[_View]:
    people = _people(source, given, looker)
    if not people:
        yield _View(position)
    for number, person in enumerate(people):
        window = windows_of_boxes(person.box[None], margin=person.margin)
        for zoom, mirrored in views(crops, flip=flip):
            (affine,) = window.affine(zoom=zoom, flip=mirrored)
            if not mirrored:  # which comes first; its mirror image need not be cut again
                pixels = source.cut(affine, size)
            crop = pixels[:, ::-1] if mirrored else pixels
            yield _View(position, None, number, person.detection, person.box, affine, mirrored, crop)


def _people(source: Photograph, given: Any, looker: _Looker) -> list[_Person]:
    """The people in boxes that were given, or in those that a detector gives, or in the whole image."""
    if given is not None:
        return [_Person(box, BOX_MARGIN) for box in _boxes(given, source)]
    if looker.detector is None:
        return [_Person(np.array([0.0, 0.0, *source.size]), 1.0)]
    boxes, scores = look_for(looker.detector, source.whole(), max_people=looker.max_people)
    margin = looker.detector.margin
    return [_Person(box, margin, score) for box, score in zip(boxes.astype(float), scores.tolist(), strict=True)]


def _each_once(poses: list[Pose]) -> list[Pose]:
    """The poses of one picture without those of people found twice; boxes that were given are all answered."""
    if len(poses) < 2 or poses[0].detection is None:
        return poses
    kept = once(np.stack([pose.pixels for pose in poses]), np.stack([pose.box for pose in poses]))
    return [replace(poses[i], person=number) for number, i in enumerate(kept)]


def _boxes(given: Any, source: Photograph) -> np.ndarray:
    """(n, 4) boxes in pixels of the upright image."""
    width, height = source.size
    try:
        boxes = np.asarray(given, np.float64)
    except (TypeError, ValueError, OverflowError):
        boxes = np.full(1, np.nan)
    if boxes.size == 0:
        return np.zeros((0, 4))
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
    return boxes


def _is_single(images: Any) -> bool:
    return isinstance(images, (str, bytes, os.PathLike, Image.Image)) or getattr(images, "ndim", 4) < 4


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
