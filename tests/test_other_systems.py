"""What macOS and Windows lack is not needed: no scheduler affinity in `os`, no `fcntl`."""

import subprocess
import sys

import pytest

SCRIPT = """
import os, sys
del os.sched_getaffinity
sys.modules["fcntl"] = None
from pose_regression.inference import loaders
from pose_regression.training import checkpoint
assert loaders.cores() >= 1
with checkpoint.run_directory(sys.argv[1], resume=False, force=False):
    print("held")
"""


@pytest.mark.slow
def test_cores_are_counted_and_a_run_is_held_without_them(tmp_path):
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "run")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr[-2000:]
    said, held = ended.stdout.splitlines()
    assert held == "held" and said.endswith("cannot be locked here: nothing keeps a second run out of it.")


def test_cores_without_an_affinity_are_the_machine_s(monkeypatch):
    from pose_regression.inference import loaders

    class Process:  # psutil's on macOS has no such method
        pass

    monkeypatch.setattr(loaders.psutil, "Process", Process)
    monkeypatch.setattr(loaders.os, "cpu_count", lambda: 6)
    assert loaders.cores() == 6
