"""On a Ray cluster no picture is lost and none is there twice, whatever dies; a table and a COCO file say the same."""

import json
import sys
from pathlib import Path

import keras
import numpy as np
import psutil
import pytest
from PIL import Image

from experiments import predict
from experiments.command import run
from pose_regression.errors import PoseError
from pose_regression.inference.boxes import Boxes, People
from pose_regression.inference.coco_files import Found, write_json
from pose_regression.inference.predictor import PosePredictor
from pose_regression.model.network import PoseRegressor
from pose_regression.model.weights import save_weights
from pose_regression.skeleton import PA16J

ray = pytest.importorskip("ray", reason="needs Ray Data (pip install '.[ray]')")
pa = pytest.importorskip("pyarrow", reason="needs Ray Data (pip install '.[ray]')")
pq = pytest.importorskip("pyarrow.parquet", reason="needs Ray Data (pip install '.[ray]')")

from pose_regression.inference import cluster, parquet_files  # noqa: E402  # after the skips


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """A small network with random weights, as a file."""
    keras.utils.set_random_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.weights.h5"
    save_weights(PoseRegressor((32, 32, 3), num_blocks=1, width=32), path)
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> list[Path]:
    """Two pictures and, third, a file that is none."""
    folder = tmp_path_factory.mktemp("pictures")
    for number, name in enumerate(("a.jpg", "b.png")):
        pixels = np.random.default_rng(number).integers(0, 256, (80, 60, 3), np.uint8)
        Image.fromarray(pixels).save(folder / name)
    (folder / "c.jpg").write_text("no picture", encoding="utf-8")
    return [folder / "a.jpg", folder / "b.png", folder / "c.jpg"]


def rows_of(pictures: list[Path], boxes=None):
    columns = {"index": range(len(pictures)), "image": map(str, pictures)}
    table = pa.table({name: pa.array(list(values)) for name, values in columns.items()})
    kind = pa.list_(pa.list_(pa.float64()))
    return table if boxes is None else table.append_column("boxes", pa.array(boxes, kind))


def test_a_worker_answers_as_the_predictor_does_and_says_what_cannot_be_read(weights, pictures):
    answered = cluster.FindPoses(str(weights), people="whole")(rows_of(pictures)).to_pylist()
    assert [row["index"] for row in answered] == [0, 1, 2]
    assert [(row["width"], row["height"]) for row in answered] == [(60, 80), (60, 80), (None, None)]
    assert [row["error"] is None for row in answered] == [True, True, False]
    assert "c.jpg is not an image" in answered[2]["error"] and answered[2]["people"] == []
    (pose,) = PosePredictor(weights).predict(pictures[1], people="whole")
    (person,) = answered[1]["people"]
    assert person["bbox"] == [0, 0, 60, 80] and person["num_keypoints"] == pose.to_coco()["num_keypoints"]
    np.testing.assert_allclose(person["keypoints"], pose.to_coco()["keypoints"], atol=0.02)


def test_a_worker_takes_boxes_and_leaves_out_those_outside_of_the_picture(weights, pictures):
    boxes = [[[5, 5, 40, 70], [70, 0, 90, 20]], [], [[0, 0, 9, 9]]]
    answered = cluster.FindPoses(str(weights))(rows_of(pictures, boxes)).to_pylist()
    assert [[person["bbox"] for person in row["people"]] for row in answered] == [[[5, 5, 35, 65]], [], []]
    assert [row["error"] is None for row in answered] == [True, True, False]


@pytest.mark.parametrize("labels, annotated", [(None, None), (None, [80.0, 60.0]), ("file", None)])
def test_a_worker_takes_boxes_in_the_pixels_of_a_file_that_exif_turns(weights, pictures, tmp_path, labels, annotated):
    """The file is 80 wide and 60 high, and shown turned clockwise, 60 wide: stored (x, y) is shown at (60 - y, x)."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (80, 60)).save(tmp_path / "a.jpg", exif=exif)
    rows = rows_of([tmp_path / "a.jpg"], [[[20, 10, 50, 40]]])
    rows = rows.append_column("annotated", pa.array([annotated], pa.list_(pa.float64())))
    (row,) = cluster.FindPoses(str(weights), labels=labels)(rows).to_pylist()
    assert (row["width"], row["height"]) == (60, 80)
    assert row["people"][0]["bbox"] == ([20, 20, 30, 30] if labels or annotated else [20, 10, 30, 30])


def test_a_worker_for_each_gpu_else_for_two_processors_of_a_machine():
    assert cluster.resources_of([{"CPU": 7}, {"CPU": 2}, {"CPU": 1}]) == cluster.Resources(4, 2, 0)
    assert cluster.resources_of([{"CPU": 1}, {"CPU": 1}]) == cluster.Resources(2, 1, 0)
    assert cluster.resources_of([{"CPU": 16, "GPU": 2}, {"CPU": 16, "GPU": 1}]) == cluster.Resources(3, 1, 1)
    with pytest.raises(PoseError, match="no machine with a processor"):
        cluster.resources_of([{"memory": 1e9}])


def test_no_cluster_is_one_sentence(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(PoseError, match="--ray auto: no Ray cluster answers"):
        cluster.connect("auto")


@pytest.fixture
def answered(weights, pictures):
    return cluster.FindPoses(str(weights), people="whole")(rows_of(pictures))


def test_what_a_repeated_task_gives_again_is_written_once(answered, tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_files, "PART", 2)
    parts = parquet_files.Parts(tmp_path / "parts", ["x/a.jpg", "x/b.png", "x/c.jpg"])
    parts.add(answered.slice(1))
    parts.add(answered)
    parts.add(answered.slice(0, 2))
    parts.write()
    assert (parts.done, parts.people, parts.nobody, len(parts.broken)) == (3, 2, 0, 1)
    assert [path.name for path in parts.files] == ["part-00000.parquet", "part-00001.parquet"]
    rows = pq.read_table(tmp_path / "parts").to_pylist()
    assert sorted((row["index"], row["image"]) for row in rows) == [(0, "x/a.jpg"), (1, "x/b.png"), (2, "x/c.jpg")]
    with pytest.raises(PoseError, match="holds the poses of an earlier run"):
        parquet_files.Parts(tmp_path / "parts", ["a.jpg"])


def test_the_coco_file_is_the_one_that_predict_writes_without_a_cluster(answered, weights, pictures, tmp_path):
    parts = parquet_files.Parts(tmp_path / "parts", [str(path) for path in pictures])
    parts.add(answered)
    parts.write()
    parquet_files.write_coco(tmp_path / "a.json", parts.files, PA16J, category=(7, "child"), ids=["x", 5, 6])
    predictor, found = PosePredictor(weights), Found(PA16J, category=(7, "child"))
    for path, number in zip(pictures[:2], ("x", 5), strict=True):
        poses = predictor.predict(path, people="whole")
        found.add(str(path), np.zeros((80, 60, 3), np.uint8), poses, id=number)
    write_json(tmp_path / "b.json", found)
    first, second = (json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8")) for name in "ab")
    for person in first["annotations"] + second["annotations"]:  # batches of other sizes round otherwise
        for name in ("keypoints", "probability", "confidence"):
            person[name] = [round(value, 1) for value in person.get(name, [])]
        person["score"] = round(person["score"], 2)
    assert first == second


def test_videos_and_options_of_videos_are_refused(monkeypatch, capsys, tmp_path):
    with pytest.raises(PoseError, match="dance.mp4 is a video: a cluster takes pictures"):
        cluster.predict_files([Path("dance.mp4")], None, tmp_path, address="local", progress=print)
    monkeypatch.setattr(sys, "argv", ["predict", "photo.jpg", "--ray", "local", "--smooth"])
    with pytest.raises(SystemExit) as end:
        run(predict.main)
    assert end.value.code == 2 and "--ray is for pictures" in capsys.readouterr().err


@pytest.fixture
def two_machines():
    """A cluster whose first machine is here to stay; the second one can be killed."""
    from ray.cluster_utils import Cluster

    machines = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    second = machines.add_node(num_cpus=1)
    yield machines, second
    ray.shutdown()
    machines.shutdown()


def has_worker(machine) -> bool:
    """Whether a process on this machine is a worker of ours."""
    (raylet,) = machine.all_processes["raylet"]
    return any("FindPoses" in " ".join(process.cmdline()) for process in psutil.Process(raylet.process.pid).children())


@pytest.mark.slow
def test_a_machine_that_dies_in_the_middle_costs_no_picture(two_machines, weights, pictures, tmp_path, monkeypatch):
    machines, second = two_machines
    monkeypatch.setattr(cluster, "TASK", 8)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    every = []
    for number in range(240):
        every.append(tmp_path / f"{number:03d}.jpg")
        every[-1].symlink_to(pictures[0])
    every.append(pictures[2])
    killed = []

    def progress(done: int) -> None:
        if not killed and has_worker(second):
            killed.append(done)
            machines.remove_node(second, allow_graceful=False)

    boxes = Boxes(
        tmp_path / "boxes.json", {path.name: People([[5, 5, 40, 70]], 1000 + n) for n, path in enumerate(every)}
    )
    answer = cluster.predict_files(
        every, boxes, tmp_path / "out", address=machines.address, progress=progress, weights=str(weights), crops=4
    )
    assert killed and killed[0] < 200, killed
    assert answer.workers == 2
    table = pq.read_table(tmp_path / "out/poses-parquet")
    assert sorted(table["index"].to_pylist()) == list(range(241))
    assert [len(people) for people in table["people"].to_pylist()].count(1) == 240
    content = json.loads((tmp_path / "out/poses.json").read_text(encoding="utf-8"))
    assert sorted(image["id"] for image in content["images"]) == list(range(1000, 1240))
    assert sorted(person["image_id"] for person in content["annotations"]) == list(range(1000, 1240))
    assert len({person["id"] for person in content["annotations"]}) == 240
