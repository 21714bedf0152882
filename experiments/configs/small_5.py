"""The fifth training of `small`: a stronger network's poses of the same people beside their labels, averaged weights.

Command:  python -m experiments.train_lsp --config small_5
Cost:     13 minutes an epoch of 16,964 people on two cores of an AMD EPYC with AVX512-BF16 and nothing else to do.
Expected: see weights/README.md.
"""

from dataclasses import replace
from pathlib import Path

from pose_regression.data.augment import Augmentation
from pose_regression.training.experiment import RECIPES, Experiment, Lsp, Machine, Network

experiment = Experiment(
    data=Lsp(Path("datasets/lsp"), extra=Path("datasets/lspet"), soft_labels=Path("weights/soft_labels.csv.gz")),
    network=Network(blocks=4, width=288, input_size=192),
    recipe=replace(
        RECIPES["quick"], epochs=5, learning_rate=4e-4, map_weight=0.3,
        augmentation=Augmentation(rotation=60.0, zoom=(0.65, 1.4), translation=0.1),
    ),
    machine=Machine(dtype="mixed_bfloat16"),
    weights="runs/small_4/last.weights.h5",
    seed=3,
)  # fmt: skip
