"""Imports to come: Keras learns of the layers once it is there, and moved modules are found by their old names."""

import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

PACKAGE = __name__.rpartition(".")[0]

REGISTERED = ("model.network", "model.hourglass", "training.losses", "training.optimizer")
"""Modules whose import registers what a `.keras` file may hold."""

MOVED = {
    "layers": ("model.regression", "model.kernels"),
    "network": ("model.network", "model.backbone"),
    "hourglass": ("model.hourglass",),
    "macs": ("model.macs",),
    "weights": ("model.weights", "model.load", "model.authors_weights"),
    "hub": ("model.hub",),
    "losses": ("training.losses",),
    "optimizer": ("training.optimizer",),
    "checkpoint": ("training.checkpoint",),
    "metrics": ("evaluation.metrics",),
    "predictions": ("evaluation.predictions", "evaluation.submission"),
    "paper": ("evaluation.paper",),
    "predictor": ("inference.predictor", "inference.pose", "inference.photographs"),
    "export": ("inference.export", "inference.loaders", "model.folding"),
    "runtimes": ("inference.runtimes",),
}
"""Module of version 0.1 -> where its names are now."""


def set_up() -> None:
    """Register the layers where Keras has been imported, else when it will have been; and find moved modules."""
    sys.meta_path.append(_MovedModules())
    if "keras" in sys.modules:
        _register()
    else:
        around_import("keras", _register_after)


def _register_after(execute: Callable[[ModuleType], Any], keras: ModuleType) -> None:
    execute(keras)
    _register()


def _register() -> None:
    for module in REGISTERED:
        import_module(f"{PACKAGE}.{module}")


def around_import(name: str, call: Callable[[Callable[[ModuleType], Any], ModuleType], Any]) -> None:
    """When the module `name` is imported, have `call(execute, module)` do it, where `execute(module)` is the import."""
    sys.meta_path.insert(0, _Around(name, call))


class _Around(MetaPathFinder):
    def __init__(self, name: str, call: Callable):
        self.name, self.call = name, call

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None):
        if fullname != self.name:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader.exec_module = partial(self.call, spec.loader.exec_module)  # type: ignore[method-assign]
        return spec


class _MovedModules(MetaPathFinder, Loader):
    """Last of the finders: `pose_regression.predictor` and the like, with a warning that names the new place."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None):
        parent, _, name = fullname.rpartition(".")
        return ModuleSpec(fullname, self) if parent == PACKAGE and name in MOVED else None

    def exec_module(self, module: ModuleType) -> None:
        homes = [f"{PACKAGE}.{home}" for home in MOVED[module.__name__.rpartition(".")[2]]]
        warnings.warn(f"{module.__name__} has moved: see {', '.join(homes)}.", DeprecationWarning, stacklevel=2)

        def lookup(name: str) -> Any:
            for home in map(import_module, homes):
                if hasattr(home, name):
                    return getattr(home, name)
            raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")

        module.__getattr__ = lookup  # type: ignore[method-assign]
