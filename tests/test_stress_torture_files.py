"""Damage to files: the command finds nothing here, and would find what there is."""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pose_regression.errors import PoseError
from tests.stress import torture_files
from tests.stress.torture_files import READ, SILENT, Row, Subject, flip, mutate, mutate_text, torture, truncate

CONTENT = b"the whole content of a file"


@pytest.mark.slow
def test_a_few_damaged_files_of_every_kind_are_refused_or_read():
    arguments = "--flips 5 --truncations 5 --mutations 8 --images 16 --seed 1".split()
    command = [sys.executable, "-m", "tests.stress.torture_files", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(torture_files.__file__).parents[2])
    assert done.returncode == 0, done.stdout + done.stderr
    _, _, *rows = (line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line.startswith("|"))
    kinds = [torture_files.WRITTEN, torture_files.TEXTS, torture_files.BINARIES, torture_files.PICTURES]
    assert [row[0] for row in rows[:14:2]] == list(kinds[0])
    assert [row[0] for row in rows[14:]] == [kind for each in kinds[1:] for kind in each]
    assert [row[2] for row in rows] == ["5"] * 14 + ["8"] * 5 + ["16"] * 2
    refused = {(row[0], row[1]): int(row[3]) for row in rows}
    assert refused["weights", "flip"] == refused["training state", "truncation"] == 5
    assert refused["crop of `--cache`", "flip"] == 0  # made again


def checking(check: Callable[[Path], str]) -> Callable[[Path], Subject]:
    """A kind of file of which whole ones are read, and damaged ones are judged by `check`."""

    def make(folder: Path) -> Subject:
        path = folder / "it.bin"
        path.write_bytes(CONTENT)

        def judge(paths):
            whole = [path.read_bytes() == CONTENT for path in paths]
            return [READ if is_whole else torture_files._outcome(path, check, (PoseError,)) for is_whole in whole]

        return Subject([(path, CONTENT)], judge)

    return make


def refuse(path: Path) -> str:
    raise PoseError(f"{path} is damaged.")


def refuse_without_name(_: Path) -> str:
    raise PoseError("It is damaged.")


def die(_: Path) -> str:
    os._exit(3)


def hang(_: Path) -> str:
    time.sleep(60)
    return READ


def take_long(_: Path) -> str:
    start = time.process_time()
    while time.process_time() < start + 0.3:
        pass
    return READ


def fill_memory(_: Path) -> str:
    return READ if len(b"x" * (300 << 20)) else SILENT


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning", "ignore:os.fork")
@pytest.mark.parametrize(
    ("check", "key", "problem"),
    [
        (refuse, "refused", None),
        (lambda path: READ, READ, None),
        (lambda path: SILENT, SILENT, "silent"),
        (lambda path: path.read_bytes().index(CONTENT), "failed", "ValueError: subsection not found"),
        (refuse_without_name, "failed", "not one sentence that names the file: It is damaged."),
        (die, "failed", "the process died (3)"),
        (hang, "failed", "no answer in 5 s"),
        (take_long, "failed", "0.3 s"),
    ],
    ids=["refused", "read", "silent", "traceback", "nameless", "dead", "hangs", "slow"],
)
def test_every_outcome_is_told_apart_and_the_next_file_is_read(check, key, problem, monkeypatch):
    monkeypatch.setattr(torture_files, "SILENCE", 5.0 if check is hang else 60.0)
    monkeypatch.setattr(torture_files, "MOST_MEMORY", 10**6)  # what the other tests hold is in every fork
    monkeypatch.setattr(torture_files, "LONGEST", 0.2 if check is take_long else 10.0)
    count = 1 if check is hang else 3
    (row,) = torture("it", checking(check), [("flip", flip, count)])
    assert row.counts[key] == sum(row.counts.values()) == count
    assert len(row.problems) == (count if problem else 0)
    assert all(problem in line and line.startswith("it, flip ") for line in row.problems)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning", "ignore:os.fork")
def test_memory_over_the_limit_is_a_failure(monkeypatch):
    monkeypatch.setattr(torture_files, "MOST_MEMORY", 10**6)
    (usual,) = torture("it", checking(refuse), [("flip", flip, 1)])
    monkeypatch.setattr(torture_files, "MOST_MEMORY", usual.peak + 150)
    (row,) = torture("it", checking(fill_memory), [("flip", flip, 2)])
    assert row.peak >= usual.peak + 290
    assert row.counts["failed"] == 2 and all(line.endswith(" MB") for line in row.problems)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning", "ignore:os.fork")
def test_files_that_cannot_be_read_whole_are_no_subject():
    def make(folder: Path) -> Subject:
        return Subject([(folder / "it", CONTENT)], lambda paths: ["refused"] * len(paths))

    with pytest.raises(PoseError, match="it: the whole files could not be made and read"):
        torture("it", make, [("flip", flip, 1)])


def test_damage_is_what_its_name_says_and_repeats_with_its_seed():
    for seed in range(50):
        flipped, cut = flip(CONTENT, random.Random(seed)), truncate(CONTENT, random.Random(seed))
        bits = int.from_bytes(flipped, "big") ^ int.from_bytes(CONTENT, "big")
        assert bits.bit_count() == 1
        assert CONTENT.startswith(cut) and len(cut) < len(CONTENT)
    text = json.dumps({"images": [{"id": 1, "file_name": "a.jpg"}], "score": 0.5}).encode()
    for change in (mutate, mutate_text):
        changed = [change(text, random.Random(seed)) for seed in range(100)]
        assert len(set(changed) - {text}) > 80
        assert changed == [change(text, random.Random(seed)) for seed in range(100)]


def test_a_row_of_the_table_adds_up():
    row = Row("it", "flip")
    for index, outcome in enumerate(("refused", "refused", READ, SILENT, "KeyError: x")):
        row.add(index, outcome)
    row.slowest, row.peak = 0.126, 300
    assert str(row) == "| it | flip | 5 | 2 | 1 | 1 | 1 | 0.13 | 300 |"
    assert row.problems == ["it, flip 3: silent", "it, flip 4: KeyError: x"]
