"""The first training of `full`, the paper's network (K = 8, 576 features): it begins as `small`, grown; 192 px.

Command:  python -m experiments.train_lsp --config full_1
Cost:     39 minutes an epoch on two cores of an AMD EPYC with AVX512-BF16, beside other work.
Expected: see weights/README.md.

The rate stays high: the average of the weights takes the place of its decay, which `full_2` has.
"""

from dataclasses import replace
from pathlib import Path

from pose_regression.data.augment import Augmentation
from pose_regression.training.experiment import RECIPES, Experiment, Lsp, Machine, Network

experiment = Experiment(
    data=Lsp(
        Path("datasets/lsp"), extra=Path("datasets/lspet"), limit=4000, repeat=4,
        soft_labels=Path("weights/soft_labels.csv.gz"),
    ),
    network=Network(input_size=192),
    recipe=replace(
        RECIPES["quick"], epochs=2, learning_rate=3e-4, schedule="constant", map_weight=0.3,
        augmentation=Augmentation(rotation=60.0, zoom=(0.65, 1.4), translation=0.1),
    ),
    machine=Machine(dtype="mixed_bfloat16"),
    weights="small",
    seed=4,
)  # fmt: skip
