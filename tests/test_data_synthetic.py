"""The rendered data set: people where the annotation says, in the files that the MPII loader reads."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from pose_regression.data import mpii, synthetic
from pose_regression.data.synthetic import body, clothes, dataset, picture
from pose_regression.errors import PoseError
from pose_regression.skeleton import MPII, PA16J, reorder
from pose_regression.training.experiment import Mpii

FRONT = np.diag((1.0, -1.0, 1.0))  # the body's x to the right, y up, z towards the viewer
BACK = np.diag((-1.0, -1.0, -1.0))
SMALL = {"train": 16, "validation": 4, "seed": 3}


@pytest.fixture(scope="module")
def pictures():
    return [synthetic.render(seed, size=(200, 160)) for seed in range(30)]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    path = tmp_path_factory.mktemp("synthetic") / "mpii"
    synthetic.write(path, **SMALL)
    return path


def release(path):
    return scipy.io.loadmat(path / synthetic.RELEASE_FILE)["RELEASE"][0, 0]


def test_picture_is_a_function_of_seed_and_size():
    first, people = synthetic.render(5, size=(128, 96))
    again, same = synthetic.render(5, size=(128, 96))
    other, _ = synthetic.render(6, size=(128, 96))
    assert first.shape == (128, 96, 3) and first.dtype == np.uint8
    np.testing.assert_array_equal(first, again)
    for a, b in zip(people, same, strict=True):
        np.testing.assert_array_equal(a.joints, b.joints)
        np.testing.assert_array_equal(a.visible, b.visible)
    assert np.abs(first.astype(int) - other).mean() > 10


def test_no_joint_outside_the_image_is_annotated(pictures):
    joints = np.concatenate([[person.joints for person in people] for _, people in pictures])
    present = np.isfinite(joints).all(axis=-1)
    assert (joints[present] >= 0).all() and (joints[present] < (160, 200)).all()
    assert present.mean() > 0.9 and not present.all()


def test_a_visible_joint_is_present_and_some_present_ones_are_hidden(pictures):
    people = [person for _, people in pictures for person in people]
    visible = np.array([person.visible for person in people])
    present = np.array([np.isfinite(person.joints).all(axis=-1) for person in people])
    assert not (visible & ~present).any()
    assert 0.6 < visible[present].mean() < 0.98


def test_scale_follows_the_head_as_in_mpii(pictures):
    """MPII: 0.6 x diagonal of the head box = 0.125 x (200 scale); the head joints lie in the box, give or take."""
    for _, people in pictures:
        for person in people:
            x1, y1, x2, y2 = person.head_box
            assert 0.6 * np.hypot(x2 - x1, y2 - y1) == pytest.approx(25 * person.scale)
            head = person.joints[[MPII.index("neck"), MPII.index("head")]]
            head = head[np.isfinite(head).all(axis=1)]
            assert (head > (x1 - 2, y1 - 2)).all() and (head < (x2 + 2, y2 + 2)).all()


def test_upright_people_are_about_their_scale_tall(pictures):
    """MPII's validation people span 0.67 to 1.0 x (200 scale) from joint to joint at the quartiles."""
    heights = []
    for _, people in pictures:
        heights += [np.ptp(p.joints[:, 1]) / (200 * p.scale) for p in people if np.isfinite(p.joints).all()]
    assert 0.85 < np.median(heights) < 1.1


@pytest.mark.parametrize(("turn", "sign"), [(FRONT, 1), (BACK, -1)])
def test_left_is_the_persons_own(monkeypatch, turn, sign):
    """Who faces the viewer has the left shoulder and hip on the picture's right; who turns the back, on the left."""
    monkeypatch.setattr(picture, "_turn", lambda rng: turn)
    for seed in range(6):
        _, people = synthetic.render(seed, size=(160, 128))
        joints = dict(zip(MPII.names, people[0].joints, strict=True))
        for name in ("shoulder", "hip"):
            across = joints[f"left_{name}"] - joints[f"right_{name}"]
            assert np.isnan(across).any() or sign * across[0] > 0
        assert joints["thorax"][1] < joints["pelvis"][1] or np.isnan(joints["pelvis"]).any()


def test_the_camera_never_mirrors():
    rng = np.random.default_rng(0)
    for _ in range(20):  # y turns over between "up" and "down"; anything else would swap left and right
        np.testing.assert_allclose(np.linalg.det(picture._turn(rng)), -1)


def test_the_face_is_in_front(monkeypatch):
    """The nose is nearer to a viewer who is faced: eyes are drawn, from behind they are not."""
    marker = np.array((0.0, 1.0, 0.0))

    def marked_face(skin, hair):
        return lambda t, local: np.where((local[:, 2] > 0.02)[:, None], marker, 0.0)

    monkeypatch.setattr(clothes, "face", marked_face)
    monkeypatch.setattr(picture, "background", lambda rng, size, ground: np.zeros((*size, 3), np.float32))
    monkeypatch.setattr(picture, "things", lambda rng, size, ground: [])
    seen = []
    for turn in (FRONT, BACK):
        monkeypatch.setattr(picture, "_turn", lambda rng, turn=turn: turn)
        image, people = synthetic.render(8, size=(200, 160))
        x1, y1, x2, y2 = people[0].head_box.astype(int)
        head = image[max(y1, 0) : y2, max(x1, 0) : x2].astype(int)
        seen.append((head[..., 1] - head[..., [0, 2]].max(axis=-1) > 60).mean())
    assert seen[0] > 0.15 and seen[1] < 0.02


def test_visible_joints_lie_on_their_person(monkeypatch):
    """Everybody in pure red: the picture is red at every visible joint, and red is not everywhere."""
    red = clothes.Cloth(np.array((1.0, 0.05, 0.05)))

    def undressed(rng, bones):
        return [dataclasses.replace(p, paint=clothes.solid(red), gloss=0.0) for p in body.dress(rng, bones)]

    monkeypatch.setattr(picture, "dress", undressed)
    monkeypatch.setattr(picture, "background", lambda rng, size, ground: np.full((*size, 3), 0.5, np.float32))
    monkeypatch.setattr(picture, "things", lambda rng, size, ground: [])
    for seed in range(12):
        image, people = synthetic.render(seed, size=(200, 160))
        redness = image[..., 0].astype(int) - image[..., 1:].max(axis=-1)
        for person in people:
            # The top of the head is a point of the outline: the pixel there is half background.
            shown = person.visible & (np.arange(16) != MPII.index("head"))
            x, y = person.joints[shown].astype(int).T
            assert (redness[y, x] > 25).all(), seed
        assert (redness > 25).mean() < 0.6


def test_release_has_the_official_fields(directory):
    content = release(directory)
    assert content.dtype.names == ("annolist", "img_train", "version", "single_person", "act", "video_list")
    assert content["annolist"].shape == content["img_train"].shape == (1, 20)
    assert content["single_person"].shape == content["act"].shape == (20, 1)
    image = content["annolist"][0, 6]
    assert image.dtype.names == ("image", "annorect", "frame_sec", "vididx")
    assert str(image["image"][0, 0]["name"][0]) == "000000007.jpg"
    rect = image["annorect"][0, 0]
    assert set(rect.dtype.names) == {"x1", "y1", "x2", "y2", "scale", "objpos", "annopoints"}
    point = rect["annopoints"][0, 0]["point"][0, 0]
    assert set(point.dtype.names) == {"x", "y", "id", "is_visible"}


def test_loader_gives_back_the_rendered_people(directory):
    for split, number, first in (("train", 0, 0), ("val", 1, 16)):
        samples = [sample for sample in mpii.load(directory, split) if sample.person == 0]
        assert len(samples) == SMALL["train" if split == "train" else "validation"]
        for i, sample in enumerate(samples):
            seed = dataset._picture_seed(3, number, i)
            image, people = synthetic.render(seed, size=synthetic.SIZES[seed % len(synthetic.SIZES)])
            np.testing.assert_allclose(sample.joints, reorder(people[0].joints, MPII, PA16J))
            np.testing.assert_allclose(sample.center, people[0].objpos + (0, 15 * people[0].scale))
            assert sample.side == pytest.approx(250 * people[0].scale)
            assert sample.head_size == pytest.approx(25 * people[0].scale)
            assert sample.image.endswith(f"{first + i + 1:09d}.jpg")
            with Image.open(sample.image) as file:
                assert np.abs(np.asarray(file, int) - image).mean() < 6


def test_validation_file_agrees_with_the_release(directory):
    listed = mpii.read_validation_h5(directory / "annot" / "valid.h5")
    for a, b in zip(mpii.load(directory, "val"), listed, strict=True):
        np.testing.assert_allclose(a.joints, b.joints)
        np.testing.assert_allclose(a.center, b.center)
        assert (Path(a.image).name, a.person) == (Path(b.image).name, b.person)
        assert a.head_size == pytest.approx(b.head_size) and a.side == pytest.approx(b.side)


def test_second_people_are_annotated_or_known_by_their_head_alone(tmp_path):
    _, (person,) = synthetic.render(1, size=(64, 64))
    people = [[person, person] for _ in range(3)]
    scipy.io.savemat(tmp_path / synthetic.RELEASE_FILE, {"RELEASE": dataset._release(people)})
    samples = mpii.read_release(tmp_path / synthetic.RELEASE_FILE)["train"]
    assert [(int(Path(s.image).stem), s.person) for s in samples] == [(1, 0), (2, 0), (2, 1), (3, 0), (3, 1)]


def test_ensure_renders_once_and_again_when_asked_for_something_else(tmp_path, capsys):
    path = tmp_path / "people"
    marker = path / synthetic.RELEASE_FILE
    assert synthetic.ensure(path, train=1, validation=1, seed=0) == path
    written = marker.stat().st_mtime_ns
    synthetic.ensure(path, train=1, validation=1, seed=0)
    assert marker.stat().st_mtime_ns == written
    synthetic.ensure(path, train=1, validation=1, seed=1)
    assert marker.stat().st_mtime_ns > written
    assert capsys.readouterr().out.count("rendering 2 pictures") == 2
    synthetic.ensure(path, validation=1, seed=1)  # any number of training pictures
    assert synthetic.TRAIN == Mpii(path).pictures
    assert not capsys.readouterr().out
    marker.unlink()  # as after an interruption
    synthetic.ensure(path, train=1, validation=1, seed=1)
    assert marker.is_file()


def test_progress_is_said(tmp_path, capsys):
    synthetic.ensure(tmp_path, train=2, validation=1)
    assert "3 of 3 pictures rendered" in capsys.readouterr().out


def test_pictures_of_a_seed_stay_the_same_however_the_renderer_is_tidied():
    greys, joints = (
        (105.81, 121.91, 80.28, 104.1, 136.66, 102.4),
        (1573.05, 1241.85, 1295.66, 1365.34, 1883.52, 1464.53),
    )
    for seed, (grey, sum_of_joints) in enumerate(zip(greys, joints, strict=True)):
        image, people = synthetic.render(seed, size=(96, 80))
        assert image.mean() == pytest.approx(grey, abs=0.01)
        assert np.nansum(people[0].joints) == pytest.approx(sum_of_joints, abs=0.01)


def test_an_interrupted_rendering_leaves_no_marker(tmp_path, monkeypatch):
    synthetic.write(tmp_path, train=1, validation=1)

    def fail(job):
        raise KeyboardInterrupt

    monkeypatch.setattr(dataset, "_write_picture", fail)
    with pytest.raises(KeyboardInterrupt):
        synthetic.write(tmp_path, train=1, validation=1)
    assert not (tmp_path / synthetic.RELEASE_FILE).exists()


def test_another_data_set_is_never_overwritten(tmp_path):
    real = tmp_path / synthetic.RELEASE_FILE
    real.write_bytes(b"the real thing")
    with pytest.raises(PoseError, match="something else"):
        synthetic.ensure(tmp_path, train=1, validation=1)
    assert real.read_bytes() == b"the real thing"


@pytest.mark.parametrize("wrong", [{"train": 0}, {"validation": 0}, {"seed": -1}])
def test_numbers_out_of_range_are_refused(tmp_path, wrong):
    with pytest.raises(PoseError, match="Received"):
        synthetic.write(tmp_path / "new", **wrong)
    assert not (tmp_path / "new").exists()
