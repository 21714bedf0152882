"""Kill a training again and again, and compare its end with one that was left alone.

    python -m tests.stress.torture_resume --kills 10 --in-save 3 --terms 2

Trains a tiny network twice on a small synthetic set, in deterministic mode: once undisturbed, once killed with SIGKILL
`--kills` times, at random moments and `--in-save` times while a state is being written, and ended with SIGTERM
`--terms` times, after which it must exit with 143 within 30 seconds. It is resumed each time. Then every array of the
final states, the histories and the kept weights must be equal, bit for bit.

To hit a write for sure the process is first stopped: if the temporary file is still there, it is killed, and otherwise
it goes on. To save the time of importing TensorFlow, the killed processes are forked from this one, which has imported
it and started nothing of it; the others are started as users start them.

About 10 seconds a kill and 20 seconds a SIGTERM on 2 cores. Exit code 1 if anything differs.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import replace
from pathlib import Path

import numpy as np

from experiments.command import run as command
from pose_regression.container import read_container
from pose_regression.data import synthetic
from pose_regression.errors import PoseError, Terminated
from pose_regression.training.checkpoint import states
from pose_regression.training.experiment import RECIPES, Experiment, Machine, Mpii, Network
from pose_regression.training.run import run

NETWORK = Network(blocks=1, width=36, input_size=64)
MACHINE = Machine(deterministic=True, save_every=2)
RECIPE = replace(RECIPES["quick"], batch_size=8, statistics_batches=3, average=0.9)
STEPS = 20
"""Batches of an epoch."""
STEPS_BETWEEN = 12
"""Batches that the run has for each interruption, so that the last one still finds it running."""
LONGEST_EXIT = 30.0
"""Seconds from SIGTERM to the end."""


def main() -> int:
    if sys.argv[1:2] == ["train"]:  # one of the trainings that are started as users start them
        train(Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10, metavar="N", help="with SIGKILL (default: 10)")
    parser.add_argument(
        "--in-save", type=int, default=3, metavar="N", help="of the kills, hit a state being written (default: 3)"
    )
    parser.add_argument("--terms", type=int, default=2, metavar="N", help="ends with SIGTERM (default: 2)")
    parser.add_argument("--epochs", type=int, metavar="N", help="default: as many as the interruptions need")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: 0)")
    options = parser.parse_args()
    if not 0 <= options.in_save <= options.kills or options.terms < 0:
        raise PoseError(
            "--in-save must lie between 0 and --kills, and --terms be at least 0. "
            f"Received: {options.in_save}, {options.kills} and {options.terms}"
        )
    kinds = ["save"] * options.in_save + ["kill"] * (options.kills - options.in_save) + ["term"] * options.terms
    epochs = options.epochs or max(8, -(-len(kinds) * STEPS_BETWEEN // STEPS))
    with tempfile.TemporaryDirectory() as folder:
        data, alone, killed = (Path(folder, name) for name in ("data", "alone", "killed"))
        synthetic.write(data, train=8 * STEPS, validation=16, seed=1)
        started = time.monotonic()
        if _wait(_spawn(_command(data, alone, epochs), _log(alone))):
            raise PoseError(
                f"The undisturbed training failed; its log:\n{_log(alone).read_text(encoding='utf-8')[-2000:]}"
            )
        print(f"Undisturbed, {epochs} epochs: {time.monotonic() - started:.0f} s.", flush=True)
        moments = random.Random(options.seed)
        moments.shuffle(kinds)
        problems = _interrupt(kinds, moments, _command(data, killed, epochs), killed)
        problems += differences(alone, killed)
    print("\n".join(problems) or "Nothing differs.")
    return 1 if problems else 0


def _interrupt(kinds: list[str], moments: random.Random, command: list[str], output: Path) -> list[str]:
    """Interrupt the run again and again, and then let it end; what was wrong on the way. Prints the counts."""
    problems, exits, graceful, early, in_save, in_other = [], [], 0, 0, 0, 0
    for number, kind in enumerate(kinds, 1):
        pid = _spawn(command, _log(output)) if kind == "term" else _fork(command, _log(output))
        end = _await_moment(pid, kind, moments, output)
        if end is None:
            sent = time.monotonic()
            os.kill(pid, signal.SIGTERM if kind == "term" else signal.SIGKILL)
            end = _wait(pid, seconds=LONGEST_EXIT if kind == "term" else None)
            if kind == "term":
                exits.append(time.monotonic() - sent)
        # Before the training has begun nothing is there to save, and SIGTERM ends the process at once.
        expected = (128 + signal.SIGTERM, -signal.SIGTERM) if kind == "term" else (-signal.SIGKILL,)
        if end is None:
            problems.append(f"Interruption {number}: SIGTERM had not ended the training in {LONGEST_EXIT:g} s.")
            os.kill(pid, signal.SIGKILL)
            _wait(pid)
        elif end not in expected:
            raise PoseError(
                f"The training ended with {end} before interruption {number} or by it; with 0, give it more --epochs. "
                f"Its log:\n{_log(output).read_text(encoding='utf-8')[-2000:]}"
            )
        graceful += end == 128 + signal.SIGTERM
        early += end == -signal.SIGTERM
        left = sorted(path.name for path in output.glob(".*.tmp-*"))
        in_save += any(name.startswith(".state-") for name in left)
        in_other += any(not name.startswith(".state-") for name in left)
        what = f"SIGTERM, exit code {end} after {exits[-1]:.1f} s" if kind == "term" else "SIGKILL"
        print(
            f"{number}: {what}, step {_steps(output)}{''.join(f', half written: {name}' for name in left)}", flush=True
        )
    if _wait(_spawn(command, _log(output))):
        raise PoseError(f"The resumed training failed; its log:\n{_log(output).read_text(encoding='utf-8')[-2000:]}")
    problems += [f"{path.name} was left behind" for path in output.glob(".*.tmp-*")]
    kills = len(kinds) - len(exits)
    print(f"{kills} kills: {in_save} left a state half written, {in_other} another file; {kills}/{kills} resumed.")
    if exits:
        print(
            f"{len(exits)} SIGTERM: {graceful} ended with 143 and the state saved, {early} before the training had "
            f"begun; the slowest took {max(exits):.1f} s; {len(exits)}/{len(exits)} resumed."
        )
    return problems


def _await_moment(pid: int, kind: str, moments: random.Random, output: Path) -> int | None:
    """Return when the process is to be interrupted; its exit code, if it ended before."""
    if kind != "save" and moments.random() < 0.2:  # while it starts, or reads the state
        return _wait(pid, seconds=moments.uniform(0, 10))
    target = _steps(output) + 1 + moments.randint(0, STEPS_BETWEEN // 3)
    while (end := _wait(pid, seconds=0)) is None:
        if _steps(output) >= target:
            if kind != "save":
                return _wait(pid, seconds=moments.uniform(0, 0.3))
            if _is_writing(output):
                os.kill(pid, signal.SIGSTOP)
                os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
                if _is_writing(output):
                    return None
                os.kill(pid, signal.SIGCONT)
        time.sleep(0.0002)
    return end


def _is_writing(output: Path) -> bool:
    return any(".tmp-" in path.name for path in output.glob(".state-*"))


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
    if (a / "history.csv").read_text(encoding="utf-8") != (b / "history.csv").read_text(encoding="utf-8"):
        problems.append("history.csv differs")
    return problems


def train(data: Path, output: Path, epochs: int) -> None:
    """The training that is killed: it goes on where it was, if it was."""
    experiment = Experiment(Mpii(data), NETWORK, replace(RECIPE, epochs=epochs), MACHINE)
    run(experiment, output, resume=True)


def _command(data: Path, output: Path, epochs: int) -> list[str]:
    """The arguments of `train`."""
    return [str(data), str(output), str(epochs)]


def _spawn(arguments: list[str], log: Path) -> int:
    """Start a training in a process of its own; its id."""
    call = [sys.executable, "-m", "tests.stress.torture_resume", "train", *arguments]
    open_log = (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    actions = [open_log, (os.POSIX_SPAWN_DUP2, 1, 2)]
    return os.posix_spawn(sys.executable, call, os.environ, file_actions=actions)


def _fork(arguments: list[str], log: Path) -> int:
    """Start a training in a copy of this process; its id."""
    sys.stdout.flush()
    if pid := os.fork():
        return pid
    code = 0
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        train(Path(arguments[0]), Path(arguments[1]), int(arguments[2]))
    except Terminated:
        code = 128 + signal.SIGTERM
    except BaseException:  # it must not go on as a second copy of the caller
        traceback.print_exc()
        code = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _wait(pid: int, *, seconds: float | None = None) -> int | None:
    """The exit code, negative for a signal; None if it still runs after `seconds`."""
    begun = time.monotonic()
    while True:
        found, status = os.waitpid(pid, 0 if seconds is None else os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if seconds is not None and time.monotonic() - begun >= seconds:
            return None
        time.sleep(0.001)


def _log(output: Path) -> Path:
    return output.with_suffix(".log")


def _steps(output: Path) -> int:
    """Batches that the newest state has seen; 0 before the first."""
    found = states(output)
    if not found:
        return 0
    epoch, batch = (int(part) for part in found[-1].stem.split("-")[1:])
    return epoch * STEPS + batch


if __name__ == "__main__":
    command(main)
