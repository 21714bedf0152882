"""The second training of `full`: LSP's 800 carefully labelled people alone, as small_6; 192 px.

Command:  python -m experiments.train_lsp --config full_2
Cost:     3 minutes an epoch on two cores of an AMD EPYC with AVX512-BF16.
Expected: see weights/README.md.
"""

from dataclasses import replace
from pathlib import Path

from pose_regression.data.augment import Augmentation
from pose_regression.training.experiment import RECIPES, Experiment, Lsp, Machine, Network

experiment = Experiment(
    data=Lsp(Path("datasets/lsp")),
    network=Network(input_size=192),
    recipe=replace(
        RECIPES["quick"], epochs=8, learning_rate=3e-4, map_weight=0.3,
        augmentation=Augmentation(rotation=45.0, zoom=(0.8, 1.25), translation=0.05),
    ),
    machine=Machine(dtype="mixed_bfloat16"),
    weights="runs/full_1/best.weights.h5",
    seed=5,
)  # fmt: skip
