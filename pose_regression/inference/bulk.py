"""Any number of images and videos in; overlays, and one file of all poses, out, as the work goes.

One thing that goes wrong costs itself: a broken file, a frame, an overlay that cannot be written are told and left out.
"""

import glob
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, tee
from pathlib import Path
from typing import Any

from pose_regression.data.identity import parts
from pose_regression.data.images import IMAGE_SUFFIXES
from pose_regression.errors import PoseError
from pose_regression.inference.boxes import Boxes, People
from pose_regression.inference.coco_files import Found, write_csv, write_json
from pose_regression.inference.photographs import load_upright, upright_size
from pose_regression.inference.pose import Pose, draw_people
from pose_regression.inference.video import frame_name, is_video, rate_and_count, read_frames, video_writer
from pose_regression.visualize import save_image

SAVED_EVERY = 10.0
"""Seconds between two writings of the poses so far, or twenty times what one takes."""

Stream = Callable[..., Iterator[list[Pose]]]
"""`PosePredictor.stream`."""


@dataclass
class Inputs:
    """The files that a command's arguments stand for."""

    paths: list[Path]
    left: Counter[str]
    """Files of each folder that were not taken, as no pictures by their suffix."""


def find_inputs(inputs: Sequence[str]) -> Inputs:
    """The files, each once, in their order; folders and patterns sorted by name.

    Raises:
        PoseError: a folder without images, or a pattern that fits nothing. A file that doesn't exist is reported later,
            as other broken ones are.
    """
    paths: list[Path] = []
    left: Counter[str] = Counter()
    for text in inputs:
        if os.path.isdir(text):
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
    return Inputs(list(dict.fromkeys(paths)), left)


def overlay_paths(paths: Sequence[Path], folder: Path) -> list[Path]:
    """A file in `folder` for each input, named like it; a number tells those of the same name apart."""
    inputs = {path.resolve() for path in paths}
    taken: set[str] = set()
    targets = []
    for path in paths:
        suffix = ".mp4" if is_video(path) else ".jpg"
        endings = (f"{'' if n == 1 else f'_{n}'}{suffix}" for n in range(1, len(paths) + 1))
        names = (_stem(path, 250 - len(ending)) + ending for ending in endings)
        name = next(name for name in names if _same_on_any_disk(name) not in taken)
        taken.add(_same_on_any_disk(name))
        target = folder / name
        if target.resolve() in inputs:
            raise PoseError(f"{target} is an input and would be overwritten; choose another --output.")
        targets.append(target)
    return targets


def _stem(path: Path, length: int) -> str:
    """The name without its suffix, of at most so many bytes."""
    stem = path.stem
    while len(os.fsencode(stem)) > length:
        stem = stem[:-1]
    return stem


def _same_on_any_disk(name: str) -> str:
    return "".join(parts(name)).lower()


class Output:
    """The files of poses in a folder, written anew from time to time, so that a killed process leaves nearly all."""

    def __init__(self, folder: Path, found: Found):
        self.folder, self.found = folder, found
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
            write_csv(self.folder / "poses.csv", self.found)


def predict_files(
    stream: Stream,
    files: Sequence[tuple[Path, Path]],
    boxes: Boxes | None,
    *,
    output: Output,
    progress: Any,
) -> None:
    """Predict images and videos, write their overlays, and add to `output.found` what comes out, file by file.

    Args:
        stream: `PosePredictor.stream`.
        files: each input with the overlay to write.
        boxes: None leaves it to the stream who is in a picture.
        output: gets the poses, and what is wrong with an input.
        progress: `step()` is called for every file, `show(text)` for every frame.

    Raises:
        PoseError: the poses can't be written, or a name in the boxes is ambiguous.
    """
    images = [path for path, _ in files if not is_video(path)]
    videos = [path for path, _ in files if is_video(path)]
    of_image: Mapping[Path, People | None] = {}
    of_video: Mapping[Path, Mapping[int, People]] = {}
    if boxes is not None:
        of_image = dict(zip(images, boxes.of_pictures(images), strict=True))
        of_video = dict(zip(videos, boxes.of_frames(videos), strict=True))
        if not any(of_image.values()) and not any(of_video.values()):
            raise PoseError(f"{boxes.path} says nothing about any of the pictures, such as {files[0][0]}.")
    for video, of_kind in groupby(files, key=lambda file: is_video(file[0])):
        if not video:
            predict_images(stream, list(of_kind), boxes, of_image, output=output, progress=progress)
            continue
        for path, overlay in of_kind:
            frames = of_video.get(path, {})
            try:
                predict_video(stream, path, overlay, boxes, frames, output=output, progress=progress)
            except PoseError as error:  # its overlay cannot be written
                output.found.broken.append(str(error))


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
    given = (None if boxes is None else _inside(boxes, people[path], path) for path, _ in files)
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
        found.add(str(path), picture, poses, id=None if of_picture is None else of_picture.id)
        output.keep()
        if boxes is None and not poses:
            found.nobody.append(str(path))
        picture = draw_people(picture, poses)
        try:
            save_image(overlay, picture)
        except PoseError as error:
            found.broken.append(str(error))


def _inside(boxes: Boxes, people: People | None, path: Path) -> list[list[float]]:
    """A picture's boxes without those that lie outside of it; all, where its size cannot be read."""
    if people is None or not people.boxes:
        return []
    try:
        return boxes.inside(people.boxes, *upright_size(path))
    except PoseError:  # the predictor finds it, too, and it is told then
        return people.boxes


def predict_video(
    stream: Stream,
    path: Path,
    overlay: Path,
    boxes: Boxes | None,
    people: Mapping[int, People],
    *,
    output: Output,
    progress: Any,
) -> None:
    """A video, frame by frame; see `predict_files`.

    Args:
        people: those of the frames, by number; not looked at if `boxes` is None.
    """
    found = output.found
    progress.step()
    first = next(read_frames(path), None)
    if first is None:
        found.broken.append(f"{path} cannot be read as a video.")
        return
    size = first.shape[1], first.shape[0]
    rate, count = rate_and_count(path)
    # The file is read twice, for the network and for drawing, so that no frames pile up between the two.
    frames, numbered = tee(read_frames(path))
    nobody = People()
    of_frames = (
        None if boxes is None else boxes.inside(people.get(number, nobody).boxes, *size)
        for number, _ in enumerate(numbered)
    )
    errors: dict[int, PoseError] = {}
    answers = stream(frames, of_frames, on_error=errors.__setitem__)
    with video_writer(overlay, size=size, rate=rate) as write:
        for number, (frame, poses) in enumerate(zip(read_frames(path), answers, strict=True)):
            name = frame_name(path, number)
            if number in errors:
                found.broken.append(str(errors.pop(number)).replace(f"images[{number}]", name))
            found.add(name, frame, poses, id=people[number].id if number in people else None)
            output.keep()
            write(draw_people(frame, poses))
            progress.show(f"frame {number + 1} of {count}")
