"""The third of three trainings of the shipped `small`: once more, with another seed and order.

Command:  python -m experiments.train_lsp --config small_3
Cost:     111 minutes on two cores of an Intel Xeon with AVX-512 and AMX.
Expected: 74.6 PCK@0.2 on LSP test (weights/README.md).

Statistics of batch norm and an average of the weights are off, as they were. LSPET's last 1,000 images, which were
trained on then, are kept for measuring.
"""

from dataclasses import replace
from pathlib import Path

from pose_regression.training.experiment import RECIPES, Experiment, Lsp, Machine, Network

experiment = Experiment(
    data=Lsp(Path("datasets/lsp"), extra=Path("datasets/lspet")),
    network=Network(blocks=4, width=288, input_size=128),
    recipe=replace(RECIPES["quick"], epochs=34, learning_rate=7e-4, map_weight=0.3, statistics_batches=0, average=0.0),
    machine=Machine(dtype="mixed_bfloat16"),
    weights="runs/small_2/best.weights.h5",
    seed=1,
)
