"""COCO keypoints files: what is read, how sides are told, what is skipped, and what wrong files say."""

import copy
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pose_regression.data import coco, sides
from pose_regression.data.augment import NONE, plan_epoch
from pose_regression.data.cache import prepare_crops
from pose_regression.data.orientation import to_upright, turn_of
from pose_regression.errors import PoseError
from pose_regression.evaluation.windows import crops_of
from pose_regression.geometry import transform_points

NAMES = ["nose", "l_hand", "r_hand", "l_foot", "r_foot"]
POINTS = [50, 10, 2, 70, 30, 1, 30, 30, 2, 60, 90, 2, 0, 0, 0]


def valid() -> dict[str, Any]:
    """Two pictures of 100 x 120 pixels: one person, a crowd and somebody unlabelled; nobody."""
    return {
        "info": {"year": 2020},
        "images": [
            {"id": 7, "file_name": "a.jpg", "width": 100, "height": 120},
            {"id": 9, "file_name": "sub/b.png"},
        ],
        "categories": [
            {"id": 1, "name": "child", "keypoints": list(NAMES), "skeleton": [[1, 2], [1, 3], [4, 5]]},
            {"id": 2, "name": "kite"},
        ],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 1, "bbox": [20, 0, 60, 100], "keypoints": list(POINTS)},
            {"id": 2, "image_id": 7, "category_id": 1, "bbox": [0, 0, 9, 9], "iscrowd": 1, "segmentation": {}},
            {"id": 3, "image_id": 7, "category_id": 1, "bbox": [0, 0, 9, 9], "keypoints": [0] * 15, "iscrowd": 0},
            {"id": 4, "image_id": 9, "category_id": 2, "bbox": [0, 0, 9, 9]},
        ],
    }


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    (folder / "sub").mkdir()
    for name in ("a.jpg", "sub/b.png"):
        Image.new("RGB", (100, 120)).save(folder / name)
    return folder


@pytest.fixture
def load(tmp_path, images):
    """Load what is given as the content of the file."""

    def load(content: Any) -> coco.Annotated:
        path = tmp_path / "coco.json"
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return coco.load(path, images)

    return load


def names_and_pairs(names: list[str], **more: Any) -> tuple[list[str], list[tuple[int, int]]]:
    skeleton = coco.skeleton_of({"keypoints": names, **more}, "category")
    return list(skeleton.names), [(i, j) for i, j in enumerate(skeleton.flip) if i < j]


def test_joints_crop_limbs_and_what_is_skipped(load, images):
    annotated = load(valid())
    (sample,) = annotated.samples
    assert sample.image == str(images / "a.jpg")
    np.testing.assert_array_equal(sample.joints, [[50, 10], [70, 30], [30, 30], [60, 90], [np.nan, np.nan]])
    assert sample.center.tolist() == [50, 50] and sample.side == 125  # 1.25 times the longer side of 60 x 100
    assert sample.supervised.tolist() == [True, True, True, True, False]  # nobody has a right foot
    assert annotated.skeleton.names == ("nose", "left_hand", "right_hand", "left_foot", "right_foot")
    assert annotated.skeleton.limb_indices == ((0, 1), (0, 2), (3, 4))
    assert annotated.skeleton.flip == (0, 2, 1, 4, 3)
    assert annotated.skipped == {coco.CROWD: 1, coco.UNLABELLED: 1}


def test_people_follow_the_pictures_and_any_of_them_supervises_a_joint(load):
    content = valid()
    points = [0, 0, 0] * 4 + [5, 6, 1]
    content["annotations"][:0] = [
        {"image_id": 9, "category_id": 1, "bbox": [0, 0, 50, 20], "keypoints": points},
        {"image_id": 7, "category_id": 1, "bbox": [0, 0, 50, 20], "keypoints": points},
    ]
    samples = load(content).samples
    assert [Path(sample.image).name for sample in samples] == ["a.jpg", "a.jpg", "b.png"]
    assert samples[0].present.tolist() == samples[2].present.tolist() == [False] * 4 + [True]
    assert all(sample.supervised.all() for sample in samples)


@pytest.mark.parametrize(
    "written, called",
    [
        (["left_knee", "right_knee"], "knee"),
        (["Left Knee", "Right Knee"], "Knee"),
        (["LEFT-KNEE", "RIGHT-KNEE"], "KNEE"),
        (["l_knee", "r_knee"], "knee"),
        (["L.knee", "R.knee"], "knee"),
        (["LeftKnee", "RightKnee"], "Knee"),
        (["leftKnee", "rightKnee"], "Knee"),
        (["LKnee", "RKnee"], "Knee"),
        (["knee_left", "knee_right"], "knee"),
        (["knee-L", "knee-R"], "knee"),
        (["front knee l", "front knee r"], "front knee"),
        (["kneeLeft", "kneeRight"], "knee"),
        (["kneeL", "kneeR"], "knee"),
    ],
)
def test_sides_are_told_from_the_names(written, called):
    left, right = written
    assert names_and_pairs(["x", right, left]) == (["x", f"right_{called}", f"left_{called}"], [(1, 2)])


@pytest.mark.parametrize("names", [["Lip", "chin"], ["l_knee", "r_foot"], ["left_eye"], ["upright", "leg"]])
def test_names_without_a_counterpart_stay_as_they_are(names):
    assert names_and_pairs(names) == (names, [])


@pytest.mark.parametrize(
    "written, called",
    [
        (["front_left_paw", "front_right_paw"], ["front_left_paw", "front_right_paw"]),
        (["Front Left Paw", "Front Right Paw"], ["left_Front Paw", "right_Front Paw"]),
        (["frontLeftPaw", "frontRightPaw"], ["left_frontPaw", "right_frontPaw"]),
        (["leftknee", "rightknee"], ["left_knee", "right_knee"]),
        (["LEFTKNEE", "rightknee"], ["left_KNEE", "right_KNEE"]),
        (["Lknee", "Rknee"], ["left_knee", "right_knee"]),
        (["Lknee", "right_knee"], ["left_knee", "right_knee"]),
        (["Left_Knee", "right_knee"], ["left_Knee", "right_Knee"]),
        (["left_knee ", " right_knee"], ["left_knee", "right_knee"]),
        (["paw_l_1", "paw_r_1"], ["left_paw_1", "right_paw_1"]),
        (["FL_paw", "FR_paw"], ["left_F_paw", "right_F_paw"]),
        (["left", "right"], ["left", "right"]),
        (["L", "R"], ["left", "right"]),
        (["main_gauche", "main_droite"], ["left_main", "right_main"]),
        (["poignet gauche", "poignet droit"], ["left_poignet", "right_poignet"]),
        (["Pfote_links", "Pfote_rechts"], ["left_Pfote", "right_Pfote"]),
        (["mano_izquierda", "mano_derecha"], ["left_mano", "right_mano"]),
        (["左手", "右手"], ["left_手", "right_手"]),
        (["左_手", "右_手"], ["left_手", "right_手"]),
        (["rear_left_hip", "rear_right_hip"], ["rear_left_hip", "rear_right_hip"]),
    ],
)
def test_a_side_is_told_anywhere_in_the_name(written, called):
    assert names_and_pairs(["nose", *written]) == (["nose", *called], [(1, 2)])


def test_rear_and_front_left_and_right_are_four_joints():
    names = ["FL_paw", "FR_paw", "RL_paw", "RR_paw"]
    assert names_and_pairs(names)[1] == [(0, 1), (2, 3)]


def test_a_side_without_a_partner_is_told_unless_the_file_says_who_trades_places():
    assert sides.lonely(["left_ear", "right_ear", "front_left_paw", "nose", "bright", "Leg"]) == ("front_left_paw",)
    assert sides.lonely(["main_gauche", "左手", "droitier"]) == ("main_gauche", "左手")
    assert sides.lonely(["left_knee", "Left Knee", "right_knee"]) == ("left_knee", "Left Knee", "right_knee")


def test_lonely_joints_come_with_the_people_unless_flip_pairs_are_given(load):
    content = valid()
    names = content["categories"][0]["keypoints"] = ["nose", "left_hand", "right_hand", "left_foot", "toe"]
    annotated = load(content)
    assert annotated.lonely == ("left_foot",) and annotated.written == tuple(names)
    content["categories"][0]["flip_pairs"] = [["left_hand", "right_hand"]]
    assert load(content).lonely == ()


def test_the_seventeen_joints_of_coco_keep_their_names():
    sides = [f"{side}_{joint}" for joint in ("eye", "ear", "shoulder", "hip") for side in ("left", "right")]
    assert names_and_pairs(["nose", *sides]) == (["nose", *sides], [(1, 2), (3, 4), (5, 6), (7, 8)])


def test_flip_pairs_override_the_names():
    names = ["tip", "port", "starboard", "l_oar", "r_oar", "l_x", "r_x"]
    given = [["port", "starboard"], [5, 4]]
    expected = ["tip", "left_port", "right_port", "left_oar", "right_oar", "l_x", "r_x"]
    assert names_and_pairs(names, flip_pairs=given) == (expected, [(1, 2), (3, 4)])
    assert names_and_pairs(names, flip_pairs=[]) == (names, [])
    assert names_and_pairs(["a_l", "b_r"], flip_pairs=[["a_l", "b_r"]]) == (["left_a_l", "right_a_l"], [(0, 1)])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("labels", ["upright", "file"])
def test_the_network_sees_people_upright_whatever_exif_and_labels(tmp_path, orientation, labels):
    """A white square of 10 pixels in the file, a joint at its centre, another above it as the picture is shown."""
    stored = np.zeros((120, 100, 3), np.uint8)
    stored[70:80, 20:30] = 255
    picture = Image.fromarray(stored)
    picture.getexif()[0x0112] = orientation
    picture.save(tmp_path / "a.png", exif=picture.getexif())
    affine = to_upright(turn_of(picture), picture.size)
    x, y = transform_points(affine, np.array([[25.0, 75.0]]))[0]
    joints = np.array([[x, y], [x, y - 20]])
    if labels == "file":
        joints = transform_points(np.linalg.inv(affine), joints)
    low, high = joints.min(axis=0) - 10, joints.max(axis=0) + 10
    width, height = picture.size if labels == "file" else np.abs(turn_of(picture)) @ picture.size
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": int(width), "height": int(height)}],
        "categories": [{"id": 1, "name": "person", "keypoints": ["at", "above"]}],
        "annotations": [
            {"image_id": 1, "category_id": 1, "bbox": [*low, *(high - low)],
             "keypoints": np.column_stack([joints, [2, 2]]).ravel().tolist()}
        ],
    }  # fmt: skip
    (tmp_path / "coco.json").write_text(json.dumps(content))
    annotated = coco.load(tmp_path / "coco.json", tmp_path, labels=labels)
    (sample,) = annotated.samples
    np.testing.assert_allclose(sample.joints[0], [25, 75], atol=1e-9)  # in pixels of the file
    assert sample.side == 50  # 1.25 times 40
    plan = plan_epoch([sample], annotated.skeleton, seed=0, epoch=0, augmentation=NONE, shuffle=False)
    np.testing.assert_allclose(plan.pose[0, :, :2], [[0.5, 0.7], [0.5, 0.3]], atol=1e-6)
    (seen,) = crops_of([sample], size=50)
    assert (seen[31:39, 21:29] > 250).all() and seen.astype(int).sum() == pytest.approx(3 * 255 * 100, rel=0.01)
    (kept,) = prepare_crops([sample], tmp_path / "cache", augmentation=NONE)
    np.testing.assert_allclose(crops_of([kept], size=50).astype(int), seen[None], atol=40)
    assert annotated.turned.startswith("EXIF turns 1 picture" if orientation > 1 else "")


@pytest.mark.parametrize("size, file", [((100, 120), True), ((120, 100), False), ((None, None), False)])
def test_annotated_width_and_height_tell_how_a_turned_picture_is_labelled(tmp_path, size, file):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (100, 120)).save(tmp_path / "a.jpg", exif=exif)
    content = valid()
    content["images"][0] |= {"width": size[0], "height": size[1]}
    (tmp_path / "coco.json").write_text(json.dumps(content))
    annotated = coco.load(tmp_path / "coco.json", tmp_path)
    # Shown, the file is turned clockwise: what is upright at (x, y) is stored at (y, 120 - x).
    assert annotated.samples[0].joints[1].tolist() == ([70, 30] if file else [30, 50])
    assert ("in the file's pixels" in annotated.turned) == file
    assert ("1 of these do not tell" in annotated.turned) == (size == (None, None))


def test_a_damaged_picture_is_left_to_the_pipeline(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"")
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(valid()))
    assert [sample.image for sample in coco.load(path, tmp_path).samples] == [str(tmp_path / "a.jpg")]


def _set(*place: Any):
    """Put the last of `place` at the others in a valid file."""
    *keys, last, value = place

    def change(content):
        for key in keys:
            content = content[key]
        content[last] = value

    return change


PERSON = ("annotations", 0)
CATEGORY = ("categories", 0)
FAULTS = [
    (_set("images", None), "expected a list 'images'. Received: None"),
    (_set("annotations", {}), "expected a list 'annotations'"),
    (_set("categories", []), "none of its 0 categories has 'keypoints'"),
    (_set(*CATEGORY, "keypoints", []), "has no joints: none of its 2 categories has 'keypoints'"),
    (_set("images", 1, 3), "images[1] must be an object. Received: 3"),
    (_set("images", 1, "id", 7), "images[1]: 'id' 7 is taken by images[0]"),
    (_set("images", 1, "id", 7.5), "images[1]: 'id' must be a whole number or text. Received: 7.5"),
    (_set("images", 0, "file_name", "none.jpg"), "images[0]: 'none.jpg' is no file in"),
    (_set("images", 0, "file_name", "a\0.jpg"), "images[0]: 'a\\x00.jpg' is no file in"),
    (_set("images", 0, "file_name", "\ud800"), "images[0]: '\\ud800' is no file in"),
    (_set("images", 0, "file_name", "a" * 5000), "aaa' is no file in"),
    (_set("images", 0, "file_name", "sub"), "images[0]: 'sub' is no file in"),
    (_set("images", 0, "file_name", 3), "images[0]: 'file_name' must be text. Received: 3"),
    (_set("images", 0, "width", 120), "images[0]: 'a.jpg' has 100 x 120 pixels, not 120 x 120"),
    (_set(*CATEGORY, "keypoints", "nose"), "categories[0]: 'keypoints' must be a list of names"),
    (_set(*CATEGORY, "keypoints", ["a", 2]), "categories[0]: 'keypoints' must be a list of names"),
    (_set(*CATEGORY, "keypoints", ["a", "a\n"]), "categories[0]: 'keypoints' must be a list of names"),
    (_set(*CATEGORY, "keypoints", ["a", "a"]), "categories[0]: 'keypoints' must be different names"),
    (
        _set(*CATEGORY, "keypoints", ["l_a", "r_a", "left_a", "b", "c"]),
        "two joints would be called 'left_a'",
    ),
    (_set(*CATEGORY, "keypoints", ["l_a", "r_a", "b", "a_l", "a_r"]), "would be called 'left_a'"),
    (_set(*CATEGORY, "skeleton", 3), "categories[0]: 'skeleton' must be a list of pairs"),
    (_set(*CATEGORY, "skeleton", [[0, 1]]), "by name or by number from 1 to 5. Received: [0, 1]"),
    (_set(*CATEGORY, "skeleton", [[1, 6]]), "by name or by number from 1 to 5. Received: [1, 6]"),
    (_set(*CATEGORY, "skeleton", [[1, True]]), "by name or by number"),
    (_set(*CATEGORY, "flip_pairs", [["nose", "ear"]]), "categories[0]: 'flip_pairs' must have pairs"),
    (_set(*CATEGORY, "flip_pairs", [[1, 1]]), "can't be mirrored joints; a joint is in one pair at most"),
    (_set(*CATEGORY, "flip_pairs", [[1, 2], [2, 3]]), "'l_hand' and 'r_hand' can't be mirrored joints"),
    (_set("categories", 1, "keypoints", ["beak"]), "categories[1]: its joints are others than those of"),
    (_set(*PERSON, "image_id", 8), "annotations[0]: 'image_id' must be the id of an entry of this file. Received: 8"),
    (_set(*PERSON, "image_id", "seven"), "annotations[0]: 'image_id' must be the id of an entry of this file"),
    (_set(*PERSON, "image_id", [7]), "annotations[0]: 'image_id' must be the id of an entry of this file"),
    (_set(*PERSON, "category_id", None), "annotations[0]: 'category_id' must be the id of an entry of this file"),
    (_set(*PERSON, "keypoints", POINTS[:-1]), "'keypoints' must be 15 finite numbers of at most 1e+06. Received: 14"),
    (_set(*PERSON, "keypoints", 3), "annotations[0]: 'keypoints' must be 15 finite numbers"),
    (_set(*PERSON, "keypoints", 3, float("nan")), "annotations[0]: 'keypoints' must be 15 finite numbers"),
    (_set(*PERSON, "keypoints", 3, 10**400), "annotations[0]: 'keypoints' must be 15 finite numbers"),
    (_set(*PERSON, "keypoints", 3, -(2**63)), "annotations[0]: 'keypoints' must be 15 finite numbers"),
    (_set(*PERSON, "keypoints", 3, "one"), "annotations[0]: 'keypoints' must be 15 finite numbers"),
    (_set(*PERSON, "keypoints", 5, 3), "annotations[0]: v of keypoint 2 must be 0, 1 or 2. Received: 3"),
    (_set(*PERSON, "bbox", [1, 2, 9]), "annotations[0]: 'bbox' must be 4 numbers, at least a pixel wide and high"),
    (_set(*PERSON, "bbox", [1, 2, 3, float("inf")]), "annotations[0]: 'bbox' must be 4 numbers"),
    (_set(*PERSON, "bbox", [1, 2, 0, 9]), "annotations[0]: 'bbox' must be 4 numbers, at least a pixel wide and high"),
    (_set(*PERSON, "bbox", [100, 2, 9, 9]), "annotations[0]: its bbox lies outside its picture of 100 x 120 pixels"),
    (_set(*PERSON, "iscrowd", 1), "Received: 2 annotations of crowds, 1 annotation without keypoints"),
]


@pytest.mark.parametrize("change, message", FAULTS, ids=[message for _, message in FAULTS])
def test_a_wrong_entry_is_named_in_one_sentence(load, tmp_path, change, message):
    content = valid()
    change(content)
    with pytest.raises(PoseError) as caught:
        load(content)
    sentence = str(caught.value)
    assert message in sentence and sentence.startswith(str(tmp_path / "coco.json")) and "\n" not in sentence
    assert len(sentence) < 500 + len(str(tmp_path))


def test_flip_pairs_that_leave_out_a_pair_named_as_one():
    names = ["left_a", "right_a", "b", "c"]
    with pytest.raises(PoseError, match="'left_a' is one of a pair by its name, but not in 'flip_pairs'"):
        coco.skeleton_of({"keypoints": names, "flip_pairs": [["b", "c"]]}, "category")


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"images":' * 100_000, "is not JSON"),
        (b'{"images": [' + b"9" * 5000 + b"]}", "is not JSON"),
        (b"\xff\xfe\x00", "is not JSON"),
        (b"[]", "expected an object"),
        (b'{"images": ' + b"[" * 400 + b"]" * 400 + b"}", "images[0] must be an object"),
    ],
)
def test_a_file_that_is_no_annotation(load, content, message):
    with pytest.raises(PoseError) as caught:
        load(content)
    assert message in str(caught.value) and len(str(caught.value)) < 500


def test_no_file(tmp_path):
    with pytest.raises(PoseError, match="none.json cannot be read: No such file"):
        coco.load(tmp_path / "none.json", tmp_path)


ODD: list[Any] = [
    None, True, False, 0, -1, 1, 2, 7, 10**30, 10**400, -(2**63), 0.5, 1e308, float("nan"), float("inf"), "", "nose",
    "7", "a.jpg", "../a.jpg", "/", "\0", "\ud800", "é\n", "x" * 300, [], [[]], [1, 2], [[1, 2]], [None] * 15, {},
    {"id": 1}, [{}], [{"id": 7}],
]  # fmt: skip


def mutated(rng: random.Random) -> bytes:
    """A valid file with one to three values replaced, removed, doubled or swapped, or with bytes changed."""
    content = valid()
    for _ in range(rng.randint(1, 3)):
        holder: Any = content
        while True:
            keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
            key = rng.choice(keys)
            if not (isinstance(holder[key], (dict, list)) and holder[key] and rng.random() < 0.8):
                break
            holder = holder[key]
        kind = rng.random()
        if kind < 0.6:
            holder[key] = copy.deepcopy(rng.choice(ODD))
        elif kind < 0.8:
            del holder[key]
        elif isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[rng.randrange(len(holder))]))
        else:
            other = rng.choice(keys)
            holder[key], holder[other] = holder[other], holder[key]
        if not content:
            break
    encoded = bytearray(json.dumps(content).encode())
    if rng.random() < 0.3:
        for _ in range(rng.randint(1, 4)):
            encoded[rng.randrange(len(encoded))] = rng.choice(b'[]{},:"0123456789-.eNtf\\ \xff')
    return bytes(encoded[: rng.randrange(len(encoded))] if rng.random() < 0.05 else encoded)


def test_mutated_files_load_or_say_what_is_wrong(load):
    refused = 0
    for seed in range(300):
        try:
            annotated = load(mutated(random.Random(seed)))
        except PoseError as error:
            refused += 1
            assert "coco.json" in str(error) and len(str(error)) < 1000, seed
        else:
            joints = np.stack([sample.joints for sample in annotated.samples])
            assert joints.shape[1:] == (len(annotated.skeleton), 2) and np.isfinite(joints).any(axis=(1, 2)).all(), seed
            assert all(np.isfinite([*sample.center, sample.side]).all() for sample in annotated.samples), seed
    assert 150 < refused < 295


def test_one_wrong_entry_costs_itself_and_is_counted(load):
    content = valid()
    good = content["annotations"][0]
    content["annotations"] += [
        good | {"id": 5, "bbox": [20, 0, 60, 0]},
        good | {"id": 6, "keypoints": [1, 2, 3]},
        good | {"id": 7, "image_id": 700},
        good | {"id": 8, "bbox": [500, 0, 9, 9]},
    ]
    annotated = load(content)
    assert len(annotated.samples) == 1 and annotated.skipped[coco.UNUSABLE] == 4


@pytest.mark.parametrize("unread", [float("nan"), None, "?"])
def test_what_stands_at_a_joint_that_is_not_labelled_is_not_read(load, unread):
    content = valid()
    content["annotations"][0]["keypoints"][12:15] = [unread, unread, 0]
    (sample,) = load(content).samples
    np.testing.assert_array_equal(sample.joints[3:], [[60, 90], [np.nan, np.nan]])


def test_a_category_that_no_annotation_uses_does_not_count_and_one_can_be_chosen(load, images, tmp_path):
    content = valid()
    content["categories"].append({"id": 3, "name": "dog", "keypoints": ["nose", "tail"]})
    assert load(content).skeleton.names[0] == "nose" and len(load(content).samples) == 1
    dog = {"id": 5, "image_id": 9, "category_id": 3, "bbox": [0, 0, 9, 9], "keypoints": [1, 2, 2, 3, 4, 2]}
    content["annotations"].append(dog)
    with pytest.raises(PoseError, match="its joints are others than those of"):
        load(content)
    annotated = coco.load(tmp_path / "coco.json", images, category="dog")
    assert annotated.skeleton.names == ("nose", "tail") and len(annotated.samples) == 1
    assert annotated.skipped[coco.OTHER] == 3
    with pytest.raises(PoseError, match="no category 'cat'; expected one of child, kite, dog"):
        coco.load(tmp_path / "coco.json", images, category="cat")


def test_a_picture_listed_twice_alike_is_one(load):
    content = valid()
    content["images"].append(dict(content["images"][0]))
    assert len(load(content).samples) == 1


def test_a_person_without_a_box_has_that_of_its_labelled_joints(load):
    content = valid()
    del content["annotations"][0]["bbox"]
    (sample,) = load(content).samples  # joints at x 30 to 70, y 10 to 90
    assert sample.center.tolist() == [50, 50] and sample.side == 100


@pytest.mark.parametrize("one", [7.0, "7"])
def test_ids_may_have_gone_through_a_table_or_a_text(load, one):
    content = valid()
    content["annotations"][0] |= {"image_id": one, "category_id": str(content["categories"][0]["id"]), "iscrowd": None}
    assert len(load(content).samples) == 1


@pytest.mark.parametrize(
    "name", ["sub\\b.png", "C:\\x\\sub\\b.png", "images/sub/b.png", "b.png", "sub/B.PNG", "sub/b.png "]
)
def test_a_picture_is_found_by_the_name_that_another_tool_gave_it(load, images, name):
    content = valid()
    content["images"][1]["file_name"] = name
    content["annotations"][0]["image_id"] = 9
    assert [sample.image for sample in load(content).samples] == [str(images / "sub" / "b.png")]


@pytest.mark.parametrize("change", [{"file_name": "gone.png"}, {"width": 50, "height": 60}])
def test_a_picture_that_is_missing_or_another_costs_its_own_people(load, change):
    content = valid()
    content["images"][1] |= change
    content["annotations"].append(content["annotations"][0] | {"id": 9, "image_id": 9})
    annotated = load(content)
    assert len(annotated.samples) == 1 and annotated.skipped[coco.MISSING] == 1


@pytest.mark.parametrize("size", [("100", "120"), (100.0, 120.0), (0, 0), (None, None)])
def test_the_size_of_a_picture_may_be_text_or_unknown(load, size):
    content = valid()
    content["images"][0] |= {"width": size[0], "height": size[1]}
    assert len(load(content).samples) == 1
