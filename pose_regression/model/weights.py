"""Weight files: our own, self-describing; the authors' published Keras-2 `.h5`; and those of Keras' `save_weights`.

Ours is a `container` whose metadata holds the arguments of `PoseRegressor` and the joint names, so a file alone is
enough to build the network; arrays are named as `stem/conv_1/kernel`. Frozen coordinates are not stored.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from pose_regression.container import read_container, write_container
from pose_regression.errors import PoseError
from pose_regression.model.authors_weights import read_authors_weights
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


@dataclass(frozen=True, eq=False)
class WeightFile:
    """What a weight file of ours or of the authors holds."""

    path: Path
    network: dict[str, Any]
    """Arguments of `PoseRegressor`."""
    skeleton: Skeleton
    """The joints, and which of them the network has learned; the authors' are PA16J."""
    arrays: dict[str, np.ndarray]
    """By name (`named_weights`)."""

    def load_into(self, model: keras.Model) -> None:
        """Give a `PoseRegressor` these weights; `PoseError` if it is another network, and then unchanged."""
        config = model.get_config()
        for argument in ("num_joints", "num_context", "grid"):  # the shapes of the arrays don't tell them
            if self.network.get(argument) != config[argument]:
                raise PoseError(
                    f"{self.path} holds the weights of another network: {argument} is "
                    f"{self.network.get(argument)!r}, expected {config[argument]!r}."
                )
        try:
            assign(named_weights(model), self.arrays)
        except ValueError as error:
            raise PoseError(f"{self.path} holds the weights of another network: {error}.") from error


def read_weights(path: str | Path) -> WeightFile:
    """Read a weight file, or weights by name.

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
        file = _authors_file(path)
        if file.network["num_joints"] != len(PA16J):
            raise PoseError(f"{path} is in the authors' layout, but not of 16 joints; load_authors_weights takes it.")
        return file
    arrays, metadata = read_container(path)
    if metadata.get("kind") != "weights":
        raise PoseError(f"{path} holds no weights but {metadata.get('kind')!r}.")
    if not isinstance(metadata.get("network"), dict):
        raise PoseError(f"{path} describes no network this version can build: it names none.")
    try:
        skeleton = Skeleton.from_config(metadata["skeleton"])
    except (KeyError, TypeError, ValueError) as error:
        raise PoseError(f"{path} describes no network this version can build: {error}.") from error
    return WeightFile(path, metadata["network"], skeleton, arrays)


def load_weights(model: keras.Model, path: str | Path) -> None:
    """Load weights into a `PoseRegressor`: files of `save_weights`, weights by name, the authors' `.h5`, Keras' own.

    The input size, alpha and the outputs may be others than those the weights were trained with

    Args:
        model: the network.
        path: a file, or a name ("small", "full", "mpii").

    Raises:
        PoseError: damaged file, or one whose network is not `model`'s; `model` is then unchanged.
    """
    path = fetch_weights(path)
    if _kind(path) == "keras":
        _load_keras_weights(model, path)
    else:
        read_weights(path).load_into(model)


def load_authors_weights(model: keras.Model, path: str | Path) -> None:
    """Load the authors' published Keras-2 `.h5` into a `PoseRegressor`, of any joints, blocks, context and input size.

    alpha is not stored in such a file.

    Raises:
        PoseError: unreadable or truncated file, another layout, or another network; `model` is then unchanged.

    Source of the layout: the file as written by Keras 2 for `network.py` of the authors' pose-regression.
    """
    _authors_file(path).load_into(model)


def _authors_file(path: str | Path) -> WeightFile:
    arrays, network = read_authors_weights(path)
    return WeightFile(Path(path), network, PA16J, arrays)


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
    """Published weights as a file of `save_weights`."""
    path = cache_folder() / f"{name}.weights.h5"
    if not path.is_file():
        with published_file(name) as source:
            arrays, network = read_authors_weights(source)
        _write(path, arrays, network, PA16J, asdict(PUBLISHED[name]))
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
