"""The one exception for what a user can put right."""


class PoseError(ValueError):
    """A mistake in the input: one sentence naming the file or argument, what was received, what was expected.

    Commands print the sentence and exit with code 2 (`experiments.command`); library users may catch it
    as the `ValueError` that it is.
    """


class Terminated(Exception):
    """SIGTERM arrived during a training; its state has been saved."""
