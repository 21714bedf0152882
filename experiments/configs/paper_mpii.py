"""The paper's MPII training, section 4.1.

Command:  python -m experiments.train_mpii --config paper_mpii --data datasets/mpii
Cost:     120 epochs of 22,246 people; not run here.
Expected: 89.1 PCKh@0.5 on the validation split, single crop, is the paper's figure (Table 1).
"""

from pathlib import Path

from pose_regression.training.experiment import RECIPES, Experiment, Mpii, Network

experiment = Experiment(data=Mpii(Path("datasets/mpii")), network=Network(), recipe=RECIPES["paper"])
