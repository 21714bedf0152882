import io
import os

import h5py
import numpy as np
import pytest

from pose_regression import container
from pose_regression.container import BLOCK, read_container, sealed, write_container
from pose_regression.errors import PoseError

ARRAYS = {
    "stem/conv/kernel": np.arange(12, dtype=np.float32).reshape(3, 4),
    "stem/conv/half": np.array([0.5, -2], np.float16),
    "scalar": np.array(7, np.int64),
    "empty": np.zeros((0, 3), np.float32),
    "flags": np.array([True, False]),
}
METADATA = {"kind": "test", "nested": {"list": [1, 2.5, None], "text": "ψ"}, "yes": True}


@pytest.fixture
def path(tmp_path):
    write_container(tmp_path / "file.h5", ARRAYS, METADATA)
    return tmp_path / "file.h5"


def test_arrays_and_metadata_come_back(path):
    arrays, metadata = read_container(path)
    assert metadata == METADATA
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(arrays[name], array)


def test_no_arrays_at_all_come_back(tmp_path):
    write_container(tmp_path / "file.h5", {}, {})
    assert read_container(tmp_path / "file.h5") == ({}, {})


def test_any_hdf5_reader_opens_the_file(path):
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["arrays/stem/conv/kernel"][()], ARRAYS["stem/conv/kernel"])
        assert b'"kind": "test"' in bytes(file["metadata"][()])


def test_same_content_gives_the_same_bytes(path, tmp_path):
    write_container(tmp_path / "again.h5", ARRAYS, METADATA)
    assert (tmp_path / "again.h5").read_bytes() == path.read_bytes()


def test_no_flipped_bit_is_read(path):
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    # 100 anywhere, and 100 in the header, which no checksum covers
    places = [*rng.integers(8 * len(content), size=100), *rng.integers(8 * BLOCK, size=100)]
    for place in places:
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(PoseError, match=r"file\.h5 is (damaged or truncated|not a file of this project)"):
            read_container(path)


def test_no_truncated_or_lengthened_file_is_read(path):
    content = path.read_bytes()
    for length in [0, 1, 20, BLOCK - 1, BLOCK, BLOCK + 1, len(content) // 2, len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(PoseError, match=r"file\.h5 is "):
            read_container(path)
    path.write_bytes(content + b"\0")
    with pytest.raises(PoseError, match="damaged or truncated"):
        read_container(path)


def test_files_of_other_kinds_are_refused(tmp_path):
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        file["metadata"] = np.frombuffer(b"{}", np.uint8)
    (tmp_path / "text.h5").write_text("hello")
    for name in ("plain.h5", "text.h5"):
        with pytest.raises(PoseError, match=f"{name} is not a file of this project"):
            read_container(tmp_path / name)
    with pytest.raises(PoseError, match="missing.h5 could not be read: No such file or directory"):
        read_container(tmp_path / "missing.h5")
    with pytest.raises(PoseError, match="could not be read: Is a directory"):
        read_container(tmp_path)


def storage_outside(file, folder):
    (folder / "secret").write_bytes(bytes(64))
    file.create_dataset("arrays/secret", (64,), "uint8", external=[(str(folder / "secret"), 0, 64)])


def virtual_outside(file, folder):
    with h5py.File(folder / "other.h5", "w") as other:
        other["secret"] = np.zeros(64)
    layout = h5py.VirtualLayout((64,), float)
    layout[:] = h5py.VirtualSource(str(folder / "other.h5"), "secret", (64,))
    file.create_virtual_dataset("arrays/secret", layout)


def link_outside(file, folder):
    with h5py.File(folder / "other.h5", "w") as other:
        other["arrays/secret"] = np.zeros(64)
    file["arrays"] = h5py.ExternalLink(str(folder / "other.h5"), "/arrays")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (storage_outside, "secret is not stored in the file itself"),
        (virtual_outside, "secret is not stored in the file itself"),
        (link_outside, "arrays is missing or leads out of the file"),
        (lambda file, _: file.create_dataset("arrays/huge", (10**12,), "f8", chunks=(1000,)), "huge is not stored"),
        (lambda file, _: file.create_dataset("arrays/zeros", data=np.zeros(10**6), compression=9), "zeros is not"),
        (lambda file, _: file.create_dataset("arrays/text", data="text"), "text is not stored as numbers"),
        (lambda file, _: file.pop("metadata"), "metadata"),
        (lambda file, _: replace_metadata(file, b"[" * 100_000), "recursion"),
        (lambda file, _: replace_metadata(file, b"{"), "Expecting property name"),
        (lambda file, _: replace_metadata(file, b"[]"), "its metadata is no object"),
    ],
    ids=["storage", "virtual", "link", "huge", "bomb", "text", "no metadata", "deep", "broken JSON", "list"],
)
def test_what_is_made_up_with_a_right_checksum_is_refused(tmp_path, change, reason):
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", userblock_size=BLOCK) as file:
        replace_metadata(file, b"{}")
        change(file, tmp_path)
    (tmp_path / "file.h5").write_bytes(sealed(buffer.getvalue()))
    with pytest.raises(PoseError, match=f"file.h5 does not hold arrays and metadata .*{reason}"):
        read_container(tmp_path / "file.h5")


def replace_metadata(file: h5py.File, text: bytes) -> None:
    if "metadata" in file:
        del file["metadata"]
    file["metadata"] = np.frombuffer(text, np.uint8)


def test_old_file_survives_a_failed_write(path, monkeypatch):
    content = path.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(container.Path, "write_bytes", fail)
    with pytest.raises(PoseError, match=r"file\.h5 could not be written: No space left on device"):
        write_container(path, {}, {})
    assert path.read_bytes() == content
    assert os.listdir(path.parent) == ["file.h5"]


def test_metadata_that_json_lacks_leaves_the_old_file(path):
    content = path.read_bytes()
    with pytest.raises(TypeError):
        write_container(path, {}, {"array": np.zeros(2)})
    assert path.read_bytes() == content


def test_unwritable_folder_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(PoseError, match=r"file/weights\.h5 could not be written: "):
        write_container(tmp_path / "file" / "weights.h5", ARRAYS, METADATA)
