"""Broken images are found and named."""

import dataclasses
import logging

import numpy as np
import pytest

from pose_regression.data import images
from pose_regression.data.sample import Sample
from pose_regression.errors import PoseError


def test_broken_images_are_found_with_their_reason(samples, broken):
    sound = [sample.image for sample in samples]
    found = images.find_broken([*sound, *broken, *sound])
    assert list(found) == list(broken)
    for path, said in broken.items():
        assert said in found[path]


def test_one_broken_image_in_a_hundred_is_named_and_dropped(samples, broken, tmp_path, caplog):
    many = []
    for i in range(99):
        path = tmp_path / f"sound{i}.jpg"
        path.symlink_to(samples[1].image)
        many.append(Sample(str(path), np.zeros(2), 1.0, np.zeros((3, 2)), np.ones(3, bool)))
    path = next(iter(broken))
    bad = Sample(path, np.zeros(2), 1.0, np.zeros((3, 2)), np.ones(3, bool))
    with caplog.at_level(logging.WARNING):
        assert images.without_broken([bad, *many, bad]) == many
    assert f"{path} cannot be read" in caplog.text and "1 of 100 images" in caplog.text
    with pytest.raises(PoseError, match="1 of 99 images are broken, more than 1 %; the first: .*missing.jpg cannot"):
        images.without_broken([bad, *many[1:]])


def test_images_are_checked_once_and_the_first_broken_one_is_named(samples, broken):
    half = next(path for path in broken if "half.jpg" in path)
    with pytest.raises(PoseError, match="half.jpg is truncated or damaged; evaluation does not skip images"):
        images.check_images([*samples, dataclasses.replace(samples[0], image=half)])
    images.check_images(samples)
