"""Losses, loop and state of a training run."""
