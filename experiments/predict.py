"""Poses of the people in photographs, in a video, or live in front of a camera.

    python -m experiments.predict photo.jpg
    python -m experiments.predict photo.jpg --box 40 30 180 420 --box 200 25 330 410
    python -m experiments.predict holiday/ "more/*.png" --boxes detections.json --output poses
    python -m experiments.predict dance.mp4 --smooth --csv-form long
    python -m experiments.predict rtsp://camera.local/1 --detect-every 5
    python -m experiments.predict --camera 0

Cost: seconds to start, then a fraction of a second for each person on a CPU. Writes into --output (default: poses)
`overlays/`, each picture with its poses drawn; `poses.json`, all people in the COCO keypoints format; `poses.csv`, a
row for each person (`--csv-form long`: for each joint); a picture or frame without people has a row with its name
alone. The camera's window shows the pose, the part maps and the frames per second, and writes nothing; q or Esc closes
it.

A video is what has a video's content, whatever its name, or a stream's URL, read until it ends or you press Ctrl-C.
Its people keep their number from frame to frame, and unseen for half a second; --smooth takes the jitter away (One-Euro
filter); --detect-every N looks for people, or into --boxes, on every Nth frame only and follows them in between. Frames
are numbered by their position, with their time in seconds; what cannot be read is said, and the command ends with 1.
Overlays are H.264, which browsers play, with PyAV (`pip install -e .[video]`), else MPEG-4 part 2 with OpenCV. The
camera needs OpenCV.

--runtime is keras, savedmodel, litert, onnxruntime or openvino (the last two: `pip install -e .[export]`), or auto, the
default: on a CPU LiteRT, for which weights are exported when they are used first, which takes seconds.

Without boxes, people are looked for, by --people: shipped, the detector that comes with the project (MoveNet MultiPose,
up to six people); keras-hub:PRESET, an object detector of KerasHub, such as keras-hub:dfine_nano_coco (`pip install -e
.[keras-hub]`; the first time it is downloaded); whole takes each whole picture as one person, right for pictures cut
about one; auto, the default, is shipped where it can run, else whole, and says so. Each person's number and colour in
the overlay is that of poses.csv and poses.json. Where nobody is found the command says so, and goes on.

--box X0 Y0 X1 Y1 says in pixels where a person is, in every picture; give it once for each. --boxes takes what person
detectors for COCO write: a list of {"image_id" or "file_name", "category_id", "bbox": [x, y, width, height], "score"},
or an object with "images" and "annotations". A box belongs to the picture whose path has the longest common end with
its file name, or whose name without its suffix is the image_id; the frames of a video are called "dance.mp4#000000" and
so on. People are of the category called person in the file's "categories", or of --category NAME. Crowds and useless
boxes are left out, and counted. The file's image ids come through to poses.json. Poses are in pixels of the upright
picture. Where EXIF turns it, or a video's metadata, boxes may be in pixels of the file: what they fit into says so, or
the width and height in --boxes, or --labels upright or file. --results answers in pixels of the boxes.

Millions of pictures: --ray spreads them over a Ray cluster (`pip install -e .[ray]`; docs/scaling.md): `local` is this
machine alone, `auto` the cluster that it belongs to, or HOST:PORT. Each worker has a network of its own, and one that
dies is replaced. Instead of overlays and poses.csv, --output gets `poses-parquet/`, a row for each picture; a cluster
takes pictures and no videos, every machine must find pictures and --weights under the same absolute names, and each
picture that EXIF turns is judged by itself.

A file that can't be read is reported and skipped, and the command then ends with 1; it ends with 2 and one sentence if
nothing can be done at all. It ends with 1, too, where boxes were given and nobody was left. Poses are written as the
work goes: a process that is told to end (SIGTERM, Ctrl-C) writes what it has.
"""

import argparse
import logging
import signal
import sys
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any, get_args

from experiments.command import run
from pose_regression.data.orientation import Labels
from pose_regression.errors import PoseError
from pose_regression.inference.video import read_frames
from pose_regression.quiet import unheard
from pose_regression.wording import quantity

__all__ = ["Progress", "main", "read_frames"]


class Ended(KeyboardInterrupt):
    """The process was told to end."""


def main() -> int:
    options = parse()
    warnings.filterwarnings("ignore", module="PIL")  # what matters about a file is reported by its name
    # Importing TensorFlow takes seconds, and a mistake in the arguments should not wait for it.
    from pose_regression.inference import bulk
    from pose_regression.inference.boxes import Boxes, EveryPicture, read_boxes
    from pose_regression.inference.camera import show_camera
    from pose_regression.inference.coco_files import Found, write_results
    from pose_regression.inference.people import find_detector
    from pose_regression.inference.predictor import PosePredictor
    from pose_regression.inference.video_poses import Following

    inputs = bulk.find_inputs(options.inputs)
    boxes: Boxes | None = None
    if options.box:
        boxes = EveryPicture(options.box)
    elif options.boxes is not None:
        boxes = read_boxes(options.boxes, min_score=options.min_score, category=options.category, labels=options.labels)
    if options.ray:
        return on_cluster(options, inputs, boxes)
    work = list(zip(inputs.paths, bulk.overlay_paths(inputs.paths, options.output / "overlays"), strict=True))

    logging.basicConfig(format="%(message)s", stream=sys.stdout)
    logging.getLogger("pose_regression").setLevel(logging.INFO)
    runtime = options.runtime or ("auto" if options.camera is None else "keras")
    predictor = PosePredictor(options.weights, runtime=runtime, batch_size=options.batch_size)
    if options.runtime:
        print(f"Runtime: {predictor.runtime}.")
    if options.camera is not None:
        show_camera(predictor, options.camera)
        return 0
    found, progress = Found(predictor.skeleton), Progress(len(work))
    if boxes is not None:
        found.category = boxes.category
    output, status = bulk.Output(options.output, found, csv_form=options.csv_form), 0
    following = Following(options.smooth, options.detect_every)
    people = unheard(find_detector, options.people) or "whole"
    if people == "whole" and options.people == "auto" and boxes is None:
        print("No detector of people can run here (pip install ai-edge-litert): each whole picture is taken as one "
              "person.", file=sys.stderr)  # fmt: skip
    stream = partial(
        predictor.stream, people=people, max_people=options.max_people, flip=options.flip, crops=options.crops
    )
    signal.signal(signal.SIGTERM, end)
    try:
        bulk.predict_files(stream, work, boxes, output=output, progress=progress, following=following)
    except KeyboardInterrupt as interruption:  # what is done already is not lost
        status = 143 if isinstance(interruption, Ended) else 130
    except PoseError:
        if found.pictures:
            output.write()
        raise
    progress.clear()
    if len(work) == 1 and found.broken and not found.pictures:
        raise PoseError(found.broken[0])
    output.write()
    if options.results:
        write_results(options.results, found)
    print(f"{quantity(len(found.people), 'person')} in {quantity(len(found.pictures), 'picture')}, "
          f"written to {options.output}.")  # fmt: skip
    for note in found.notes:
        print(note)
    left = report(found, boxes, inputs)
    return status or int(bool(found.broken) or (left and not found.people))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("inputs", nargs="*", metavar="INPUT", help="image, folder of images, pattern, video, or URL")
    parser.add_argument("--camera", type=int, metavar="N", help="show what this camera sees instead")
    parser.add_argument(
        "--people", default="auto", metavar="HOW", help="auto, shipped, whole or keras-hub:PRESET (default: auto)"
    )
    parser.add_argument("--max-people", type=int, default=20, metavar="N", help="in one picture (default: 20)")
    parser.add_argument(
        "--box", type=float, nargs=4, action="append", metavar=("X0", "Y0", "X1", "Y1"), help="a person, in pixels"
    )
    parser.add_argument("--boxes", type=Path, metavar="FILE", help="COCO detections of people, .json")
    parser.add_argument("--category", metavar="NAME", help="of people in that file (default: person, or the only one)")
    parser.add_argument(
        "--labels", choices=get_args(Labels), help="where a picture or video is turned: boxes are upright, or as stored"
    )
    parser.add_argument("--min-score", type=float, default=0.5, help="leave out detections below this (default: 0.5)")
    parser.add_argument("--weights", default="small", metavar="NAME_OR_FILE", help="default: small")
    parser.add_argument("--runtime", metavar="NAME", help="what computes (default: auto)")
    parser.add_argument("--ray", metavar="ADDRESS", help="spread the work over a Ray cluster: local, auto or HOST:PORT")
    parser.add_argument("--output", type=Path, default=Path("poses"), metavar="DIR", help="default: poses")
    parser.add_argument("--results", type=Path, metavar="FILE", help="also write a list for loadRes of COCO's tools")
    parser.add_argument("--csv-form", choices=["wide", "long"], default="wide", help="a row for a person, or a joint")
    parser.add_argument("--smooth", action="store_true", help="videos: joints without jitter")
    parser.add_argument("--detect-every", type=int, default=1, metavar="N", help="videos: follow people in between")
    parser.add_argument("--flip", action="store_true", help="average with the mirrored image; twice the time")
    parser.add_argument("--crops", type=int, default=1, metavar="N", help="average N windows; N times the time")
    parser.add_argument("--batch-size", type=int, default=8, metavar="N", help="crops at a time (default: 8)")
    options = parser.parse_args()
    if bool(options.inputs) == (options.camera is not None):
        parser.error("give either images, folders or videos, or --camera")
    if options.box and options.boxes:
        parser.error("give either --box or --boxes")
    if options.detect_every < 1:
        parser.error(f"--detect-every must be at least 1, got {options.detect_every}")
    if options.camera is not None and options.runtime not in (None, "keras"):
        parser.error("--runtime is for files: the camera's window shows part maps, which only Keras gives")
    if options.ray and (options.camera is not None or options.results or options.smooth or options.detect_every > 1):
        parser.error("--ray is for pictures: it goes with no --camera, --results, --smooth or --detect-every")
    return options


def on_cluster(options: argparse.Namespace, inputs: Any, boxes: Any) -> int:
    """Spread the pictures over a Ray cluster, and say what came out."""
    try:
        from pose_regression.inference.cluster import predict_files
    except ImportError as error:
        raise PoseError(f"--ray needs Ray Data (pip install -e '.[ray]'): {error}.") from error
    progress = Progress(len(inputs.paths))
    answer = predict_files(
        inputs.paths, boxes, options.output, address=options.ray, progress=progress.at, weights=options.weights,
        runtime=options.runtime or "keras", batch_size=options.batch_size, people=options.people,
        max_people=options.max_people, flip=options.flip, crops=options.crops, labels=options.labels,
    )  # fmt: skip
    progress.clear()
    parts = answer.parts
    read = parts.done - len(parts.broken)
    print(f"{quantity(parts.people, 'person')} in {quantity(read, 'picture')}, written to {options.output}: "
          f"{parts.done / answer.seconds:.1f} pictures a second, {quantity(answer.workers, 'worker')}.")  # fmt: skip
    if boxes is None and parts.nobody:
        print(f"Nobody found in {quantity(parts.nobody, 'picture')}.", file=sys.stderr)
    if parts.broken:
        print(
            f"{len(parts.broken)} skipped (column error of {parts.folder}), such as: {parts.broken[0]}", file=sys.stderr
        )
    return int(bool(parts.broken))


def report(found: Any, boxes: Any, inputs: Any) -> bool:
    """Say what was left out and why, a line for each reason; whether it was people."""
    lines = [f"{quantity(n, 'file')} of {path} not taken: no picture by name." for path, n in inputs.left.items() if n]
    left = False
    if boxes is not None:
        left = bool(boxes.skipped.total())
        lines += [f"{boxes.path}: {sentence}" for sentence in boxes.turned]
        lines += [f"{quantity(n, 'box')} left out, {reason}." for reason, n in boxes.skipped.items() if n]
        if boxes.elsewhere:
            lines.append(f"{quantity(boxes.elsewhere, 'picture')} in a folder of another name than {boxes.path} says, "
                         "found by file name.")  # fmt: skip
        if unnamed := boxes.unnamed:
            lines.append(f"{quantity(unnamed, 'picture')} not named in {boxes.path}: nobody is looked for there.")
    lines += [f"Nobody found in {name}." for name in found.nobody]
    if found.broken:
        lines += [f"{len(found.broken)} skipped:", *(f"  {sentence}" for sentence in found.broken)]
    for line in lines:
        print(line, file=sys.stderr)
    return left


def end(*_: object) -> None:
    raise Ended


class Progress:
    """A bar on the terminal, with the time left; nothing where stderr is no terminal."""

    def __init__(self, total: int):
        self.total, self.done, self.drawn = total, -1, 0.0
        self.started = time.monotonic()

    def step(self) -> None:
        """One more file is being worked on."""
        self.at(self.done + 1)

    def at(self, done: int) -> None:
        """So many files are done."""
        self.done = done
        self.show()

    def show(self, detail: str = "", *, share: float = 0.0) -> None:
        """Draw the bar, at most ten times a second; `share` of the present file is done."""
        now = time.monotonic()
        if sys.stderr.isatty() and now - self.drawn > 0.1:
            self.drawn = now
            done = min(self.done + share, self.total)
            left = (now - self.started) * (self.total - done) / done if done > 0 else 0.0
            bar = "#" * int(30 * done / self.total)
            ending = f"{detail} {left:.0f} s left" if left >= 1 else detail
            sys.stderr.write(f"\r[{bar:<30}] {self.done}/{self.total} {ending}\x1b[K")
            sys.stderr.flush()

    def clear(self) -> None:
        """Take the bar away."""
        if sys.stderr.isatty():
            sys.stderr.write("\r\x1b[K")


if __name__ == "__main__":
    run(main)
