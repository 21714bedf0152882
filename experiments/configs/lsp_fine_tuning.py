"""The paper's LSP fine-tuning, section 4.1: from MPII weights, 70 epochs at 2e-5.

Command:  python -m experiments.train_lsp --config lsp_fine_tuning --weights runs/paper_mpii/best.weights.h5
Cost:     70 epochs of 800 people; not run here.
Expected: not known: the paper's own figure on LSP could not be traced.
"""

from dataclasses import replace
from pathlib import Path

from pose_regression.training.experiment import RECIPES, Experiment, Lsp

experiment = Experiment(
    data=Lsp(Path("datasets/lsp")),
    recipe=replace(RECIPES["paper"], epochs=70, learning_rate=2e-5),
    weights="runs/paper_mpii/best.weights.h5",
)
