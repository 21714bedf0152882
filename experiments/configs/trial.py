"""A network that trains in a quarter of an hour, to compare options at equal budgets over seeds.

Command:  python -m experiments.train_lsp --config trial --seed 0
Cost:     to be measured
Expected: docs/results/lsp_trials.md
"""

from dataclasses import replace
from pathlib import Path

from pose_regression.training.experiment import RECIPES, Experiment, Lsp, Machine, Network

experiment = Experiment(
    data=Lsp(Path("datasets/lsp"), extra=Path("datasets/lspet")),
    network=Network(blocks=2, width=192, input_size=96),
    recipe=replace(RECIPES["quick"], epochs=10),
    machine=Machine(dtype="mixed_bfloat16", cache=Path("runs/crops")),
)
