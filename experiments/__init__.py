"""One module per thing a person runs: `python -m experiments.NAME --help`."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
