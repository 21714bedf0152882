"""Any number of images and videos in; overlays, and one file of all poses, out, as the work goes.

One thing that goes wrong costs itself: a broken file, a frame, an overlay that cannot be written are told and left out.
"""

import glob
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from pose_regression.data.identity import parts
from pose_regression.data.images import IMAGE_SUFFIXES
from pose_regression.errors import PoseError
from pose_regression.inference.boxes import Boxes, People
from pose_regression.inference.coco_files import Found, write_csv, write_json
from pose_regression.inference.photographs import load_upright, stored_size_and_turn
from pose_regression.inference.pose import draw_people
from pose_regression.inference.video import Source, is_url, is_video, shown, stem
from pose_regression.inference.video_poses import Following, Stream, predict_video
from pose_regression.visualize import save_image

SAVED_EVERY = 10.0
"""Seconds between two writings of the poses so far, or twenty times what one takes."""

VIDEO = ".mp4"
"""What the overlay of a video, and of nothing else, ends in."""


@dataclass
class Inputs:
    """The files and streams that a command's arguments stand for."""

    paths: list[Source]
    left: Counter[str]
    """Files of each folder that were not taken, as no pictures by their suffix."""


def find_inputs(inputs: Sequence[str]) -> Inputs:
    """The files, each once, in their order; folders and patterns sorted by name.

    Raises:
        PoseError: a folder without images, a pattern that fits nothing, or one file alone that doesn't exist. Of
            several files it is reported later, as other broken ones are.
    """
    paths: list[Source] = []
    left: Counter[str] = Counter()
    for text in inputs:
        new: Sequence[Source]
        if is_url(text):
            new = [text]
        elif os.path.isdir(text):
            files = sorted(path for path in Path(text).iterdir() if path.is_file() and not path.name.startswith("."))
            new = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
            left[text] += len(files) - len(new)
            if not new:
                raise PoseError(f"{text} has no images; expected files that end in {', '.join(IMAGE_SUFFIXES)}.")
        elif glob.has_magic(text) and not os.path.exists(text):
            new = [Path(name) for name in sorted(glob.glob(text, recursive=True)) if os.path.isfile(name)]
            if not new:
                raise PoseError(f"No file fits the pattern {text!r}.")
        else:
            new = [Path(text)]
        paths += new
    once: dict[Source, Source] = {}
    for path in paths:
        once.setdefault(path if isinstance(path, str) else Path(os.path.abspath(path)), path)
    found = list(once.values())
    if len(found) == 1 and isinstance(found[0], Path):  # no network is loaded for it
        try:
            found[0].stat()
        except OSError as error:
            raise PoseError(f"{found[0]} cannot be read: {error.strerror}.") from error
    return Inputs(found, left)


def overlay_paths(paths: Sequence[Source], folder: Path) -> list[Path]:
    """A file in `folder` for each input, named like it, a video for a video; a number tells equal names apart."""
    inputs = {path.resolve() for path in paths if isinstance(path, Path)}
    taken: set[str] = set()
    targets = []
    for path in paths:
        suffix = VIDEO if is_video(path) else ".jpg"
        endings = (f"{'' if n == 1 else f'_{n}'}{suffix}" for n in range(1, len(paths) + 1))
        names = (_stem(path, 250 - len(ending)) + ending for ending in endings)
        name = next(name for name in names if _same_on_any_disk(name) not in taken)
        taken.add(_same_on_any_disk(name))
        target = folder / name
        if target.resolve() in inputs:
            raise PoseError(f"{target} is an input and would be overwritten; choose another --output.")
        targets.append(target)
    return targets


def _stem(path: Source, length: int) -> str:
    """The name without its suffix, of at most so many bytes."""
    name = stem(path)
    while len(os.fsencode(name)) > length:
        name = name[:-1]
    return name


def _same_on_any_disk(name: str) -> str:
    return "".join(parts(name)).lower()


class Output:
    """The files of poses in a folder, written anew from time to time, so that a killed process leaves nearly all."""

    def __init__(self, folder: Path, found: Found, *, csv_form: str = "wide"):
        self.folder, self.found, self.csv_form = folder, found, csv_form
        self.due, self.written = 0.0, False

    def keep(self) -> None:
        """Write what was found so far, if it is time.

        Raises:
            PoseError: it cannot be written, the first time. Later it is tried again: a disk may be full for a while.
        """
        start = time.monotonic()
        if not self.found.pictures or start < self.due:
            return
        try:
            self.write()
            self.written = True
        except PoseError:
            if not self.written:
                raise
        self.due = time.monotonic() + max(SAVED_EVERY, 20 * (time.monotonic() - start))

    def write(self) -> None:
        """Write both files; one that cannot be written costs the other nothing."""
        try:
            write_json(self.folder / "poses.json", self.found)
        finally:
            write_csv(self.folder / "poses.csv", self.found, form=self.csv_form)


def predict_files(
    stream: Stream,
    files: Sequence[tuple[Source, Path]],
    boxes: Boxes | None,
    *,
    output: Output,
    progress: Any,
    following: Following | None = None,
) -> None:
    """Predict images and videos, write their overlays, and add to `output.found` what comes out, file by file.

    Args:
        stream: `PosePredictor.stream`.
        files: each input with the overlay to write, of `overlay_paths`.
        boxes: None leaves it to the stream who is in a picture.
        output: gets the poses, and what is wrong with an input.
        progress: `step()` is called for every file, `show(text, share=share)` for every frame, with the share of the
            video that is done.
        following: how people are followed through videos.

    Raises:
        PoseError: the poses can't be written, or a name in the boxes is ambiguous.
    """
    images = [Path(path) for path, overlay in files if overlay.suffix != VIDEO]
    videos = [path for path, overlay in files if overlay.suffix == VIDEO]
    of_image: Mapping[Path, People | None] = {}
    of_video: Mapping[Source, Mapping[int, People]] = {}
    if boxes is not None:
        of_image = dict(zip(images, boxes.of_pictures(images), strict=True))
        of_video = dict(zip(videos, boxes.of_frames([shown(path) for path in videos]), strict=True))
        if not any(of_image.values()) and not any(of_video.values()):
            raise PoseError(f"{boxes.path} says nothing about any of the pictures, such as {shown(files[0][0])}.")
    of_each = partial(predict_video, stream, output=output, progress=progress, following=following)
    for video, of_kind in groupby(files, key=lambda file: file[1].suffix == VIDEO):
        if video:
            for path, overlay in of_kind:
                of_each(path, overlay, boxes, of_video.get(path, {}))
        else:
            pictures = [(Path(path), overlay) for path, overlay in of_kind]
            predict_images(stream, pictures, boxes, of_image, output=output, progress=progress)


def predict_images(
    stream: Stream,
    files: Sequence[tuple[Path, Path]],
    boxes: Boxes | None,
    people: Mapping[Path, People | None],
    *,
    output: Output,
    progress: Any,
) -> None:
    """Images, in batches that span them; see `predict_files`."""
    found = output.found
    errors: dict[int, PoseError] = {}
    placed = {} if boxes is None else _placed(boxes, {path: people[path] for path, _ in files})
    given = None if boxes is None else (placed[path][0] for path, _ in files)
    answers = stream([path for path, _ in files], given, on_error=errors.__setitem__)
    for position, ((path, overlay), poses) in enumerate(zip(files, answers, strict=True)):
        progress.step()
        try:
            if position in errors:
                raise errors.pop(position)  # its traceback holds the file's content
            picture = load_upright(path)  # may be damaged outside of the crops
        except PoseError as error:
            found.broken.append(str(error))
            continue
        of_picture = people.get(path)
        id, to_labels = None if of_picture is None else of_picture.id, placed.get(path, ([], None))[1]
        found.add(str(path), picture, poses, id=id, to_labels=to_labels)
        output.keep()
        if boxes is None and not poses:
            found.nobody.append(str(path))
        picture = draw_people(picture, poses)
        try:
            save_image(overlay, picture)
        except PoseError as error:
            found.broken.append(str(error))


Placed = dict[Path, tuple[list[list[float]], np.ndarray | None]]


def _placed(boxes: Boxes, people: Mapping[Path, People | None]) -> Placed:
    """`Boxes.upright` of each picture; where its size cannot be read, all boxes as they are."""
    named = {path: of_picture for path, of_picture in people.items() if of_picture is not None and of_picture.boxes}
    headers = {}
    for path in named:
        with suppress(PoseError):  # the predictor finds it, too, and it is told then
            headers[path] = stored_size_and_turn(path)
    upright = boxes.upright([named[path] for path in headers], list(headers.values()))
    as_they_are: Placed = {path: (named[path].boxes if path in named else [], None) for path in people}
    return as_they_are | dict(zip(headers, upright, strict=True))
