"""The first of three trainings of the shipped `small`: small pictures at a constant rate.

Command:  python -m experiments.train_lsp --config small_1
Cost:     40 minutes on two cores of an Intel Xeon with AVX-512 and AMX.
Expected: the start of small_2; its own score was not kept.

Statistics of batch norm and an average of the weights are off, as they were. LSPET's last 1,000 images, which were
trained on then, are kept for measuring.
"""

from dataclasses import replace
from pathlib import Path

from pose_regression.training.experiment import RECIPES, Experiment, Lsp, Machine, Network

experiment = Experiment(
    data=Lsp(Path("datasets/lsp"), extra=Path("datasets/lspet")),
    network=Network(blocks=4, width=288, input_size=96),
    recipe=replace(RECIPES["quick"], epochs=8, schedule="constant", statistics_batches=0, average=0.0),
    machine=Machine(dtype="mixed_bfloat16"),
    weights="none",
    seed=0,
)
