"""A full disk, at every kind of write: one sentence naming the file, the older one still loads, nothing half written.

Twice each: with a quota (no file may grow beyond a few bytes, which needs no rights), and on a real file system of its
own that is full to the last block.
"""

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import pytest
import scipy.io
from PIL import Image
from tiny import tiny

from experiments import predict
from experiments.command import run
from pose_regression.data import mpii, synthetic
from pose_regression.data.cache import prepare_crops
from pose_regression.data.images import find_broken
from pose_regression.data.sample import Sample
from pose_regression.data.synthetic.crops import rendered_crops
from pose_regression.errors import PoseError
from pose_regression.evaluation.predictions import Predictions, load_predictions, save_predictions
from pose_regression.inference import bulk
from pose_regression.inference.coco_files import Found, Picture, write_csv, write_json
from pose_regression.inference.export import export_model
from pose_regression.inference.loaders import load_runtime
from pose_regression.inference.pose import Pose
from pose_regression.inference.video_poses import predict_video
from pose_regression.model.load import load_model
from pose_regression.model.network import PoseRegressor
from pose_regression.model.weights import save_weights
from pose_regression.skeleton import MPII, PA16J
from pose_regression.training.checkpoint import load_state, run_directory, save_state, states
from pose_regression.training.curves import plot_history
from pose_regression.training.experiment import Recipe
from pose_regression.training.loop import _write_history, train
from pose_regression.training.supervision import compile_model
from pose_regression.visualize import save_image

QUOTA = 100
"""Bytes."""


class Place(NamedTuple):
    folder: Path
    full: Callable[[], AbstractContextManager[None]]
    """In its block, nothing more fits into `folder`."""

    def check_clean(self, *names: str) -> None:
        """Nothing but the files named, and directories, is in the folder."""
        found = sorted(path.name for path in self.folder.rglob("*") if path.is_file())
        assert found == sorted(names)


@contextmanager
def quota() -> Iterator[None]:
    """Python ignores SIGXFSZ, so that a write beyond the limit is an OSError."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (QUOTA, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def filled(folder: Path) -> Iterator[None]:
    """A file takes what is free, but for one block: writes fail in their middle."""
    filler = folder / "filler"
    with open(filler, "wb", buffering=0) as file:
        with pytest.raises(OSError, match="No space left"):
            while True:
                file.write(bytes(4096))
        file.truncate(file.tell() - 4096)
    try:
        yield
    finally:
        filler.unlink()


@pytest.fixture(params=["quota", "disk"])
def place(request, tmp_path, capsys) -> Iterator[Place]:
    """Output is captured in memory, as a quota would hold for pytest's own files."""
    if request.param == "quota":
        yield Place(tmp_path, quota)
        return
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(disk)]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        pytest.skip(f"no file system can be mounted: {error}")
    if done.returncode:
        pytest.skip(f"no file system can be mounted: {done.stderr.strip()}")
    try:
        yield Place(disk, lambda: filled(disk))
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


REASON = r" could not be written: \S.*\.$"


def _training_model() -> PoseRegressor:
    model = tiny(outputs="all")
    compile_model(model, RECIPE, steps_per_epoch=2)
    return model


RECIPE = Recipe(epochs=2, batch_size=2, optimizer="adamw", schedule="cosine")


def _people(folder: Path, count: int = 4) -> list[Sample]:
    rng = np.random.default_rng(0)
    samples = []
    for i in range(count):
        path = folder / f"{i}.png"
        Image.fromarray(rng.integers(0, 255, (48, 48, 3), dtype=np.uint8)).save(path)
        joints = rng.uniform(10, 38, (16, 2))
        samples.append(Sample(str(path), np.array([24.0, 24.0]), 48.0, joints, np.ones(16, bool)))
    return samples


def test_training_state(place):
    model = _training_model()
    model.optimizer.build(model.trainable_variables)
    progress = {"epoch": 0, "batch": 1}
    old = save_state(place.folder, model, progress)
    with place.full(), pytest.raises(PoseError, match=f"state-00000-0000002.h5{REASON}"):
        save_state(place.folder, model, {"epoch": 0, "batch": 2})
    place.check_clean(old.name)
    assert load_state(place.folder, model) == progress
    assert save_state(place.folder, model, {"epoch": 0, "batch": 2}) == states(place.folder)[-1]


def test_weights(place):
    path, old = place.folder / "best.weights.h5", tiny(seed=1)
    save_weights(old, path)
    with place.full(), pytest.raises(PoseError, match=f"{path}{REASON}"):
        save_weights(tiny(seed=2), path)
    place.check_clean(path.name)
    loaded, _ = load_model(path)
    np.testing.assert_array_equal(loaded.get_weights()[0], old.get_weights()[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("format", "packages"),
    [
        ("savedmodel", ()),
        ("onnx", ("tf2onnx", "onnxruntime")),
        ("openvino", ("openvino",)),
        ("litert", ("ai_edge_litert",)),
    ],
)
def test_export(place, format, packages):
    for package in packages:
        pytest.importorskip(package)
    crops, directory = rendered_crops(2, 32), place.folder / "export"
    export_model(tiny(seed=1), directory, format=format, crops=crops)
    files = [path.name for path in directory.rglob("*") if path.is_file()]
    before = load_runtime(format, directory)(crops[:1])["pose"]
    with place.full(), pytest.raises(PoseError, match=f"{directory}{REASON}"):
        export_model(tiny(seed=2), directory, format=format, crops=crops, force=True)
    place.check_clean(*files)
    assert os.listdir(place.folder) == ["export"]
    np.testing.assert_array_equal(load_runtime(format, directory)(crops[:1])["pose"], before)


@pytest.mark.parametrize("suffix", [".json", ".h5", ".mat"])
def test_predictions(place, suffix):
    path, people = place.folder / f"found{suffix}", 500

    def predictions(value: float) -> Predictions:
        pixels = np.random.default_rng(0).uniform(0, 200, (people, 16, 2)) + value
        return Predictions(MPII, pixels)

    save_predictions(path, predictions(0.0))
    with place.full(), pytest.raises(PoseError, match=f"{path}{REASON}"):
        save_predictions(path, predictions(1.0))
    place.check_clean(path.name)
    np.testing.assert_allclose(load_predictions(path, MPII).pixels, predictions(0.0).pixels, atol=1e-3)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_overlay(place, suffix):
    path = place.folder / f"overlay{suffix}"
    picture = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    save_image(path, picture)
    before = path.read_bytes()
    with place.full(), pytest.raises(PoseError, match=f"{path}{REASON}"):
        save_image(path, picture[::-1])
    place.check_clean(path.name)
    assert path.read_bytes() == before


@pytest.mark.parametrize("write", [write_json, write_csv])
def test_tables_of_predict(place, write):
    path, found = place.folder / "poses", Found(MPII, pictures=[Picture("a" * 200, 5, 5)] * 100)
    write(path, Found(MPII, pictures=[Picture("old", 5, 5)]))
    before = path.read_text()
    zeros = np.zeros((16, 2), np.float32)
    found.people = [(i, Pose(MPII, zeros, zeros[:, 0], zeros[:2].ravel())) for i in range(100)]
    with place.full(), pytest.raises(PoseError, match=f"{path}{REASON}"):
        write(path, found)
    place.check_clean(path.name)
    assert path.read_text() == before


@pytest.mark.slow
def test_video(place):
    cv2 = pytest.importorskip("cv2")
    source, overlay = place.folder.parent / "source.mp4", place.folder / "overlay.mp4"
    writer = cv2.VideoWriter(str(source), cv2.VideoWriter.fourcc(*"mp4v"), 5.0, (320, 320))
    rng = np.random.default_rng(0)
    for _ in range(4):
        writer.write(rng.integers(0, 255, (320, 320, 3), dtype=np.uint8))
    writer.release()
    overlay.write_bytes(b"old")

    def stream(frames, boxes, on_error):
        return ([] for _ in frames)

    def write() -> list[str]:
        output = bulk.Output(place.folder, Found(PA16J))
        output.due = np.inf  # the poses wait
        predict_video(stream, source, overlay, None, {}, output=output, progress=predict.Progress(1))
        assert len(output.found.pictures) == 4  # whatever becomes of the overlay
        return output.found.broken

    with place.full():
        (said,) = write()
    assert said.startswith(f"{overlay} could not be written: ")
    assert overlay.read_bytes() == b"old" and os.listdir(place.folder).count("overlay.mp4") == 1
    assert not list(place.folder.glob(".*.tmp-*"))
    assert write() == []
    capture = cv2.VideoCapture(str(overlay))
    assert sum(1 for _ in iter(lambda: capture.read()[0], False)) == 4


def test_the_command_predict_ends_with_one_sentence(place, monkeypatch, capsys):
    save_weights(tiny(), place.folder / "tiny.weights.h5")
    _people(place.folder, 1)
    arguments = [
        place.folder / "0.png",
        "--weights",
        place.folder / "tiny.weights.h5",
        "--output",
        place.folder / "out",
    ]
    monkeypatch.setattr(sys, "argv", ["predict", *map(str, arguments)])
    with place.full(), pytest.raises(SystemExit) as end:
        run(predict.main)
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {place.folder}/out/") and "could not be written" in error
    assert error.count("\n") == 1
    assert not list(place.folder.rglob(".*.tmp-*"))


def test_crop_cache(place):
    cache = place.folder / "cache"
    samples = _people(place.folder.parent)
    (old,) = prepare_crops(samples[:1], cache)
    with place.full(), pytest.raises(PoseError, match=rf"{cache}/\w+\.jpg{REASON}"):
        prepare_crops(samples, cache)
    assert not list(cache.glob(".*")) and not find_broken(cache.iterdir()) and Path(old.image).exists()
    prepared = prepare_crops(samples, cache)  # only what is missing
    assert prepared[0].image == old.image and not find_broken(sample.image for sample in prepared)
    assert len(os.listdir(cache)) == len(samples)


def test_synthetic_set_that_did_not_fit_is_rendered_anew(place):
    folder = place.folder / "people"
    with place.full(), pytest.raises(PoseError, match=rf"{folder}/images/\d+\.jpg{REASON}"):
        synthetic.ensure(folder, train=3, validation=2)
    assert not list(folder.rglob(".*.tmp-*"))
    synthetic.ensure(folder, train=3, validation=2)
    assert len(mpii.load(folder, "train")) >= 2


def test_the_annotations_of_a_synthetic_set(place):
    """What HDF5 writes: the pictures did fit."""
    folder = place.folder / "people"
    synthetic.write(folder, train=3, validation=2)
    before, people = len(mpii.load(folder, "val")), [synthetic.render(seed)[1] for seed in range(60)]
    for name in ("valid.h5", "new.h5"):
        with place.full(), pytest.raises(PoseError, match=rf"{name}{REASON}"):
            synthetic.dataset._write_validation(folder / "annot" / name, people, 0)
    assert os.listdir(folder / "annot") == ["valid.h5"] and len(mpii.load(folder, "val")) == before


def test_history_and_curves(place):
    rows = [{"epoch": i + 1, "loss": 1 / (i + 1), "score": 1.0, "learning_rate": 0.1} for i in range(500)]
    table, picture = place.folder / "history.csv", place.folder / "curves.png"
    _write_history(table, rows[:2])
    plot_history(table, picture)
    before = table.read_text(), picture.read_bytes()
    with place.full():
        with pytest.raises(PoseError, match=f"{table}{REASON}"):
            _write_history(table, rows)
        with pytest.raises(PoseError, match=f"{picture}{REASON}"):
            plot_history(table, picture)
    place.check_clean(table.name, picture.name)
    assert (table.read_text(), picture.read_bytes()) == before


@pytest.mark.slow
def test_a_training_whose_disk_fills_goes_on_when_there_is_space_again(place):
    output, people = place.folder / "run", _people(place.folder)

    def validate(model, callbacks):
        return {"score": 1.0}

    epochs = 0

    def fill(model, epoch, row):
        nonlocal epochs
        epochs += 1
        if epochs == 1:
            full.__enter__()

    full = place.full()
    try:
        with run_directory(output, resume=False, force=False), pytest.raises(PoseError, match=rf"{output}/\S+{REASON}"):
            train(_training_model(), people, validate, RECIPE, output, skeleton=PA16J, save_every=1, report=fill)
    finally:
        full.__exit__(None, None, None)
    assert states(output)
    with run_directory(output, resume=True, force=False):
        assert not list(output.glob(".*.tmp-*"))
        assert train(_training_model(), people, validate, RECIPE, output, skeleton=PA16J).epoch == 2
    assert len((output / "history.csv").read_text().splitlines()) == 3


def test_a_quota_stops_what_it_should(place):
    """That the tests above would fail if the disk were not full."""
    for write in (
        lambda path: path.write_bytes(bytes(20_000)),
        lambda path: scipy.io.savemat(path, {"x": np.random.default_rng(0).random(5000)}),
    ):
        path = place.folder / "file.mat"
        with place.full(), pytest.raises(OSError):
            write(path)
        path.unlink(missing_ok=True)
    with h5py.File(place.folder / "fits.h5", "w") as file:
        file["x"] = np.arange(5)
