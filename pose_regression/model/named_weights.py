"""A network's weights by their place in it, `stem/conv_1/kernel`: the names that our weight files and states go by."""

import re
from collections.abc import Iterator, Mapping

import keras
import numpy as np

from pose_regression.errors import PoseError
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


def check_names(model: keras.Model) -> None:
    """`PoseError` if a layer with weights has a name that Keras gave it: the next network's is another.

    By its form, as `batch_normalization_1` of a `BatchNormalization`; Keras does not tell who named a layer.
    """
    for layer in model.layers:
        words = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", type(layer).__name__)
        automatic = re.sub(r"([a-z])([A-Z])", r"\1_\2", words).lower()
        if layer.weights and re.fullmatch(rf"{automatic}(_\d+)?", layer.name):
            raise PoseError(
                f"The backbone's layer {layer.name!r} needs a name of its own (name=...): weight files go by names, "
                "and those that Keras gives change from one network to the next."
            )
        if isinstance(layer, keras.Model):
            check_names(layer)


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
