"""Which numbers a training computes in, on which machine."""

import pytest
import tensorflow as tf

from pose_regression.training import machine
from pose_regression.training.experiment import Machine


@pytest.mark.parametrize(
    ("features", "chosen"),
    [("avx2", "float32"), ("avx512f", "float32"), ("avx512_bf16", "mixed_bfloat16"), ("amx_bf16", "mixed_bfloat16")],
)
def test_auto_takes_bfloat16_where_the_processor_has_it(features, chosen, monkeypatch, capsys):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    monkeypatch.setattr(machine, "processor_features", lambda: {features})
    assert machine.dtype_of(Machine(dtype="auto")) == chosen
    assert capsys.readouterr().out == f"--dtype auto: {chosen}.\n"


@pytest.mark.parametrize(("capability", "chosen"), [((7, 5), "float32"), ((8, 0), "mixed_bfloat16")])
def test_auto_takes_bfloat16_on_gpus_since_ampere(capability, chosen, monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["one"])
    details = {"compute_capability": capability}
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: details)
    assert machine.dtype_of(Machine(dtype="auto")) == chosen


def test_bfloat16_without_instructions_for_it_is_said_to_be_slow(monkeypatch, capsys):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    monkeypatch.setattr(machine, "processor_features", lambda: {"avx2"})
    assert machine.dtype_of(Machine(dtype="mixed_bfloat16")) == "mixed_bfloat16"
    assert "five times slower than float32; --dtype auto" in capsys.readouterr().out
    monkeypatch.setattr(machine, "processor_features", lambda: {"amx_bf16"})
    assert machine.dtype_of(Machine(dtype="mixed_bfloat16")) == "mixed_bfloat16"
    assert machine.dtype_of(Machine()) == "float32"
    assert not capsys.readouterr().out


def test_features_are_words_of_the_flags(tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text("model name : avx512_bf16\nflags\t\t: fpu avx2\n", encoding="utf-8")
    monkeypatch.setattr(machine, "Path", lambda path: tmp_path / "cpuinfo")
    assert machine.processor_features() >= {"fpu", "avx2"} and "avx512_bf16" not in machine.processor_features()
    monkeypatch.setattr(machine, "Path", lambda path: tmp_path / "absent")
    assert machine.processor_features() == set()
