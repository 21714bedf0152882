import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from pose_regression.errors import PoseError
from pose_regression.training.checkpoint import load_state, run_directory, save_state, states


@pytest.fixture
def model() -> keras.Model:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="dense")])
    model.compile("adam", loss="mse")
    model.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0)
    return model


def _progress(batch: int) -> dict:
    return {"epoch": 1, "batch": batch, "best": 2.5}


def test_state_restores_weights_optimizer_and_progress(model, tmp_path):
    save_state(tmp_path, model, _progress(7))
    saved = [np.array(v) for v in (*model.variables, *model.optimizer.variables)]
    model.fit(np.zeros((4, 3)), np.ones((4, 2)), epochs=2, verbose=0)
    assert load_state(tmp_path, model) == _progress(7)
    for value, variable in zip(saved, (*model.variables, *model.optimizer.variables), strict=True):
        np.testing.assert_array_equal(value, variable)


def test_only_the_last_two_states_are_kept(model, tmp_path):
    for batch in (9, 10, 11):
        save_state(tmp_path, model, _progress(batch))
    assert [path.name for path in states(tmp_path)] == ["state-00001-0000010.h5", "state-00001-0000011.h5"]


def test_a_damaged_newest_state_falls_back_to_the_one_before_and_says_so(model, tmp_path, capsys):
    save_state(tmp_path, model, _progress(1))
    newest = save_state(tmp_path, model, _progress(2))
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    assert load_state(tmp_path, model) == _progress(1)
    printed = capsys.readouterr().out
    assert newest.name in printed and "damaged" in printed
    assert not newest.exists()


def test_states_that_are_all_damaged_are_an_error(model, tmp_path):
    save_state(tmp_path, model, _progress(1)).write_bytes(b"x" * 600)
    with pytest.raises(PoseError, match="No training state .* can be read: state-00001-0000001.h5"):
        load_state(tmp_path, model)


def test_no_state_is_none(model, tmp_path):
    assert load_state(tmp_path, model) is None


def test_a_run_is_not_overwritten_without_resume_or_force(tmp_path):
    (tmp_path / "history.csv").write_text("a run")
    with pytest.raises(PoseError, match="--resume.*--force"), run_directory(tmp_path, resume=False, force=False):
        pass
    with run_directory(tmp_path, resume=True, force=False):
        assert (tmp_path / "history.csv").exists()
    with run_directory(tmp_path, resume=False, force=True):
        assert not (tmp_path / "history.csv").exists()


def test_what_a_killed_process_left_half_written_is_removed(tmp_path):
    left = tmp_path / ".state-00001-0000002.tmp-123.h5"
    left.write_bytes(b"half")
    with run_directory(tmp_path, resume=True, force=False):
        assert not left.exists()


def test_a_second_run_in_the_same_directory_refuses(tmp_path):
    code = (
        "import sys; from pose_regression.training.checkpoint import run_directory\n"
        "with run_directory(sys.argv[1], resume=True, force=False): pass"
    )
    with run_directory(tmp_path, resume=False, force=False):
        done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, env=os.environ)
    assert done.returncode and f"{tmp_path} is in use by another run" in done.stderr


def test_a_file_in_the_place_of_the_directory_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PoseError, match="cannot be used"), run_directory(tmp_path / "file", resume=False, force=False):
        pass
