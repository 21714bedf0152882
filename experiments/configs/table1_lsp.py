"""Table 1 on LSP with small networks; `ablation_table1` changes context, alpha, supervision and seed for each row.

Command:  python -m experiments.ablation_table1 --config table1_lsp --seeds 5
Cost:     178 minutes on 2 cores of an AMD EPYC with AVX512-BF16, much of it beside other work.
Expected: docs/results/table1_lsp.md: 62.3 PCK@0.2 without context, 60.7 with it and alpha = 0.8.

Every network begins with the stem of `small`, and its two blocks afresh: what the rows differ in is learned by each
from nothing, and what they share need not be learned twenty times.
"""

from dataclasses import replace
from pathlib import Path

from pose_regression.training.experiment import RECIPES, Experiment, Lsp, Machine, Network

quick = RECIPES["quick"]
experiment = Experiment(
    data=Lsp(Path("datasets/lsp"), extra=Path("datasets/lspet"), limit=2200, repeat=2),
    network=Network(blocks=2, width=288, input_size=128),
    recipe=replace(quick, epochs=6, learning_rate=2e-3, augmentation=replace(quick.augmentation, rotation=20.0)),
    machine=Machine(dtype="mixed_bfloat16", cache=Path("runs/crops20")),
    weights="small",
    start="stem",
)
