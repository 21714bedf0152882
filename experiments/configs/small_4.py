"""The fourth training of `small`: 192 px, from small_3; wider turns, zooms and shifts, as the boxes of detectors vary.

Command:  python -m experiments.train_lsp --config small_4
Cost:     6 minutes an epoch on two cores of an AMD EPYC with AVX512-BF16 that have nothing else to do.
Expected: 77.9 PCK@0.2 on the 200 validation people after seven epochs.

It was stopped after eight of its fourteen epochs, for small_5.
"""

from dataclasses import replace
from pathlib import Path

from pose_regression.data.augment import Augmentation
from pose_regression.training.experiment import RECIPES, Experiment, Lsp, Machine, Network

experiment = Experiment(
    data=Lsp(Path("datasets/lsp"), extra=Path("datasets/lspet")),
    network=Network(blocks=4, width=288, input_size=192),
    recipe=replace(
        RECIPES["quick"], epochs=14, learning_rate=6e-4, map_weight=0.3, statistics_batches=0, average=0.0,
        augmentation=Augmentation(rotation=60.0, zoom=(0.65, 1.4), translation=0.1),
    ),
    machine=Machine(dtype="mixed_bfloat16"),
    weights="small",
    seed=2,
)  # fmt: skip
