"""Weight files: our own, self-describing; the authors' published Keras-2 `.h5`; and those of Keras' `save_weights`.

Ours is a `container` whose metadata holds the arguments of `PoseRegressor` and the joint names, so a file alone is
enough to build the network; arrays are named as `stem/conv_1/kernel`. Frozen coordinates are not stored.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from pose_regression.container import read_container, write_container
from pose_regression.errors import PoseError
from pose_regression.model.authors_weights import load_authors_weights, read_authors_weights
from pose_regression.model.hub import PUBLISHED, SHIPPED, cache_folder, published_file, shipped_weights
from pose_regression.model.named_weights import assign, named_weights
from pose_regression.skeleton import PA16J, Skeleton


def save_weights(
    model: keras.Model,
    path: str | Path,
    *,
    skeleton: Skeleton | None = None,
    half: bool = False,
    notes: dict[str, Any] | None = None,
) -> None:
    """Write the weights of `model` with what is needed to build it again.

    `PoseRegressor.load_weights` and `load_model` read the file. `keras.Model.load_weights(model, path)`, Keras' own
    method, does not: it looks for arrays by its private numbering of layers by class, which differs among its versions.
    For a file that Keras reads by itself call `keras.Model.save_weights`, or `model.save` with a name in `.keras`.

    Args:
        model: a `PoseRegressor`.
        path: the file, customarily `NAME.weights.h5`.
        skeleton: its joints, in the order of its output, and which of them it has learned; None is the
            model's own.
        half: store convolution kernels as float16, half the size; batch-norm variables stay float32.
        notes: anything JSON holds about how the weights came to be; shown by no code, kept for people.

    Raises:
        PoseError: the skeleton has another number of joints, or the file cannot be written.
    """
    num_joints = model.get_config()["num_joints"]
    skeleton = skeleton or model.skeleton or PA16J
    if len(skeleton) != num_joints:
        raise PoseError(f"Expected a skeleton of the model's {num_joints} joints. Received: {len(skeleton)} joints.")
    arrays = {}
    for name, variable in named_weights(model).items():
        array = keras.ops.convert_to_numpy(variable.value)
        arrays[name] = array.astype(np.float16) if half and array.ndim > 1 else array
    config = {
        k: v for k, v in model.get_config().items() if k not in ("dtype", "trainable", "outputs", "name", "skeleton")
    }
    _write(path, arrays, config, skeleton, notes or {})


def _write(path, arrays: dict[str, np.ndarray], network: dict, skeleton: Skeleton, notes: dict[str, Any]) -> None:
    write_container(
        path, arrays, {"kind": "weights", "network": network, "skeleton": skeleton.to_config(), "notes": notes}
    )


def load_weights(model: keras.Model, path: str | Path) -> None:
    """Load weights into a `PoseRegressor`: files of `save_weights`, weights by name, the authors' `.h5`, Keras' own.

    The input size, alpha and the outputs may be others than those the weights were trained with
    (not so for the authors' file, see `load_authors_weights`).

    Args:
        model: the network.
        path: a file, or a name ("small", "mpii").

    Raises:
        PoseError: damaged file, or one whose network is not `model`'s; `model` is then unchanged.
    """
    path = fetch_weights(path)
    kind = _kind(path)
    if kind == "authors":
        load_authors_weights(model, path)
        return
    if kind == "keras":
        _load_keras_weights(model, path)
        return
    arrays, metadata = _read(path)
    stored, config = metadata.get("network", {}), model.get_config()
    for argument in ("num_joints", "num_context", "grid"):  # the shapes of the arrays don't tell them
        if stored.get(argument) != config[argument]:
            raise PoseError(
                f"{path} holds the weights of another network: {argument} is {stored.get(argument)!r}, "
                f"expected {config[argument]!r}."
            )
    try:
        assign(named_weights(model), arrays)
    except ValueError as error:
        raise PoseError(f"{path} holds the weights of another network: {error}.") from error


def described_network(path: str | Path) -> dict[str, Any]:
    """The arguments of `PoseRegressor` that a weight file, or weights by name, describe.

    Raises:
        PoseError: damaged file, or one that describes no network: Keras' own hold numbers alone.
    """
    path = fetch_weights(path)
    kind = _kind(path)
    if kind == "keras":
        raise PoseError(
            f"{path} is a file of Keras' save_weights, which does not say what network it is of: build a PoseRegressor "
            "of the same arguments and call its load_weights; pose_regression.save_weights writes one that says it."
        )
    if kind == "authors":
        found = read_authors_weights(path)
        if found.num_maps % len(PA16J):
            raise PoseError(f"{path} is in the authors' layout, but its {found.num_maps} maps are not of 16 joints.")
        arrays = {entry.name: entry.array for entry in found.entries}
        return {
            "num_blocks": found.num_blocks,
            "num_context": found.num_maps // len(PA16J) - 1,
            "width": arrays["block_b_1/heatmaps/kernel"].shape[2],
            "kernel_size": arrays["block_b_1/separable/depthwise_kernel"].shape[0],
        }
    network = _read(path)[1].get("network")
    if not isinstance(network, dict):
        raise PoseError(f"{path} describes no network this version can build: it names none.")
    return network


def described_skeleton(path: str | Path) -> Skeleton:
    """The joints of the network in a weight file, with those that it has learned; the authors' are PA16J."""
    path = fetch_weights(path)
    if _kind(path) != "ours":
        return PA16J
    try:
        return Skeleton.from_config(_read(path)[1]["skeleton"])
    except (KeyError, TypeError, ValueError) as error:
        raise PoseError(f"{path} describes no network this version can build: {error}.") from error


def ours(path: str | Path) -> bool:
    """Whether `path` is a file of this project's `save_weights`, of the authors, or the name of weights."""
    return str(path) in (*SHIPPED, *PUBLISHED) or _kind(Path(path)) != "keras"


def fetch_weights(name: str | Path) -> Path:
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
            arrays = {entry.name: entry.array for entry in read_authors_weights(source).entries}
            network = described_network(source)
        _write(path, arrays, network | {"num_joints": len(PA16J), "grid": "endpoints"}, PA16J, asdict(PUBLISHED[name]))
    return path


def _kind(path: Path) -> str:
    """Whose file this is: "ours", "authors" or "keras", by its beginning; what is no HDF5 is taken for ours."""
    try:
        with open(path, "rb") as file:
            beginning = file.read(8)
    except OSError as error:
        raise PoseError(f"{path} could not be read: {error.strerror}.") from error
    if not beginning.startswith(b"\x89HDF\r\n\x1a\n"):
        return "ours"
    try:
        with h5py.File(path, "r") as file:
            return "keras" if "layers" in file and "layer_names" not in file.attrs else "authors"
    except OSError:  # damaged: the reader says how
        return "authors"


def _load_keras_weights(model: keras.Model, path: Path) -> None:
    before = model.get_weights()
    try:
        keras.Model.load_weights(model, path)
    except Exception as error:  # Keras raises ValueError, KeyError, OSError, ... as the file falls
        model.set_weights(before)
        reason = " ".join(str(error).split())[:200]
        raise PoseError(f"{path}, of Keras' save_weights, does not fit this network: {reason}") from error


def _read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    arrays, metadata = read_container(path)
    if metadata.get("kind") != "weights":
        raise PoseError(f"{path} holds no weights but {metadata.get('kind')!r}.")
    return arrays, metadata
