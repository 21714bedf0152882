"""Weight files: our own, self-describing; and the authors' published Keras-2 `.h5`.

Ours is a `container` whose metadata holds the arguments of `PoseRegressor` and the joint names, so a file alone is
enough to build the network; arrays are named as `stem/conv_1/kernel`. Frozen coordinates are not stored.
"""

import itertools
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from pose_regression.container import read_container, write_container
from pose_regression.errors import PoseError
from pose_regression.model.hub import PUBLISHED, SHIPPED, cache_folder, published_file, shipped_weights
from pose_regression.model.layers import SoftArgmax, coordinate_ramp
from pose_regression.model.network import PoseRegressor
from pose_regression.skeleton import PA16J, Skeleton


def named_weights(model: keras.Model) -> dict[str, keras.Variable]:
    """Every trained or averaged variable by its place in the network, `stem/conv_1/kernel`; frozen constants apart."""
    return dict(_walk(model, ""))


def _walk(model: keras.Model, prefix: str) -> Iterator[tuple[str, keras.Variable]]:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _walk(layer, f"{prefix}{layer.name}/")
        elif not isinstance(layer, SoftArgmax):
            yield from ((f"{prefix}{layer.name}/{variable.name}", variable) for variable in layer.weights)


def save_weights(
    model: PoseRegressor,
    path: str | Path,
    *,
    skeleton: Skeleton = PA16J,
    half: bool = False,
    notes: dict[str, Any] | None = None,
) -> None:
    """Write the weights of `model` with what is needed to build it again.

    Args:
        model: the network.
        path: the file, customarily `NAME.weights.h5`.
        skeleton: its joints, in the order of its output.
        half: store convolution kernels as float16, half the size; batch-norm variables stay float32.
        notes: anything JSON holds about how the weights came to be; shown by no code, kept for people.

    Raises:
        PoseError: the skeleton has another number of joints, or the file cannot be written.
    """
    num_joints = model.get_config()["num_joints"]
    if len(skeleton) != num_joints:
        raise PoseError(f"Expected a skeleton of the model's {num_joints} joints. Received: {len(skeleton)} joints.")
    arrays = {}
    for name, variable in named_weights(model).items():
        array = keras.ops.convert_to_numpy(variable.value)
        arrays[name] = array.astype(np.float16) if half and array.ndim > 1 else array
    config = {k: v for k, v in model.get_config().items() if k not in ("dtype", "trainable", "outputs", "name")}
    joints = {"names": skeleton.names, "limbs": skeleton.limbs}
    write_container(
        path, arrays, {"kind": "weights", "network": config, "skeleton": joints, "notes": notes or {}}
    )  # fmt: skip


def load_weights(model: PoseRegressor, path: str | Path) -> None:
    """Load a file of `save_weights`, weights by name ("small", "full", "mpii"), or the authors' `.h5`.

    The input size, alpha and the outputs may be others than those the weights were trained with
    (not so for the authors' file, see `load_authors_weights`).

    Raises:
        PoseError: damaged file, or one whose network is not `model`'s; `model` is then unchanged.
    """
    path = weights_path(path)
    if _is_hdf5(path):
        load_authors_weights(model, path)
        return
    arrays, metadata = _read(path)
    stored, config = metadata.get("network", {}), model.get_config()
    for argument in ("num_joints", "num_context", "grid"):  # the shapes of the arrays don't tell them
        if stored.get(argument) != config[argument]:
            raise PoseError(
                f"{path} holds the weights of another network: {argument} is {stored.get(argument)!r}, "
                f"expected {config[argument]!r}."
            )
    _assign(model, arrays, path)


def load_model(
    path: str | Path, *, outputs: str = "last", dtype: str | keras.DTypePolicy | None = None
) -> tuple[PoseRegressor, Skeleton]:
    """Build the network that a weight file describes, with its weights and skeleton.

    Args:
        path: as for `load_weights`; of the authors' file, K and N_c are read from its layers.
        outputs, dtype: of `PoseRegressor`.

    Raises:
        PoseError: damaged file, or one that describes no network.
    """
    path = weights_path(path)
    if _is_hdf5(path):
        groups = _read_keras2_groups(path)
        blocks = sum(name.startswith("rBlock") for name in groups)
        maps = groups["RegMap1"][0][1].shape[-1] if "RegMap1" in groups else 0
        if not blocks or maps % len(PA16J) or not maps:
            raise PoseError(f"{path} is an HDF5 file, but neither this project's nor in the authors' layout.")
        model = PoseRegressor(num_blocks=blocks, num_context=maps // len(PA16J) - 1, outputs=outputs, dtype=dtype)
        load_authors_weights(model, path)
        return model, PA16J
    arrays, metadata = _read(path)
    try:
        model = PoseRegressor(**metadata["network"], outputs=outputs, dtype=dtype)
        joints = metadata["skeleton"]
        skeleton = Skeleton(tuple(joints["names"]), tuple((a, b) for a, b in joints["limbs"]))
    except (KeyError, TypeError, ValueError) as error:
        raise PoseError(f"{path} describes no network this version can build: {error}.") from error
    _assign(model, arrays, path)
    return model, skeleton


def weights_path(name: str | Path) -> Path:
    """The file of weights by name (`hub.SHIPPED`, `hub.PUBLISHED`), any other name as a path.

    Published weights are downloaded and converted the first time, then kept in `hub.cache_folder()`.

    Raises:
        PoseError: weights that this version does not ship, or that could not be downloaded.
    """
    if str(name) in SHIPPED:
        return shipped_weights(str(name))
    return _converted(str(name)) if str(name) in PUBLISHED else Path(name)


def _converted(name: str) -> Path:
    """Published weights as a file of `save_weights`, which unlike the authors' fits every input size."""
    path = cache_folder() / f"{name}.weights.h5"
    if not path.is_file():
        with published_file(name) as source:
            model, skeleton = load_model(source, dtype="float32")
        save_weights(model, path, skeleton=skeleton, notes=asdict(PUBLISHED[name]))
    return path


def _is_hdf5(path: Path) -> bool:
    """True for a bare HDF5 file, as Keras 2 wrote; this project's begin with a header of their own."""
    try:
        with open(path, "rb") as file:
            return file.read(8) == b"\x89HDF\r\n\x1a\n"
    except OSError as error:
        raise PoseError(f"{path} could not be read: {error.strerror}.") from error


def _read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    arrays, metadata = read_container(path)
    if metadata.get("kind") != "weights":
        raise PoseError(f"{path} holds no weights but {metadata.get('kind')!r}.")
    return arrays, metadata


def _assign(model: PoseRegressor, arrays: dict[str, np.ndarray], path: Path) -> None:
    variables = named_weights(model)
    missing, unknown = sorted(variables.keys() - arrays.keys()), sorted(arrays.keys() - variables.keys())
    if missing or unknown:
        raise PoseError(
            f"{path} holds the weights of another network: {len(missing)} of this network's {len(variables)} are "
            f"missing, {len(unknown)} are unknown, such as {(missing + unknown)[0]!r}."
        )
    for name, variable in variables.items():
        if arrays[name].shape != tuple(variable.shape):
            raise PoseError(
                f"{path} holds the weights of another network: {name} has shape {arrays[name].shape}, "
                f"expected {tuple(variable.shape)}."
            )
    for name, variable in variables.items():
        variable.assign(arrays[name].astype("float32"))


# The authors' file: one group per box of their network. Inside a group all kernels and betas come first, then all
# moving averages, both in the order in which Keras 2 sorts the nested model by depth; so the order below, not the
# names (their numbers depend on what was built before), says which array is which. Several arrays have equal shapes:
# another order loads without complaint and gives wrong poses.

_STEM = (
    "conv_1 conv_1_bn conv_2 conv_2_bn conv_3 conv_3_bn conv_4 conv_4_bn conv_5b conv_5b_bn conv_6b conv_6b_bn "
    "conv_5a conv_7b conv_5a_bn conv_7b_bn conv_6a conv_8b conv_6a_bn conv_8b_bn conv_9 conv_9_bn "
    "separable_1_shortcut separable_1 separable_1_shortcut_bn separable_1_bn"
).split()
_BLOCK_A = (
    "reduce reduce_bn half_1 half_1_bn quarter_1 quarter_1_bn quarter_2 quarter_2_bn quarter_3 half_2 quarter_3_bn "
    "half_2_bn half_3_shortcut half_3 full_1 half_3_shortcut_bn half_3_bn full_1_bn"
).split()


def load_authors_weights(model: PoseRegressor, path: str | Path) -> None:
    """Load the authors' published Keras-2 `.h5` (`reception_mpii_weights_tf_ch_last_v1.h5`) into `model`.

    Works for any number of blocks, with and without context maps. The frozen layers that the file also holds
    (coordinates, aggregation) are compared with this model's constants. alpha is not stored in such a file.

    Raises:
        PoseError: unreadable or truncated file, another layout, K, N_J, N_c, width or input size, other frozen
            constants; `model` is then unchanged.

    Source of the layout: `reception_mpii_weights_tf_ch_last_v1.h5` as written by Keras 2 for `network.py` of the
    authors' pose-regression.
    """
    groups = _read_keras2_groups(Path(path))
    blocks = sum(name.startswith("rBlock") for name in groups)
    config = model.get_config()
    if blocks != config["num_blocks"]:
        raise PoseError(f"{path} holds a network of {blocks} blocks; this model has {config['num_blocks']}.")
    _check_frozen(groups, model, Path(path))
    pairs: list[tuple[str, keras.Variable, np.ndarray]] = []
    for group, sub_model, layers in _authors_layout(blocks):
        variables = _file_order(model.get_layer(sub_model), layers)
        arrays = groups.get(group)
        if arrays is None or len(arrays) != len(variables):
            found = "is missing" if arrays is None else f"holds {len(arrays)} arrays, expected {len(variables)}"
            raise PoseError(f"{path} is not the authors' layout: group {group!r} {found}.")
        for (name, array), variable in zip(arrays, variables, strict=True):
            leaf = name.split("/")[-1].split(":")[0]
            if leaf != variable.name or array.shape != tuple(variable.shape):
                raise PoseError(
                    f"{path} does not fit this model: {group}/{name} is {leaf} {array.shape}, "
                    f"expected {variable.name} {tuple(variable.shape)}."
                )
            if not np.isfinite(array).all():
                raise PoseError(f"{path} is damaged: {group}/{name} holds numbers that are not finite.")
            pairs.append((name, variable, array))
    for _, variable, array in pairs:
        variable.assign(array)


def _authors_layout(blocks: int) -> Iterator[tuple[str, str, list[str]]]:
    """(group in the file, sub-model, its layers in the file's order)."""
    yield "Stem", "stem", _STEM
    for k in range(1, blocks + 1):
        yield f"rBlock{k}", f"block_a_{k}", _BLOCK_A
        yield f"SepConv{k}", f"block_b_{k}", ["separable", "separable_bn"]
        yield f"RegMap{k}", f"block_b_{k}", ["heatmaps"]
        if k < blocks:
            yield f"fReMap{k}", f"block_b_{k}", ["project", "project_bn"]


def _file_order(sub_model: keras.Model, layers: list[str]) -> list[keras.Variable]:
    owners = [sub_model.get_layer(name) for name in layers]
    trained = itertools.chain.from_iterable(layer.trainable_variables for layer in owners)
    averages = itertools.chain.from_iterable(layer.non_trainable_variables for layer in owners)
    return [*trained, *averages]


def _read_keras2_groups(path: Path) -> dict[str, list[tuple[str, np.ndarray]]]:
    """Group -> [(weight name, array)] in the file's order; groups without arrays are left out."""
    try:
        with h5py.File(path, "r") as file:
            groups = {}
            for layer in _names(file, "layer_names"):
                names = _names(_inside(file, layer), "weight_names")
                if names:
                    groups[layer] = [(name, _array(file, f"{layer}/{name}")) for name in names]
            return groups
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise PoseError(f"{path} is not a readable Keras-2 weight file: {error}.") from error


def _names(group: h5py.Group, attribute: str) -> list[str]:
    return [name.decode() if isinstance(name, bytes) else str(name) for name in group.attrs[attribute]]


def _inside(file: h5py.File, name: str) -> Any:
    """The object called `name`, reached without links that may lead out of the file."""
    parts = name.split("/")
    for i in range(1, len(parts) + 1):
        if not isinstance(file.get("/".join(parts[:i]), getlink=True), h5py.HardLink):
            raise ValueError(f"{name} is missing or leads out of the file")
    return file[name]


def _array(file: h5py.File, name: str) -> np.ndarray:
    data = _inside(file, name)
    if data.is_virtual or data.external or data.nbytes > Path(file.filename).stat().st_size:
        raise ValueError(f"{name} is not stored in the file")
    return np.asarray(data[()], np.float32)


def _check_frozen(groups: dict[str, list[tuple[str, np.ndarray]]], model: PoseRegressor, path: Path) -> None:
    """The constants in the file must be those that this model computes with."""
    config = model.get_config()
    joints, context = config["num_joints"], config["num_context"]
    height, width = (n // 8 for n in config["input_shape"][:2])
    expected = {"sSAM": _frozen_soft_argmax(height, width, joints, config["grid"])}
    if context:
        expected["cSAM"] = _frozen_soft_argmax(height, width, joints * context, config["grid"])
        expected["Agg"] = [np.repeat(np.eye(joints, dtype=np.float32), context, axis=0)]
    for group in ("sSAM", "cSAM", "Agg"):
        arrays = [array for _, array in groups.get(group, [])]
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
