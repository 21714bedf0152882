"""Poses of the people in photographs, in a video, or live in front of a camera.

    python -m experiments.predict photo.jpg
    python -m experiments.predict holiday/ "more/*.png" --boxes detections.json --output poses
    python -m experiments.predict dance.mp4 --weights full --flip --runtime auto
    python -m experiments.predict --camera 0

Cost: seconds to start, then a fraction of a second for each person on a CPU. Writes into --output (default: poses)
`overlays/`, each picture with its poses drawn; `poses.json`, all people in the COCO keypoints format; `poses.csv`, a
row for each person. The camera's window shows the pose, the part maps and the frames per second, and writes nothing;
q or Esc closes it. Videos and cameras need OpenCV.

--runtime is keras, savedmodel, onnxruntime, openvino or litert (the last three: `pip install -e .[export]`), or auto:
the fastest of those installed that answers as the network does, and the command says which. The first time for some
weights, auto takes a minute or a few.

Without --boxes each whole picture is taken as one person. --boxes takes what person detectors for COCO write: a list of
{"image_id" or "file_name", "category_id", "bbox": [x, y, width, height], "score"}, or an object with "images" and
"annotations". A box belongs to the picture of that file name, or whose name without its suffix is the image_id; the
frames of a video are called "dance.mp4#000000" and so on. Boxes and poses are in pixels of the upright picture.

Several processes or machines share the inputs with --shard 1/4 ... 4/4, each with an --output of its own;
`experiments.merge` puts their poses.json together.

A file that can't be read is reported and skipped, and the command then ends with 1; it ends with 2 and one sentence if
nothing can be done at all.
"""

import argparse
import csv
import glob
import json
import logging
import math
import os
import sys
import time
import warnings
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby, tee
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from experiments.command import run
from experiments.sharding import shard
from pose_regression.errors import PoseError
from pose_regression.files import atomic_path, read_json
from pose_regression.inference.video import frame_name, is_video, opencv, rate_and_count, read_frames, video_writer

if TYPE_CHECKING:  # importing TensorFlow takes seconds, and a mistake in the arguments should not wait for it
    from pose_regression.inference.pose import Pose
    from pose_regression.inference.predictor import PosePredictor
    from pose_regression.skeleton import Skeleton

IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
"""Suffixes of what is taken from a folder; a file given by name may have any."""
PERSON = 1
"""COCO's category."""

LIVE_HEIGHT = 480
"""Of the camera's window, in pixels."""

Boxes = dict[str, list[list[float]]]
Stream = Callable[..., Iterator[list["Pose"]]]


@dataclass
class Found:
    """What the output files will say."""

    pictures: list[tuple[str, int, int]] = field(default_factory=list)
    """Name, width, height."""
    people: list[tuple[int, "Pose"]] = field(default_factory=list)
    """Index in `pictures` and the pose."""
    broken: list[str] = field(default_factory=list)
    """What is wrong with each file or frame that was skipped."""

    def add(self, name: str, picture: np.ndarray, people: Iterable["Pose"]) -> None:
        """One more (H, W, 3) picture and its people."""
        self.people += [(len(self.pictures), pose) for pose in people]
        self.pictures.append((name, picture.shape[1], picture.shape[0]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("inputs", nargs="*", metavar="INPUT", help="image, folder of images, pattern, or video")
    parser.add_argument("--camera", type=int, metavar="N", help="show what this camera sees instead")
    parser.add_argument("--boxes", type=Path, metavar="FILE", help="COCO detections of people, .json")
    parser.add_argument("--min-score", type=float, default=0.5, help="leave out detections below this (default: 0.5)")
    parser.add_argument("--weights", default="small", metavar="NAME_OR_FILE", help="default: small")
    parser.add_argument("--runtime", default="keras", metavar="NAME", help="auto, or what computes (default: keras)")
    parser.add_argument("--shard", metavar="I/N", help="take the Ith of every N inputs, for experiments.merge")
    parser.add_argument("--output", type=Path, default=Path("poses"), metavar="DIR", help="default: poses")
    parser.add_argument("--flip", action="store_true", help="average with the mirrored image; twice the time")
    parser.add_argument("--crops", type=int, default=1, metavar="N", help="average N windows; N times the time")
    parser.add_argument("--batch-size", type=int, default=8, metavar="N", help="crops at a time (default: 8)")
    options = parser.parse_args()
    if bool(options.inputs) == (options.camera is not None):
        parser.error("give either images, folders or videos, or --camera")
    if options.camera is not None and options.runtime != "keras":
        parser.error("--runtime is for files: the camera's window shows part maps, which only Keras gives")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    warnings.filterwarnings("ignore", module="PIL")  # what matters about a file is reported by its name

    paths = find_inputs(options.inputs)
    overlays = overlay_paths(paths, options.output / "overlays")
    work = list(zip(paths, overlays, strict=True))
    if options.shard:
        work, _ = shard(work, options.shard, option="--shard")
    boxes = None if options.boxes is None else read_boxes(options.boxes, paths, min_score=options.min_score)

    from pose_regression.inference.predictor import PosePredictor

    logging.basicConfig(format="%(message)s")
    logging.getLogger("pose_regression").setLevel(logging.INFO)
    predictor = PosePredictor(options.weights, runtime=options.runtime, batch_size=options.batch_size)
    if options.runtime != "keras":
        print(f"Runtime: {predictor.runtime}.")
    if options.camera is not None:
        show_camera(predictor, options.camera)
        return 0
    found, progress = Found(), Progress(len(work))
    interrupted = False
    try:
        stream = partial(predictor.stream, flip=options.flip, crops=options.crops)
        predict_files(stream, work, boxes, found=found, progress=progress)
    except KeyboardInterrupt:  # what is done already is not lost
        interrupted = True
    progress.clear()
    if len(work) == 1 and found.broken and not found.pictures:
        raise PoseError(found.broken[0])
    write_json(options.output / "poses.json", found, predictor.skeleton)
    write_csv(options.output / "poses.csv", found, predictor.skeleton)
    print(f"{len(found.people)} people in {len(found.pictures)} pictures, written to {options.output}.")
    if found.broken:
        print(f"{len(found.broken)} skipped:", *found.broken, sep="\n  ", file=sys.stderr)
    return 130 if interrupted else 1 if found.broken else 0


def find_inputs(inputs: Sequence[str]) -> list[Path]:
    """The files that the arguments stand for, each once, in their order; folders and patterns sorted by name.

    Raises:
        PoseError: a folder without images, or a pattern that fits nothing. A file that doesn't exist is reported later,
            as other broken ones are.
    """
    paths: list[Path] = []
    for text in inputs:
        if os.path.isdir(text):
            new = sorted(path for path in Path(text).iterdir() if path.suffix.lower() in IMAGES and path.is_file())
            if not new:
                raise PoseError(f"{text} has no images; expected files that end in {', '.join(IMAGES)}.")
        elif glob.has_magic(text) and not os.path.exists(text):
            new = [Path(name) for name in sorted(glob.glob(text, recursive=True)) if os.path.isfile(name)]
            if not new:
                raise PoseError(f"No file fits the pattern {text!r}.")
        else:
            new = [Path(text)]
        paths += new
    return list(dict.fromkeys(paths))


def overlay_paths(paths: Sequence[Path], folder: Path) -> list[Path]:
    """A file in `folder` for each input, named like it; a number tells those of the same name apart."""
    inputs = {path.resolve() for path in paths}
    taken: set[str] = set()
    targets = []
    for path in paths:
        suffix = ".mp4" if is_video(path) else ".jpg"
        names = (f"{path.stem}{'' if n == 1 else f'_{n}'}{suffix}" for n in range(1, len(paths) + 1))
        name = next(name for name in names if name.lower() not in taken)
        taken.add(name.lower())
        target = folder / name
        if target.resolve() in inputs:
            raise PoseError(f"{target} is an input and would be overwritten; choose another --output.")
        targets.append(target)
    return targets


def read_boxes(path: Path, pictures: Sequence[Path], *, min_score: float) -> Boxes:
    """People's boxes x0, y0, x1, y1 by what the file calls their image: a file name or an id, as text.

    Args:
        path: detections or annotations in COCO's format.
        pictures: the inputs, of which the file must know at least one.
        min_score: detections below this are left out.

    Raises:
        PoseError: no such file, not detections in COCO's format, or those of other pictures.
    """
    content = read_json(path)
    names: dict[str, str] = {}
    if isinstance(content, dict):
        images = content.get("images")
        for image in images if isinstance(images, list) else []:
            if isinstance(image, dict) and isinstance(image.get("file_name"), str):
                names[_key(image.get("id"))] = image["file_name"]
        content = content.get("annotations")
    if not isinstance(content, list):
        raise PoseError(f"{path} holds no COCO detections; expected a list, or an object with a list 'annotations'.")
    boxes: Boxes = {name: [] for name in names.values()}
    for number, entry in enumerate(content):
        if not isinstance(entry, dict):
            raise PoseError(f"{path}: detection {number} is no object.")
        number_or_name = _key(entry.get("image_id"))
        image = _key(entry.get("file_name")) or names.get(number_or_name, number_or_name)
        bbox, score = entry.get("bbox"), entry.get("score", 1.0)
        if not image:
            raise PoseError(f"{path}: detection {number} has neither a 'file_name' nor an 'image_id'.")
        if not (isinstance(bbox, list) and len(bbox) == 4 and all(map(_is_number, bbox)) and _is_number(score)):
            raise PoseError(
                f"{path}: detection {number} must have 'bbox' [x, y, width, height] and a number as 'score', if any."
            )
        of_image = boxes.setdefault(image, [])
        if score >= min_score and entry.get("category_id", PERSON) == PERSON:
            x, y, width, height = map(float, bbox)
            of_image.append([x, y, x + width, y + height])
    frames_of = {name.rpartition("#")[0] for name in boxes}
    if not any(_names_in(picture, boxes) or _names_in(picture, frames_of) for picture in pictures):
        raise PoseError(f"{path} says nothing about any of the pictures, such as {pictures[0]}.")
    return boxes


def boxes_of(picture: str | Path, boxes: Boxes | None) -> list[list[float]] | None:
    """The boxes of one picture: none if the file doesn't name it; None, the whole picture, if there is no file."""
    if boxes is None:
        return None
    names = _names_in(picture, boxes)
    return boxes[names[0]] if names else []


def _names_in(picture: str | Path, known: Container[str]) -> list[str]:
    """What a file with the names or ids `known` may call the picture, the surest first."""
    path = Path(picture)
    number = path.stem.lstrip("0") or "0"  # COCO's 000000000139.jpg has the id 139
    return [name for name in (str(picture), path.as_posix(), path.name, path.stem, number) if name in known]


def _key(value: Any) -> str:
    """An id or name as text, nothing for what is neither."""
    return str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else ""


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(float(value))
    except OverflowError:
        return False


def predict_files(
    stream: Stream, files: Sequence[tuple[Path, Path]], boxes: Boxes | None, *, found: Found, progress: "Progress"
) -> None:
    """Predict images and videos, write their overlays, and add to `found` what comes out, file by file.

    Args:
        stream: `PosePredictor.stream`.
        files: each input with the overlay to write.
        boxes: of `read_boxes`; None takes every picture as one person.
        found: gets the poses, and what is wrong with an input.
        progress: told of every file.

    Raises:
        PoseError: an overlay can't be written, or OpenCV is missing for a video.
    """
    for video, of_kind in groupby(files, key=lambda file: is_video(file[0])):
        if not video:
            predict_images(stream, list(of_kind), boxes, found=found, progress=progress)
            continue
        for path, overlay in of_kind:
            predict_video(stream, path, overlay, boxes, found=found, progress=progress)


def predict_images(
    stream: Stream, files: Sequence[tuple[Path, Path]], boxes: Boxes | None, *, found: Found, progress: "Progress"
) -> None:
    """Images, in batches that span them; see `predict_files`."""
    from pose_regression.inference.photographs import load_upright
    from pose_regression.visualize import save_image

    paths = [path for path, _ in files]
    errors: dict[int, PoseError] = {}
    answers = stream(paths, [boxes_of(path, boxes) for path in paths], on_error=errors.__setitem__)
    for position, ((path, overlay), people) in enumerate(zip(files, answers, strict=True)):
        progress.step()
        try:
            if position in errors:
                raise errors.pop(position)  # its traceback holds the file's content
            picture = load_upright(path)  # may be damaged outside of the crops
        except PoseError as error:
            found.broken.append(str(error))
            continue
        found.add(str(path), picture, people)
        for pose in people:
            picture = pose.draw(picture)
        save_image(overlay, picture)


def predict_video(
    stream: Stream, path: Path, overlay: Path, boxes: Boxes | None, *, found: Found, progress: "Progress"
) -> None:
    """A video, frame by frame; see `predict_files`. A frame whose boxes are wrong is named and has no people."""
    progress.step()
    first = next(read_frames(path), None)
    if first is None:
        found.broken.append(f"{path} cannot be read as a video.")
        return
    rate, count = rate_and_count(path)
    # The file is read twice, for the network and for drawing, so that no frames pile up between the two.
    frames, numbered = tee(read_frames(path))
    of_frames = (boxes_of(frame_name(path, number), boxes) for number, _ in enumerate(numbered))
    errors: dict[int, PoseError] = {}
    answers = stream(frames, of_frames, on_error=errors.__setitem__)
    with video_writer(overlay, size=(first.shape[1], first.shape[0]), rate=rate) as write:
        for number, (frame, people) in enumerate(zip(read_frames(path), answers, strict=True)):
            name = frame_name(path, number)
            if number in errors:
                found.broken.append(str(errors.pop(number)).replace(f"images[{number}]", name))
            found.add(name, frame, people)
            for pose in people:
                frame = pose.draw(frame)
            write(frame)
            progress.show(f"frame {number + 1} of {count}")


def show_camera(predictor: "PosePredictor", number: int) -> None:
    """Show the pose in what a camera sees, as one person, until q or Esc is pressed or the window is closed.

    Raises:
        PoseError: no OpenCV, no such camera, or no screen.
    """
    cv2 = opencv()
    title = "pose regression: q closes"
    capture = cv2.VideoCapture(number)
    try:
        if not capture.isOpened():
            raise PoseError(f"Camera {number} cannot be opened; expected the number of a connected camera.")
        rate = 0.0
        while True:
            start = time.perf_counter()
            ok, frame = capture.read()
            if not ok:
                raise PoseError(f"Camera {number} gives no more pictures.")
            view = live_view(predictor, np.ascontiguousarray(frame[..., ::-1]), rate)
            cv2.imshow(title, np.ascontiguousarray(view[..., ::-1]))
            if cv2.waitKey(1) & 0xFF in (ord("q"), 27) or cv2.getWindowProperty(title, cv2.WND_PROP_VISIBLE) < 1:
                break
            latest = 1 / (time.perf_counter() - start)
            rate = 0.9 * rate + 0.1 * latest if rate else latest
        cv2.destroyAllWindows()
    except cv2.error as error:
        reason = "this OpenCV has no window system, or there is no screen"
        raise PoseError(f"The camera's window cannot be opened: {reason} ({error.err or error}).") from error
    finally:
        capture.release()


def live_view(predictor: "PosePredictor", frame: np.ndarray, rate: float) -> np.ndarray:
    """The pose in a camera's (H, W, 3) uint8 frame, beside it the part maps over the crop; `rate` in frames/s."""
    from pose_regression.visualize import heatmaps_to_rgb, softmax_map

    pose, seen = predictor.inspect(frame)
    maps = heatmaps_to_rgb(
        softmax_map(seen["heatmaps"]), pose.skeleton, probability=pose.probability, background=seen["crop"]
    )
    left = Image.fromarray(pose.draw(frame))
    left = left.resize((round(left.width * LIVE_HEIGHT / left.height), LIVE_HEIGHT))
    view = Image.new("RGB", (left.width + LIVE_HEIGHT, LIVE_HEIGHT))
    view.paste(left)
    view.paste(Image.fromarray(maps).resize((LIVE_HEIGHT, LIVE_HEIGHT)), (left.width, 0))
    draw = ImageDraw.Draw(view)
    font = ImageFont.load_default(24)
    draw.text((10, 8), f"{rate:.1f} FPS", "white", font, stroke_width=2, stroke_fill="black")
    return np.asarray(view)


def write_json(path: Path, found: Found, skeleton: "Skeleton") -> None:
    """All people as one file in the COCO keypoints format."""
    content = {
        "info": {"description": "Poses found by pose_regression"},
        "images": [
            {"id": number, "file_name": name, "width": width, "height": height}
            for number, (name, width, height) in enumerate(found.pictures, 1)
        ],
        "annotations": [
            {"id": number, "image_id": picture + 1} | pose.to_coco()
            for number, (picture, pose) in enumerate(found.people, 1)
        ],
        "categories": [
            {
                "id": PERSON,
                "name": "person",
                "supercategory": "person",
                "keypoints": list(skeleton.names),
                "skeleton": [[a + 1, b + 1] for a, b in skeleton.limb_indices],
            }
        ],
    }
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        json.dump(content, file)


def write_csv(path: Path, found: Found, skeleton: "Skeleton") -> None:
    """A row for each person: image, number within it, box, score, and x, y and probability of each joint."""
    header = ["image", "person", "x0", "y0", "x1", "y1", "score"]
    header += [f"{name}_{what}" for name in skeleton.names for what in ("x", "y", "probability")]
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for picture, of_picture in groupby(found.people, key=lambda entry: entry[0]):
            for person, (_, pose) in enumerate(of_picture):
                joints = np.column_stack([pose.pixels, pose.probability]).ravel()
                numbers = [f"{number:.3f}" for number in (*pose.box, pose.score, *joints)]
                writer.writerow([found.pictures[picture][0], person, *numbers])


class Progress:
    """A bar on the terminal; nothing where stderr is no terminal."""

    def __init__(self, total: int):
        self.total, self.done, self.drawn = total, -1, 0.0

    def step(self) -> None:
        """One more file is being worked on."""
        self.done += 1
        self.show()

    def show(self, detail: str = "") -> None:
        """Draw the bar, at most ten times a second."""
        now = time.monotonic()
        if sys.stderr.isatty() and now - self.drawn > 0.1:
            self.drawn = now
            bar = "#" * (30 * self.done // self.total)
            sys.stderr.write(f"\r[{bar:<30}] {self.done}/{self.total} {detail}\x1b[K")
            sys.stderr.flush()

    def clear(self) -> None:
        """Take the bar away."""
        if sys.stderr.isatty():
            sys.stderr.write("\r\x1b[K")


if __name__ == "__main__":
    run(main)
