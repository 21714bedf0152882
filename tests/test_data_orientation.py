"""Pictures that EXIF turns: in which pixels their labels are, and that everybody is shown upright."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from pose_regression.data.entries import annotated_size
from pose_regression.data.orientation import Labelled, judge, to_upright, turn_of
from pose_regression.geometry import transform_points


def turned(orientation: int, size: tuple[int, int] = (4, 3)) -> Image.Image:
    """A picture as stored, of grey levels that are all different."""
    picture = Image.fromarray(np.arange(size[0] * size[1], dtype=np.uint8).reshape(size[::-1]))
    picture.getexif()[0x0112] = orientation
    return picture


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_stored_pixel_is_where_pillow_shows_it_upright(orientation):
    picture = turned(orientation)
    shown = np.asarray(ImageOps.exif_transpose(picture))
    affine = to_upright(turn_of(picture), picture.size)
    for level in range(12):
        x, y = level % 4, level // 4
        column, row = transform_points(affine, np.array([[x + 0.5, y + 0.5]]))[0] - 0.5
        assert shown[int(row), int(column)] == level


@pytest.mark.parametrize("orientation", [0, 9, "6", 2**20])
def test_a_strange_orientation_is_none(orientation):
    picture = turned(1)
    picture.getexif()[0x0112] = orientation
    np.testing.assert_array_equal(turn_of(picture), np.eye(2))


def labelled(orientation: int, said=(None, None), points=(), size: tuple[int, int] = (400, 300)) -> Labelled:
    picture = turned(orientation, size)
    said = annotated_size({"width": said[0], "height": said[1]})
    return Labelled(said, picture.size, turn_of(picture), np.reshape(np.array(points, float), (-1, 2)))


@pytest.mark.parametrize(
    "orientation, said, points, expected",
    [
        (6, (300, 400), (), "upright"),
        (6, (400, 300), (), "file"),
        (8, ("300", 400.0), (), "upright"),
        (6, (400, 300), [(350, 20)], "file"),
        (6, (400, 300), [(20, 350)], "upright"),  # the size is the file's, and no label of the file could lie there
        (6, (None, None), [(350, 20)], "file"),
        (6, (None, None), [(20, 350), (np.nan, np.nan)], "upright"),
        (6, (400, 300), [(20, 305)], "file"),  # some pixels over the edge
        (6, (400, 300), [(20, 350), (350, 20)], "file"),  # fits into neither
        (6, (400, 300), [(np.nan, np.nan)], "file"),
    ],
)
def test_labels_and_annotated_size_tell_which_pixels_are_meant(orientation, said, points, expected):
    answers, sentence = judge([labelled(orientation, said, points)])
    assert answers == [expected]
    said = "upright" if expected == "upright" else "in the file's pixels"
    assert sentence == (
        f"EXIF turns 1 picture: labels of 1 are {said}; say --labels upright or --labels file if not."
    )  # fmt: skip


@pytest.mark.parametrize("said, size", [((None, None), (4, 3)), ((0, 0), (4, 3)), ((3, 3), (3, 3)), ((9, 9), (4, 3))])
@pytest.mark.parametrize("orientation", [2, 3, 6])
def test_what_nothing_tells_is_upright_and_said(orientation, said, size):
    answers, sentence = judge([labelled(orientation, said, size=size)])
    assert answers == ["upright"] and "(1 of these do not tell and are taken as upright); say --labels" in sentence


def test_what_nothing_tells_is_as_the_rest_of_the_file():
    assert judge([labelled(6, (400, 300)), labelled(3), labelled(1)])[0] == ["file", "file", "upright"]
    assert judge([labelled(6, (400, 300)), labelled(3), labelled(6, (300, 400))])[0] == ["file", "upright", "upright"]


def test_sizes_that_labels_contradict_are_believed_of_no_picture():
    """Upright labels beside the size of the file: portraits of people low and high in the picture."""
    answers, sentence = judge([labelled(6, (400, 300), [(20, y)]) for y in (350, 100, 200)])
    assert answers == ["upright"] * 3 and "labels of 3 are upright (2 of these do not tell" in sentence
    strays = [labelled(6, (400, 300), points) for points in ([(350, 9)], [(350, 9)], [(9, 350)], [(9, 9)])]
    assert judge(strays)[0] == ["file", "file", "upright", "file"]


def test_the_user_has_the_last_word():
    answers, sentence = judge([labelled(6, (300, 400)), labelled(6), labelled(1)], "file")
    assert answers == ["file", "file", "upright"]
    assert sentence == "EXIF turns 2 pictures: labels of 2 are in the file's pixels."


def test_videos_are_called_so():
    answers, sentence = judge([labelled(6, (400, 300), [(350, 20)])], kind="video")
    assert answers == ["file"] and sentence.startswith("Metadata turns 1 video: labels of 1 are in the file's pixels;")


def test_pictures_that_nothing_turns_are_not_spoken_of():
    assert judge([labelled(1, (400, 300), [(20, 350)])]) == (["upright"], "") and judge([]) == ([], "")
