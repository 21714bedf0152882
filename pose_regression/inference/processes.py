"""A process of one's own for each contender of a benchmark, and its peak memory."""

import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import tensorflow as tf

from pose_regression.errors import PoseError


def in_own_process(function: Callable, *arguments: Any) -> Any:
    """Call `function(*arguments)` in a fresh process and return its result.

    Nothing that other contenders allocated, compiled or configured is there.

    Raises:
        PoseError: the process was killed, as the system does when memory runs out.
        Exception: whatever `function` raises.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(function, *arguments).result()
        except BrokenProcessPool as error:
            raise PoseError(
                f"The process of {function.__name__} was killed, probably for lack of memory: "
                "choose a smaller batch, input, width or fewer blocks."
            ) from error


def peak_memory() -> float:
    """Largest memory this process has held so far, MiB: TensorFlow's on the first GPU if it has one, else RSS."""
    if tf.config.list_logical_devices("GPU"):
        return tf.config.experimental.get_memory_info("GPU:0")["peak"] / 2**20
    try:
        # Not getrusage: its figure begins with that of the parent process.
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    except (OSError, StopIteration):
        import resource  # which Windows lacks

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)


def grow_gpu_memory() -> None:
    """Let TensorFlow take GPU memory as it needs it, so that the peak says something."""
    for gpu in tf.config.list_physical_devices("GPU"):
        if tf.config.experimental.get_memory_growth(gpu) is not True:
            tf.config.experimental.set_memory_growth(gpu, True)
