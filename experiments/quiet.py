"""What no command says: the log of TensorFlow's library, "failed call to cuInit" where there is no GPU among it."""

import importlib.util
import os
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from typing import Any


def quiet_tensorflow() -> None:
    """No line of TensorFlow's own log, whenever it is imported, unless the user set TF_CPP_MIN_LOG_LEVEL below 3."""
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") == "3":
        sys.meta_path.insert(0, _QuietImport())


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


def unheard(function: Callable, *arguments: Any) -> Any:
    """Call a function while nothing reaches file descriptor 2; what it raises is raised."""
    sys.stderr.flush()
    before = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        return function(*arguments)
    finally:
        os.dup2(before, 2)
        os.close(before)
