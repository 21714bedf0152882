"""Kill a training again and again, and compare its end with one that was left alone.

    python -m experiments.torture_resume --kills 10 --in-save 3

Trains a tiny network twice on a small synthetic set, in deterministic mode: once undisturbed, once killed with
SIGKILL `--kills` times, `--in-save` of them while a state is being written (its temporary file exists), and resumed
each time. Then every array of the final states, the histories and the kept weights must be equal, bit for bit.
About 15 seconds a kill on 2 cores. Exit code 1 if anything differs.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from experiments.command import run
from pose_regression.checkpoint import states
from pose_regression.container import read_container
from pose_regression.data import synthetic
from pose_regression.errors import PoseError

TINY = "--recipe quick --blocks 1 --width 36 --input-size 64 --batch-size 8 --deterministic --save-every 2".split()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--in-save", type=int, default=3, help="how many of the kills hit a state being written")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    if not 0 <= options.in_save <= options.kills:
        raise PoseError(f"--in-save must lie between 0 and --kills. Received: {options.in_save} of {options.kills}")
    with tempfile.TemporaryDirectory() as folder:
        data, alone, killed = (Path(folder, name) for name in ("data", "alone", "killed"))
        synthetic.write(data, train=160, validation=16, seed=1)
        started = time.monotonic()
        if _start(data, alone, options.epochs).wait():
            raise PoseError(f"The undisturbed training failed; its log:\n{_log(alone).read_text()[-2000:]}")
        print(f"Undisturbed: {time.monotonic() - started:.0f} s.", flush=True)
        _kill_repeatedly(data, killed, options)
        problems = differences(alone, killed)
    print("\n".join(problems) or f"{options.kills} kills, {options.in_save} of them in a save: no difference.")
    return 1 if problems else 0


def _kill_repeatedly(data: Path, output: Path, options: argparse.Namespace) -> None:
    moments = random.Random(options.seed)
    in_save = set(moments.sample(range(options.kills), options.in_save))
    steps = 160 // 8 * options.epochs
    for kill in range(options.kills):
        # Somewhere in the next piece of the run, so that the last kill still finds it running.
        target = _steps(output) + moments.randint(0, max(1, 2 * steps // (3 * options.kills)))
        process = _start(data, output, options.epochs)
        while process.poll() is None:
            writing = any(".tmp-" in path.name for path in output.glob(".state-*"))
            if _steps(output) >= target and (writing if kill in in_save else True):
                if kill not in in_save:
                    time.sleep(moments.uniform(0, 0.1))
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.0002)
        left = [path.name for path in output.glob(".state-*")]
        if process.wait() != -signal.SIGKILL:
            raise PoseError(f"The training ended before kill {kill + 1}; its log:\n{_log(output).read_text()[-2000:]}")
        print(f"Kill {kill + 1} after step {_steps(output)}" + (f", writing {left[0]}" if left else ""), flush=True)
        if kill in in_save and not left:
            print("  (the write had just ended)")
    if _start(data, output, options.epochs).wait():
        raise PoseError(f"The resumed training failed; its log:\n{_log(output).read_text()[-2000:]}")


def differences(a: Path, b: Path) -> list[str]:
    """What differs between two finished runs: final states, history, kept weights. Empty if nothing does."""
    problems = []
    for name in (states(a)[-1].name, "best.weights.h5", "last.weights.h5"):
        if not (b / name).exists():
            problems.append(f"{name} is missing")
            continue
        (first, first_notes), (second, second_notes) = read_container(a / name), read_container(b / name)
        problems += [
            f"{name}: {k} differs" for k in first if k not in second or not np.array_equal(first[k], second[k])
        ]
        problems += [f"{name}: progress or notes differ"] if first_notes != second_notes else []
    if (a / "history.csv").read_text() != (b / "history.csv").read_text():
        problems.append("history.csv differs")
    return problems


def _start(data: Path, output: Path, epochs: int) -> subprocess.Popen:
    command = [sys.executable, "-m", "experiments.train_mpii", "--data", data, "--output", output, "--resume", *TINY]
    with open(_log(output), "a") as log:
        return subprocess.Popen([*map(str, command), "--epochs", str(epochs)], stdout=log, stderr=log, env=os.environ)


def _log(output: Path) -> Path:
    return output.with_suffix(".log")


def _steps(output: Path) -> int:
    """Batches that the newest state has seen; 0 before the first."""
    found = states(output)
    if not found:
        return 0
    epoch, batch = (int(part) for part in found[-1].stem.split("-")[1:])
    return epoch * (160 // 8) + batch


if __name__ == "__main__":
    run(main)
