import errno
import gzip
import os
import re
import subprocess
import sys

import pytest

from pose_regression import files
from pose_regression.errors import PoseError
from pose_regression.files import atomic_path, read_json


def test_file_appears_whole_in_a_folder_made_for_it(tmp_path):
    path = tmp_path / "new" / "folder" / "table.csv"
    with atomic_path(path) as temporary:
        temporary.write_text("whole")
        assert temporary.parent == path.parent  # the same file system, so that the rename is atomic
        assert temporary.suffix == ".csv"
        assert not path.exists()
    assert path.read_text() == "whole"
    assert os.listdir(path.parent) == ["table.csv"]


def test_file_is_replaced_and_not_overwritten(tmp_path):
    path = tmp_path / "state.h5"
    path.write_text("old")
    with path.open() as reader:
        with atomic_path(path) as temporary:
            temporary.write_text("new")
        assert reader.read() == "old"  # who has the old one open still sees all of it
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [RuntimeError("half way"), KeyboardInterrupt()])
def test_old_content_survives_a_failed_write(tmp_path, error):
    path = tmp_path / "state.h5"
    path.write_text("old")
    with pytest.raises(type(error)), atomic_path(str(path)) as temporary:
        temporary.write_text("ne")
        raise error
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["state.h5"]


@pytest.mark.slow
def test_old_content_survives_the_death_of_the_process(tmp_path):
    path = tmp_path / "state.h5"
    path.write_text("old")
    script = (
        "import os, signal, sys\n"
        "from pose_regression.files import atomic_path\n"
        "with atomic_path(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", script, str(path)]).returncode == -9
    assert path.read_text() == "old"
    (left,) = (entry for entry in tmp_path.iterdir() if entry != path)
    others = [f"{left.stem}x.h5", left.name[1:], re.sub(r"tmp-.*-", "tmp-elsewhere-", left.name)]
    others.append(re.sub(r"\d+\.h5$", "1.h5", left.name))
    for name in others:  # no number, not hidden, of another host, of a process that lives
        (tmp_path / name).touch()
    folder = left.with_name(left.name.replace(".state", ".export").removesuffix(".h5"))
    (folder / "1").mkdir(parents=True)
    for target in (path, tmp_path / "export"):
        with atomic_path(target) as temporary:
            temporary.write_text("new")
    assert path.read_text() == "new"
    assert sorted(os.listdir(tmp_path)) == sorted(["export", "state.h5", *others])


def test_full_disk_is_one_sentence_and_keeps_the_old_content(tmp_path):
    path = tmp_path / "state.h5"
    path.write_text("old")
    with pytest.raises(PoseError, match=r"state\.h5 could not be written: No space left on device\.$"):
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["state.h5"]


def test_unwritable_folder_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("a file where a folder should be")
    with pytest.raises(PoseError, match=r"file/state\.h5 could not be written: "):
        with atomic_path(tmp_path / "file" / "state.h5"):
            pytest.fail("nothing may be written")

    readonly = tmp_path / "readonly"
    readonly.mkdir(mode=0o500)
    if not os.access(readonly, os.W_OK):  # the superuser may write anyway
        with pytest.raises(PoseError, match=r"readonly/state\.h5 could not be written: Permission denied\.$"):
            with atomic_path(readonly / "state.h5") as temporary:
                temporary.write_text("x")


def test_a_folder_in_the_place_of_the_file_is_one_sentence(tmp_path):
    (tmp_path / "state.h5").mkdir()
    with pytest.raises(PoseError, match=r"state\.h5 could not be written: Is a directory\.$"):
        with atomic_path(tmp_path / "state.h5") as temporary:
            temporary.write_text("x")
    assert os.listdir(tmp_path) == ["state.h5"]


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(PoseError, match="could not be written: No such file"), atomic_path(tmp_path / "x"):
        pass


@pytest.mark.parametrize("name", ["x" * 251 + ".csv", "x." + "y" * 240, "\u00e9" * 120 + ".h5", "a" * 130 + ".json"])
def test_a_name_as_long_as_the_file_system_takes_can_be_written(tmp_path, name):
    with atomic_path(tmp_path / name) as temporary:
        temporary.write_text("whole", "utf-8")
        assert len(os.fsencode(temporary.name)) <= max(len(os.fsencode(name)), 143)
        assert temporary.suffix == (tmp_path / name).suffix or len(temporary.suffix) < 20
    assert os.listdir(tmp_path) == [name]


def test_names_of_any_bytes_can_be_written(tmp_path):
    name = os.fsdecode(b"caf\xe9 \xff.csv")
    with atomic_path(tmp_path / name) as temporary:
        temporary.write_text("whole", "utf-8")
    assert os.listdir(os.fsencode(tmp_path)) == [b"caf\xe9 \xff.csv"]


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EBADF, errno.EACCES])
def test_an_fsync_that_the_system_does_not_offer_is_done_without_and_said_once(tmp_path, monkeypatch, caplog, code):
    def fsync(descriptor):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fsync)
    files._warn_of_fsync.cache_clear()
    for content in ("one", "two"):
        with atomic_path(tmp_path / "a.csv") as temporary:
            temporary.write_text(content, "utf-8")
    assert (tmp_path / "a.csv").read_text("utf-8") == "two" and os.listdir(tmp_path) == ["a.csv"]
    assert [record.message.startswith("This file system has no fsync") for record in caplog.records] == [True]


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_an_fsync_that_fails_is_an_error(tmp_path, monkeypatch, code):
    def fsync(descriptor):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(PoseError, match="could not be written"), atomic_path(tmp_path / "a.csv") as temporary:
        temporary.write_text("x", "utf-8")
    assert os.listdir(tmp_path) == []


def test_windows_has_no_descriptor_of_a_folder_and_flushes_only_what_may_be_written(tmp_path, monkeypatch):
    opened, flags_of = os.open, {}

    def open_(path, flags, *arguments):
        if os.path.isdir(path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        descriptor = opened(path, flags, *arguments)
        flags_of[descriptor] = flags
        return descriptor

    def fsync(descriptor):
        if flags_of[descriptor] & os.O_ACCMODE == os.O_RDONLY:
            pytest.fail("a descriptor that may not write")

    monkeypatch.setattr(os, "open", open_)
    monkeypatch.setattr(os, "fsync", fsync)
    with atomic_path(tmp_path / "a.csv") as temporary:
        temporary.write_text("whole", "utf-8")
    assert flags_of and (tmp_path / "a.csv").read_text("utf-8") == "whole"


def test_a_compressed_file_of_json_is_told_from_a_damaged_one(tmp_path):
    (tmp_path / "a.json").write_bytes(gzip.compress(b"{}"))
    with pytest.raises(PoseError, match="a.json is compressed; unpack it first"):
        read_json(tmp_path / "a.json")
