"""Batches are deterministic and resume exactly."""

import numpy as np
import pytest
from pictures import SIZE, SKELETON, collect

from pose_regression.data import pipeline
from pose_regression.data.augment import NONE, plan_epoch
from pose_regression.geometry import crop_affine


def test_batches_hold_the_planned_targets_in_the_network_range(samples):
    plan = plan_epoch(samples, SKELETON, seed=1, epoch=0)
    image, pose, probability = collect(pipeline.training_dataset(plan, size=SIZE, batch_size=4))
    assert image.shape == (5, 4, SIZE, SIZE, 3) and image.dtype == np.float32
    assert -1 <= image.min() < -0.9 and 0.9 < image.max() <= 1
    np.testing.assert_array_equal(pose.reshape(20, 3, 3), plan.pose[:20])
    np.testing.assert_array_equal(probability.reshape(20, 3, 2), plan.probability[:20])


def test_batches_do_not_depend_on_the_number_of_workers(samples):
    plan = plan_epoch(samples, SKELETON, seed=1, epoch=0)
    one = collect(pipeline.training_dataset(plan, size=SIZE, batch_size=4, workers=1))
    two = collect(pipeline.training_dataset(plan, size=SIZE, batch_size=4, workers=2))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("first", [0, 1, 3])
def test_resumed_epoch_equals_the_rest_of_an_uninterrupted_one(samples, first):
    plan = plan_epoch(samples, SKELETON, seed=1, epoch=0)
    whole = collect(pipeline.training_dataset(plan, size=SIZE, batch_size=4))
    rest = collect(pipeline.training_dataset(plan, size=SIZE, batch_size=4, first_batch=first))
    for a, b in zip(whole, rest, strict=True):
        np.testing.assert_array_equal(a[first:], b)


def test_epoch_that_was_finished_has_no_batches_left(samples):
    plan = plan_epoch(samples, SKELETON, seed=1, epoch=0)
    assert list(pipeline.training_dataset(plan, size=SIZE, batch_size=4, first_batch=5)) == []


def test_gamma_is_a_power_of_each_channel(samples):
    plain = plan_epoch(samples, SKELETON, seed=1, epoch=0, augmentation=NONE)
    image, *_ = collect(pipeline.training_dataset(plain, size=SIZE, batch_size=7))
    plain.gamma[:] = [0.9, 1.0, 1.1]
    powered, *_ = collect(pipeline.training_dataset(plain, size=SIZE, batch_size=7))
    expected = ((image.astype(np.float64) + 1) / 2).clip(0) ** np.array([0.9, 1.0, 1.1]) * 2 - 1
    np.testing.assert_allclose(powered, expected, atol=2e-6)


def test_evaluation_keeps_order_and_remainder(samples):
    affines = np.stack([crop_affine(sample.center, sample.side) for sample in samples])
    paths = [sample.image for sample in samples]
    batches = [batch.numpy() for batch in pipeline.evaluation_dataset(paths, affines, size=SIZE, batch_size=8)]
    assert [len(batch) for batch in batches] == [8, 8, 5]
    plan = plan_epoch(samples, SKELETON, seed=0, epoch=0, augmentation=NONE, shuffle=False)
    expected, *_ = collect(pipeline.training_dataset(plan, size=SIZE, batch_size=1))
    np.testing.assert_allclose(np.concatenate(batches), expected[:, 0], atol=2e-6)
