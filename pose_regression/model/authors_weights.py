"""The authors' published Keras-2 `.h5` (`reception_mpii_weights_tf_ch_last_v1.h5`): its layout, and the way into ours.

One group for each box of their network. Inside a group all kernels and betas come first, then all moving averages, both
in the order in which Keras 2 sorts the nested model by depth; so the order below, not the names (their numbers depend
on what was built before), says which array is which. Several arrays have equal shapes: another order loads without
complaint and gives wrong poses.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pose_regression.container import inside, stored
from pose_regression.errors import PoseError
from pose_regression.model.regression import GRIDS, coordinate_ramp

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


def read_authors_weights(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The content of the authors' `.h5`: arrays by our names, and the arguments of `PoseRegressor` that they are of.

    Its frozen layers tell joints and grid. alpha is not stored in such a file.

    Raises:
        PoseError: unreadable or truncated file, or another layout.
    """
    groups = _read_keras2_groups(Path(path))
    blocks = sum(name.startswith("rBlock") for name in groups)
    if not blocks:
        raise PoseError(f"{path} is an HDF5 file, but neither this project's nor in the authors' layout.")
    arrays: dict[str, np.ndarray] = {}
    for group, names in authors_order(blocks):
        found = groups.get(group, [])
        if len(found) != len(names):
            raise PoseError(
                f"{path} is not the authors' layout: group {group!r} holds {len(found)} arrays, expected {len(names)}."
            )
        for name, (source, array) in zip(names, found, strict=True):
            leaf, expected = source.split("/")[-1].split(":")[0], name.split("/")[-1]
            if leaf != expected:
                raise PoseError(
                    f"{path} is not the authors' layout: {group}/{source} is {leaf} {array.shape}, expected {expected}."
                )
            if not np.isfinite(array).all():
                raise PoseError(f"{path} is damaged: {group}/{source} holds numbers that are not finite.")
            arrays[name] = array
    heatmaps, depthwise = arrays["block_b_1/heatmaps/kernel"], arrays["block_b_1/separable/depthwise_kernel"]
    joints, grid = _joints_and_grid(groups.get("sSAM", []), Path(path))
    return arrays, {
        "num_blocks": blocks,
        "num_joints": joints,
        "num_context": heatmaps.shape[-1] // joints - 1,
        "width": heatmaps.shape[2],
        "kernel_size": depthwise.shape[0],
        "grid": grid,
    }


def _joints_and_grid(soft_argmax: list[tuple[str, np.ndarray]], path: Path) -> tuple[int, str]:
    """Of the frozen soft-argmax of part maps: its first kernel (H, W, N_J, 1) holds the cells' x."""
    kernel = soft_argmax[0][1] if soft_argmax else np.zeros(0)
    if kernel.ndim == 4 and kernel.size:
        for grid in GRIDS:
            if np.allclose(kernel, coordinate_ramp(kernel.shape[1], grid)[:, None, None], rtol=0, atol=1e-6):
                return kernel.shape[2], grid
    raise PoseError(f"{path} is not the authors' layout: 'sSAM' has the coordinates of no grid ({', '.join(GRIDS)}).")


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
