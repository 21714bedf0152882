"""MATLAB files: what carries a checksum is verified first, what does not is parsed by another process."""

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from pose_regression.data import matlab
from pose_regression.errors import PoseError


@pytest.mark.parametrize("compressed", [True, False])
def test_variables_come_in_the_order_asked_for(tmp_path, compressed):
    path = tmp_path / "a.mat"
    savemat(
        path, {"x": np.arange(3), "y": {"name": "text", "cell": np.array([1, "b"], object)}}, do_compression=compressed
    )
    y, x = matlab.read_variables(path, ("y", "x"))
    assert x.tolist() == [[0, 1, 2]]
    assert y["name"][0, 0].item() == "text"
    assert y["cell"][0, 0][0, 1].item() == "b"


def test_values_are_the_same_whichever_process_parses_them(tmp_path):
    cells = np.empty((1, 3), object)
    cells[0, :] = "text", np.zeros((0, 0)), np.array([[True, False]])
    records = np.zeros((1, 2), [("a_field_name_of_more_than_31_letters", object), ("b", object)])
    records[0, 0], records[0, 1] = (np.uint8(250), cells), (1.5, np.array([[1 + 2j]]))
    content = {
        "records": records,
        "none": np.zeros((0, 0), [("x", object)]),
        "numbers": np.arange(24.0).reshape(2, 3, 4),
    }
    names = tuple(content)
    both = []
    for compressed in (True, False):
        savemat(tmp_path / "a.mat", content, do_compression=compressed, long_field_names=True)
        both.append(matlab.read_variables(tmp_path / "a.mat", names))
    for one, other in zip(*both, strict=True):
        assert_same(one, other)


def assert_same(one: np.ndarray, other: np.ndarray) -> None:
    assert (one.shape, one.dtype) == (other.shape, other.dtype)
    for a, b in zip(one.ravel(), other.ravel(), strict=True):
        if one.dtype.names:
            for name in one.dtype.names:
                assert_same(a[name], b[name])
        elif one.dtype == object:
            assert_same(a, b)
        else:
            assert a == b


def test_a_parser_that_dies_is_an_error_naming_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(matlab, "_REWRITE", "import os; os.abort()")
    savemat(tmp_path / "a.mat", {"x": 1})
    with pytest.raises(PoseError, match="a.mat is damaged or not a MATLAB 5 file .its structure is broken"):
        matlab.read_variables(tmp_path / "a.mat", ("x",))


def test_a_wrong_checksum_never_reaches_the_parser(tmp_path, monkeypatch):
    path = tmp_path / "a.mat"
    savemat(path, {"x": np.arange(100)}, do_compression=True)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    monkeypatch.setattr(matlab, "loadmat", lambda path: pytest.fail("parsed"))
    with pytest.raises(PoseError, match="a.mat is damaged .*incorrect data check"):
        matlab.read_variables(path, ("x",))


@pytest.mark.parametrize("length", [0, 100, 128, 135, 200])
def test_truncated_files_are_named(tmp_path, length):
    path = tmp_path / "a.mat"
    savemat(path, {"x": np.random.default_rng(0).random(100)}, do_compression=True)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(PoseError, match="a.mat"):
        matlab.read_variables(path, ("x",))


def test_files_of_other_kinds_are_named(tmp_path):
    with h5py.File(tmp_path / "hdf.mat", "w", userblock_size=512) as file:
        file["x"] = 1
    with open(tmp_path / "hdf.mat", "r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    (tmp_path / "text.mat").write_text("not MATLAB\n" * 50)
    for name in ("hdf.mat", "text.mat"):
        with pytest.raises(PoseError, match=f"{name} is damaged or not a MATLAB 5 file"):
            matlab.read_variables(tmp_path / name, ("x",))
    with pytest.raises(PoseError, match="none.mat does not exist; expected a MATLAB file with x and y"):
        matlab.read_variables(tmp_path / "none.mat", ("x", "y"))
