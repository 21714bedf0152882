"""The command: nothing lost, nothing half-written, and one sentence for every mistake."""

import csv
import io
import json
import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from PIL import Image

from experiments import predict
from experiments.command import run
from pose_regression.data.synthetic import render
from pose_regression.errors import PoseError
from pose_regression.inference import bulk, runtimes
from pose_regression.inference.predictor import PosePredictor
from pose_regression.model.network import PoseRegressor
from pose_regression.model.weights import save_weights
from pose_regression.skeleton import PA16J


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """A small network with random weights, as a file."""
    keras.utils.set_random_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.weights.h5"
    save_weights(PoseRegressor((32, 32, 3), num_blocks=1, width=32), path)
    return path


@pytest.fixture
def command(weights, monkeypatch, tmp_path):
    """Run the command in `tmp_path`, where pictures of nobody are taken as one person; returns its exit status."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> int:
        given = ["--people", "whole", *map(str, arguments), "--weights", str(weights)]
        monkeypatch.setattr(sys, "argv", ["predict", *given])
        with pytest.raises(SystemExit) as end:
            run(predict.main)
        return end.value.code

    return call


def encode(seed: int, kind: str = "JPEG", width: int = 60, height: int = 80) -> bytes:
    small = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).save(buffer, kind)
    return buffer.getvalue()


def write_photos(folder: Path, *names: str) -> None:
    folder.mkdir(exist_ok=True)
    for i, name in enumerate(names):
        (folder / name).write_bytes(encode(i, "PNG" if name.endswith("png") else "JPEG"))


def written(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_with_a_broken_file(command, weights, tmp_path, capsys):
    write_photos(tmp_path / "photos", "a.jpg", "b.png", "d.jpg")
    (tmp_path / "photos/c.jpg").write_bytes(b"")
    (tmp_path / "photos/notes.txt").write_text("not a picture, and not to be reported")
    assert command("photos", "--output", "out") == 1
    out = tmp_path / "out"
    assert written(out) == {"overlays/a.jpg", "overlays/b.jpg", "overlays/d.jpg", "poses.json", "poses.csv"}
    streams = capsys.readouterr()
    assert "photos/c.jpg is empty" in streams.err and "3 people in 3 pictures" in streams.out
    assert "notes" not in streams.err and "Traceback" not in streams.err

    content = json.loads((out / "poses.json").read_text())
    assert [image["file_name"] for image in content["images"]] == ["photos/a.jpg", "photos/b.png", "photos/d.jpg"]
    assert content["images"][0] == {"id": 1, "file_name": "photos/a.jpg", "width": 60, "height": 80}
    assert [entry["image_id"] for entry in content["annotations"]] == [1, 2, 3]
    assert content["categories"][0]["keypoints"] == list(PA16J.names)
    assert content["categories"][0]["skeleton"][0] == [1, 2]  # pelvis and thorax, counted from 1
    (pose,) = PosePredictor(weights).predict(tmp_path / "photos/d.jpg", people="whole")
    np.testing.assert_allclose(
        np.reshape(content["annotations"][2]["keypoints"], (16, 3))[:, :2], pose.pixels, atol=0.1
    )

    with (out / "poses.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == ["photos/a.jpg", "photos/b.png", "photos/d.jpg"]
    assert float(rows[2]["left_ankle_y"]) == pytest.approx(pose.pixels[-1, 1], abs=0.1)
    assert [float(rows[2][name]) for name in ("person", "x0", "y0", "x1", "y1")] == [0, 0, 0, 60, 80]


def test_detections_belong_to_pictures_by_name_or_number(command, tmp_path):
    write_photos(tmp_path / "photos", "000000000139.jpg", "b.jpg", "empty.jpg")
    detections = [
        {"image_id": 139, "category_id": 1, "bbox": [5, 10, 20, 40], "score": 0.9},
        {"image_id": 139, "category_id": 1, "bbox": [30, 10, 20, 40], "score": 0.8},
        {"image_id": 139, "category_id": 18, "bbox": [5, 10, 20, 40], "score": 0.9},  # a dog
        {"image_id": 139, "category_id": 1, "bbox": [5, 10, 20, 40], "score": 0.3},
        {"file_name": "b.jpg", "bbox": [0, 0, 60, 80]},
    ]
    (tmp_path / "boxes.json").write_text(json.dumps(detections))
    assert command("photos", "--boxes", "boxes.json", "--output", "out") == 0
    content = json.loads((tmp_path / "out/poses.json").read_text())
    # 139 as the file calls it; b.jpg has no id there.
    assert [(image["id"], image["file_name"]) for image in content["images"]][:2] == [
        (139, "photos/000000000139.jpg"),
        (1, "photos/b.jpg"),
    ]
    assert [entry["image_id"] for entry in content["annotations"]] == [139, 139, 1]
    assert [entry["bbox"] for entry in content["annotations"][:2]] == [[5, 10, 20, 40], [30, 10, 20, 40]]
    assert len(content["images"]) == 3 and (tmp_path / "out/overlays/empty.jpg").exists()
    assert command("photos", "--boxes", "boxes.json", "--min-score", "0.2", "--output", "more") == 0
    assert len(json.loads((tmp_path / "more/poses.json").read_text())["annotations"]) == 4
    # The command's own output is a file of boxes too.
    assert command("photos", "--boxes", "out/poses.json", "--min-score", "0", "--output", "again") == 0
    again = json.loads((tmp_path / "again/poses.json").read_text())
    np.testing.assert_allclose(
        [entry["keypoints"] for entry in again["annotations"]],
        [entry["keypoints"] for entry in content["annotations"]],
        atol=0.02,
    )


def test_a_wrong_box_costs_itself_and_is_counted(command, tmp_path, capsys):
    write_photos(tmp_path / "photos", "a.jpg", "b.jpg", "c.jpg")
    entries = [
        {"file_name": "a.jpg", "bbox": [5, 5, 0, 9]},
        {"file_name": "a.jpg", "bbox": [5, 5, 20, 9]},
        {"file_name": "b.jpg", "bbox": [500, 5, 20, 9]},
        {"file_name": "b.jpg", "bbox": [5, 5, 20, 9], "iscrowd": 1},
        3,
    ]
    (tmp_path / "boxes.json").write_text(json.dumps(entries))
    assert command("photos", "--boxes", "boxes.json") == 0
    content = json.loads((tmp_path / "poses/poses.json").read_text())
    assert [(entry["image_id"], entry["bbox"]) for entry in content["annotations"]] == [(1, [5, 5, 20, 9])]
    said = capsys.readouterr()
    assert "1 person in 3 pictures" in said.out
    for line in (
        "2 boxes left out, without a usable bbox.",
        "1 box left out, outside their picture.",
        "1 box left out, of crowds.",
        "1 picture not named in boxes.json",
    ):
        assert line in said.err
    rows = (tmp_path / "poses/poses.csv").read_text().splitlines()
    assert [row.split(",")[:2] for row in rows[1:]] == [
        ["photos/a.jpg", "0"],
        ["photos/b.jpg", ""],
        ["photos/c.jpg", ""],
    ]


@pytest.mark.parametrize("labels", [None, "file", "upright"])
def test_boxes_in_the_pixels_of_a_file_that_exif_turns(command, tmp_path, capsys, labels):
    """The file is 80 wide and 60 high, and shown turned clockwise, 60 wide: stored (x, y) is shown at (60 - y, x)."""
    picture = Image.open(io.BytesIO(encode(0, width=80, height=60)))
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "a.jpg", exif=exif)
    upright = labels == "upright"
    box = [30, 50, 20, 10] if upright else [50, 10, 10, 20]
    content = {
        "images": [{"id": 5, "file_name": "a.jpg"} | ({} if labels else {"width": 80, "height": 60})],
        "annotations": [{"image_id": 5, "bbox": box}],
    }
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    given = ["--labels", labels] if labels else []
    assert command("a.jpg", "--boxes", "boxes.json", "--output", "out", "--results", "list.json", *given) == 0
    written = json.loads((tmp_path / "out/poses.json").read_text())
    assert [(i["id"], i["width"], i["height"]) for i in written["images"]] == [(5, 60, 80)]
    (person,) = written["annotations"]
    assert person["bbox"] == [30, 50, 20, 10]
    shown = np.reshape(person["keypoints"], (16, 3))
    (result,) = json.loads((tmp_path / "list.json").read_text())
    answered = np.reshape(result["keypoints"], (16, 3))
    expected = shown[:, :2] if upright else np.column_stack([shown[:, 1], 60 - shown[:, 0]])
    np.testing.assert_allclose(answered[:, :2], expected, atol=0.011)
    assert result["image_id"] == 5 and (answered[:, 2] == shown[:, 2]).all()
    assert "EXIF turns 1 picture" in capsys.readouterr().err


def test_where_everybody_is_left_out_the_command_ends_with_1(command, tmp_path, capsys):
    write_photos(tmp_path, "a.jpg")
    entry = {"file_name": "a.jpg", "category_id": 3, "bbox": [5, 5, 20, 30]}
    (tmp_path / "boxes.json").write_text(json.dumps([entry]))
    assert command("a.jpg", "--boxes", "boxes.json") == 1
    assert "1 box left out, of other categories." in capsys.readouterr().err
    assert command("a.jpg", "--boxes", "boxes.json", "--category", "3", "--results", "results.json") == 0
    (result,) = json.loads((tmp_path / "results.json").read_text())
    assert sorted(result) == ["category_id", "image_id", "keypoints", "score"] and len(result["keypoints"]) == 48
    assert result["category_id"] == 3


def test_a_process_told_to_end_writes_what_it_has(command, tmp_path, monkeypatch):
    write_photos(tmp_path / "photos", *(f"{i}.jpg" for i in range(5)))
    stream = PosePredictor.stream

    def told(self, *arguments, **options):
        for position, people in enumerate(stream(self, *arguments, **options)):
            if position == 3:
                os.kill(os.getpid(), signal.SIGTERM)
            yield people

    monkeypatch.setattr(PosePredictor, "stream", told)
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert command("photos") == 143
    finally:
        signal.signal(signal.SIGTERM, before)
    assert len(json.loads((tmp_path / "poses/poses.json").read_text())["annotations"]) == 3


def test_poses_are_on_the_disk_while_the_work_goes_on(command, tmp_path, monkeypatch):
    write_photos(tmp_path / "photos", *(f"{i}.jpg" for i in range(4)))
    monkeypatch.setattr(bulk, "SAVED_EVERY", 0.0)
    save, seen = bulk.save_image, []

    def look(path, picture):
        seen.append((tmp_path / "poses/poses.json").exists())
        save(path, picture)

    monkeypatch.setattr(bulk, "save_image", look)
    assert command("photos") == 0 and seen == [True] * 4


def test_an_overlay_that_cannot_be_written_costs_no_pose(command, tmp_path, capsys):
    write_photos(tmp_path / "photos", "a.jpg", "b.jpg")
    (tmp_path / "poses/overlays/a.jpg").mkdir(parents=True)
    assert command("photos") == 1
    assert "a.jpg could not be written" in capsys.readouterr().err
    assert len(json.loads((tmp_path / "poses/poses.json").read_text())["annotations"]) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="file names of any bytes are Linux's")
def test_names_of_any_bytes_and_any_length_survive(command, tmp_path, capsys):
    names = [os.fsdecode(b"caf\xe9.jpg"), "\u982d" * 80 + ".jpg", "x" * 245 + ".png"]
    write_photos(tmp_path / "photos", *names)
    assert command("photos") == 0
    content = json.loads((tmp_path / "poses/poses.json").read_text())
    assert {image["file_name"] for image in content["images"]} == {f"photos/{name}" for name in names}
    assert len(list((tmp_path / "poses/overlays").iterdir())) == 3
    assert "caf\\udce9.jpg" in (tmp_path / "poses/poses.csv").read_text("utf-8")


def test_inputs_are_found_once_and_in_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_photos(tmp_path / "photos", "b.jpg", "a.PNG", "[1].jpg")
    (tmp_path / "photos/deeper.jpg").mkdir()
    given = ["photos/b.jpg", "photos", "photos/*.jpg", "photos/[1].jpg", "photos/../photos/b.jpg", "missing.jpg"]
    found = bulk.find_inputs([*given, str(tmp_path / "photos/a.PNG")]).paths
    assert [path.as_posix() for path in found] == ["photos/b.jpg", "photos/[1].jpg", "photos/a.PNG", "missing.jpg"]
    for wrong in (["*.gif"], [str(tmp_path)], ["missing.jpg"]):
        with pytest.raises(PoseError, match=r"No file fits the pattern '\*.gif'|has no images|missing.jpg cannot"):
            bulk.find_inputs(wrong)


def test_overlays_of_equal_names_are_told_apart_and_inputs_are_never_overwritten(command, tmp_path, capsys):
    for folder in ("x", "y"):
        write_photos(tmp_path / folder, "a.jpg", "a.png")
    assert command("x", "y") == 0
    names = {f"overlays/a{n}.jpg" for n in ("", "_2", "_3", "_4")}
    assert written(tmp_path / "poses") == names | {"poses.json", "poses.csv"}
    before = (tmp_path / "poses/overlays/a.jpg").read_bytes()
    assert command("poses/overlays") == 2
    assert (tmp_path / "poses/overlays/a.jpg").read_bytes() == before
    assert "would be overwritten" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"text", encode(0)[:300]])
def test_one_broken_file_is_one_sentence_and_nothing_is_written(command, tmp_path, capsys, content):
    (tmp_path / "a.jpg").write_bytes(content)
    assert command("a.jpg", "--output", "out") == 2
    assert not (tmp_path / "out").exists()
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(error) == 1 and "a.jpg" in error[0]


def test_damage_outside_of_the_box_is_reported(command, tmp_path, capsys):
    # The crop can be read; the picture to draw on cannot.
    write_photos(tmp_path, "b.jpg")
    (tmp_path / "a.jpg").write_bytes(encode(0, width=600, height=800)[:-3000])
    boxes = [{"file_name": name, "bbox": [5, 5, 40, 40]} for name in ("a.jpg", "b.jpg")]
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    assert command("a.jpg", "b.jpg", "--boxes", "boxes.json") == 1
    assert "a.jpg is truncated or damaged" in capsys.readouterr().err
    assert [x["file_name"] for x in json.loads((tmp_path / "poses/poses.json").read_text())["images"]] == ["b.jpg"]


def test_output_that_cannot_be_written_and_wrong_options(command, tmp_path, capsys):
    write_photos(tmp_path, "a.jpg")
    (tmp_path / "file").write_text("in the way")
    assert command("a.jpg", "--output", "file") == 2
    assert "could not be written" in capsys.readouterr().err
    assert command("a.jpg", "--crops", "0") == 2
    assert "crops must be at least 1" in capsys.readouterr().err
    assert command("a.jpg", "--camera", "0") == 2
    assert command() == 2
    assert not (tmp_path / "poses").exists()


def test_the_runtime_that_is_asked_for_is_said_and_an_export_told_of(command, tmp_path, monkeypatch, capsys, caplog):
    write_photos(tmp_path, "a.jpg")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(runtimes, "PREFERRED", ("savedmodel",))  # litert takes its time
    for _ in range(2):
        assert command("a.jpg", "--runtime", "auto") == 0
        assert "Runtime: savedmodel." in capsys.readouterr().out.splitlines()
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("pose_regression.")]
    assert ours == ["Exporting to savedmodel, once for these weights."]  # TensorFlow may tell of other tests' tracing
    assert command("a.jpg", "--runtime", "fast") == 2
    assert "runtime must be auto, keras, savedmodel" in capsys.readouterr().err
    assert command("--camera", "0", "--runtime", "auto") == 2
    assert "--runtime is for files" in capsys.readouterr().err


def test_interruption_keeps_what_is_done(command, tmp_path, monkeypatch):
    write_photos(tmp_path / "photos", *(f"{i}.jpg" for i in range(5)))
    stream = PosePredictor.stream

    def interrupted(self, *arguments, **options):
        for position, people in enumerate(stream(self, *arguments, **options)):
            if position == 3:
                raise KeyboardInterrupt
            yield people

    monkeypatch.setattr(PosePredictor, "stream", interrupted)
    assert command("photos") == 130
    assert len(json.loads((tmp_path / "poses/poses.json").read_text())["annotations"]) == 3
    assert len(written(tmp_path / "poses/overlays")) == 3


def test_progress_is_for_terminals(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    predict.Progress(4).step()
    assert stream.getvalue() == ""
    monkeypatch.setattr(stream, "isatty", lambda: True)
    progress = predict.Progress(4)
    progress.done = 1
    progress.step()
    assert "[###############               ] 2/4" in stream.getvalue()


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """The file cut off, with bytes changed, with a piece moved, doubled or removed, or with noise in its head."""
    data, kind = bytearray(content), rng.integers(5)
    a, b = sorted(rng.integers(0, len(data), 2).tolist())
    if kind == 0:
        return bytes(data[:a])
    if kind == 1:
        for position in rng.integers(0, len(data), rng.integers(1, 30)):
            data[position] = rng.integers(256)
    elif kind == 2:
        del data[a : min(b, a + 200)]
    elif kind == 3:
        data[b:b] = data[a : a + 300]
    else:
        for position in rng.integers(0, min(64, len(data)), rng.integers(1, 6)):
            data[position] = rng.integers(256)
    return bytes(data)


def test_a_hundred_damaged_files_are_read_or_reported(command, tmp_path, capsys):
    rng = np.random.default_rng(0)
    originals = [encode(i, kind) for i in range(4) for kind in ("JPEG", "PNG")]
    (tmp_path / "photos").mkdir()
    for i in range(100):
        suffix = "png" if i % 2 else "jpg"
        (tmp_path / f"photos/{i:03d}.{suffix}").write_bytes(mutated(originals[i % 8], rng))
    assert command("photos") == 1
    read = {image["file_name"] for image in json.loads((tmp_path / "poses/poses.json").read_text())["images"]}
    error = capsys.readouterr().err
    reported = {f"photos/{path}" for path in written(tmp_path / "photos") if f"photos/{path} " in error}
    assert "Traceback" not in error
    assert len(read) + len(reported) == 100 and not read & reported
    assert len(written(tmp_path / "poses/overlays")) == len(read) > 5


def write_video(path: Path, frames: int) -> None:
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed: videos are not tested")
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 12.0, (64, 48))
    for i in range(frames):
        writer.write(np.full((48, 64, 3), (0, 0, 20 * i), np.uint8))  # red, as OpenCV's order is BGR
    writer.release()


def test_a_video(command, tmp_path, capsys):
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed: videos are not tested")
    write_video(tmp_path / "dance.mp4", 11)
    write_photos(tmp_path, "a.jpg")
    (tmp_path / "broken.avi").write_bytes(b"RIFF")
    assert command("a.jpg", "dance.mp4", "broken.avi") == 1
    assert "broken.avi cannot be read as a video" in capsys.readouterr().err
    content = json.loads((tmp_path / "poses/poses.json").read_text())
    names = [image["file_name"] for image in content["images"]]
    assert names == ["a.jpg"] + [f"dance.mp4#{i:06d}" for i in range(11)]
    assert len(content["annotations"]) == 12 and content["images"][-1]["width"] == 64
    frames = list(predict.read_frames(tmp_path / "poses/overlays/dance.mp4"))
    assert len(frames) == 11 and frames[0].shape == (48, 64, 3)
    assert abs(int(frames[10][2, 2, 0]) - 200) < 12 and frames[10][2, 2, 2] < 20
    capture = cv2.VideoCapture(str(tmp_path / "poses/overlays/dance.mp4"))
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(12)
    assert written(tmp_path / "poses") == {"overlays/a.jpg", "overlays/dance.mp4", "poses.json", "poses.csv"}


def test_a_videos_times_and_numbers_are_in_every_file(command, tmp_path, capsys):
    write_video(tmp_path / "dance.mp4", 4)
    boxes = [{"file_name": f"dance.mp4#{n:06d}", "bbox": [5, 5, 40, 40]} for n in (0, 1, 3)]
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    assert command("dance.mp4", "--boxes", "boxes.json", "--smooth") == 0
    assert "dance.mp4: 4 frames in " in capsys.readouterr().out
    content = json.loads((tmp_path / "poses/poses.json").read_text())
    assert [image["seconds"] for image in content["images"]] == pytest.approx([0, 1 / 12, 2 / 12, 3 / 12], abs=1e-4)
    assert [entry["track_id"] for entry in content["annotations"]] == [0, 0, 0]
    with (tmp_path / "poses/poses.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["image"], row["person"], row["seconds"]) for row in rows] == [
        ("dance.mp4#000000", "0", "0.0000"),
        ("dance.mp4#000001", "0", "0.0833"),
        ("dance.mp4#000002", "", "0.1667"),
        ("dance.mp4#000003", "0", "0.2500"),
    ]
    assert command("dance.mp4", "--boxes", "boxes.json", "--csv-form", "long", "--detect-every", "2") == 0
    with (tmp_path / "poses/poses.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["frame", "seconds", "person", "joint", "x", "y", "probability", "confidence", "image"]
    assert [(row["frame"], row["joint"]) for row in rows[:16]] == [("0", name) for name in PA16J.names]
    (nobody,) = [row for row in rows if row["frame"] == "2"]  # looked for, and the file has nobody there
    assert nobody == {"frame": "2", "seconds": "0.1667", "image": "dance.mp4"} | dict.fromkeys(
        ("person", "joint", "x", "y", "probability", "confidence"), ""
    )
    assert command("dance.mp4", "--detect-every", "0") == 2


def test_a_video_cut_off_is_said_and_costs_the_exit_code(command, tmp_path, capsys):
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed: videos are not tested")
    writer = cv2.VideoWriter(str(tmp_path / "a.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 12.0, (64, 48))
    for i in range(12):
        writer.write(np.full((48, 64, 3), 20 * i, np.uint8))
    writer.release()
    content = (tmp_path / "a.avi").read_bytes()
    (tmp_path / "a.avi").write_bytes(content[: int(0.75 * content.index(b"idx1"))])
    assert command("a.avi") == 1
    said = capsys.readouterr().err
    read = len(json.loads((tmp_path / "poses/poses.json").read_text())["images"])
    assert 0 < read < 12 and f"a.avi: {read} of 12 frames could be read" in said


def test_boxes_of_a_videos_frames(command, tmp_path, capsys):
    write_video(tmp_path / "dance.mp4", 3)
    boxes = [
        {"file_name": "dance.mp4#000000", "bbox": [5, 5, 40, 40]},
        {"file_name": "dance.mp4#000002", "bbox": [500, 5, 40, 40]},
    ]
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    assert command("dance.mp4", "--boxes", "boxes.json") == 0
    assert "1 box left out, outside their picture." in capsys.readouterr().err
    content = json.loads((tmp_path / "poses/poses.json").read_text())
    assert len(content["images"]) == 3 and [entry["image_id"] for entry in content["annotations"]] == [1]


def test_without_a_decoder_a_video_is_one_sentence(command, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "cv2", None)
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "dance.mp4").write_bytes(b"video")
    assert command("dance.mp4") == 2
    assert "pip install av opencv-python" in capsys.readouterr().err
    assert command("--camera", "0") == 2


class FakeCamera:
    """A camera with `frames` pictures, or none at all."""

    def __init__(self, frames: int | None):
        self.frames, self.released = frames, False

    def isOpened(self) -> bool:
        return self.frames is not None

    def read(self) -> tuple[bool, np.ndarray | None]:
        self.frames -= 1
        return (True, np.full((48, 64, 3), (255, 0, 0), np.uint8)) if self.frames >= 0 else (False, None)

    def release(self) -> None:
        self.released = True


def fake_opencv(camera: FakeCamera, shown: list[np.ndarray], *, close_after: int = 100, screen: bool = True):
    class Error(Exception):
        err = "no GTK"

    def imshow(title, view):
        if not screen:
            raise Error
        shown.append(view)

    return SimpleNamespace(
        VideoCapture=lambda number: camera,
        imshow=imshow,
        waitKey=lambda delay: ord("q") if len(shown) >= close_after else -1,
        getWindowProperty=lambda title, what: 1.0,
        WND_PROP_VISIBLE=4,
        destroyAllWindows=lambda: None,
        error=Error,
    )


def test_the_camera_shows_pose_and_maps_until_q(command, monkeypatch, capsys):
    camera, shown = FakeCamera(50), []
    monkeypatch.setitem(sys.modules, "cv2", fake_opencv(camera, shown, close_after=3))
    assert command("--camera", "0") == 0
    assert len(shown) == 3 and camera.released
    # 64 x 48 enlarged to the window's height, and the square maps beside it; blue stays blue in OpenCV's order.
    assert shown[0].shape == (480, 640 + 480, 3)
    assert shown[0][470, 10].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    "frames, screen, message",
    [(None, True, "Camera 7 cannot be opened"), (2, True, "gives no more"), (2, False, "window cannot be opened")],
)
def test_no_camera_and_no_screen_are_one_sentence(command, monkeypatch, capsys, frames, screen, message):
    camera = FakeCamera(frames)
    monkeypatch.setitem(sys.modules, "cv2", fake_opencv(camera, [], screen=screen))
    assert command("--camera", "7") == 2
    assert message in capsys.readouterr().err and camera.released


def test_people_are_found_numbered_and_scored(command, tmp_path, capsys):
    (tmp_path / "two").mkdir()
    people = [render(seed, size=(320, 256))[0] for seed in (3, 5)]
    Image.fromarray(np.concatenate(people, axis=1)).save(tmp_path / "two/a.png")
    write_photos(tmp_path / "two", "b.jpg")
    assert command("two", "--people", "shipped") == 0
    assert "Nobody found in two/b.jpg." in capsys.readouterr().err
    content = json.loads((tmp_path / "poses/poses.json").read_text())
    assert [entry["person"] for entry in content["annotations"]] == [0, 1]
    assert all(0.3 < entry["detection"] < 1 for entry in content["annotations"])
    centres = sorted(entry["bbox"][0] + entry["bbox"][2] / 2 for entry in content["annotations"])
    assert centres[0] < 256 < centres[1]
    with (tmp_path / "poses/poses.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["person"] for row in rows] == ["0", "1", ""] and rows[2]["image"] == "two/b.jpg"
    assert float(rows[0]["detection"]) == pytest.approx(content["annotations"][0]["detection"], abs=1e-3)
    assert command("two/a.png", "--people", "shipped", "--max-people", "1", "--output", "one") == 0
    assert len(json.loads((tmp_path / "one/poses.json").read_text())["annotations"]) == 1


def test_boxes_on_the_command_line_are_those_of_every_picture(command, tmp_path, capsys):
    write_photos(tmp_path / "photos", "a.jpg", "b.jpg")
    arguments = ["photos", "--box", 5, 5, 30, 60, "--box", 30, 5, 55, 60]
    assert command(*arguments) == 0
    content = json.loads((tmp_path / "poses/poses.json").read_text())
    assert [entry["bbox"] for entry in content["annotations"]] == [[5, 5, 25, 55], [30, 5, 25, 55]] * 2
    assert command("photos", "--box", 5, 5, 5, 60) == 2
    assert "A box is X0 Y0 X1 Y1 in pixels, at least one wide and high. Received: 5 5 5 60" in capsys.readouterr().err
    assert command(*arguments, "--boxes", "boxes.json") == 2
    assert "give either --box or --boxes" in capsys.readouterr().err


def test_an_unknown_detector_is_one_sentence(command, tmp_path, capsys):
    write_photos(tmp_path, "a.jpg")
    assert command("a.jpg", "--people", "yolo") == 2
    assert "error: people must be auto, whole, shipped, keras-hub:PRESET" in capsys.readouterr().err
