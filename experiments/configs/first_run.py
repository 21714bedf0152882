"""The README's first training: a small network on rendered people, nothing to download.

Command:  python -m experiments.train_mpii --config first_run
Cost:     16 epochs of 3,000 rendered people, some 20 CPU minutes on two AVX2 cores, and the rendering once.
Expected: see the README.
"""

from dataclasses import replace
from pathlib import Path

from pose_regression.training.experiment import RECIPES, Experiment, Mpii, Network

quick = RECIPES["quick"]
experiment = Experiment(
    data=Mpii(Path("synthetic")),
    network=Network(blocks=1, width=192, input_size=128),
    recipe=replace(
        quick,
        epochs=16,
        learning_rate=2e-3,
        augmentation=replace(quick.augmentation, rotation=10.0, zoom=(0.9, 1.1)),
    ),
)
