"""One module per thing a person runs: `python -m experiments.NAME --help`."""

from pose_regression.quiet import quiet_tensorflow

quiet_tensorflow()  # here, as this is imported before any command imports TensorFlow
