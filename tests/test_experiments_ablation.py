import json
import sys
from contextlib import nullcontext
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from experiments import ablation_table1 as ablation
from experiments.training_run import train_network
from pose_regression.data.sample import Sample
from pose_regression.errors import PoseError
from pose_regression.evaluation.benchmarks import LSP
from pose_regression.evaluation.windows import predict
from pose_regression.model.network import PoseRegressor
from pose_regression.model.weights import load_model, save_weights
from pose_regression.training.heatmap_regression import argmax_decoder
from pose_regression.training.loop import Terminated

SMALL = "--benchmark lsp --data nowhere --recipe quick --epochs 2 --batch-size 2 --blocks 1 --width 8 --input-size 32"


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory) -> ablation.Benchmark:
    """Six noisy pictures with joints anywhere; the same people for all purposes."""
    folder, rng = tmp_path_factory.mktemp("people"), np.random.default_rng(0)
    people = []
    for i in range(6):
        image = folder / f"{i}.png"
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), np.uint8)).save(image)
        joints = rng.uniform(4, 28, (16, 2))
        people.append(Sample(str(image), np.array([16.0, 16.0]), 32.0, joints, np.ones(16, bool)))
    return ablation.Benchmark("Noise", "PCK", LSP.score, people, people, people)


@pytest.fixture
def sweep(benchmark, monkeypatch, tmp_path):
    """The command with instant trainings and scores, as a function of more arguments; and what was trained, in order.

    A network's PCK is 50 plus its seed, the maxima's 10 less.
    """
    trained: list[str] = []

    def instant(options, directory: Path, scope, **_):
        trained.append(directory.name)
        (directory / "history.csv").write_text("epoch,score,score_argmax\n1,20,10\n2,30.5,12\n")

    def score(weights: Path, training: ablation.Training, _) -> dict:
        seed = int(weights.parent.name.rpartition("_")[2])
        scores = {"network": {"Head": 1.0, "PCK": 50.0 + seed}, "argmax": {"Head": 0.0, "PCK": 40.0 + seed}}
        read = {name: scores[name] for name in training.readers}
        return {"scores": read, "parameters": 7, "totals": [50.0] * 11}

    def command(*more: str) -> Path:
        monkeypatch.setattr(sys, "argv", ["table1", *SMALL.split(), "--output", str(tmp_path / "run"), *more])
        ablation.main()
        return tmp_path / "run"

    monkeypatch.setattr(ablation, "load", lambda options: benchmark)
    monkeypatch.setattr(ablation, "train_network", instant)
    monkeypatch.setattr(ablation, "scored", score)
    return command, trained


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [
        ([3, 5, 7], [2, 3, 4], "inside the spread"),
        ([3, 4, 5.1], [1, 2, 3], "clear"),
        ([1, 2, 3], [3, 4, 5.1], "reversed"),
    ],
)
def test_verdict_is_that_of_the_paired_interval(first, second, verdict):
    assert ablation.difference(first, second)["verdict"] == verdict


def test_interval_of_hand_computed_differences():
    # Differences 1, 2, 3: mean 2, deviation 1, and t(0.975, 2) = 4.3027.
    result = ablation.difference([3, 5, 7], [2, 3, 4])
    half = 4.302653 / np.sqrt(3)
    assert [result[k] for k in ("difference", "low", "high")] == pytest.approx([2, 2 - half, 2 + half], rel=1e-5)


def test_one_seed_has_neither_spread_nor_interval():
    result = ablation.difference([3], [2])
    assert (result["difference"], result["low"], result["verdict"]) == (1, None, "one seed tells no spread")
    assert ablation.spread([3.0]) is None


def test_joints_on_the_grid_are_the_nearest_cells():
    joints = np.full((16, 2), np.nan)
    joints[0], joints[1] = (10 + 100 * 0.16, 20 + 100 * 0.99), (10 + 100 * 0.17, 20 - 30)
    sample = Sample("none", np.array([60.0, 70.0]), 100.0, joints, np.ones(16, bool))
    pixels = ablation.on_grid([sample], 4)[0]  # cells at 0, 1/3, 2/3, 1
    np.testing.assert_allclose(pixels[:2], [[10, 120], [10 + 100 / 3, 20]], atol=1e-4)
    assert np.isnan(pixels[2:]).all()


def test_alpha_changed_after_training_is_the_network_with_that_alpha(benchmark, tmp_path):
    keras.utils.set_random_seed(1)
    model = PoseRegressor((32, 32, 3), num_blocks=1, width=8, alpha=0.8)
    heatmaps = model.get_layer("block_b_1").get_layer("heatmaps").kernel
    heatmaps.assign(heatmaps * 30)  # a fresh network's answers all lie in the middle
    save_weights(model, tmp_path / "a.weights.h5")
    exact = ablation.Benchmark("", "Total", lambda _, pixels: {"Total": pixels.tolist()}, (), (), benchmark.test)
    result = ablation.scored(tmp_path / "a.weights.h5", ablation.TRAININGS["alpha_0.8"], exact)
    np.testing.assert_allclose(result["totals"][8], result["scores"]["network"]["Total"], atol=1e-3)
    other = PoseRegressor(**model.get_config() | {"alpha": 0.3})
    other.set_weights(model.get_weights())
    np.testing.assert_allclose(result["totals"][3], predict(other, benchmark.test).pixels, atol=1e-3)
    assert np.abs(np.subtract(result["totals"][0], result["totals"][10])).max() > 0.5


def test_sweep_trains_four_networks_a_seed_and_writes_five_rows(sweep):
    command, trained = sweep
    directory = command("--seeds", "2")
    assert trained == [f"{name}_seed_{seed}" for seed in (0, 1) for name in ablation.TRAININGS]
    figures = json.loads((directory / "table1_lsp.json").read_text())
    assert list(figures["rows"]) == ["a1", "a2", "b", "c", "d"]
    assert figures["rows"]["a1"]["validation"] == [[10, 12]] * 2  # read from the maxima of (b)'s maps
    assert figures["rows"]["a2"]["validation"] == figures["rows"]["b"]["validation"] == [[20, 30.5]] * 2
    assert figures["rows"]["d"]["mean"] == {"Head": 1, "PCK": 50.5}
    assert figures["rows"]["a1"]["mean"] == {"Head": 0, "PCK": 40.5}
    assert figures["rows"]["d"]["spread"] == pytest.approx(np.sqrt(0.5))
    text = (directory / "table1_lsp.md").read_text()
    assert all(f" {paper} |" in text for paper in ("85.3", "86.9", "88.7", "89.1"))
    assert "- (d) - (c): +0.0 [+0.0 to +0.0], in the paper +0.4: inside the spread" in text
    assert Image.open(directory / "table1_lsp.png").width > 800


def test_interrupted_sweep_goes_on_where_it_was_and_more_seeds_add_to_it(sweep, monkeypatch):
    command, trained = sweep
    whole = ablation.train_network

    def cut_off(options, directory, scope, **rest):
        if directory.name == "alpha_0.9_seed_0":
            raise Terminated
        whole(options, directory, scope, **rest)

    monkeypatch.setattr(ablation, "train_network", cut_off)
    with pytest.raises(Terminated):
        command("--seeds", "1")
    assert trained == ["no_context_seed_0", "heatmaps_seed_0"]
    with pytest.raises(PoseError, match="--resume"):
        command("--seeds", "1")
    monkeypatch.setattr(ablation, "train_network", whole)
    command("--seeds", "1", "--resume")
    assert trained[2:] == ["alpha_0.9_seed_0", "alpha_0.8_seed_0"]
    command("--seeds", "2", "--resume")
    assert trained[4:] == [f"{name}_seed_1" for name in ablation.TRAININGS]
    with pytest.raises(PoseError, match="started with epochs=2"):
        command("--resume", "--epochs", "3")
    command("--seeds", "1", "--force")
    assert len(trained) == 12


@pytest.mark.slow
@pytest.mark.parametrize("name", ["no_context", "heatmaps"])
def test_training_without_context_also_records_how_argmax_does(name, benchmark, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["table1", *SMALL.split()])
    options = ablation.options_of(ablation.parse(), name, seed=0)
    supervise = ablation.TRAININGS[name].supervise
    train_network(
        options, tmp_path, nullcontext, training=benchmark.training, validation=benchmark.validation, score=LSP.score,
        total="PCK", supervise=supervise,
    )  # fmt: skip
    history = ablation.read_history(tmp_path / "history.csv")
    assert history["epoch"] == [1, 2]
    assert ("score_argmax" in history) == (name == "no_context")
    model, _ = load_model(tmp_path / "last.weights.h5", outputs="all")
    final = history["score_argmax" if name == "no_context" else "score"][-1]
    pixels = predict(argmax_decoder(model), benchmark.validation).pixels
    assert LSP.score(benchmark.validation, pixels)["PCK"] == pytest.approx(final)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--alpha 0.7", "--alpha is what the rows differ in"),
        ("--context 0", "at least 1. Received: 0"),
        ("--seeds 0", "--seeds must be at least 1"),
        ("--benchmark mpii --extra somewhere", "--extra goes with --benchmark lsp"),
        ("--limit 5", "--limit must be positive and goes with --extra"),
    ],
)
def test_options_that_make_no_sense_are_one_sentence(arguments, message, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["table1", *SMALL.split(), *arguments.split()])
    with pytest.raises(PoseError, match=message):
        ablation.parse()
