"""The benchmark commands, with networks so small that their figures mean nothing but must be consistent."""

import json
import os
from functools import partial
from statistics import median

import pytest

from experiments import benchmark_speed, benchmark_training, data_rates
from pose_regression.errors import PoseError
from pose_regression.inference import runtimes, speed
from pose_regression.inference.processes import in_own_process, peak_memory
from pose_regression.inference.runtimes import missing_packages
from pose_regression.model import backbone, kernels
from pose_regression.model.network import PoseRegressor


@pytest.fixture
def same_process(monkeypatch):
    """Starting TensorFlow in many processes would take a minute."""
    for module in (benchmark_training, benchmark_speed):
        monkeypatch.setattr(module, "in_own_process", lambda function, *arguments: function(*arguments))


def test_own_process_is_another_one_and_returns():
    assert in_own_process(os.getpid) != os.getpid()


def test_error_in_own_process_arrives():
    with pytest.raises(ValueError, match="invalid literal"):
        in_own_process(int, "x")


def test_killed_process_is_a_clear_error():
    with pytest.raises(PoseError, match="killed, probably for lack of memory"):
        in_own_process(os.abort)


def test_peak_memory_grows_with_what_is_allocated():
    before = peak_memory()
    block = b"x" * int((before + 100) * 2**20)
    assert peak_memory() > before + 90
    del block


def test_plain_layers_are_keras_own_within_the_block_only():
    with benchmark_training.plain_layers(True):
        model = PoseRegressor((32, 32, 3), num_blocks=1, width=16)
    assert backbone.BatchNormalization is kernels.BatchNormalization
    assert backbone.SeparableConv2D is kernels.SeparableConv2D
    types = {type(layer) for layer in model._flatten_layers()}
    assert not types & {kernels.BatchNormalization, kernels.SeparableConv2D}


def test_training_benchmark_reports_the_variants(monkeypatch, same_process, tmp_path, capsys, exit_status):
    variants = (("plain", "float32"), ("ours", "mixed_bfloat16"))  # two of the four, for time
    monkeypatch.setattr(benchmark_training, "VARIANTS", variants)
    file = tmp_path / "figures.json"
    code = exit_status(
        benchmark_training, "--blocks", 1, "--width", 16, "--input-size", 32, "--batch-size", 2,
        "--rounds", 1, "--seconds", 0, "--only", "step", "--output", file,
    )  # fmt: skip
    assert code == 0
    figures = json.loads(file.read_text())
    assert [(row["layers"], row["dtype"]) for row in figures["variants"]] == list(variants)
    assert all(row["seconds"] > 0 and row["memory_mib"] > 100 for row in figures["variants"])
    assert figures["variants"][0]["ratio"] == 1
    out = capsys.readouterr().out
    assert "| plain | float32 | " in out and "| ours | mixed_bfloat16 | " in out
    assert f"Python and TensorFlow alone hold {figures['variants'][0]['idle_memory_mib']:.0f} MiB" in out


@pytest.mark.slow
def test_data_benchmark_reports_the_contenders(monkeypatch, tmp_path, capsys, exit_status):
    measure, file = data_rates.measure, tmp_path / "figures.json"
    monkeypatch.setattr(data_rates, "measure", lambda rounds: measure(rounds=rounds, images=2, size=32))
    assert exit_status(benchmark_training, "--only", "data", "--rounds", 1, "--output", file) == 0
    rates = json.loads(file.read_text())["data"]["images_per_second"]
    assert list(rates) == ["pil", "decoding", "pipeline", "cache"] and min(rates.values()) > 0
    out = capsys.readouterr().out
    assert "| pil |" in out and f"| cache | {rates['cache']:.1f} | {rates['cache'] / rates['pil']:.2f} | " in out


def test_ratios_are_medians_over_rounds():
    visits = {
        ("plain", "float32"): [benchmark_training.Visit(wall, 8.0, 1, 100, 50, 9) for wall in (4.0, 10.0, 6.0)],
        ("ours", "float32"): [benchmark_training.Visit(wall, 5.0, 1, 100, 50, 9) for wall in (2.0, 2.0, 4.0)],
    }
    row = benchmark_training.summary(("ours", "float32"), visits)
    assert row["ratio"] == 2.0  # of 2, 5 and 1.5
    assert row["cpu_ratio"] == 1.6
    assert row["seconds"] == 2.0


def test_speed_benchmark_measures_both_networks(exit_status, same_process, tmp_path, capsys):
    file = tmp_path / "figures.json"
    code = exit_status(
        benchmark_speed, "--blocks", 1, "--stacks", 1, "--width", 16, "--input-size", 64, "--repeats", 3,
        "--batch", 2, "--dtype", "bfloat16", "--runtime", "savedmodel", "keras", "--output", file,
    )  # fmt: skip
    assert code == 0
    figures = json.loads(file.read_text())
    assert [(row["network"], row["runtime"]) for row in figures["networks"]] == [
        ("ours, K = 1", "savedmodel"), ("ours, K = 1", "keras"), ("hourglass, 1 stacks", "keras"),
    ]  # fmt: skip
    for row in figures["networks"]:
        assert row["fps"] == pytest.approx(2000 / row["p50_ms"])
        assert row["p95_ms"] >= row["p50_ms"]
        assert row["of_sgemm"] > 0
        assert row["bytes"] > 4 * row["parameters"]
        assert row["memory_mib"] >= row["idle_memory_mib"] > 100
    out = capsys.readouterr().out
    assert "29.30" in out and "paper: 1.60 x its speed" in out


def test_end_to_end_compares_a_predictor_with_its_network(exit_status, tmp_path, photograph, capsys):
    pytest.importorskip("ai_edge_litert")
    for i in range(3):
        (tmp_path / f"{i}.jpg").write_bytes(photograph)
    file = tmp_path / "figures.json"
    arguments = ("--end-to-end", tmp_path, "--runtime", "keras", "--repeats", 2, "--output", file)
    assert exit_status(benchmark_speed, *arguments) == 0
    figures = json.loads(file.read_text())
    row = figures["runtimes"]["keras"]
    assert row["file_ms"] > row["network_ms"] > 0 and row["of_fastest"] == row["ratio"] > 1
    assert row["many_per_second"] > 0 and row["many_ratio"] > 0 and figures["three_people"] > 1
    assert "Three people looked for and posed: " in capsys.readouterr().out
    assert exit_status(benchmark_speed, "--end-to-end", tmp_path / "none") == 2
    assert "there is none in" in capsys.readouterr().err


def test_contenders_take_turns_and_the_first_rounds_do_not_count():
    called = []
    seconds = speed.in_turns({name: partial(called.append, name) for name in "ab"}, rounds=2, warm_up=1)
    assert "".join(called) == "ababab" and [len(seconds[name]) for name in "ab"] == [2, 2]
    assert speed.median_ratio([1.0, 6.0, 9.0], [1.0, 2.0, 1.0]) == 3.0


def test_speed_ratio_is_the_median_over_rounds():
    ours, hourglass = speed.Network("ours", 8), speed.Network("hourglass", 8)
    seconds = {(ours, "keras"): [1.0, 2.0, 4.0], (ours, "litert"): [9.0], (hourglass, "keras"): [3.0, 3.0, 8.0]}
    facts = {ours: {"bytes": 50}, hourglass: {"bytes": 100}}
    (ratio,) = speed.ratios(seconds, facts)
    assert ratio["speed"] == median([3.0, 1.5, 2.0])
    assert ratio["bytes"] == 0.5
    assert speed.ratios({(ours, "litert"): [9.0], "sgemm": [1.0]}, facts) == []


def test_sgemm_is_as_many_multiply_adds_in_the_same_round():
    contender = (speed.Network("ours", 8), "keras")
    settings = speed.Settings(batch=2)
    seconds = {contender: [1.0, 2.0, 9.0], "sgemm": [1.0, 4.0, 3.0]}  # ratios 1, 1/2 and 3 for a product of 2048^3
    row = speed.figures_of(contender, {"macs": 2048**3 // 4}, seconds, settings)
    assert row["of_sgemm"] == 2.0  # a batch has half as many
    assert row["fps"] == 1.0


@pytest.mark.parametrize("runtime", ["savedmodel", "litert"])
def test_other_runtimes_answer_as_keras(runtime, tmp_path):
    for package in missing_packages(runtime):
        pytest.skip(f"{package} is not installed")
    import keras
    import numpy as np

    settings = speed.Settings(input_size=64, width=16)
    keras.utils.set_random_seed(0)
    contender = (speed.Network("ours", 1), runtime)
    model = contender[0].build(settings, "float32")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speed.Network, "build", lambda *arguments: model)
        speed.prepare(settings, [contender], tmp_path)
    images = speed._random_images(settings)
    answer = speed.load(contender, tmp_path, settings)(images)
    np.testing.assert_allclose(answer["pose"], model.predict_on_batch(images)["pose"], atol=1e-4)


@pytest.mark.parametrize(
    ("module", "arguments", "message"),
    [
        (benchmark_training, ("--rounds", 0), "--rounds must be at least 1. Received: 0"),
        (benchmark_training, ("--width", 4), "width must be"),
        (benchmark_speed, ("--batch", 0), "--batch must be at least 1. Received: 0"),
        (benchmark_speed, ("--blocks", 1, 0), "--blocks and --stacks must be at least 1. Received: [1, 0], 8"),
        (benchmark_speed, ("--input-size", 96), "--input-size must be a multiple of 64"),
        (
            benchmark_speed,
            ("--runtime", "litert", "--dtype", "bfloat16"),
            "litert computes in float32 or int8",
        ),
        (benchmark_speed, ("--runtime", "openvino", "--device", "gpu"), "--runtime openvino"),
    ],
)
def test_wrong_option_is_one_sentence_and_exit_code_2(exit_status, same_process, capsys, module, arguments, message):
    assert exit_status(module, *arguments) == 2
    assert message in capsys.readouterr().err


def test_speed_benchmark_refuses_a_gpu_that_is_not_there(exit_status, same_process, capsys):
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        pytest.skip("there is a GPU")
    assert exit_status(benchmark_speed, "--device", "gpu", "--blocks", 1) == 2
    assert "TensorFlow finds no GPU" in capsys.readouterr().err


def test_speed_benchmark_names_the_missing_package(monkeypatch, capsys, exit_status):
    monkeypatch.setattr(runtimes, "find_spec", lambda name: None)
    assert exit_status(benchmark_speed, "--runtime", "openvino") == 2
    assert "--runtime openvino needs the package openvino" in capsys.readouterr().err
