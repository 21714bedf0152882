"""The README's first training: from `small`'s first block to rendered people, nothing to download.

Command:  python -m experiments.train_mpii --config first_run
Cost:     5 epochs of 2,000 rendered pictures: 464 CPU seconds, with those for rendering them once, on two busy cores of
          an AMD EPYC held to AVX2 (ONEDNN_MAX_CPU_ISA=AVX2), at commit 7d42c38.
Expected: PCKh@0.5 81.3 on 211 people it never saw.

Stem and first block start from `small`, which learned from photographs.
"""

from dataclasses import replace
from pathlib import Path

from pose_regression.training.experiment import RECIPES, Experiment, Mpii, Network

quick = RECIPES["quick"]
experiment = Experiment(
    data=Mpii(Path("synthetic")),
    network=Network(blocks=1, width=288, input_size=128),
    recipe=replace(
        quick,
        epochs=5,
        learning_rate=1e-3,
        statistics_batches=0,
        average=0.0,
        augmentation=replace(quick.augmentation, rotation=10.0, zoom=(0.9, 1.1)),
    ),
    weights="small",
)
