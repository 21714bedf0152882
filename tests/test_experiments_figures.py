import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from experiments import figures
from pose_regression.errors import PoseError
from pose_regression.inference.predictor import PosePredictor
from pose_regression.model.network import PoseRegressor
from pose_regression.model.weights import save_weights
from pose_regression.skeleton import LSP, PA16J, Skeleton

PAIR = Skeleton(("neck", "head"), (("neck", "head"),))
PHOTO = np.zeros((4, 4, 3), np.uint8)
SQUARE = (0.0, 1.0, 1.0, 0.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Weights of a tiny network with context, of one without, and two photographs."""
    folder = tmp_path_factory.mktemp("figures")
    keras.utils.set_random_seed(0)
    for name, context in (("context", 2), ("plain", 0)):
        model = PoseRegressor((64, 64, 3), num_blocks=1, width=18, num_context=context)
        save_weights(model, folder / f"{name}.weights.h5")
    rng = np.random.default_rng(0)
    (folder / "photos").mkdir()
    for name in ("a", "b"):
        pixels = rng.integers(0, 256, (90, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "photos" / f"{name}.png")
    return folder


def _command(monkeypatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["figures", *map(str, arguments)])
    figures.main()


def test_every_map_gives_its_own_answer():
    heatmaps = np.full((3, 5, 2), -50.0, np.float32)
    heatmaps[0, 4, 0], heatmaps[2, 2, 1] = 2.0, -1.0
    # Joint-major: both maps of the neck, then both of the head.
    context = np.full((3, 5, 4), -50.0, np.float32)
    for i, (row, column) in enumerate([(0, 0), (2, 4), (0, 2), (2, 0)]):
        context[row, column, i] = 0.0
    found = figures.answers(
        heatmaps, context, name="x", photo=PHOTO, extent=SQUARE, skeleton=PAIR, grid="endpoints", alpha=0.5
    )
    np.testing.assert_allclose(found.part_pose, [[1, 0], [0.5, 1]], atol=1e-6)
    np.testing.assert_allclose(found.part_probability, [1 / (1 + np.exp(-2)), 1 / (1 + np.e)], rtol=1e-5)
    np.testing.assert_allclose(found.context_pose, [[[0, 0], [0.5, 0]], [[1, 1], [0, 1]]], atol=1e-6)
    np.testing.assert_allclose(found.context_probability, 0.5)
    # Half of the part map's answer and half of the mean of two equally probable ones.
    np.testing.assert_allclose(found.pose, [[0.75, 0.25], [0.375, 0.75]], atol=1e-6)


@pytest.mark.parametrize("name", ["context", "plain"])
@pytest.mark.parametrize("box", [None, (5.0, 10.0, 45.0, 70.0)])
def test_the_aggregated_pose_is_the_networks_answer_at_its_place_in_the_photo(folder, name, box):
    predictor = PosePredictor(folder / f"{name}.weights.h5")
    path = folder / "photos" / "a.png"
    person = figures.inspect(predictor, path, box)
    expected = predictor.predict(path, None if box is None else [box], people="whole")[0]
    left, right, bottom, top = person.extent
    pixels = (person.pose - (left, top)) / (right - left, bottom - top) * (60, 90)
    np.testing.assert_allclose(pixels, expected.pixels, atol=1e-3)
    np.testing.assert_allclose(person.part_probability, expected.probability, atol=1e-6)


def test_joints_that_were_not_learned_are_left_out(folder):
    person = figures.inspect(PosePredictor(folder / "context.weights.h5"), folder / "photos" / "a.png")
    assert figures.learned(person).skeleton == PA16J
    taught = replace(person, skeleton=replace(PA16J, learned=LSP.names))
    shown = figures.learned(taught)
    knee, of_network = LSP.index("left_knee"), PA16J.index("left_knee")
    assert shown.skeleton == LSP
    np.testing.assert_array_equal(shown.heatmaps[..., knee], person.heatmaps[..., of_network])
    np.testing.assert_array_equal(shown.context_pose[:, knee], person.context_pose[:, of_network])
    np.testing.assert_array_equal(shown.pose[knee], person.pose[of_network])
    assert shown.heatmaps.shape[-1] == shown.context_probability.shape[-1] == 14


def test_limbs_are_between_learned_joints():
    skeleton = replace(PA16J, learned=("neck", "head", "left_knee"))
    maps = np.zeros((4, 4, 16), np.float32)
    person = figures.answers(
        maps, None, name="x", photo=PHOTO, extent=SQUARE, skeleton=skeleton, grid="paper", alpha=0.8
    )
    assert figures.learned(person).skeleton == Skeleton(("neck", "head", "left_knee"), (("neck", "head"),))


@pytest.mark.parametrize(
    ("grid", "edges"), [("endpoints", (-1 / 6, 7 / 6)), ("centers", (0.0, 1.0)), ("paper", (0.125, 1.125))]
)
def test_maps_are_drawn_where_their_cells_lie(grid, edges):
    person = figures.answers(
        np.zeros((4, 4, 2), np.float32), None, name="x", photo=PHOTO, extent=SQUARE, skeleton=PAIR, grid=grid, alpha=0.8
    )
    left, right, bottom, top = figures._extent(person)
    np.testing.assert_allclose((left, right), edges, atol=1e-6)
    np.testing.assert_allclose((top, bottom), edges, atol=1e-6)


def test_each_half_of_a_limb_has_the_colour_of_its_joint():
    axis = figures.Figure().subplots()
    figures.draw_pose(axis, np.array([[0.0, 0.0], [1.0, 0.5]]), PAIR, probability=np.array([1.0, 0.0]))
    lines = axis.collections[1]
    np.testing.assert_allclose(lines.get_segments(), [[[0, 0], [0.5, 0.25]], [[0.5, 0.25], [1, 0.5]]])
    expected = np.column_stack([figures.joint_colors(PAIR) / 255, [1.0, 0.15]])
    np.testing.assert_allclose(lines.get_colors(), expected)


def test_command_writes_every_figure_as_pdf_with_text_and_as_png(folder, tmp_path, monkeypatch, capsys):
    weights = folder / "context.weights.h5"
    _command(monkeypatch, "--weights", weights, "--images", folder / "photos", "--output", tmp_path)
    stems = ["figure_1", "figure_4_a", "figure_4_b", "figure_5"]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(f"{s}{x}" for s in stems for x in (".pdf", ".png"))
    for stem in stems:
        assert b"/FontFile2" in (tmp_path / f"{stem}.pdf").read_bytes()
        with Image.open(tmp_path / f"{stem}.png") as picture:
            assert min(picture.size) > 300
            assert np.asarray(picture.convert("L")).std() > 10
    assert "2 images, 8 files" in capsys.readouterr().out


def test_without_context_there_is_no_figure_5(folder, tmp_path, monkeypatch, capsys):
    weights, photo = folder / "plain.weights.h5", folder / "photos" / "a.png"
    _command(monkeypatch, "--weights", weights, "--images", photo, "--output", tmp_path)
    assert not list(tmp_path.glob("figure_5*")) and (tmp_path / "figure_4_a.pdf").exists()
    assert "No figure 5" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--images", "{0}"], "has no images"),
        (["--images", "{0}/absent.jpg"], "absent.jpg"),
        (["--images", "{1}/photos", "--box", 0, 0, 9, 9], "once for each image, 2 times"),
        (["--images", "{1}/photos/a.png", "{0}/a.png"], "different names"),
        (["--images", "{1}/photos", "--count", 0], "--count must be at least 1"),
        (["--images", "{1}/photos/a.png", "--box", 500, 500, 600, 600], "outside the image"),
    ],
)
def test_mistakes_are_one_sentence(folder, tmp_path, monkeypatch, arguments, message):
    arguments = [str(a).format(tmp_path, folder) for a in arguments]
    with pytest.raises(PoseError, match=message):
        _command(monkeypatch, "--weights", folder / "context.weights.h5", *arguments, "--output", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_wrong_weights_exit_2_without_a_traceback(folder, tmp_path):
    photo = folder / "photos" / "a.png"
    command = ["--weights", str(photo), "--images", str(photo), "--output", str(tmp_path / "out")]
    done = subprocess.run([sys.executable, "-m", "experiments.figures", *command], capture_output=True, text=True)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr and str(photo) in done.stderr.splitlines()[-1]
