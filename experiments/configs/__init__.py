"""Trainings by name, for `--config`: each file sets `experiment`, and says its command, cost and expected score."""
