"""One module per thing a person runs: `python -m experiments.NAME --help`."""
