"""Which picture a name means."""

import pytest

from pose_regression.data.identity import matched, parts
from pose_regression.errors import PoseError


@pytest.mark.parametrize(
    "pictures, names, expected",
    [
        (["d/a.jpg", "d/b.jpg"], ["b.jpg", "a.jpg"], {0: "a.jpg", 1: "b.jpg"}),
        (["d/v1/a.png", "d/v2/a.png"], ["v1/a.png", "v2/a.png"], {0: "v1/a.png", 1: "v2/a.png"}),
        (["d/v1/a.png", "d/v2/a.png"], ["v2/a.png"], {1: "v2/a.png"}),
        (["d/v1/a.png"], ["v1/a.png", "v2/a.png"], {0: "v1/a.png"}),
        (["d/a.jpg"], ["C:\\photos\\d\\a.jpg"], {0: "C:\\photos\\d\\a.jpg"}),
        (["d/caf\u00e9.jpg"], ["cafe\u0301.jpg"], {0: "cafe\u0301.jpg"}),
        (["d/000000000139.jpg", "d/139x.jpg"], ["139"], {0: "139"}),
        (["d/a.tar.jpg"], ["a.tar"], {0: "a.tar"}),
        (["d/0.png"], ["0"], {0: "0"}),
        (["d/a b.jpg"], ["http://host/d/a%20b.jpg"], {0: "http://host/d/a%20b.jpg"}),
        (["d/a b.jpg"], ["http://host/d/a%20b.jpg?token=1"], {0: "http://host/d/a%20b.jpg?token=1"}),
        (["d/a%20b.jpg", "d/a b.jpg"], ["a%20b.jpg"], {0: "a%20b.jpg"}),
        (["d/IMG.JPG"], ["img.jpg"], {0: "img.jpg"}),
        (["d/a.JPG", "d/a.jpg"], ["a.jpg"], {1: "a.jpg"}),
        (["d/a.jpg"], ["a.jpg "], {0: "a.jpg "}),
        (["d/a.jpg"], ["train/a.jpg"], {0: "train/a.jpg"}),
        (["d/a.jpg"], ["b.jpg", "", "a.png"], {}),
        (["v1/a.png", "v2/a.png"], ["v1/a.png", "v2/a.png", "a.png"], {0: "v1/a.png", 1: "v2/a.png"}),
    ],
)
def test_the_longest_common_end_decides(pictures, names, expected):
    assert matched(pictures, names, where="boxes.json") == expected


def test_a_folder_that_is_only_in_the_working_directory_counts(tmp_path, monkeypatch):
    (tmp_path / "v1").mkdir()
    monkeypatch.chdir(tmp_path / "v1")
    assert matched(["a.png"], ["v2/a.png", "v1/a.png"], where="f") == {0: "v1/a.png"}


def test_what_is_ambiguous_is_an_error_that_names_both():
    with pytest.raises(PoseError, match=r"f: 'a.png' may be v1/a.png or v2/a.png"):
        matched(["v1/a.png", "v2/a.png"], ["a.png"], where="f")
    with pytest.raises(PoseError, match=r"f: v3/a.png may be 'v1/a.png' or 'v2/a.png'"):
        matched(["v3/a.png"], ["v1/a.png", "v2/a.png"], where="f")
    with pytest.raises(PoseError, match=r"f: '7' may be 7.jpg or 7.png"):
        matched(["7.jpg", "7.png"], ["7"], where="f")


def test_parts_of_paths_of_any_system():
    assert parts("./a\\b//c.jpg") == ("a", "b", "c.jpg")
