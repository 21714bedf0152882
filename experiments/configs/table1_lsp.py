"""Table 1 on LSP with small networks; `ablation_table1` changes context, alpha, supervision and seed for each row.

Command:  python -m experiments.ablation_table1 --config table1_lsp --seeds 3
Cost:     102 minutes on 2 cores of an Intel Xeon.
Expected: docs/results/table1_lsp.md: 33.0 PCK@0.2 without context, 33.7 with it and alpha = 0.8.

Statistics of batch norm and an average of the weights are off, as they were.
"""

from dataclasses import replace
from pathlib import Path

from pose_regression.training.experiment import RECIPES, Experiment, Lsp, Machine, Network

quick = RECIPES["quick"]
experiment = Experiment(
    data=Lsp(Path("datasets/lsp"), extra=Path("datasets/lspet"), limit=2200),
    network=Network(blocks=2, width=128, input_size=96),
    recipe=replace(
        quick,
        epochs=10,
        learning_rate=2e-3,
        statistics_batches=0,
        average=0.0,
        augmentation=replace(quick.augmentation, rotation=20.0),
    ),
    machine=Machine(cache=Path("runs/crops20")),
)
