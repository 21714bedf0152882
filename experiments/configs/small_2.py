"""The second of three trainings of the shipped `small`: 128 px, from what small_1 gave.

Command:  python -m experiments.train_lsp --config small_2
Cost:     103 minutes on two cores of an Intel Xeon with AVX-512 and AMX.
Expected: 71.9 PCK@0.2 on LSP test.

Statistics of batch norm and an average of the weights are off, as they were. LSPET's last 1,000 images, which were
trained on then, are kept for measuring.
"""

from dataclasses import replace
from pathlib import Path

from pose_regression.training.experiment import RECIPES, Experiment, Lsp, Machine, Network

experiment = Experiment(
    data=Lsp(Path("datasets/lsp"), extra=Path("datasets/lspet")),
    network=Network(blocks=4, width=288, input_size=128),
    recipe=replace(RECIPES["quick"], epochs=32, learning_rate=1e-3, map_weight=0.3, statistics_batches=0, average=0.0),
    machine=Machine(dtype="mixed_bfloat16"),
    weights="runs/small_1/last.weights.h5",
    seed=0,
)
