"""People followed through a video: numbers, boxes between detections, smoothing, and an overlay that costs no pose."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from pictures import turn_video
from walkers import HEIGHT, WIDTH, two_walkers

from experiments.predict import Progress
from pose_regression.errors import PoseError
from pose_regression.inference import bulk, video_poses
from pose_regression.inference.boxes import Boxes, People
from pose_regression.inference.coco_files import Found, write_results
from pose_regression.inference.encoders import video_writer
from pose_regression.inference.pose import Pose
from pose_regression.inference.predictor import PosePredictor
from pose_regression.inference.video import read_frames
from pose_regression.inference.video_poses import Following, boxes_of_poses, predict_video
from pose_regression.skeleton import Skeleton

pytest.importorskip("av", reason="PyAV is not installed: videos are not tested")

CORNERS = Skeleton(("a", "b", "c", "d"), (("a", "b"), ("c", "d")))
FRAMES = 12


def corners(box, *, probability: float = 1.0, shift: float = 0.0) -> Pose:
    x0, y0, x1, y1 = box
    pixels = np.array([[x0, y0], [x1, y0], [x0, y1], [x1, y1]], np.float32) + shift
    return Pose(CORNERS, pixels, np.full(4, probability, np.float32), np.asarray(box, np.float32))


class Stream:
    """In place of `PosePredictor.stream`: the pose has the given box's corners, `moved` further right."""

    def __init__(self, moved: float = 0.0):
        self.moved = moved
        self.given: list[list] = []

    def __call__(self, images, boxes, *, on_error):
        for _, of_image in zip(images, boxes, strict=True):
            people = [[0, 0, 60, 80]] if of_image is None else [list(map(float, box)) for box in of_image]
            self.given.append(people)
            yield [corners([x0 + self.moved, y0, x1 + self.moved, y1]) for x0, y0, x1, y1 in people]


@pytest.fixture
def place(tmp_path) -> SimpleNamespace:
    with video_writer(tmp_path / "walk.mp4", size=(160, 120), rate=10) as write:
        for number in range(FRAMES):
            write(np.full((120, 160, 3), 10 * number, np.uint8), number / 10)
    output = bulk.Output(tmp_path, Found(CORNERS))
    output.due = np.inf
    return SimpleNamespace(folder=tmp_path, video=tmp_path / "walk.mp4", overlay=tmp_path / "out.mp4", output=output)


def run(place, stream, people=None, **following) -> Found:
    boxes = None if people is None else Boxes(Path("boxes.json"), {})
    frames = {} if people is None else {number: People(of_frame) for number, of_frame in people.items()}
    predict_video(
        stream,
        place.video,
        place.overlay,
        boxes,
        frames,
        output=place.output,
        progress=Progress(1),
        following=Following(**following),
    )
    return place.output.found


def test_numbers_follow_people_and_not_the_order_of_boxes(place):
    people = {}
    for number in range(FRAMES):
        pair = [[10 + 2 * number, 10, 40 + 2 * number, 50], [100 - 2 * number, 60, 130 - 2 * number, 110]]
        people[number] = pair if number % 2 else pair[::-1]
    found = run(place, Stream(), people)
    lower = {picture: pose.person for picture, pose in found.people if pose.pixels[0, 1] == 60}
    assert set(lower.values()) == {0} and len(lower) == FRAMES  # who comes first on the first frame is 0
    assert [picture.frame for picture in found.pictures] == list(range(FRAMES))
    assert [picture.seconds for picture in found.pictures] == pytest.approx(np.arange(FRAMES) / 10, abs=1e-4)
    assert len(list(read_frames(place.overlay))) == FRAMES and not found.broken
    assert "; overlay in H.264." in found.notes[0]


def test_numbers_are_drawn_from_the_second_person_on_also_where_one_is_seen_alone(place, monkeypatch):
    drawn = []
    monkeypatch.setattr(video_poses, "draw_people", lambda image, poses, *, numbered: drawn.append(numbered) or image)
    left, right = [10, 10, 40, 50], [100, 60, 130, 110]
    run(place, Stream(), {number: [left, right] if number in (3, 4) else [left] for number in range(FRAMES)})
    assert drawn == [False] * 3 + [True] * 9


def test_between_detections_the_box_is_the_last_poses(place):
    stream = Stream(moved=1)
    run(place, stream, {0: [[10, 10, 40, 50]], 4: [[90, 10, 120, 50]]}, detect_every=4)
    lefts = [[box[0] for box in people] for people in stream.given]
    assert lefts == [[10], [11], [12], [13], [90], [91], [92], [93], [], [], [], []]


def test_without_boxes_only_detections_are_left_to_the_stream(place):
    stream = Stream(moved=1)
    run(place, stream, None, detect_every=5)
    assert [people[0][0] for people in stream.given] == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]


def test_who_is_hardly_visible_or_outside_is_lost():
    half = corners([10, 10, 40, 50])
    half.probability[:] = 1, 1, 0.4, 0.4  # the upper joints: a line has no box
    upper_left = corners([10, 10, 40, 50])
    upper_left.probability[3] = 0
    poses = [half, corners([10, 10, 40, 50], probability=0.4), corners([200, 10, 240, 50]), upper_left]
    assert [box.tolist() for box in boxes_of_poses(poses, 160, 120)] == [[10, 10, 40, 50]]


@pytest.mark.parametrize("with_av", [True, False])
@pytest.mark.parametrize(
    "turn, in_file, upright",
    [
        (90, [90, 10, 150, 40], [80, 90, 110, 150]),  # stored (x, y) is shown at (120 - y, x)
        (180, [90, 10, 150, 40], [10, 80, 70, 110]),
        (270, [90, 10, 150, 40], [10, 10, 40, 70]),  # shown at (y, 160 - x)
    ],
)
def test_boxes_in_the_pixels_of_a_video_that_is_shown_turned(place, monkeypatch, with_av, turn, in_file, upright):
    if not with_av:
        pytest.importorskip("cv2", reason="OpenCV is not installed")
        monkeypatch.setitem(sys.modules, "av", None)
    turn_video(place.video, turn)
    size = (160, 120) if turn == 180 else (120, 160)
    for labels, given in (("file", in_file), ("upright", upright), (None, in_file if turn != 180 else upright)):
        place.output.found = Found(CORNERS)
        boxes = Boxes(Path("boxes.json"), {}, labels=labels)
        people = {3: People([given], size=(160, 120)), 5: People([[500, 500, 510, 510]] if labels else [])}
        predict_video(Stream(), place.video, place.overlay, boxes, people, output=place.output, progress=Progress(1))
        ((index, pose),) = place.output.found.people
        assert index == 3 and pose.box.tolist() == upright
        picture = place.output.found.pictures[3]
        assert (picture.width, picture.height) == size == next(read_frames(place.overlay)).shape[1::-1]
        assert boxes.skipped.total() == bool(labels) and boxes.turned[0].startswith("Metadata turns 1 video")
        write_results(place.folder / "list.json", place.output.found)
        (result,) = json.loads((place.folder / "list.json").read_text(encoding="utf-8"))
        corner = np.reshape(result["keypoints"], (4, 3))[:, :2]
        assert [*corner.min(axis=0), *corner.max(axis=0)] == given


def test_smoothing_takes_jitter_away_and_only_on_request(place):
    jitter = {number: [[40 + 4 * (number % 2), 20, 80 + 4 * (number % 2), 90]] for number in range(FRAMES)}
    rough = np.array([pose.pixels[0, 0] for _, pose in run(place, Stream(), jitter).people])
    place.output.found = Found(CORNERS)
    smooth = np.array([pose.pixels[0, 0] for _, pose in run(place, Stream(), jitter, smooth=True).people])
    assert np.abs(np.diff(rough)).tolist() == [4] * 11
    assert np.abs(np.diff(smooth)).max() < 3 and abs(smooth[-4:].mean() - 42) < 1


def test_an_overlay_that_cannot_be_written_costs_no_pose(place):
    place.overlay.mkdir()
    found = run(place, Stream(), None)
    assert len(found.people) == FRAMES and len(found.broken) == 1 and "out.mp4 could not be written" in found.broken[0]


def test_an_interrupted_video_leaves_a_whole_overlay(place):
    class Interrupted(Stream):
        def __call__(self, images, boxes, *, on_error):
            for number, people in enumerate(super().__call__(images, boxes, on_error=on_error)):
                if number == 5:
                    raise KeyboardInterrupt
                yield people

    with pytest.raises(KeyboardInterrupt):
        run(place, Interrupted(), None)
    assert len(place.output.found.people) == 5 and len(list(read_frames(place.overlay))) == 5


def test_a_frame_that_goes_wrong_is_named(place):
    def stream(images, boxes, *, on_error):
        for number, _ in enumerate(images):
            if number == 3:
                on_error(number, PoseError("images[3]: its boxes are wrong"))
            yield []

    found = run(place, stream, None)
    assert found.broken == [f"{place.video}#000003: its boxes are wrong"]


@pytest.mark.slow
def test_two_rendered_people_who_walk_past_each_other_three_times_keep_their_numbers(place):
    predictor, where = PosePredictor("small"), []
    with video_writer(place.video, size=(WIDTH, HEIGHT), rate=12.5) as write:
        for pixels, joints in two_walkers(seconds=10, rate=12.5):
            write(pixels, len(where) / 12.5)
            where.append(joints.mean(axis=1))
    gaps = [middles[1, 0] - middles[0, 0] for middles in where]
    assert np.count_nonzero(np.diff(np.sign(gaps))) == 3
    place.output.found = Found(predictor.skeleton)
    numbers = []
    for frame, pose in run(place, predictor.stream).people:
        if abs(gaps[frame]) > 80:  # else one hides the other
            distances = np.linalg.norm(where[frame] - pose.pixels.mean(axis=0), axis=1)
            assert distances.min() < 20
            numbers.append((int(distances.argmin()), pose.person))
    assert len(set(numbers)) == len({number for _, number in numbers}) == 2
    assert len(numbers) >= 1.95 * sum(abs(gap) > 80 for gap in gaps)
