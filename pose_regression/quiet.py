"""What no command says: the logs of TensorFlow and LiteRT, "failed call to cuInit" where there is no GPU among them."""

import importlib.util
import os
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from typing import Any


def quiet_tensorflow() -> None:
    """No line of TensorFlow's own log, whenever it is imported, unless the user set TF_CPP_MIN_LOG_LEVEL below 3."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if is_quiet():
        sys.meta_path.insert(0, _QuietImport())


def is_quiet() -> bool:
    """Whether not even errors of TensorFlow's library are to be logged, as in every command unless the user asks."""
    return os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "3"


class _QuietImport:
    """TensorFlow logs while its library is loaded, before it looks at the variable: then stderr is closed to it."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name != "tensorflow":
            return None
        sys.meta_path.remove(self)  # type: ignore[arg-type]
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module
            spec.loader.exec_module = lambda module: unheard(load, module)  # type: ignore[method-assign]
        return spec


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
