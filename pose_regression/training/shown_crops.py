"""A contact sheet of what a training shows its network: augmented crops with their joints."""

from pathlib import Path

import numpy as np

from pose_regression.data.augment import plan_epoch
from pose_regression.data.crop import to_uint8
from pose_regression.data.images import without_broken
from pose_regression.data.pipeline import training_dataset
from pose_regression.training.experiment import Experiment
from pose_regression.training.loop import with_learned
from pose_regression.training.people import load_people
from pose_regression.visualize import contact_sheet, draw_pose, save_image

COUNT = 40


def draw_crops(experiment: Experiment, path: Path) -> str:
    """Draw 40 of an experiment's training people as the training pipeline gives them; what to say about it.

    The person's right is orange, the left blue, the centre line grey. Under each crop stand the image's name and the
    numbers of joints in the crop, annotated but outside of it, and not annotated.
    """
    people = load_people(experiment.data)
    print(*people.notes, sep="\n")
    samples, size = people.training, experiment.network.input_size
    chosen = np.random.default_rng(experiment.seed).permutation(len(samples))[:COUNT]
    shown = without_broken([samples[i] for i in chosen])
    skeleton = with_learned(people.skeleton, shown)
    plan = plan_epoch(
        shown, skeleton, seed=experiment.seed, epoch=0, augmentation=experiment.recipe.augmentation, shuffle=False
    )
    pictures, captions = [], []
    batches = training_dataset(plan, size=size, batch_size=1).as_numpy_iterator()
    for sample, (image, targets) in zip(shown, batches, strict=True):
        pose, known = targets["pose"][0], targets["probability"][0, :, 1] > 0
        present = pose[:, 2] > 0
        joints = np.where(present[:, None], pose[:, :2] * size, np.nan)
        pictures.append(draw_pose(to_uint8(image[0]), joints, skeleton))
        outside = (sample.present & sample.supervised).sum() - present.sum()
        unknown = known.sum() - present.sum() - outside
        captions.append(f"{Path(sample.image).stem}  {present.sum()} / {outside} / {unknown}")
    save_image(path, contact_sheet(pictures, captions=captions, columns=8))
    return f"{len(shown)} of {len(samples)} samples drawn in {path}; person's right orange, left blue"
