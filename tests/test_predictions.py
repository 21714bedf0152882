import json
import pickle

import h5py
import numpy as np
import pytest
from scipy.io import loadmat
from scipy.io import savemat as savemat_uncompressed

from pose_regression.errors import PoseError
from pose_regression.evaluation import metrics
from pose_regression.evaluation.predictions import (
    Predictions,
    load_predictions,
    match,
    save_mpii_submission,
    save_predictions,
)
from pose_regression.skeleton import LSP, MPII, PA16J, reorder


def savemat(path, content) -> None:
    savemat_uncompressed(path, content, do_compression=True)


def poses(count: int, joints=MPII, seed: int = 0) -> np.ndarray:
    pixels = np.random.default_rng(seed).uniform(-20, 900, (count, len(joints), 2))
    if count:
        pixels[0, 3] = np.nan
    return pixels


def named(joints=MPII) -> Predictions:
    probability = np.random.default_rng(1).random((3, len(joints)))
    return Predictions(joints, poses(3, joints), probability, ("a.jpg", "a.jpg", "b.jpg"), (0, 2, 0))


@pytest.mark.parametrize("count", [0, 1, 2, 5])
@pytest.mark.parametrize("suffix", [".json", ".h5", ".mat"])
@pytest.mark.parametrize("joints", [MPII, LSP], ids=["mpii", "lsp"])
def test_pixels_come_back_exactly(tmp_path, suffix, joints, count):
    path = tmp_path / f"predictions{suffix}"
    save_predictions(path, Predictions(joints, poses(count, joints)))
    found = load_predictions(path, joints)
    assert found.joints == joints and found.images is None and found.people is None
    np.testing.assert_array_equal(found.pixels, poses(count, joints))


def test_json_keeps_people_and_probabilities_and_reorders_by_name(tmp_path):
    predictions = named(PA16J)
    save_predictions(tmp_path / "p.json", predictions)
    found = load_predictions(tmp_path / "p.json", LSP)
    assert found.images == predictions.images and found.people == predictions.people
    np.testing.assert_array_equal(found.pixels, reorder(predictions.pixels, PA16J, LSP))
    np.testing.assert_array_equal(found.probability, reorder(predictions.probability, PA16J, LSP, axis=-1))
    assert "NaN" not in (tmp_path / "p.json").read_text()


def test_h5_and_mat_have_the_layouts_of_the_public_tools(tmp_path):
    save_predictions(tmp_path / "mpii.h5", named())
    with h5py.File(tmp_path / "mpii.h5") as file:
        np.testing.assert_array_equal(file["preds"], poses(3))
    save_predictions(tmp_path / "mpii.mat", named())
    np.testing.assert_array_equal(loadmat(tmp_path / "mpii.mat")["preds"], poses(3))
    save_predictions(tmp_path / "lsp.mat", named(LSP))
    np.testing.assert_array_equal(loadmat(tmp_path / "lsp.mat")["pred"], poses(3, LSP).transpose(2, 1, 0))


def test_arrays_of_other_tools_are_read_with_either_axis_order(tmp_path):
    pixels = poses(5)
    np.save(tmp_path / "a.npy", pixels.astype(np.float32))
    savemat_uncompressed(tmp_path / "b.mat", {"preds": pixels.transpose(2, 1, 0)})
    savemat(tmp_path / "c.mat", {"pred": pixels[1].T})  # MATLAB drops the axis of a single person
    np.testing.assert_array_equal(load_predictions(tmp_path / "a.npy", MPII).pixels, pixels.astype(np.float32))
    np.testing.assert_array_equal(load_predictions(tmp_path / "b.mat", MPII).pixels, pixels)
    np.testing.assert_array_equal(load_predictions(tmp_path / "c.mat", MPII).pixels, pixels[1:2])


def test_a_written_file_replaces_the_old_one_and_leaves_nothing_beside_it(tmp_path):
    for suffix in (".json", ".h5", ".mat"):
        path = tmp_path / f"p{suffix}"
        path.write_bytes(b"old")
        save_predictions(path, named())
        assert load_predictions(path, MPII).pixels.shape == (3, 16, 2)
    assert len(list(tmp_path.iterdir())) == 3


def test_match_puts_named_people_into_the_order_of_the_benchmark():
    found = match(named(), ["images/b.jpg", "images/a.jpg"], [0, 2])
    np.testing.assert_array_equal(found.pixels, named().pixels[[2, 1]])
    np.testing.assert_array_equal(found.probability, named().probability[[2, 1]])
    assert found.images == ("b.jpg", "a.jpg") and found.people == (0, 2)


def test_match_takes_unnamed_people_in_order_if_their_number_fits():
    unnamed = Predictions(MPII, poses(2))
    np.testing.assert_array_equal(match(unnamed, ["x.jpg", "y.jpg"], [0, 0]).pixels, poses(2))
    with pytest.raises(PoseError, match="2 unnamed people; expected the 3"):
        match(unnamed, ["x.jpg", "y.jpg", "z.jpg"], [0, 0, 0])


def test_match_names_the_person_that_is_missing_or_doubled():
    with pytest.raises(PoseError, match=r"lack 1 of 2 people; the first is person 1 \(0-based\) of b.jpg"):
        match(named(), ["a.jpg", "b.jpg"], [0, 1])
    twice = Predictions(MPII, poses(2), None, ("a.jpg", "a.jpg"), (4, 4))
    with pytest.raises(PoseError, match="person 4 of a.jpg twice"):
        match(twice, ["a.jpg"], [4])


def test_predictions_refuse_parts_that_do_not_fit():
    with pytest.raises(PoseError, match="pixels of shape"):
        Predictions(LSP, poses(2, MPII))
    with pytest.raises(PoseError, match="probability of shape"):
        Predictions(MPII, poses(2), np.zeros((2, 16, 1)))
    with pytest.raises(PoseError, match="together"):
        Predictions(MPII, poses(2), images=("a.jpg", "b.jpg"))
    with pytest.raises(PoseError, match="2 images"):
        Predictions(MPII, poses(2), images=("a.jpg",), people=(0, 1))


def write_annotation(path) -> None:
    """MPII's RELEASE with a training image, then test images: two people; nobody; three, one without centre."""
    empty = np.zeros((0, 0))

    def rects(centers: list) -> np.ndarray:
        result = np.zeros((1, len(centers)), [("scale", object), ("objpos", object)])
        for i, center in enumerate(centers):
            result[0, i] = (2.0, empty if center is None else {"x": center[0], "y": center[1]})
        return result

    images = [("t.jpg", rects([(1, 1)])), ("a.jpg", rects([(10, 20), (30, 40)])), ("e.jpg", empty)]
    images.append(("b.jpg", rects([(50, 60), None, (70, 80)])))
    annolist = np.zeros((1, len(images)), [("image", object), ("annorect", object)])
    for i, (name, people) in enumerate(images):
        annolist[0, i] = ({"name": name}, people)
    savemat(path, {"RELEASE": {"annolist": annolist, "img_train": np.array([[1, 0, 0, 0]], np.uint8)}})


def test_submission_has_every_test_image_and_person_and_reads_back(tmp_path):
    write_annotation(tmp_path / "annotation.mat")
    predictions = Predictions(MPII, poses(3), None, ("b.jpg", "a.jpg", "b.jpg"), (2, 1, 0))
    save_mpii_submission(tmp_path / "pred.mat", predictions, tmp_path / "annotation.mat")

    pred = loadmat(tmp_path / "pred.mat")["pred"]
    assert pred.shape == (1, 3)
    assert [str(image["image"][0, 0]["name"].item()) for image in pred[0]] == ["a.jpg", "e.jpg", "b.jpg"]
    assert [image["annorect"].size for image in pred[0]] == [2, 0, 3]
    unpredicted, predicted = pred[0, 0]["annorect"][0]
    assert unpredicted["objpos"][0, 0]["y"].item() == 20 and unpredicted["annopoints"].size == 0
    points = predicted["annopoints"][0, 0]["point"][0]
    assert [point["id"].item() for point in points] == list(range(16))
    np.testing.assert_array_equal([(p["x"].item(), p["y"].item()) for p in points], predictions.pixels[1])
    assert pred[0, 2]["annorect"][0, 1]["objpos"].size == 0

    found = load_predictions(tmp_path / "pred.mat", MPII)
    assert list(zip(found.images, found.people, strict=True)) == [("a.jpg", 1), ("b.jpg", 0), ("b.jpg", 2)]
    np.testing.assert_array_equal(match(found, predictions.images, predictions.people).pixels, predictions.pixels)


def test_submission_refuses_people_that_are_not_in_the_test_split(tmp_path):
    write_annotation(tmp_path / "annotation.mat")
    for image, person in (("t.jpg", 0), ("a.jpg", 2)):
        stranger = Predictions(MPII, poses(1), None, (image,), (person,))
        with pytest.raises(PoseError, match=f"no person {person} .0-based. in a test image {image}"):
            save_mpii_submission(tmp_path / "pred.mat", stranger, tmp_path / "annotation.mat")
    with pytest.raises(PoseError, match="with images and people"):
        save_mpii_submission(tmp_path / "pred.mat", Predictions(MPII, poses(1)), tmp_path / "annotation.mat")
    with pytest.raises(PoseError, match="suffix"):
        save_mpii_submission(tmp_path / "pred.h5", named(), tmp_path / "annotation.mat")
    savemat(tmp_path / "other.mat", {"RELEASE": {"annolist": 1.0}})
    with pytest.raises(PoseError, match="other.mat does not hold MPII's annotation"):
        save_mpii_submission(tmp_path / "pred.mat", named(), tmp_path / "other.mat")
    assert not (tmp_path / "pred.mat").exists()


def test_submission_is_refused_for_other_joints_and_strange_ids(tmp_path):
    write_annotation(tmp_path / "annotation.mat")
    good = Predictions(MPII, poses(1), None, ("a.jpg",), (0,))
    save_mpii_submission(tmp_path / "pred.mat", good, tmp_path / "annotation.mat")
    with pytest.raises(PoseError, match="pred.mat holds MPII's people"):
        load_predictions(tmp_path / "pred.mat", LSP)
    point = np.array([[(1.0, 2.0, 16.0)]], [("x", object), ("y", object), ("id", object)])
    savemat(tmp_path / "id.mat", {"pred": {"image": {"name": "a"}, "annorect": {"annopoints": {"point": point}}}})
    with pytest.raises(PoseError, match=r"id.mat does not hold MPII's submission \(joint id 16"):
        load_predictions(tmp_path / "id.mat", MPII)
    savemat(tmp_path / "other.mat", {"pred": {"something": 1.0}})
    with pytest.raises(PoseError, match="other.mat does not hold"):
        load_predictions(tmp_path / "other.mat", MPII)


@pytest.mark.parametrize("suffix", [".json", ".h5", ".mat"])
def test_no_flipped_bit_changes_what_is_read(tmp_path, suffix):
    path, expected, refused = tmp_path / f"p{suffix}", named(), 0
    save_predictions(path, expected)
    content, random = path.read_bytes(), np.random.default_rng(0)
    for place in random.integers(8 * len(content), size=100):
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            found = load_predictions(path, MPII)
        except PoseError as error:
            assert f"p{suffix}" in str(error)
            refused += 1
        else:
            np.testing.assert_array_equal(found.pixels, expected.pixels)
            assert found.people in (None, expected.people)
    assert refused > 50


def test_a_changed_json_file_is_read_without_its_checksum(tmp_path):
    path = tmp_path / "p.json"
    save_predictions(path, named())
    content = json.loads(path.read_text())
    content["people"][0]["pixels"][0] = [1.0, 2.0]
    path.write_text(json.dumps(content))
    with pytest.raises(PoseError, match="p.json .*it is damaged"):
        load_predictions(path, MPII)
    del content["sha256"]
    path.write_text(json.dumps(content, indent=1))
    assert load_predictions(path, MPII).pixels[0, 0].tolist() == [1.0, 2.0]


@pytest.mark.parametrize("suffix", [".json", ".h5", ".mat", ".npy"])
def test_damaged_files_give_one_sentence_with_their_name(tmp_path, suffix):
    path = tmp_path / f"p{suffix}"
    with pytest.raises(PoseError, match=f"p{suffix} does not exist"):
        load_predictions(path, MPII)
    if suffix == ".npy":
        np.save(path, poses(50))
    else:
        save_predictions(path, Predictions(MPII, poses(50)))
    whole = path.read_bytes()
    for content in (b"", b"not it at all", whole[: len(whole) // 2], whole[:40], bytes(300), pickle.dumps([1, 2])):
        path.write_bytes(content)
        with pytest.raises(PoseError, match=f"p{suffix}") as caught:
            load_predictions(path, MPII)
        assert "\n" not in str(caught.value)
    path.unlink()
    path.mkdir()
    with pytest.raises(PoseError, match=f"p{suffix} does not exist"):
        load_predictions(path, MPII)


@pytest.mark.parametrize("suffix", [".h5", ".mat", ".npy"])
def test_arrays_of_another_shape_or_type_are_refused(tmp_path, suffix):
    path = tmp_path / f"p{suffix}"
    for value, message in (
        (poses(4, LSP), r"\(4, 14, 2\); expected \(N, 16, 2\)"),
        (np.zeros((4, 16, 3)), r"\(4, 16, 3\); expected"),
        (np.zeros((4, 16)), r"\(4, 16\); expected"),
        (np.zeros((4, 16, 2), complex), "complex128; expected numbers"),
    ):
        if suffix == ".npy":
            np.save(path, value)
        elif suffix == ".mat":
            savemat(path, {"preds": value})
        else:
            with h5py.File(path, "w") as file:
                file["preds"] = value
        with pytest.raises(PoseError, match=message):
            load_predictions(path, MPII)


def test_python_objects_in_npy_are_never_unpickled(tmp_path):
    class Harmful:
        def __reduce__(self):
            return (tmp_path.joinpath("executed").touch, ())

    np.save(tmp_path / "p.npy", np.array([Harmful()], object), allow_pickle=True)
    with pytest.raises(PoseError, match="p.npy is damaged, pickled or"):
        load_predictions(tmp_path / "p.npy", MPII)
    assert not (tmp_path / "executed").exists()


def test_a_header_that_promises_too_much_reserves_no_memory(tmp_path):
    with open(tmp_path / "p.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (10**12, 16, 2)})
    with h5py.File(tmp_path / "p.h5", "w") as file:
        file.create_dataset("preds", (10**10, 16, 2), chunks=(1, 16, 2))
    for name in ("p.npy", "p.h5"):
        with pytest.raises(PoseError, match=name):
            load_predictions(tmp_path / name, MPII)


def test_links_out_of_an_h5_file_are_refused(tmp_path):
    save_predictions(tmp_path / "other.h5", named())
    (tmp_path / "raw").write_bytes(bytes(3 * 16 * 2 * 8))
    with h5py.File(tmp_path / "external.h5", "w") as file:
        file["preds"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "preds")
    with h5py.File(tmp_path / "soft.h5", "w") as file:
        file["real"], file["preds"] = poses(3), h5py.SoftLink("/real")
    with h5py.File(tmp_path / "storage.h5", "w") as file:
        file.create_dataset("preds", (3, 16, 2), "f8", external=[(str(tmp_path / "raw"), 0, h5py.h5f.UNLIMITED)])
    with h5py.File(tmp_path / "virtual.h5", "w") as file:
        layout = h5py.VirtualLayout((3, 16, 2), "f8")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "preds", (3, 16, 2))
        file.create_virtual_dataset("preds", layout)
    with h5py.File(tmp_path / "group.h5", "w") as file:
        file.create_group("preds")
    for name in ("external.h5", "soft.h5", "storage.h5", "virtual.h5", "group.h5"):
        with pytest.raises(
            PoseError, match=f"{name}.*preds (is missing or leads out of the file|is not stored in the file itself)"
        ):
            load_predictions(tmp_path / name, MPII)
    with h5py.File(tmp_path / "absent.h5", "w") as file:
        file["part"] = poses(3)
    with pytest.raises(PoseError, match="absent.h5 holds part; expected"):
        load_predictions(tmp_path / "absent.h5", MPII)


def test_mat_without_predictions_says_what_it_holds(tmp_path):
    savemat(tmp_path / "p.mat", {"joints": poses(3)})
    with pytest.raises(PoseError, match="p.mat holds joints; expected"):
        load_predictions(tmp_path / "p.mat", MPII)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.pop("joints"), "no 'joints'"),
        (lambda content: content.update(joints=["nose", "ear"]), "pixels of shape"),
        (lambda content: content.update(joints=["neck"] * 16), "unique"),
        (lambda content: content["people"][0].pop("image"), "no 'image'"),
        (lambda content: content["people"][0].pop("probability"), "no 'probability'"),
        (lambda content: content["people"][0]["pixels"].pop(), "p.json is not"),
        (lambda content: content["people"][0]["probability"].pop(), "p.json is not"),
        (lambda content: content["people"][0].update(person="first"), "p.json is not"),
        (lambda content: content["people"][0].update(person=float("inf")), "p.json is not"),
        (lambda content: content.update(people=[]) or content.update(joints=["nose"]), "none of the expected joints"),
    ],
)
def test_json_with_a_mistake_is_refused_with_its_reason(tmp_path, change, message):
    path = tmp_path / "p.json"
    save_predictions(path, named())
    content = json.loads(path.read_text())
    change(content)
    del content["sha256"]
    path.write_text(json.dumps(content))
    with pytest.raises(PoseError, match=message):
        load_predictions(path, MPII)


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", "null", '{"joints": 3, "people": {}}', '{"people": [1]}'])
def test_json_of_something_else_is_refused(tmp_path, text):
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(PoseError, match="p.json is not a file of predictions"):
        load_predictions(tmp_path / "p.json", MPII)


def test_unknown_suffixes_and_joints_without_a_layout_are_refused(tmp_path):
    with pytest.raises(PoseError, match="p.npz has the suffix '.npz'"):
        load_predictions(tmp_path / "p.npz", MPII)
    with pytest.raises(PoseError, match="p.npy has the suffix"):
        save_predictions(tmp_path / "p.npy", named())
    with pytest.raises(PoseError, match="MPII or LSP only"):
        save_predictions(tmp_path / "p.mat", named(PA16J))
    for suffix in (".json", ".h5", ".mat"):
        (tmp_path / f"folder{suffix}").mkdir()
        with pytest.raises(PoseError, match=f"folder{suffix} could not be written"):
            save_predictions(tmp_path / f"folder{suffix}", named())


@pytest.mark.real_data
def test_published_predictions_score_the_same_after_each_format(tmp_path, pose_reference):
    with np.load(pose_reference / "evaluation" / "mpii_val_eval.npz") as data:
        arrays = dict(data)
    pixels = arrays["pred_newell16_hg8"].astype(float)
    people = tuple(int(person) - 1 for person in arrays["release_person_1based"])
    predictions = Predictions(MPII, pixels, None, tuple(map(str, arrays["imgname"])), people)
    for suffix in (".json", ".h5", ".mat"):
        save_predictions(tmp_path / f"p{suffix}", predictions)
        found = match(load_predictions(tmp_path / f"p{suffix}", MPII), arrays["imgname"], people)
        scores = metrics.pckh(arrays["gt"], found.pixels, arrays["head_size"], arrays["present"])
        assert scores["Total"] == pytest.approx(88.4283, abs=1e-4)
