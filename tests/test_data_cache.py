"""Prepared crops stand for their photographs."""

from pathlib import Path

import numpy as np
import pytest
from pictures import SIZE, SKELETON, collect, encode
from PIL import Image

from pose_regression.data import cache, pipeline
from pose_regression.data.augment import PAPER, plan_epoch
from pose_regression.data.sample import Sample
from pose_regression.errors import PoseError


def large_photographs(folder, count: int) -> list[Sample]:
    """Smooth images of odd size with people of all sizes, some beyond the edge."""
    rng = np.random.default_rng(4)
    found = []
    for i in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (8, 11, 3), np.uint8))
        path = folder / f"large{i}.jpg"
        path.write_bytes(encode(coarse.resize((1011, 667), Image.Resampling.BICUBIC), "JPEG"))
        center, side = rng.uniform([0, 0], [1011, 667]), rng.uniform(60, 600)
        joints = center + rng.uniform(-0.5, 0.5, (3, 2)) * side
        found.append(Sample(str(path), center, side, joints, np.ones(3, bool), head_size=side / 10))
    return found


def test_prepared_crops_give_the_same_batches(tmp_path):
    samples = large_photographs(tmp_path, 16)
    prepared = cache.prepare_crops(samples, tmp_path / "cache", size=200)
    plans = [plan_epoch(which, SKELETON, seed=2, epoch=0, augmentation=PAPER) for which in (samples, prepared)]
    np.testing.assert_allclose(plans[0].pose, plans[1].pose, atol=1e-6)
    np.testing.assert_array_equal(plans[0].probability, plans[1].probability)
    direct, cached = (collect(pipeline.training_dataset(p, size=SIZE, batch_size=4))[0] for p in plans)
    # Where a crop's edge meets the image's edge, the two differ by part of a pixel of black.
    assert np.median(np.abs(direct - cached)) < 0.01 and (np.abs(direct - cached) > 0.1).mean() < 0.01
    for sample, original in zip(prepared, samples, strict=True):
        assert max(Image.open(sample.image).size) <= 201
        np.testing.assert_allclose(sample.head_size / sample.side, original.head_size / original.side)


def test_prepared_crops_are_kept_until_their_source_changes(tmp_path):
    samples = large_photographs(tmp_path, 3)
    first = cache.prepare_crops(samples + samples, tmp_path / "cache", size=200)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()}
    assert len(times) == 3
    again = cache.prepare_crops(samples, tmp_path / "cache", size=200)
    assert [s.image for s in again] == [s.image for s in first[:3]]
    assert times == {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()}
    source = samples[0].image
    content = bytearray(open(source, "rb").read())
    content[-40] ^= 1  # the size stays
    open(source, "wb").write(content)
    changed = cache.prepare_crops(samples, tmp_path / "cache", size=200)
    assert changed[0].image != first[0].image and changed[1].image == first[1].image
    other_size = cache.prepare_crops(samples, tmp_path / "cache", size=100)
    assert all(a.image != b.image for a, b in zip(other_size, changed, strict=True) if a.side != b.side)


def test_a_damaged_prepared_crop_is_prepared_again(tmp_path, caplog):
    samples = large_photographs(tmp_path, 2)
    sound, path = (Path(sample.image) for sample in cache.prepare_crops(samples, tmp_path / "cache", size=200))
    content, written = path.read_bytes(), sound.stat().st_mtime_ns
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1  # among the coefficients: a decoder reads on
    for damaged in (bytes(flipped), content[:-1], content[:-32], b""):
        path.write_bytes(damaged)
        caplog.clear()
        cache.prepare_crops(samples, tmp_path / "cache", size=200)
        assert path.read_bytes() == content
        assert f"{path} is damaged and is prepared again." in caplog.text
    assert sound.stat().st_mtime_ns == written


def test_preparing_a_broken_image_names_it(samples, broken, tmp_path):
    for name in ("missing.jpg", "half.jpg", "page.jpg"):
        path = next(p for p in broken if p.endswith(name))
        sample = Sample(path, np.array([30.0, 30.0]), 60.0, np.zeros((3, 2)), np.ones(3, bool))
        with pytest.raises(PoseError, match=name):
            cache.prepare_crops([sample], tmp_path / "cache")
