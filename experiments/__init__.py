"""One module per thing a person runs: `python -m experiments.NAME --help`."""

import os

# No line of TensorFlow's own log on any command's output, "failed call to cuInit" on machines without a GPU among them.
# Here, as this is imported before any command imports TensorFlow; whoever sets the variable sees what they ask for.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
