"""LSP and LSPET: joint order, flags, splits, crops, and what wrong files say."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat, savemat

from pose_regression import skeleton
from pose_regression.data import lsp
from pose_regression.errors import PoseError

WHOLE_HALF = {"train": (0, "im0001.jpg"), "test": (1000, "im2000.jpg")}


def write_extended(folder: Path, joints: np.ndarray, size: tuple[int, int] = (200, 100)) -> Path:
    """An LSPET of (N, 14, 3) joints with grey images."""
    (folder / "images").mkdir(parents=True)
    savemat(folder / "joints.mat", {"joints": joints.transpose(1, 2, 0)}, do_compression=True)
    for i in range(len(joints)):
        Image.new("L", size).save(folder / "images" / f"im{i + 1:05d}.jpg")
    return folder


def people(*present: dict[str, tuple[float, float]]) -> np.ndarray:
    """(N, 14, 3) in LSP's order; joints not named are placeholders as LSPET has them."""
    result = np.tile(np.array([-7.0, 0.0, 0.0]), (len(present), 14, 1))
    for person, joints in zip(result, present, strict=True):
        for name, position in joints.items():
            person[skeleton.LSP.index(name)] = (*position, 1)
    return result


@pytest.mark.real_data
@pytest.mark.parametrize("split", WHOLE_HALF)
def test_joints_of_real_lsp_lie_at_their_names(pose_data, split):
    joints = loadmat(pose_data / "lsp" / "joints.mat")["joints"]
    first, last_image = WHOLE_HALF[split]
    samples = lsp.load(pose_data / "lsp", split)
    assert len(samples) == 1000
    assert samples[0].image.endswith(f"im{first + 1:04d}.jpg")
    if split == "test":
        assert samples[-1].image.endswith(last_image)
    for i, sample in enumerate(samples):
        for name in skeleton.LSP.names:
            expected = joints[:2, skeleton.LSP.index(name), first + i]
            assert (sample.joints[skeleton.PA16J.index(name)] == expected).all()
        assert sample.supervised.tolist() == [False, False] + [True] * 14
        assert (sample.present == sample.supervised).all()


@pytest.mark.real_data
def test_real_lsp_test_half_equals_the_benchmarks_ground_truth(pose_data, pose_reference):
    truth = np.load(pose_reference / "evaluation" / "lsp_eval.npz")["gt_pc"]
    geometry = np.load(pose_data / "lsp" / "geometry.npz")
    joints = np.stack([sample.joints for sample in lsp.load(pose_data / "lsp", "test")])
    scale = (geometry["official_small_scale"] / geometry["scale"])[1000:, None, None]
    in_lsp_order = skeleton.reorder(joints, skeleton.PA16J, skeleton.LSP)
    np.testing.assert_allclose(in_lsp_order * scale, truth, rtol=0, atol=1e-9)


@pytest.mark.real_data
def test_test_crop_is_the_whole_image_and_training_crop_agrees_with_it(pose_data):
    by_image = lsp.load(pose_data / "lsp", "train", crop="image")
    for sample in by_image[:50]:
        size = Image.open(sample.image).size
        assert sample.center.tolist() == [size[0] / 2, size[1] / 2]
        assert sample.side == max(size)
    by_joints = lsp.load(pose_data / "lsp", "train", crop="joints")
    ratio = [a.side / b.side for a, b in zip(by_joints, by_image, strict=True)]
    assert np.quantile(ratio, [0.0, 1.0]).tolist() == pytest.approx([1.0, 1.0], abs=0.015)


@pytest.mark.real_data
def test_joints_of_real_lspet_are_present_exactly_where_flagged(pose_data):
    joints = loadmat(pose_data / "lspet" / "joints.mat")["joints"].transpose(2, 0, 1)
    training, photographs = (lsp.load_extended(pose_data / "lspet", split) for split in ("train", "photographs"))
    assert len(training) == 7682 and len(photographs) == 1000
    assert photographs[0].image.endswith("im07683.jpg") and photographs[-1].image.endswith("im08682.jpg")
    samples = training + photographs
    present = np.stack([sample.present for sample in samples])
    flagged = skeleton.reorder(joints[..., 2:] == 1, skeleton.LSP, skeleton.PA16J)[..., 0]
    assert len(samples) == 8682
    assert (present == flagged).all()
    ours = skeleton.reorder(np.stack([s.joints for s in samples]), skeleton.PA16J, skeleton.LSP)
    assert (ours[joints[..., 2] == 1] == joints[..., :2][joints[..., 2] == 1]).all()
    side = np.array([sample.side for sample in samples])
    assert np.isfinite(side).all() and side.min() > 40 and side.max() < 300


def test_placeholders_of_lspet_are_nan_and_crop_is_the_widened_box_clipped_to_the_image(tmp_path):
    # Joint box 20..60 x 30..90, margin 0.4 * 40 = 16: 4..76 x 14..106, the image ends at 100.
    box = {"head": (20.0, 30.0), "left_ankle": (60.0, 90.0)}
    (sample,) = lsp.load_extended(write_extended(tmp_path, people(box)))
    assert sample.center.tolist() == [40.0, 57.0]
    assert sample.side == 86.0
    assert [skeleton.PA16J.names[i] for i in np.flatnonzero(sample.present)] == ["head", "left_ankle"]
    assert sample.image == str(tmp_path / "images" / "im00001.jpg")
    assert sample.person == 0
    assert np.isnan(sample.head_size)


def test_people_without_a_usable_box_get_the_whole_image_or_the_smallest_crop(tmp_path):
    one = {"neck": (50.0, 50.0)}
    coincident = {"neck": (50.0, 50.0), "head": (50.0, 50.0)}
    outside = {"neck": (250.0, 50.0), "head": (260.0, 60.0)}
    close = {"neck": (50.0, 50.0), "head": (52.0, 52.0)}
    samples = lsp.load_extended(write_extended(tmp_path, people({}, one, coincident, outside, close)))
    for sample in samples[:4]:
        assert (sample.center.tolist(), sample.side) == ([100.0, 50.0], 200.0)
    assert (samples[4].center.tolist(), samples[4].side) == ([51.0, 51.0], lsp.SMALLEST_BOX)


def test_crop_of_the_whole_image_ignores_the_joints(tmp_path):
    folder = write_extended(tmp_path, people({"head": (20.0, 30.0), "left_ankle": (60.0, 90.0)}))
    (sample,) = lsp.load_extended(folder, crop="image")
    assert (sample.center.tolist(), sample.side) == ([100.0, 50.0], 200.0)


def test_broken_image_is_left_to_the_pipeline_in_training_and_refused_where_its_size_is_needed(tmp_path):
    folder = write_extended(tmp_path, people({"head": (20.0, 30.0), "left_ankle": (60.0, 90.0)}))
    (folder / "images" / "im00001.jpg").write_bytes(b"no image")
    (sample,) = lsp.load_extended(folder)
    assert (sample.center.tolist(), sample.side) == ([40.0, 60.0], 92.0)
    with pytest.raises(PoseError, match="im00001.jpg is damaged"):
        lsp.load_extended(folder, crop="image")
    (folder / "images" / "im00001.jpg").unlink()
    with pytest.raises(PoseError, match="im00001.jpg does not exist"):
        lsp.load_extended(folder)


@pytest.mark.parametrize("axes", [(0, 1, 2), (1, 0, 2)])
def test_lsp_reads_both_axis_orders_and_takes_flag_1_as_occluded_not_missing(tmp_path, axes):
    joints = np.zeros((3, 14, 2000))
    joints[0], joints[1], joints[2] = 10 + np.arange(14)[:, None], np.arange(2000), 1
    savemat(tmp_path / "joints.mat", {"joints": joints.transpose(axes)}, do_compression=True)
    (tmp_path / "images").mkdir()
    for i in range(1001, 2001):
        (tmp_path / "images" / f"im{i}.jpg").touch()
    samples = lsp.load(tmp_path, "test", crop="joints")
    assert samples[7].joints[skeleton.PA16J.index("right_ankle")].tolist() == [10.0, 1007.0]
    assert samples[7].joints[skeleton.PA16J.index("head")].tolist() == [23.0, 1007.0]
    assert samples[7].present.sum() == 14


@pytest.mark.parametrize("shape", [(3, 14, 1999), (2, 14, 2000), (14, 2000), (2000, 14, 3)])
def test_joints_of_another_shape_are_refused(tmp_path, shape):
    savemat(tmp_path / "joints.mat", {"joints": np.ones(shape)}, do_compression=True)
    with pytest.raises(PoseError, match="joints.mat is not LSP's"):
        lsp.load(tmp_path, "test")


def test_wrong_files_and_arguments_are_named(tmp_path):
    with pytest.raises(PoseError, match="joints.mat does not exist: unpack LSPET into"):
        lsp.load_extended(tmp_path)
    (tmp_path / "joints.mat").write_bytes(b"garbage" * 100)
    with pytest.raises(PoseError, match="joints.mat is damaged"):
        lsp.load(tmp_path, "train")
    savemat(tmp_path / "joints.mat", {"other": np.ones(3)}, do_compression=True)
    with pytest.raises(PoseError, match="joints.mat holds other; expected the variable joints"):
        lsp.load(tmp_path, "train")
    with pytest.raises(PoseError, match="split='val'"):
        lsp.load(tmp_path, "val")
    with pytest.raises(PoseError, match="crop='torso'"):
        lsp.load_extended(write_extended(tmp_path / "whole", people({})), crop="torso")
    with pytest.raises(PoseError, match="LSPET has the splits train, photographs"):
        lsp.load_extended(tmp_path / "whole", "test")
