"""What no command says: the logs of TensorFlow and LiteRT, "failed call to cuInit" where there is no GPU among them."""

import os
import sys
from collections.abc import Callable
from typing import Any

from pose_regression.late_imports import around_import


def quiet_tensorflow() -> None:
    """No line of TensorFlow's own log, whenever it is imported, unless the user set TF_CPP_MIN_LOG_LEVEL below 3."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if is_quiet():
        # It logs while its library is loaded, before it looks at the variable: then stderr is closed to it.
        around_import("tensorflow", unheard)


def is_quiet() -> bool:
    """Whether not even errors of TensorFlow's library are to be logged, as in every command unless the user asks."""
    return os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "3"


def unheard(function: Callable, *arguments: Any, **keywords: Any) -> Any:
    """Call a function while nothing reaches file descriptor 2; what it raises is raised."""
    sys.stderr.flush()
    before = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        return function(*arguments, **keywords)
    finally:
        os.dup2(before, 2)
        os.close(before)
