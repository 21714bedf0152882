import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from experiments import report
from pose_regression.data import mpii, synthetic
from pose_regression.data.sample import Sample
from pose_regression.errors import PoseError
from pose_regression.evaluation import analysis as analysis_of
from pose_regression.evaluation import benchmarks, metrics
from pose_regression.evaluation.scoring import load_network
from pose_regression.evaluation.windows import predict_blocks
from pose_regression.model.network import PoseRegressor
from pose_regression.model.weights import save_weights
from pose_regression.skeleton import PA16J
from pose_regression.training import curves

HISTORY = """epoch,learning_rate,loss,block_1,block_2,pose_loss,probability_loss,score,Head,Knee,UBody,Total,\
score_block_1,score_block_2
1,0.001,2.5,1.5,1.0,2.5,0.7,10.0,12.0,8.0,9.0,10.0,7.0,10.0
2,0.0005,1.5,0.8,0.7,1.5,0.6,34.5,40.0,30.0,33.0,34.5,30.0,34.5
3,0.0001,1.4,0.8,0.6,1.4,0.6,31.0,35.0,27.0,30.0,31.0,28.0,31.0
"""


class Document(HTMLParser):
    """Cells of all tables, row by row, and the addresses of everything that is loaded or linked."""

    def __init__(self, text: str):
        super().__init__()
        self.rows: list[list[str]] = []
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.addresses += [value for name, value in attrs if name in ("src", "href")]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def _run(directory: Path, *, seed: int | None = None) -> Path:
    """A training's directory, with the weights of an untrained tiny network if there is a seed."""
    directory.mkdir(parents=True)
    (directory / "history.csv").write_text(HISTORY)
    network = {"blocks": 2, "width": 18, "input_size": 32, "context": 2}
    options = {"experiment": {"network": network, "recipe": {"epochs": 3}}}
    (directory / "options.json").write_text(json.dumps(options | {"command": "train --data <here>"}))
    if seed is not None:
        keras.utils.set_random_seed(seed)
        model = PoseRegressor((32, 32, 3), num_blocks=2, width=18)
        for k in (1, 2):  # An untrained network points every joint to the middle of the crop.
            layer = model.get_layer(f"block_b_{k}").get_layer("heatmaps")
            layer.set_weights([3 * layer.get_weights()[0]])
        save_weights(model, directory / "best.weights.h5")
    return directory


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("people")
    synthetic.write(folder, train=1, validation=4)
    return folder


def _page(monkeypatch, output: Path, *arguments: object) -> str:
    monkeypatch.setattr(sys, "argv", ["report", *map(str, arguments), "--output", str(output)])
    report.main()
    return output.read_text(encoding="utf-8")


def test_page_holds_the_scores_of_every_run_and_block_and_loads_nothing(tmp_path, data, monkeypatch):
    runs = [_run(tmp_path / name, seed=seed) for seed, name in enumerate(("first", "second"))]
    text = _page(monkeypatch, tmp_path / "page.html", *runs, "--benchmark", "mpii", "--data", data)
    document = Document(text)
    assert document.open == []
    assert document.addresses and all(address.startswith("data:image/") for address in document.addresses)
    assert "<script" not in text and "default-src 'none'" in text

    people = mpii.load(data, "val")
    model, skeleton = load_network(runs[1] / "best.weights.h5", PA16J)
    pixels = predict_blocks(model, people, skeleton=skeleton).pixels
    totals = [benchmarks.MPII.score(people, pixels[:, k])["Total"] for k in range(2)]
    assert 0 < totals[1] < totals[0], "or the columns could not be told apart"
    first, second = (r for r in document.rows if r[0] in ("first", "second") and len(r) == 11)
    assert second[1] == f"{model.count_params():,}"
    assert second[9] == f"{totals[1]:.1f}" and first[1:] != second[1:]
    blocks = [r for r in document.rows if r[0].startswith("block ")]
    assert [r[-2] for r in blocks[2:]] == [f"{total:.1f}" for total in totals]
    assert blocks[3][-1] == f"{totals[1] - totals[0]:+.1f}"


def test_without_a_benchmark_the_curves_alone(tmp_path, monkeypatch):
    text = _page(monkeypatch, tmp_path / "page.html", _run(tmp_path / "r<u>n"))
    (row,) = (r for r in Document(text).rows if r[0] == "r<u>n")
    assert row[5:] == ["3 of 3", "34.5 (epoch 2)", "31.0"]
    assert "train --data &lt;here&gt;" in text and "<u>" not in text
    assert text.count("data:image/svg+xml") == 3


def test_runs_called_the_same_go_by_their_path(tmp_path):
    paths = [tmp_path / "a" / "run", tmp_path / "b" / "run", tmp_path / "c" / "other", tmp_path / "c" / "other"]
    assert report.labels(paths) == {str(paths[0]): paths[0], str(paths[1]): paths[1], "other": paths[2]}


def test_reliability_counts_joints_inside_the_window_that_can_be_annotated():
    joints = np.full((16, 2), 50.0)
    joints[0] = np.nan  # pelvis: never annotated in this data set
    joints[1] = (90.0, 50.0)  # thorax: outside
    joints[2] = np.nan  # neck: might have been annotated, but is not there
    supervised = np.ones(16, bool)
    supervised[0] = False
    sample = Sample("x.jpg", np.array([50.0, 50.0]), 60.0, joints, supervised)
    probability = np.full((1, 16), 0.95)
    probability[0, :3] = 0.05
    rows = analysis_of.reliability([sample], probability)
    assert [row["count"] for row in rows] == [2, 0, 0, 0, 0, 0, 0, 0, 0, 13]
    assert rows[0]["frequency"] == 0 and rows[9]["frequency"] == 1


def test_calibration_error_is_the_mean_gap_by_joints():
    rows = [
        {"count": 3, "probability": 0.1, "frequency": 0.2},
        {"count": 0, "probability": float("nan"), "frequency": float("nan")},
        {"count": 1, "probability": 0.9, "frequency": 0.4},
    ]
    assert metrics.calibration_error(rows) == pytest.approx((3 * 0.1 + 0.5) / 4)


def test_cases_show_the_worst_first_and_the_best_first(monkeypatch):
    samples = [Sample(f"im{i}.jpg", np.zeros(2), 1.0, np.zeros((16, 2)), np.ones(16, bool)) for i in range(4)]
    distances = np.array([[0.2, 0.4], [np.nan, 0.1], [np.inf, 1.0], [np.nan, np.nan]])
    analysis = analysis_of.Analysis(1, np.zeros((4, 16, 2)), distances, [], {})
    shown = []

    def draw(samples, pixels, joints, captions, columns):
        shown.append(captions)
        return np.zeros((4, 4, 3), np.uint8)

    monkeypatch.setattr("pose_regression.evaluation.sheets.draw_people", draw)
    text = report.cases("r", analysis, benchmarks.MPII, samples)
    # im3 has no annotation: it is neither.
    assert shown == [["im2  5.50", "im0  0.30", "im1  0.10"], ["im1  0.10", "im0  0.30", "im2  5.50"]]
    assert text.count("data:image/jpeg") == 2


def test_history_is_read_and_its_columns_told_apart(tmp_path):
    (tmp_path / "history.csv").write_text(HISTORY)
    history = curves.read_history(tmp_path / "history.csv")
    np.testing.assert_array_equal(history["loss"], [2.5, 1.5, 1.4])
    assert curves.total_of(history) == "Total"
    assert curves.joints_of(history) == ["Head", "Knee"]


def test_a_runs_curves_are_drawn(tmp_path):
    (tmp_path / "history.csv").write_text(HISTORY)
    curves.plot_history(tmp_path / "history.csv", tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.size == (1210, 770)

    history = curves.read_history(tmp_path / "history.csv")
    axis = curves.Figure().subplots()
    curves.draw_blocks(axis, history, "score_block_")
    assert [line.get_label() for line in axis.lines] == ["block 1", "block 2"]
    np.testing.assert_array_equal(axis.lines[1].get_ydata(), [10.0, 34.5, 31.0])


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("history.csv", None, "holds no history.csv"),
        ("history.csv", "", "has no epoch, learning_rate, loss, score"),
        ("history.csv", HISTORY.replace("1.5,0.8", "1.5,x"), "history.csv is damaged"),
        ("history.csv", HISTORY[:-20], "history.csv is damaged"),
        ("history.csv", HISTORY.replace("score,Head", "points,Head"), "has no score"),
        ("options.json", None, "options.json cannot be read"),
        ("options.json", "{", "options.json is not JSON"),
        ("options.json", "[]", "options.json is damaged"),
        ("options.json", "{}", "options.json is damaged: it has no experiment"),
    ],
)
def test_a_damaged_run_is_one_sentence(tmp_path, monkeypatch, file, content, message):
    run = _run(tmp_path / "run")
    (run / file).unlink()
    if content is not None:
        (run / file).write_text(content)
    with pytest.raises(PoseError, match=message):
        _page(monkeypatch, tmp_path / "page.html", run)
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--benchmark", "mpii"], "go together"),
        (["--benchmark", "lsp", "--data", "nowhere"], "joints.mat does not exist"),
        (["--benchmark", "mpii", "--data", "nowhere"], "has no MPII annotation"),
        (["--count", "0"], "--count must be at least 1"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path, monkeypatch, arguments, message):
    with pytest.raises(PoseError, match=message):
        _page(monkeypatch, tmp_path / "page.html", _run(tmp_path / "run"), *arguments)


def test_missing_weights_exit_2_without_a_traceback(tmp_path, data):
    command = [str(_run(tmp_path / "run")), "--benchmark", "mpii", "--data", str(data)]
    command += ["--output", str(tmp_path / "page.html")]
    done = subprocess.run([sys.executable, "-m", "experiments.report", *command], capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert re.search(r"error: .*best\.weights\.h5 could not be read: No such file", done.stderr)
