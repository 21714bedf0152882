import json
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.flags import CONFIGS, config, experiment_of, field_texts, parser_of
from pose_regression.errors import PoseError
from pose_regression.training import experiment as experiments
from pose_regression.training.experiment import (
    RECIPES,
    Coco,
    Experiment,
    Lsp,
    Machine,
    Mpii,
    Network,
    Recipe,
    from_json,
    keep_experiment,
    to_json,
)


def parsed(kind, *words):
    return experiment_of(parser_of("", kind, output="runs/x").parse_args(list(map(str, words))), kind)


@pytest.mark.parametrize(
    "made",
    [
        Experiment(Mpii(Path("a"))),
        Experiment(Lsp(Path("a"), extra=Path("b"), limit=8), Network(2), RECIPES["deephar"], seed=4),
        Experiment(Coco(Path("a"), Path("b")), machine=Machine(cache=Path("c")), weights="small"),
    ],
)
def test_an_experiment_comes_back_from_its_json(made):
    assert from_json(json.loads(json.dumps(to_json(made))), Path("x")) == made


def test_options_carry_no_path_of_this_machine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = to_json(Experiment(Lsp(tmp_path / "lsp", extra=Path("/elsewhere/lspet"))))
    assert (content["data"]["folder"], content["data"]["extra"]) == ("lsp", "lspet")


def test_resume_compares_experiments_but_for_what_may_change(tmp_path):
    path, made = tmp_path / "options.json", Experiment(Mpii(Path("a")))
    keep_experiment(path, made, resume=False)
    keep_experiment(path, replace(made, machine=Machine(save_every=3, cache=Path("c"))), resume=True)
    with pytest.raises(PoseError, match="started with epochs=120. Received: 3"):
        keep_experiment(path, replace(made, recipe=Recipe(epochs=3)), resume=True)
    path.write_text(json.dumps({"options": {"blocks": 2}, "recipe": {}}), encoding="utf-8")
    with pytest.raises(PoseError, match="started by an earlier version"):
        keep_experiment(path, made, resume=True)


def test_flags_change_single_fields_of_a_recipe():
    words = "--data lsp --recipe quick --epochs 3 --zoom 0.9 1.1 --blocks 2 --deterministic --seed 5 --milestones 1 2"
    made, output, how = parsed(Lsp, *words.split())
    quick = RECIPES["quick"]
    augmentation = replace(quick.augmentation, zoom=(0.9, 1.1))
    assert made.recipe == replace(quick, epochs=3, milestones=(1, 2), augmentation=augmentation)
    assert made == Experiment(Lsp(Path("lsp")), Network(2), made.recipe, Machine(deterministic=True), seed=5)
    assert (output, how) == (Path("runs/x"), {"resume": False, "force": False})


def test_flags_change_single_fields_of_a_config():
    made, output, _ = parsed(Lsp, "--config", "small_3", "--seed", 7, "--width", 36)
    base = config("small_3")
    assert made == replace(base, seed=7, network=replace(base.network, width=36))
    assert output == Path("runs/small_3")


@pytest.mark.parametrize("path", [p for p in CONFIGS.glob("*.py") if p.stem != "__init__"], ids=lambda p: p.stem)
def test_every_config_is_an_experiment_and_says_command_cost_and_expected_score(path):
    assert isinstance(config(path.stem), Experiment)
    text = path.read_text(encoding="utf-8")
    assert all(f"\n{word}:" in text for word in ("Command", "Cost", "Expected")) and f"--config {path.stem}" in text


def test_the_options_of_a_run_are_a_config(tmp_path):
    made = Experiment(Mpii(Path("a")), Network(2))
    keep_experiment(tmp_path / "options.json", made, resume=False)
    assert config(str(tmp_path / "options.json")) == made


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "--data must be given, or a --config"),
        (["--config", "first_run"], "is a training on Mpii, not Lsp"),
        (["--config", "nonsense"], "--config must be one of first_run, "),
        (["--data", "a", "--epochs", "0"], "epochs must be positive. Received: 0"),
        (["--data", "a", "--zoom", "1.2", "0.8"], "zoom must be two positive factors"),
    ],
)
def test_what_makes_no_experiment_is_one_sentence(words, sentence):
    with pytest.raises(PoseError, match=sentence):
        parsed(Lsp, *words)


def test_a_choice_that_is_none_is_refused_from_python_too():
    with pytest.raises(PoseError, match="optimizer must be one of rmsprop, adamw. Received: sgd"):
        Recipe(optimizer="sgd")


def test_every_field_is_explained():
    kinds = (Network, Recipe, Machine, Experiment, Mpii, Lsp, Coco, experiments.Augmentation)
    for kind in kinds:
        nested = {"data", "network", "recipe", "machine", "augmentation"}
        assert set(field_texts(kind)) >= set(kind.__dataclass_fields__) - nested, kind


def test_weights_to_start_from_bring_their_network_unless_it_is_said():
    small, _, _ = parsed(Lsp, "--data", "lsp", "--weights", "small")
    assert (small.network.blocks, small.network.width) == (4, 288) and small.network.input_size < 256
    other, _, _ = parsed(Lsp, "--data", "lsp", "--weights", "small", "--input-size", 64, "--alpha", 0.5)
    assert (other.network.blocks, other.network.input_size, other.network.alpha) == (4, 64, 0.5)
    assert parsed(Lsp, "--data", "lsp")[0].network == experiments.Network()


def test_flags_of_ones_own_joints_reach_their_fields():
    given = ["--annotations", "a.json", "--images", "b"]
    experiment, *_ = parsed(Coco, *given, "--category", "dog", "--labels", "file", "--no-flip")
    assert (experiment.data.category, experiment.data.labels) == ("dog", "file")
    assert experiment.recipe.augmentation.flip == 0 and experiment.recipe.augmentation.rotation == 40
    plain, *_ = parsed(Coco, *given)
    assert (plain.data.category, plain.data.labels, plain.recipe.augmentation.flip) == (None, None, 0.5)
    with pytest.raises(SystemExit):
        parsed(Coco, *given, "--labels", "sideways")


def test_what_to_start_from_is_said_of_weights():
    with pytest.raises(PoseError, match=r"^start=stem needs weights, whose stem it is\.$"):
        Experiment(Mpii(Path("mpii")), start="stem")
    with pytest.raises(PoseError, match=r"^start must be network or stem\. Received: blocks$"):
        Experiment(Mpii(Path("mpii")), weights="small", start="blocks")
