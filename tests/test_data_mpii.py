"""MPII: three annotation files that must agree, the official file's quirks, splits, and what wrong files say."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.io import loadmat, savemat

from pose_regression import skeleton
from pose_regression.data import mpii
from pose_regression.errors import PoseError

EMPTY = np.zeros((0, 0))
OFFICIAL = "mpii_human_pose_v1_u12_1.mat"


# ---------------------------------------------------------------------------- small files in the official layout


def struct_array(*records: dict) -> np.ndarray:
    """1 x N MATLAB struct array."""
    array = np.empty((1, len(records)), [(name, object) for name in records[0]])
    for i, record in enumerate(records):
        array[0, i] = tuple(record.values())
    return array


def points(*records: dict) -> np.ndarray:
    return struct_array({"point": struct_array(*records)})


def person(**changes) -> dict:
    """An annorect element of a person 200 px tall with two joints; a field set to None is absent."""
    fields = {
        "x1": np.uint8(240), "y1": np.uint8(20), "x2": np.uint8(40), "y2": np.uint8(200),
        "annopoints": points(
            {"x": np.uint8(50), "y": np.uint8(60), "id": np.uint8(0), "is_visible": "0"},
            {"x": 70.5, "y": 80.25, "id": 9, "is_visible": EMPTY},
        ),
        "scale": 1.0,
        "objpos": struct_array({"x": np.uint8(100), "y": np.uint8(250)}),
    }  # fmt: skip
    return {name: value for name, value in (fields | changes).items() if value is not None}


def image(name: str, *rects: dict) -> dict:
    return {"image": struct_array({"name": name}), "annorect": struct_array(*rects) if rects else EMPTY}


def write_release(path: Path, *images: dict, img_train=None, single_person=None) -> Path:
    cells = np.empty((len(images), 1), object)
    cells[:, 0] = single_person or [EMPTY] * len(images)
    train = np.array([img_train or [1] * len(images)], np.uint8)
    release = {"annolist": struct_array(*images), "img_train": train, "single_person": cells}
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {"RELEASE": release}, do_compression=True)
    return path


def write_authors(path: Path, **cells) -> Path:
    """`annot_tr` and `annot_val`: lists of (numbers, image name, list of structs)."""
    variables = {}
    for name, columns in cells.items():
        variables[name] = np.empty((3, len(columns)), object)
        for i, (numbers, image_name, structs) in enumerate(columns):
            people = np.empty((len(structs), 1), object)
            people[:, 0] = structs
            variables[name][:, i] = [np.array(numbers, np.uint8)[:, None], image_name, people]
    savemat(path, variables, do_compression=True)
    return path


def write_h5(path: Path, **changes) -> Path:
    data = {
        "imgname": np.array([b"a.jpg", b"b.jpg"]),
        "index": np.array([4.0, 7.0]),
        "person": np.array([0.0, 2.0]),
        "part": np.concatenate([[0.0], [0.0], np.arange(2.0, 64.0)]).reshape(2, 16, 2),
        "center": np.array([[10.0, 20.0], [30.0, 40.0]]),
        "scale": np.array([1.25, 2.5]),
        "normalize": np.array([60.0, 70.0]),
    } | changes
    with h5py.File(path, "w") as file:
        for name, value in data.items():
            file[name] = value
    return path


def only(path: Path, split: str = "train"):
    (sample,) = mpii.read_release(path)[split]
    return sample


def joint(sample, name: str) -> list[float]:
    return sample.joints[skeleton.PA16J.index(name)].tolist()


# ------------------------------------------------------------------------------------------------- real files


@pytest.mark.real_data
def test_real_release_equals_the_benchmarks_ground_truth_for_all_2958(pose_data, pose_reference):
    truth = np.load(pose_reference / "evaluation" / "mpii_val_eval.npz")
    samples = mpii.load(pose_data / "mpii", "val", annotation=pose_data / "mpii" / "annot" / "mpii_val_release.mat")
    assert [Path(s.image).name for s in samples] == truth["imgname"].tolist()
    assert [s.person for s in samples] == (truth["release_person_1based"] - 1).tolist()
    joints = skeleton.reorder(np.stack([s.joints for s in samples]), skeleton.PA16J, skeleton.MPII)
    present = np.isfinite(joints).all(axis=-1)
    assert (present == truth["present"]).all()
    assert (joints[present] == truth["gt"][present]).all()
    np.testing.assert_allclose([s.head_size for s in samples], truth["head_size"], rtol=1e-12)
    np.testing.assert_allclose([s.side for s in samples], 250 * truth["scale"], rtol=1e-12)
    center = truth["objpos"] + np.stack([np.zeros(2958), 15 * truth["scale"]], axis=1)
    np.testing.assert_allclose(np.stack([s.center for s in samples]), center, rtol=1e-12)
    assert all(s.supervised.all() for s in samples)


@pytest.mark.real_data
def test_real_validation_h5_agrees_with_the_release_but_for_cut_fractions(pose_data):
    folder = pose_data / "mpii"
    ours = mpii.load(folder, "val")
    release = mpii.load(folder, "val", annotation=folder / "annot" / "mpii_val_release.mat")
    assert len(ours) == 2958
    assert [(a.image, a.person) for a in ours] == [(b.image, b.person) for b in release]
    for a, b in zip(ours, release, strict=True):
        np.testing.assert_allclose(a.center, b.center, atol=1e-6)
        assert a.side == pytest.approx(b.side)
        assert a.head_size == pytest.approx(b.head_size)
    h5, mat = np.stack([s.joints for s in ours]), np.stack([s.joints for s in release])
    np.testing.assert_array_equal(np.isfinite(h5), np.isfinite(mat))
    assert np.nanmax(np.abs(h5 - np.trunc(mat))) == 0


@pytest.mark.real_data
def test_real_images_hold_the_people_of_the_small_release(pose_data):
    folder = pose_data / "mpii"
    release = folder / "annot" / "mpii_mini_release.mat"
    samples = mpii.load(folder, "val", annotation=release)
    assert len({s.image for s in samples}) == 5
    assert all(Path(s.image).is_file() for s in samples)
    assert mpii.load(folder, "train", annotation=release) == []
    assert mpii.load(folder, "test", annotation=release) == []


# ---------------------------------------------------------------------------------- quirks of the official file


def test_joints_go_by_id_and_geometry_follows_the_authors_code(tmp_path):
    sample = only(write_release(tmp_path / "r.mat", image("a.jpg", person(scale=2.0))))
    assert joint(sample, "right_ankle") == [50.0, 60.0]
    assert joint(sample, "head") == [70.5, 80.25]
    assert sample.present.sum() == 2
    assert sample.center.tolist() == [100.0, 250.0 + 30.0]
    assert sample.side == 500.0


def test_head_size_of_uint8_corners_does_not_wrap_round(tmp_path):
    # 40 - 240 is 56 in uint8.
    sample = only(write_release(tmp_path / "r.mat", image("a.jpg", person())))
    assert sample.head_size == pytest.approx(0.6 * np.hypot(200, 180))
    # 250 + 15 is 9 in uint8.
    assert sample.center[1] == 265.0


def test_fields_of_a_point_go_by_name_and_visibility_may_be_absent(tmp_path):
    annopoints = points({"id": 13, "y": 2.0, "x": 1.0}, {"id": 12, "y": 4.0, "x": 3.0})
    sample = only(write_release(tmp_path / "r.mat", image("a.jpg", person(annopoints=annopoints))))
    assert joint(sample, "left_shoulder") == [1.0, 2.0]
    assert joint(sample, "right_shoulder") == [3.0, 4.0]


@pytest.mark.parametrize("flag", ["0", "1", 0, np.uint8(1), EMPTY])
def test_occluded_joint_is_present_whatever_type_its_flag_has(tmp_path, flag):
    annopoints = points({"x": 1.0, "y": 2.0, "id": 7, "is_visible": flag})
    sample = only(write_release(tmp_path / "r.mat", image("a.jpg", person(annopoints=annopoints))))
    assert joint(sample, "thorax") == [1.0, 2.0]
    assert sample.present.sum() == 1


@pytest.mark.parametrize("missing", [{"scale": EMPTY}, {"objpos": EMPTY}, {"annopoints": EMPTY}])
def test_people_without_scale_centre_or_joints_are_left_out_and_the_others_keep_their_number(tmp_path, missing):
    sample = only(write_release(tmp_path / "r.mat", image("e.jpg"), image("a.jpg", person(**missing), person())))
    assert (sample.image, sample.person) == ("a.jpg", 1)


@pytest.mark.parametrize("absent", ["scale", "objpos", "annopoints"])
def test_fields_that_the_whole_image_lacks_count_as_missing(tmp_path, absent):
    path = write_release(tmp_path / "r.mat", image("a.jpg", person(**{absent: None})), image("b.jpg", person()))
    assert only(path).image == "b.jpg"


def test_person_without_head_box_has_no_head_size(tmp_path):
    sample = only(write_release(tmp_path / "r.mat", image("a.jpg", person(x1=None, y1=None, x2=None, y2=None))))
    assert np.isnan(sample.head_size)


def test_test_people_are_the_separated_ones_with_a_centre(tmp_path):
    bare = dict.fromkeys(("annopoints", "x1", "y1", "x2", "y2"))
    lost = person(**bare, objpos=EMPTY)
    write_release(
        tmp_path / OFFICIAL,
        image("train.jpg", person()),
        image("test.jpg", person(**bare), lost, person(**bare), person(**bare)),
        img_train=[1, 0],
        single_person=[np.array([[1]]), np.array([[2], [3], [4]], np.uint8)],
    )
    samples = mpii.load(tmp_path, "test")
    assert [s.person for s in samples] == [2, 3]
    assert not any(s.present.any() for s in samples)
    assert all(s.supervised.all() for s in samples)
    assert samples[0].image == str(tmp_path / "images" / "test.jpg")


def test_test_people_keep_the_joints_of_a_file_that_has_them(tmp_path):
    write_release(
        tmp_path / OFFICIAL,
        image("train.jpg", person()),
        image("test.jpg", person(), person(annopoints=EMPTY), person()),
        img_train=[1, 0],
        single_person=[np.array([[1]]), np.array([[1], [2]], np.uint8)],
    )
    first, second = mpii.load(tmp_path, "test")
    assert first.present.any() and first.head_size > 0
    assert not second.present.any()


# ----------------------------------------------------------------------------------------- the other files, splits


def authors_person(**changes) -> np.ndarray:
    pose = np.full((2, 16), np.nan)
    pose[:, 9] = 70.5, 80.25
    fields = {
        "head": np.array([[240, 20, 40, 200]], np.uint8),
        "objpos": np.array([[100, 250]], np.uint8),
        "scale": 2.0,
        "pose": pose,
    }
    return struct_array(fields | changes)


def test_authors_file_gives_its_people_in_both_splits(tmp_path):
    write_authors(
        tmp_path / "mpii_annotations.mat",
        annot_tr=[([1, 3], "a.jpg", [authors_person(), authors_person(), authors_person(scale=1.0)])],
        annot_val=[([], "b.jpg", [authors_person()]), ([2], "c.jpg", [authors_person(), authors_person()])],
    )
    train, val = mpii.load(tmp_path, "train"), mpii.load(tmp_path, "val")
    assert [(Path(s.image).name, s.person) for s in train] == [("a.jpg", 0), ("a.jpg", 2)]
    assert [(Path(s.image).name, s.person) for s in val] == [("c.jpg", 1)]
    (sample,) = val
    assert joint(sample, "head") == [70.5, 80.25]
    assert sample.present.sum() == 1
    assert (sample.center.tolist(), sample.side) == ([100.0, 280.0], 500.0)
    assert sample.head_size == pytest.approx(0.6 * np.hypot(200, 180))


def test_authors_file_decides_the_split_beside_the_release(tmp_path):
    write_release(tmp_path / OFFICIAL, *(image(name, person(), person()) for name in ("z.jpg", "a.jpg", "c.jpg")))
    columns = {name: [([2], f"{name[-1]}.jpg", [authors_person()] * 2)] for name in ("annot_a", "annot_c")}
    write_authors(tmp_path / "annotations.mat", annot_tr=columns["annot_a"], annot_val=columns["annot_c"])
    assert [(Path(s.image).name, s.person) for s in mpii.load(tmp_path, "train")] == [("a.jpg", 1)]
    assert [(Path(s.image).name, s.person) for s in mpii.load(tmp_path, "val")] == [("c.jpg", 1)]


def test_validation_h5_reads_zero_as_missing_and_its_own_scale(tmp_path):
    write_h5(tmp_path / "valid.h5")
    first, second = mpii.load(tmp_path, "val")
    assert np.isnan(joint(first, "right_ankle")).all()
    assert joint(first, "right_knee") == [2.0, 3.0]
    assert first.present.sum() == 15
    assert (second.center.tolist(), second.side, second.head_size) == ([30.0, 40.0], 500.0, 70.0)
    assert second.person == 2


@pytest.mark.parametrize("listing", ["valid.h5", "validation.csv"])
def test_listed_people_of_the_release_are_val_in_the_lists_order_and_the_others_train(tmp_path, listing):
    write_release(tmp_path / OFFICIAL, *(image(name, person(), person(), person()) for name in ("b.jpg", "a.jpg")))
    if listing.endswith("h5"):
        write_h5(tmp_path / listing)
    else:
        (tmp_path / listing).write_text("image,person\na.jpg,0\nb.jpg,2\n")
    keys = {s: [(Path(x.image).name, x.person) for x in mpii.load(tmp_path, s)] for s in ("train", "val")}
    assert keys["val"] == [("a.jpg", 0), ("b.jpg", 2)]
    assert keys["train"] == [("b.jpg", 0), ("b.jpg", 1), ("a.jpg", 1), ("a.jpg", 2)]


# -------------------------------------------------------------------------------------------------- wrong files


def test_missing_files_are_named_with_their_source_and_folder(tmp_path):
    with pytest.raises(PoseError, match=rf"(?s){OFFICIAL}.*human-pose.mpi-inf.mpg.de.*dluvizon/deephar.*{tmp_path}"):
        mpii.load(tmp_path, "train")
    with pytest.raises(PoseError, match=f"{OFFICIAL}.*human-pose.mpi-inf.mpg.de.*{tmp_path}"):
        mpii.load(tmp_path, "test")
    write_release(tmp_path / OFFICIAL, image("a.jpg", person()))
    for split in ("train", "val"):
        with pytest.raises(PoseError, match="does not say who is for validation.*dluvizon/deephar.*valid.h5"):
            mpii.load(tmp_path, split)
    with pytest.raises(PoseError, match="elsewhere.mat does not exist"):
        mpii.load(tmp_path, "test", annotation=tmp_path / "elsewhere.mat")
    with pytest.raises(PoseError, match="split='valid'"):
        mpii.load(tmp_path, "valid")


def test_official_release_without_a_listed_person_is_refused_but_a_subset_may_be_named(tmp_path):
    write_release(tmp_path / OFFICIAL, image("a.jpg", person()))
    write_h5(tmp_path / "valid.h5")
    with pytest.raises(PoseError, match=r"valid.h5 lists person 2 \(from 0\) of b.jpg"):
        mpii.load(tmp_path, "val")
    assert len(mpii.load(tmp_path, "val", annotation=tmp_path / OFFICIAL)) == 1
    other = write_release(tmp_path / "other.mat", image("c.jpg", person()))
    with pytest.raises(PoseError, match="valid.h5 lists person 0"):
        mpii.load(tmp_path, "val", annotation=other)


@pytest.mark.parametrize("text", ["", "name,person\n", "image,person\na.jpg\n", "image,person\na.jpg,-1\n", "\x00\n"])
def test_malformed_list_is_named(tmp_path, text):
    (tmp_path / "validation.csv").write_text(text)
    with pytest.raises(PoseError, match="validation.csv"):
        mpii.read_validation_csv(tmp_path / "validation.csv")


def test_a_quotation_mark_that_nothing_closes_does_not_fill_the_message(tmp_path):
    (tmp_path / "v.csv").write_text('image,person\n"a.jpg,1\n' + "b.jpg,0\n" * 1000)
    with pytest.raises(PoseError, match="v.csv, line 2: expected image,person") as error:
        mpii.read_validation_csv(tmp_path / "v.csv")
    assert len(str(error.value)) < 500 and "\n" not in str(error.value)


def test_structures_of_another_layout_are_named(tmp_path):
    path = tmp_path / "r.mat"
    savemat(path, {"RELEASE": np.ones(3)}, do_compression=True)
    with pytest.raises(PoseError, match="r.mat does not hold the struct RELEASE"):
        mpii.read_release(path)
    savemat(path, {"other": 1}, do_compression=True)
    with pytest.raises(PoseError, match="r.mat holds other; expected the variable RELEASE"):
        mpii.read_release(path)
    savemat(path, {"annot_tr": np.ones((3, 1)), "annot_val": np.ones((3, 1))}, do_compression=True)
    with pytest.raises(PoseError, match="r.mat does not hold the authors'"):
        mpii.read_authors(path)
    write_release(path, image("a.jpg", person(annopoints=points({"x": 1.0, "y": 1.0, "id": 16}))))
    with pytest.raises(PoseError, match=r"r.mat does not hold .*joint id 16"):
        mpii.read_release(path)
    write_authors(path, annot_tr=[([2], "a.jpg", [authors_person()])], annot_val=[])
    with pytest.raises(PoseError, match=r"r.mat does not hold .*no person 2"):
        mpii.read_authors(path)


@pytest.mark.parametrize("name", ["../secret.jpg", "/etc/passwd", "a\\b.jpg", ".."])
def test_image_names_that_lead_out_of_the_folder_are_refused(tmp_path, name):
    with pytest.raises(PoseError, match="r.mat .*image name"):
        mpii.read_release(write_release(tmp_path / "r.mat", image(name, person())))
    with pytest.raises(PoseError, match="v.h5 .*image name"):
        mpii.read_validation_h5(write_h5(tmp_path / "v.h5", imgname=np.array([b"a.jpg", name.encode()])))


@pytest.mark.parametrize("compression", [True, False])
def test_truncated_and_mutated_mat_files_give_the_answer_or_name_the_file(tmp_path, compression):
    whole = write_release(tmp_path / "whole.mat", image("a.jpg", person(), person()))
    savemat(whole, {"RELEASE": loadmat(whole)["RELEASE"]}, do_compression=compression)
    content, random, refused = whole.read_bytes(), np.random.default_rng(0), 0
    path = tmp_path / "damaged.mat"
    # Without compression each file is read in a process of its own, hence so few.
    for trial in range(60 if compression else 8):
        damaged = bytearray(content)
        if trial % 3 == 0:
            del damaged[random.integers(len(content)) :]
        else:
            damaged[random.integers(128, len(content))] ^= int(random.integers(1, 256))
        path.write_bytes(damaged)
        try:
            mpii.read_release(path)
        except PoseError as error:
            assert "damaged.mat" in str(error)
            refused += 1
    assert refused >= (50 if compression else 3)


def test_mutated_h5_files_give_the_answer_or_name_the_file(tmp_path):
    content, random, refused = write_h5(tmp_path / "whole.h5").read_bytes(), np.random.default_rng(0), 0
    path = tmp_path / "damaged.h5"
    for trial in range(100):
        damaged = bytearray(content)
        if trial % 2:
            del damaged[random.integers(len(content)) :]
        else:
            damaged[random.integers(len(content))] ^= int(random.integers(1, 256))
        path.write_bytes(damaged)
        try:
            mpii.read_validation_h5(path)
        except PoseError as error:
            assert "damaged.h5" in str(error)
            refused += 1
    assert refused >= 50


@pytest.mark.parametrize("link", [h5py.SoftLink("/index"), h5py.ExternalLink("other.h5", "/person")])
def test_links_in_the_h5_are_refused(tmp_path, link):
    write_h5(tmp_path / "other.h5")
    write_h5(tmp_path / "v.h5")
    with h5py.File(tmp_path / "v.h5", "a") as file:
        del file["person"]
        file["person"] = link
    with pytest.raises(PoseError, match="v.h5 .*person is missing or leads out of the file"):
        mpii.read_validation_h5(tmp_path / "v.h5")


@pytest.mark.parametrize(
    "changes",
    [
        {"part": np.ones((2, 14, 2))},
        {"person": np.ones(3)},
        {"scale": np.array([np.nan, 1.0])},
        {"imgname": np.ones(2)},
        {"center": np.array([[b"a", b"b"]] * 2)},
    ],
)
def test_h5_of_another_layout_is_named(tmp_path, changes):
    with pytest.raises(PoseError, match="v.h5 is damaged or not MPII's valid.h5"):
        mpii.read_validation_h5(write_h5(tmp_path / "v.h5", **changes))
