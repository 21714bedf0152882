"""A network from a file alone."""

import zipfile
from pathlib import Path

import keras

from pose_regression.errors import PoseError
from pose_regression.forks import check_process
from pose_regression.model import hourglass  # noqa: F401  a file may name its backbone, which registers on import
from pose_regression.model.network import PoseRegressor
from pose_regression.model.weights import fetch_weights, read_weights
from pose_regression.skeleton import Skeleton


def load_model(
    path: str | Path, *, outputs: str = "last", dtype: str | keras.DTypePolicy | None = None
) -> tuple[PoseRegressor, Skeleton]:
    """Build the network that a file describes, with its weights and skeleton.

    Args:
        path: a weight file or a name, as for `weights.load_weights`; of the authors' file, K and N_c are read from its
            layers. Or a `.keras` file of a `PoseRegressor` that says what its joints are, or has 16, those of MPII.
        outputs, dtype: of `PoseRegressor`.

    Raises:
        PoseError: damaged file, or one that describes no network.
    """
    check_process()
    path = fetch_weights(path)
    if zipfile.is_zipfile(path):
        return _load_keras_file(path, outputs, dtype)
    file = read_weights(path)
    try:
        model = PoseRegressor(**file.network, skeleton=file.skeleton, outputs=outputs, dtype=dtype)
    except (TypeError, ValueError) as error:
        raise PoseError(f"{path} describes no network this version can build: {error}") from error
    file.load_into(model)
    return model, file.skeleton


def _load_keras_file(path: Path, outputs: str, dtype: str | keras.DTypePolicy | None) -> tuple[PoseRegressor, Skeleton]:
    try:
        model = keras.saving.load_model(path, compile=False)
    except Exception as error:  # Keras raises ValueError, TypeError, KeyError, OSError, ... as the file falls
        raise PoseError(f"{path} is no .keras file that can be read: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(model, PoseRegressor) or model.skeleton is None:
        raise PoseError(
            f"{path} holds no PoseRegressor of 16 joints, or of others that it names. One whose joints have no "
            "names goes to PosePredictor(keras.saving.load_model(path), skeleton=Skeleton(names))."
        )
    return model.with_outputs(outputs, dtype), model.skeleton
