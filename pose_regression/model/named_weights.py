"""A network's weights by their place in it, `stem/conv_1/kernel`: the names that our weight files and states go by."""

from collections.abc import Iterator, Mapping

import keras
import numpy as np

from pose_regression.model.regression import SoftArgmax


def named_weights(model: keras.Model) -> dict[str, keras.Variable]:
    """Every trained or averaged variable by its place in the network, `stem/conv_1/kernel`; frozen constants apart."""
    return dict(_walk(model, ""))


def _walk(model: keras.Model, prefix: str) -> Iterator[tuple[str, keras.Variable]]:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _walk(layer, f"{prefix}{layer.name}/")
        elif not isinstance(layer, SoftArgmax):
            yield from ((f"{prefix}{layer.name}/{variable.name}", variable) for variable in layer.weights)


def assign(variables: Mapping[str, keras.Variable], arrays: Mapping[str, np.ndarray]) -> None:
    """Give each variable the array of its name, all of them or none.

    Args:
        variables: by name.
        arrays: by name, of any float type.

    Raises:
        ValueError: a name that only one of the two has, or an array of another shape; the variables are then unchanged.
    """
    missing, unknown = sorted(variables.keys() - arrays.keys()), sorted(arrays.keys() - variables.keys())
    if missing or unknown:
        raise ValueError(
            f"{len(missing)} of this network's {len(variables)} are missing, {len(unknown)} are unknown, "
            f"such as {(missing + unknown)[0]!r}"
        )
    for name, variable in variables.items():
        if arrays[name].shape != tuple(variable.shape):
            raise ValueError(f"{name} has shape {arrays[name].shape}, expected {tuple(variable.shape)}")
    for name, variable in variables.items():
        variable.assign(arrays[name])
