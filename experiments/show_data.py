"""A contact sheet of what the network is trained on: augmented crops with their joints.

    python -m experiments.show_data --data datasets/lsp --benchmark lsp --output sheet.png
    python -m experiments.show_data --data datasets/mpii --benchmark mpii --output sheet.png
    python -m experiments.show_data --data synthetic --benchmark synthetic --output sheet.png

Cost: seconds. The crops come out of the training pipeline itself, so what is wrong with it can be seen. The person's
right is orange, the left blue, the centre line grey. Under each crop stand the sample's position in the data set and
the numbers of joints in the crop, annotated but outside of it, and not annotated.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from experiments.command import run
from pose_regression import visualize
from pose_regression.data import augment, lsp
from pose_regression.data.sample import Sample
from pose_regression.evaluation.benchmarks import BENCHMARKS
from pose_regression.skeleton import LSP, PA16J, reorder

TRAINING_PEOPLE: dict[str, Callable[[Path], list[Sample]]] = {
    **{name: partial(benchmark.load, split="train") for name, benchmark in BENCHMARKS.items()},
    "lsp": partial(lsp.load, split="train", crop="joints"),
    "lspet": lsp.load_extended,
}
"""`--benchmark` -> the loader of a folder."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--benchmark", choices=tuple(TRAINING_PEOPLE), required=True)
    parser.add_argument("--output", type=Path, required=True, help="picture to write, .png or .jpg")
    parser.add_argument("--count", type=int, default=40, help="crops to show (default: 40)")
    parser.add_argument("--size", type=int, default=256, help="side of the crops in pixels (default: 256)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice and the augmentation")
    parser.add_argument("--augmentation", choices=("paper", "authors", "none"), default="paper")
    arguments = parser.parse_args()
    from pose_regression.data import pipeline
    from pose_regression.data.crop import to_uint8

    samples = TRAINING_PEOPLE[arguments.benchmark](arguments.data)
    chosen = np.random.default_rng(arguments.seed).permutation(len(samples))[: arguments.count]
    augmentation = getattr(augment, arguments.augmentation.upper())
    plan = augment.plan_epoch(
        [samples[i] for i in chosen], PA16J, seed=arguments.seed, epoch=0, augmentation=augmentation
    )
    # LSP's own limbs do without the pelvis and thorax, which it does not annotate.
    skeleton = PA16J if samples[0].supervised.all() else LSP
    pictures, captions = [], []
    for i, (image, targets) in enumerate(pipeline.training_dataset(plan, size=arguments.size, batch_size=1)):
        pose, probability = targets["pose"].numpy()[0], targets["probability"].numpy()[0]
        present = pose[:, 2] == 1
        pixels = to_uint8(image.numpy()[0])
        joints = np.where(present[:, None], pose[:, :2] * arguments.size, np.nan)
        pictures.append(visualize.draw_pose(pixels, reorder(joints, PA16J, skeleton), skeleton))
        sample = samples[chosen[plan.index[i]]]
        outside = (sample.present & sample.supervised).sum() - present.sum()
        absent = (probability[:, 1] == 1).sum() - present.sum() - outside
        captions.append(f"{chosen[plan.index[i]]}: {present.sum()} in, {outside} outside, {absent} unknown")
    visualize.save_image(arguments.output, visualize.contact_sheet(pictures, captions=captions, columns=8))
    print(f"{len(pictures)} of {len(samples)} samples drawn in {arguments.output}; person's right orange, left blue")


if __name__ == "__main__":
    run(main)
