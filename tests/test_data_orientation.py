"""Pictures that EXIF turns: in which pixels their labels are, and that everybody is shown upright."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from pose_regression.data.entries import annotated_size
from pose_regression.data.orientation import Labelling, to_upright, turn_of
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


@pytest.mark.parametrize(
    "orientation, said, expected",
    [
        (6, (3, 4), "upright"),
        (6, (4, 3), "file"),
        (8, ("3", 4.0), "upright"),
        (6, (None, None), None),
        (6, (0, 0), None),
        (6, (3, None), None),
        (6, (9, 9), None),
        (3, (4, 3), None),
        (2, (4, 3), None),
    ],
)
def test_width_and_height_tell_in_which_pixels_labels_are(orientation, said, expected):
    labelling, picture = Labelling(), turned(orientation)
    answer = labelling.of(annotated_size({"width": said[0], "height": said[1]}), picture.size, turn_of(picture))
    assert answer == (expected or "upright")
    counts = (labelling.upright, labelling.file, labelling.unsaid)
    assert counts == (expected == "upright", expected == "file", expected is None)


def test_a_square_does_not_tell_and_the_user_has_the_last_word():
    picture = turned(6, (3, 3))
    assert Labelling().of((3, 3), (3, 3), turn_of(picture)) == "upright"
    labelling = Labelling("file")
    assert labelling.of((3, 3), (3, 3), turn_of(picture)) == "file"
    assert labelling.of((3, 4), (4, 3), turn_of(turned(6))) == "file"
    assert str(labelling) == "EXIF turns 2 pictures: labels of 2 in the file's pixels."


def test_pictures_that_nothing_turns_are_not_counted():
    labelling = Labelling()
    assert labelling.of((4, 3), (4, 3), turn_of(turned(1))) == "upright" and str(labelling) == ""


def test_the_sentence_counts_each_kind():
    text = str(Labelling(upright=2, file=1, unsaid=3))
    assert text.startswith("EXIF turns 6 pictures: labels of 2 upright, as their width and height say; labels of 1 in ")
    assert "labels of 3 taken as upright" in text and "--labels file" in text
