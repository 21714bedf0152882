"""TensorFlow's threads do not come along when a process forks: who needs them is told, and does not hang."""

import os
from functools import cache

from pose_regression.errors import PoseError


def check_process() -> None:
    """To be called where a network is made or used.

    Raises:
        PoseError: this process was forked from one that called it before.
    """
    if _home() != os.getpid():
        raise PoseError(
            "This process was forked from one that had a network already, which would hang here for ever: make the "
            "PosePredictor after the fork (gunicorn without --preload), or start processes with "
            "multiprocessing.get_context('spawn')."
        )


@cache
def _home() -> int:
    """The process in which this was asked first, and whatever was forked from it later has the answer, too."""
    return os.getpid()
