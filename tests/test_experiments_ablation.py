import json
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from experiments import ablation_table1
from pose_regression.data.sample import Sample
from pose_regression.errors import PoseError, Terminated
from pose_regression.evaluation.benchmarks import LSP
from pose_regression.evaluation.windows import predict
from pose_regression.model.load import load_model
from pose_regression.model.network import PoseRegressor
from pose_regression.model.weights import save_weights
from pose_regression.training import ablation, run
from pose_regression.training.argmax import argmax_decoder
from pose_regression.training.curves import read_history
from pose_regression.training.experiment import RECIPES, Experiment, Lsp, Network
from pose_regression.training.people import People

SMALL = "--benchmark lsp --data nowhere --recipe quick --epochs 2 --batch-size 2 --blocks 1 --width 8 --input-size 32"


@pytest.fixture(scope="module")
def people(tmp_path_factory) -> list[Sample]:
    """Six noisy pictures with joints anywhere; the same people for all purposes."""
    folder, rng = tmp_path_factory.mktemp("people"), np.random.default_rng(0)
    people = []
    for i in range(6):
        image = folder / f"{i}.png"
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), np.uint8)).save(image)
        joints = rng.uniform(4, 28, (16, 2))
        people.append(Sample(str(image), np.array([16.0, 16.0]), 32.0, joints, np.ones(16, bool)))
    return people


@pytest.fixture
def loaded(people, monkeypatch):
    """What the experiment's data gives."""
    everybody = People(people, people, LSP.score, LSP.total, LSP.metric)
    for module in (ablation, run):
        monkeypatch.setattr(module, "load_people", lambda data: everybody)
    monkeypatch.setattr(ablation, "test_people", lambda experiment: people)


@pytest.fixture
def sweep(loaded, monkeypatch, tmp_path):
    """The command with instant trainings and scores, as a function of more arguments; and what was trained, in order.

    A network's PCK is 50 plus its seed, the maxima's 10 less.
    """
    trained: list[str] = []

    def instant(experiment, directory: Path, **_) -> Path:
        directory.mkdir(exist_ok=True)
        ablation.keep_experiment(directory / "options.json", experiment, resume=True)
        trained.append(directory.name)
        (directory / "history.csv").write_text("epoch,learning_rate,loss,score\n1,1,1,20\n2,1,1,30.5\n")
        return directory

    def score(weights: Path, training: ablation.Training, *_) -> dict:
        seed = int(weights.parent.name.rpartition("_")[2])
        scores = {"network": {"Head": 1.0, "PCK": 50.0 + seed}, "argmax": {"Head": 0.0, "PCK": 40.0 + seed}}
        read = {name: scores[name] for name in training.readers}
        return {"scores": read, "parameters": 7, "totals": [50.0] * 11}

    def command(*more: str) -> Path:
        monkeypatch.setattr(sys, "argv", ["table1", *SMALL.split(), "--output", str(tmp_path / "run"), *more])
        ablation_table1.main()
        return tmp_path / "run"

    monkeypatch.setattr(ablation, "run", instant)
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


def test_differences_of_two_rows_are_by_joint():
    first = {"seeds": [{"Knee": 3.0, "PCK": 5.0}, {"Knee": 4.0, "PCK": 7.0}]}
    second = {"seeds": [{"Knee": 1.0, "PCK": 4.0}, {"Knee": 2.0, "PCK": 4.0}]}
    found = ablation.differences(first, second)
    assert {name: of["difference"] for name, of in found.items()} == {"Knee": 2.0, "PCK": 2.0}
    table = ablation.table_of_differences([{"first": "c", "second": "b", "scores": found}])
    half = (7 - 4 - 1) / 2 * 12.7062  # Student's t of one degree of freedom
    assert table.splitlines()[0] == "| | Knee | PCK |"
    assert table.splitlines()[2] == f"| (c) - (b) | +2.0 ± 0.0 | +2.0 ± {half:.1f} |"


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


def test_alpha_changed_after_training_is_the_network_with_that_alpha(people, tmp_path):
    keras.utils.set_random_seed(1)
    model = PoseRegressor((32, 32, 3), num_blocks=1, width=8, alpha=0.8)
    heatmaps = model.get_layer("block_b_1").get_layer("heatmaps").kernel
    heatmaps.assign(heatmaps * 30)  # a fresh network's answers all lie in the middle
    save_weights(model, tmp_path / "a.weights.h5")
    exact = replace(LSP, metric="all", total="Total", tables={"all": lambda _, pixels: {"Total": pixels.tolist()}})
    result = ablation.scored(tmp_path / "a.weights.h5", ablation.TRAININGS["alpha_0.8"], exact, people)
    np.testing.assert_allclose(result["totals"][8], result["scores"]["network"]["Total"], atol=1e-3)
    other = PoseRegressor(**model.get_config() | {"alpha": 0.3})
    other.set_weights(model.get_weights())
    expected = exact.score(people, predict(other, people).pixels)["Total"]
    np.testing.assert_allclose(result["totals"][3], expected, atol=1e-3)
    assert np.abs(np.subtract(result["totals"][0], result["totals"][10])).max() > 0.5


def test_sweep_trains_four_networks_a_seed_and_writes_five_rows(sweep):
    command, trained = sweep
    directory = command("--seeds", "2")
    assert trained == [f"{name}_seed_{seed}" for seed in (0, 1) for name in ablation.TRAININGS]
    figures = json.loads((directory / "table1_lsp.json").read_text())
    assert list(figures["rows"]) == ["a1", "a2", "b", "c", "d"]
    assert figures["rows"]["a1"]["validation"] == []  # (b) is validated, not the maxima of its maps
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
    whole = ablation.run

    def cut_off(experiment, directory, **rest):
        if directory.name == "alpha_0.9_seed_0":
            raise Terminated
        return whole(experiment, directory, **rest)

    monkeypatch.setattr(ablation, "run", cut_off)
    with pytest.raises(Terminated):
        command("--seeds", "1")
    assert trained == ["no_context_seed_0", "heatmaps_seed_0"]
    with pytest.raises(PoseError, match="--resume"):
        command("--seeds", "1")
    monkeypatch.setattr(ablation, "run", whole)
    command("--seeds", "1", "--resume")
    assert trained[2:] == ["alpha_0.9_seed_0", "alpha_0.8_seed_0"]
    command("--seeds", "2", "--resume")
    assert trained[4:] == [f"{name}_seed_1" for name in ablation.TRAININGS]
    with pytest.raises(PoseError, match="started with epochs=2"):
        command("--resume", "--epochs", "3")
    command("--seeds", "1", "--force")
    assert len(trained) == 12


@pytest.mark.slow
def test_the_network_trained_on_heatmaps_is_validated_by_its_maxima(people, loaded, tmp_path):
    recipe = replace(RECIPES["quick"], epochs=2, batch_size=2)
    experiment = Experiment(Lsp(tmp_path), Network(blocks=1, width=8, input_size=32), recipe)
    run.run(ablation.TRAININGS["heatmaps"].of(experiment, 0), tmp_path / "run")
    final = read_history(tmp_path / "run/history.csv")["score"][-1]
    model, _ = load_model(tmp_path / "run/last.weights.h5", outputs="every_map")
    pixels = predict(argmax_decoder(model), people).pixels
    assert LSP.score(people, pixels)["PCK"] == pytest.approx(final)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--alpha 0.7", "--alpha is what the rows differ in"),
        ("--context 0", "at least 1. Received: 0"),
        ("--seeds 0", "--seeds must be at least 1"),
    ],
)
def test_options_that_make_no_sense_are_one_sentence(arguments, message, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["table1", *SMALL.split(), *arguments.split()])
    with pytest.raises(PoseError, match=message):
        ablation_table1.main()
