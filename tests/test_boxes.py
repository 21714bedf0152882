"""Boxes of people from COCO's files: whose they are, and what is left out and counted."""

import json
from pathlib import Path

import pytest

from pose_regression.errors import PoseError
from pose_regression.inference.boxes import read_boxes

BOX = [5, 6, 20, 30]
CORNERS = [5.0, 6.0, 25.0, 36.0]


def write(folder: Path, content: object) -> Path:
    path = folder / "boxes.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def boxes_by_name(path: Path, **options) -> dict[str, list[list[float]]]:
    return {name: people.boxes for name, people in read_boxes(path, **options).people.items()}


@pytest.mark.parametrize(
    "content, message",
    [
        ("", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("{}", "no COCO detections"),
        ('{"annotations": 3}', "no COCO detections"),
        (None, "No such file"),
        (b"\xff\xfe[", "is not JSON"),
    ],
    ids=range(6),
)
def test_a_file_of_something_else_is_one_sentence(tmp_path, content, message):
    path = tmp_path / "boxes.json"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(PoseError, match=message) as error:
        read_boxes(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    "entry, reason",
    [
        ("1", "without a usable bbox"),
        ('{"bbox": [1, 2, 3, 4]}', "without image_id and file_name"),
        ('{"image_id": [1], "bbox": [1, 2, 3, 4]}', "without image_id and file_name"),
        ('{"file_name": "a.jpg"}', "without a usable bbox"),
        ('{"file_name": "a.jpg", "bbox": [1, 2, 3]}', "without a usable bbox"),
        ('{"file_name": "a.jpg", "bbox": [1, 2, 3, NaN]}', "without a usable bbox"),
        ('{"file_name": "a.jpg", "bbox": [1, 2, 3, 1' + "0" * 400 + "]}", "without a usable bbox"),
        ('{"file_name": "a.jpg", "bbox": [1, 2, 3, "wide"]}', "without a usable bbox"),
        ('{"file_name": "a.jpg", "bbox": [1, 2, 3, 0]}', "without a usable bbox"),
        ('{"file_name": "a.jpg", "bbox": [1, 2, 3, 4], "score": "high"}', "without a usable bbox"),
        ('{"file_name": "a.jpg", "bbox": [1, 2, 3, 4], "score": 0.49}', "below the score"),
        ('{"file_name": "a.jpg", "bbox": [1, 2, 3, 4], "category_id": 2}', "of other categories"),
        ('{"file_name": "a.jpg", "bbox": [1, 2, 3, 4], "category_id": 1, "iscrowd": 1}', "of crowds"),
    ],
    ids=range(13),
)
def test_a_wrong_entry_costs_itself_and_is_counted(tmp_path, entry, reason):
    path = tmp_path / "boxes.json"
    path.write_text('[{"file_name": "a.jpg", "bbox": [5, 6, 20, 30]}, ' + entry + "]", encoding="utf-8")
    boxes = read_boxes(path)
    assert boxes.people["a.jpg"].boxes == [CORNERS] and boxes.skipped == {reason: 1}


def annotated(folder: Path, categories: list[dict], ids: list[int]) -> Path:
    """A picture with a box of each category, the box's x saying which."""
    entries = [{"image_id": 7, "category_id": id, "bbox": [id, 6, 20, 30]} for id in ids]
    images = [{"id": 7, "file_name": "a.jpg"}]
    return write(folder, {"images": images, "annotations": entries, "categories": categories})


@pytest.mark.parametrize(
    "names, wanted, taken",
    [
        ({1: "car", 2: "person", 3: "truck"}, None, 2),
        ({0: "person"}, None, 0),
        ({5: "Mensch"}, None, 5),
        ({1: "car", 2: "person", 3: "truck"}, "Truck", 3),
        ({1: "car", 2: "person", 3: "truck"}, "1", 1),
    ],
)
def test_people_are_the_category_that_the_file_says(tmp_path, names, wanted, taken):
    categories = [{"id": id, "name": name} for id, name in names.items()]
    boxes = read_boxes(annotated(tmp_path, categories, list(names)), category=wanted)
    assert [box[0] for box in boxes.people["a.jpg"].boxes] == [taken]
    assert boxes.category == (taken, names[taken]) and boxes.people["a.jpg"].id == 7
    assert boxes.skipped.total() == len(names) - 1


def test_a_category_that_cannot_be_told_is_asked_for(tmp_path):
    path = annotated(tmp_path, [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}], [1, 2])
    with pytest.raises(PoseError, match="which category are people\\? Choose with --category: cat, dog"):
        read_boxes(path)
    with pytest.raises(PoseError, match="no category 'cow'; expected one of cat, dog"):
        read_boxes(path, category="cow")


def test_frames_of_videos_by_number_and_ids_of_pictures(tmp_path):
    entries = [{"file_name": "x/walk.mp4#000003", "bbox": BOX}, {"file_name": "walk.mp4#12", "bbox": BOX}]
    boxes = read_boxes(write(tmp_path, [*entries, {"image_id": 139, "bbox": BOX}]))
    assert {n: people.boxes for n, people in boxes.of_frames([Path("x/walk.mp4")])[0].items()} == {3: [CORNERS]}
    (found, other) = boxes.of_pictures([Path("000000000139.jpg"), Path("b.jpg")])
    assert found is not None and (found.id, found.boxes) == (139, [CORNERS]) and other is None
    assert boxes.unnamed == 1


@pytest.mark.parametrize(
    "entry, kept",
    [
        ({"image_id": 1.0, "category_id": 1.0, "bbox": BOX}, True),
        ({"image_id": "1", "category_id": "1", "bbox": BOX}, True),
        ({"image_id": 1, "category_id": 1, "bbox": [*map(str, BOX)], "score": "0.9"}, True),
        ({"image_id": 1, "category_id": 1, "bbox": BOX, "score": "0.4"}, False),
        ({"image_id": 1, "category_id": 1, "bbox": BOX, "iscrowd": "0"}, True),
        ({"image_id": 1, "category_id": 1, "bbox": BOX, "iscrowd": None}, True),
        ({"image_id": 1, "category_id": 1, "bbox": BOX, "iscrowd": "1"}, False),
        ({"image_id": 1, "category_id": 1, "bbox": BOX, "iscrowd": True}, False),
    ],
)
def test_numbers_may_have_gone_through_a_table_or_a_text(tmp_path, entry, kept):
    categories = [{"id": 1, "name": " Person"}, {"id": 2, "name": "car"}]
    content = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [entry], "categories": categories}
    boxes = read_boxes(write(tmp_path, content))
    assert boxes.people["a.jpg"].boxes == [CORNERS] * kept and boxes.people["a.jpg"].id == 1


def test_an_id_that_the_file_does_not_list_is_counted(tmp_path):
    content = {
        "images": [{"id": 2**60 + 1, "file_name": "a.jpg"}, {"id": 3}],
        "annotations": [{"image_id": n, "bbox": BOX} for n in (float(2**60 + 1), 2**60 + 1, 3, 4)],
    }
    boxes = read_boxes(write(tmp_path, content))
    assert boxes.people["a.jpg"].boxes == [CORNERS] and boxes.people["a.jpg"].id == 2**60 + 1
    assert boxes.skipped == {"of an image_id without a file_name in the file": 3}
    assert list(boxes.people) == ["a.jpg"]  # 3 and 4 may be anything, and not 3.jpg


def test_an_id_of_two_pictures_is_an_error_that_names_both(tmp_path):
    images = [{"id": 1, "file_name": "v1/a.jpg"}, {"id": "1", "file_name": "v1/a.jpg"}]
    content = {"images": images, "annotations": [{"image_id": 1, "bbox": BOX}]}
    assert boxes_by_name(write(tmp_path, content)) == {"v1/a.jpg": [CORNERS]}
    images.append({"id": 1, "file_name": "v2/a.jpg"})
    with pytest.raises(PoseError, match="the id 1 is of two pictures, 'v1/a.jpg' and 'v2/a.jpg'"):
        read_boxes(write(tmp_path, content))


def test_a_score_of_null_is_none(tmp_path):
    assert boxes_by_name(write(tmp_path, [{"file_name": "a.jpg", "bbox": BOX, "score": None}])) == {"a.jpg": [CORNERS]}


def test_pictures_in_a_folder_of_another_name_are_counted(tmp_path):
    names = ["v1/a.jpg", "v1/b.jpg", "c.jpg", "C:\\set\\v2\\d.jpg"]
    boxes = read_boxes(write(tmp_path, [{"file_name": name, "bbox": BOX} for name in names]))
    pictures = [tmp_path / "v2" / name for name in ("a.jpg", "c.jpg", "d.jpg")] + [tmp_path / "v1/b.jpg"]
    assert all(boxes.of_pictures(pictures)) and boxes.elsewhere == 1
