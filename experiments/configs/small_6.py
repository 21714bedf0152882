"""The sixth training of `small`: LSP's 800 carefully labelled people alone, for a few minutes.

Command:  python -m experiments.train_lsp --config small_6
Cost:     6 minutes on two cores of an AMD EPYC with AVX512-BF16, little else to do.
Expected: see weights/README.md.
"""

from dataclasses import replace
from pathlib import Path

from pose_regression.data.augment import Augmentation
from pose_regression.training.experiment import RECIPES, Experiment, Lsp, Machine, Network

experiment = Experiment(
    data=Lsp(Path("datasets/lsp")),
    network=Network(blocks=4, width=288, input_size=192),
    recipe=replace(
        RECIPES["quick"], epochs=8, learning_rate=3e-4, map_weight=0.3,
        augmentation=Augmentation(rotation=45.0, zoom=(0.8, 1.25), translation=0.05),
    ),
    machine=Machine(dtype="mixed_bfloat16"),
    weights="runs/small_5/last.weights.h5",
    seed=5,
)  # fmt: skip
