"""The authors' published Keras-2 `.h5` (`reception_mpii_weights_tf_ch_last_v1.h5`): its layout, and the way into ours.

One group for each box of their network. Inside a group all kernels and betas come first, then all moving averages, both
in the order in which Keras 2 sorts the nested model by depth; so the order below, not the names (their numbers depend
on what was built before), says which array is which. Several arrays have equal shapes: another order loads without
complaint and gives wrong poses.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import keras
import numpy as np

from pose_regression.container import inside, stored
from pose_regression.errors import PoseError
from pose_regression.model.regression import coordinate_ramp

_STEM = (
    "conv_1 conv_1_bn conv_2 conv_2_bn conv_3 conv_3_bn conv_4 conv_4_bn conv_5b conv_5b_bn conv_6b conv_6b_bn "
    "conv_5a conv_7b conv_5a_bn conv_7b_bn conv_6a conv_8b conv_6a_bn conv_8b_bn conv_9 conv_9_bn "
    "separable_1_shortcut separable_1 separable_1_shortcut_bn separable_1_bn"
).split()
_BLOCK_A = (
    "reduce reduce_bn half_1 half_1_bn quarter_1 quarter_1_bn quarter_2 quarter_2_bn quarter_3 half_2 quarter_3_bn "
    "half_2_bn half_3_shortcut half_3 full_1 half_3_shortcut_bn half_3_bn full_1_bn"
).split()
_SEPARABLE = {*"separable separable_1 full_1 half_1 half_2 half_3 quarter_1 quarter_2 quarter_3".split()}


class Entry(NamedTuple):
    """One array of the file."""

    name: str
    """Of the variable of ours that it belongs to, `stem/conv_1/kernel`."""
    source: str
    """Where it stands in the file."""
    array: np.ndarray


class AuthorsFile(NamedTuple):
    """What such a file holds."""

    entries: list[Entry]
    num_blocks: int
    num_maps: int
    """Heat maps of a block: N_J (1 + N_c)."""
    frozen: dict[str, list[np.ndarray]]
    """The constants of the layers without trained weights, by group."""


def authors_order(blocks: int) -> Iterator[tuple[str, list[str]]]:
    """Each group of the file of a network of `blocks` blocks, with our names of its arrays in the file's order."""
    yield "Stem", _names_of("stem", _STEM)
    for k in range(1, blocks + 1):
        yield f"rBlock{k}", _names_of(f"block_a_{k}", _BLOCK_A)
        yield f"SepConv{k}", _names_of(f"block_b_{k}", ["separable", "separable_bn"])
        yield f"RegMap{k}", _names_of(f"block_b_{k}", ["heatmaps"])
        if k < blocks:
            yield f"fReMap{k}", _names_of(f"block_b_{k}", ["project", "project_bn"])


def _names_of(box: str, layers: list[str]) -> list[str]:
    trained, averaged = [], []
    for layer in layers:
        if layer.endswith("_bn"):
            trained.append(f"{box}/{layer}/beta")
            averaged += [f"{box}/{layer}/moving_mean", f"{box}/{layer}/moving_variance"]
        elif layer in _SEPARABLE:
            trained += [f"{box}/{layer}/depthwise_kernel", f"{box}/{layer}/pointwise_kernel"]
        else:
            trained.append(f"{box}/{layer}/kernel")
    return trained + averaged


def read_authors_weights(path: str | Path) -> AuthorsFile:
    """The content of the authors' `.h5`.

    Raises:
        PoseError: unreadable or truncated file, or another layout.
    """
    groups = _read_keras2_groups(Path(path))
    blocks = sum(name.startswith("rBlock") for name in groups)
    if not blocks:
        raise PoseError(f"{path} is an HDF5 file, but neither this project's nor in the authors' layout.")
    entries = []
    for group, names in authors_order(blocks):
        arrays = groups.get(group)
        if arrays is None or len(arrays) != len(names):
            found = "is missing" if arrays is None else f"holds {len(arrays)} arrays, expected {len(names)}"
            raise PoseError(f"{path} is not the authors' layout: group {group!r} {found}.")
        for name, (source, array) in zip(names, arrays, strict=True):
            leaf, expected = source.split("/")[-1].split(":")[0], name.split("/")[-1]
            if leaf != expected:
                raise PoseError(
                    f"{path} does not fit this model: {group}/{source} is {leaf} {array.shape}, expected {expected}."
                )
            if not np.isfinite(array).all():
                raise PoseError(f"{path} is damaged: {group}/{source} holds numbers that are not finite.")
            entries.append(Entry(name, f"{group}/{source}", array))
    frozen = {group: [array for _, array in groups.get(group, [])] for group in ("sSAM", "cSAM", "Agg")}
    return AuthorsFile(entries, blocks, groups["RegMap1"][0][1].shape[-1], frozen)


def load_authors_weights(model: keras.Model, path: str | Path) -> None:
    """Load the authors' published Keras-2 `.h5` into a `PoseRegressor`.

    Works for any number of blocks, with and without context maps. The frozen layers that the file also holds
    (coordinates, aggregation) are compared with this model's constants. alpha is not stored in such a file.

    Raises:
        PoseError: unreadable or truncated file, another layout, K, N_J, N_c, width or input size, other frozen
            constants; `model` is then unchanged.

    Source of the layout: the file as written by Keras 2 for `network.py` of the authors' pose-regression.
    """
    assign_authors_weights(model, read_authors_weights(path), path)


def assign_authors_weights(model: keras.Model, found: AuthorsFile, path: str | Path) -> None:
    """As `load_authors_weights`, of a file that was read before from `path`."""
    config = model.get_config()
    if found.num_blocks != config["num_blocks"]:
        raise PoseError(f"{path} holds a network of {found.num_blocks} blocks; this model has {config['num_blocks']}.")
    _check_frozen(found.frozen, config, Path(path))
    pairs = []
    for name, source, array in found.entries:
        box, layer, leaf = name.split("/")
        variable = next(v for v in model.get_layer(box).get_layer(layer).weights if v.name == leaf)
        if array.shape != tuple(variable.shape):
            raise PoseError(
                f"{path} does not fit this model: {source} is {leaf} {array.shape}, "
                f"expected {leaf} {tuple(variable.shape)}."
            )
        pairs.append((variable, array))
    for variable, array in pairs:
        variable.assign(array)


def _read_keras2_groups(path: Path) -> dict[str, list[tuple[str, np.ndarray]]]:
    """Group -> [(weight name, array)] in the file's order; groups without arrays are left out."""
    try:
        with h5py.File(path, "r") as file:
            groups = {}
            for layer in _names(file, "layer_names"):
                names = _names(inside(file, layer), "weight_names")
                if names:
                    data = [stored(file, f"{layer}/{name}", size=path.stat().st_size) for name in names]
                    groups[layer] = [(n, np.asarray(d[()], np.float32)) for n, d in zip(names, data, strict=True)]
            return groups
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise PoseError(f"{path} is not a readable Keras-2 weight file: {error}.") from error


def _names(group: h5py.Group, attribute: str) -> list[str]:
    return [name.decode() if isinstance(name, bytes) else str(name) for name in group.attrs[attribute]]


def _check_frozen(frozen: dict[str, list[np.ndarray]], config: dict[str, Any], path: Path) -> None:
    """The constants in the file must be those that the model of this configuration computes with."""
    joints, context = config["num_joints"], config["num_context"]
    height, width = (n // 8 for n in config["input_shape"][:2])
    expected = {"sSAM": _frozen_soft_argmax(height, width, joints, config["grid"])}
    if context:
        expected["cSAM"] = _frozen_soft_argmax(height, width, joints * context, config["grid"])
        expected["Agg"] = [np.repeat(np.eye(joints, dtype=np.float32), context, axis=0)]
    for group, arrays in frozen.items():
        constants = expected.get(group, [])
        if len(arrays) != len(constants) or any(a.shape != c.shape for a, c in zip(arrays, constants, strict=True)):
            raise PoseError(
                f"{path} does not fit this model: its frozen layer {group!r} has shapes {[a.shape for a in arrays]}, "
                f"expected {[c.shape for c in constants]} (num_joints={joints}, num_context={context}, "
                f"maps of {height}x{width})."
            )
        if not all(np.allclose(a, c, rtol=0, atol=1e-6) for a, c in zip(arrays, constants, strict=True)):
            raise PoseError(
                f"{path} does not fit this model: its frozen layer {group!r} holds other constants than "
                f"grid={config['grid']!r} gives."
            )


def _frozen_soft_argmax(height: int, width: int, maps: int, grid: str) -> list[np.ndarray]:
    """What the authors store for a soft-argmax: two separable convolutions, x then y, as wide as the map."""
    x = np.broadcast_to(coordinate_ramp(width, grid)[None, :, None, None], (height, width, maps, 1))
    y = np.broadcast_to(coordinate_ramp(height, grid)[:, None, None, None], (height, width, maps, 1))
    identity = np.eye(maps, dtype=np.float32)[None, None]
    return [x, identity, y, identity]
