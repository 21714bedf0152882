"""Run directories and training state: whole, checked and resumable.

A state is one file (`container`) with every variable of the model, its optimizer and its running losses, and the
progress of the run. The last two are kept; if the newest is damaged, the one before is taken.
"""

import contextlib
import errno
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
from filelock import FileLock, SoftFileLock, Timeout

from pose_regression.container import read_container, write_container
from pose_regression.errors import PoseError
from pose_regression.model.named_weights import assign, named_weights

KEPT = 2


@contextlib.contextmanager
def run_directory(path: str | Path, *, resume: bool, force: bool) -> Iterator[Path]:
    """Hold a directory for one run: create it, or continue in it, or empty it.

    Args:
        path: the directory.
        resume: it may hold a run, which goes on.
        force: it may hold a run, which is deleted.

    Raises:
        PoseError: it holds a run and neither is set, or another process is running in it.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PoseError(f"{path} cannot be used as output directory: {error.strerror}.") from error
    with _held(path):
        if not (resume or force):
            require_empty(path)
        for entry in _content(path):
            if force and not resume:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
            elif ".tmp-" in entry.name:  # of a process that was killed while it wrote
                entry.unlink()
        yield path


def require_empty(path: Path) -> None:
    """`PoseError` if a directory holds anything but the lock of a run."""
    if _content(path):
        raise PoseError(f"{path} is not empty: continue its run with --resume, or delete it with --force.")


def _content(path: Path) -> list[Path]:
    return [entry for entry in path.iterdir() if entry.name != ".lock"]


@contextlib.contextmanager
def _held(path: Path) -> Iterator[None]:
    """Hold the directory's lock; where its file system has none, say so and go on without."""
    # A lock by the file's presence is none: a run that was killed would seem to run for ever.
    lock = None if FileLock is SoftFileLock else FileLock(path / ".lock", fallback_to_soft=False)
    try:
        if lock:
            lock.acquire(blocking=False)
    except Timeout as error:
        raise PoseError(f"{path} is in use by another run.") from error
    except (NotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK):
            raise PoseError(f"{path} cannot be used as output directory: {error.strerror}.") from error
        lock = None
    if not lock:
        print(f"{path} cannot be locked here: nothing keeps a second run out of it.", flush=True)
    try:
        yield
    finally:
        if lock:
            lock.release()


Extra = Mapping[str, keras.Variable]
"""Variables beside the model's that a state holds, by name."""

NOTHING: Extra = MappingProxyType({})


def save_state(directory: str | Path, model: keras.Model, progress: dict[str, Any], *, extra: Extra = NOTHING) -> Path:
    """Write the state of a compiled model and its run; older states than the last two are deleted.

    Args:
        directory: of the run.
        model: compiled; on any backend.
        extra: more variables.
        progress: JSON-serializable, must hold `epoch` and `batch`, which name the file.

    Raises:
        PoseError: a variable is not finite; the older states stay. (ReLU turns NaN into 0, so weights can be spoilt
            while the loss still looks sound.)
    """
    directory = Path(directory)
    path = directory / f"state-{progress['epoch']:05d}-{progress['batch']:07d}.h5"
    arrays = {
        name: keras.ops.convert_to_numpy(variable.value) for name, variable in state_variables(model, extra).items()
    }
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise PoseError(
                f"{name} is not finite in epoch {progress['epoch'] + 1}, batch {progress['batch']}. Training stopped; "
                f"the last good state is kept in {directory}."
            )
    write_container(path, arrays, {"kind": "training state", "progress": progress})
    for old in states(directory)[:-KEPT]:
        old.unlink()
    return path


def load_state(directory: str | Path, model: keras.Model, *, extra: Extra = NOTHING) -> dict[str, Any] | None:
    """Restore the newest readable state into `model`; its progress, or None where there is no state.

    Says which files were damaged. `PoseError` if all are, or if they belong to another model.
    """
    found = read_state(directory, model, extra=extra)
    if not found:
        return None
    arrays, progress = found
    assign(state_variables(model, extra), arrays)
    return progress


def read_state(
    directory: str | Path, model: keras.Model, *, extra: Extra = NOTHING
) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
    """As `load_state`, but the arrays, by name, are not put into `model`."""
    damaged = []
    for path in reversed(states(directory)):
        try:
            arrays, metadata = read_container(path)
        except PoseError as error:
            print(f"{error} Trying the state before it.", flush=True)
            damaged.append(path)
            continue
        variables = state_variables(model, extra)
        if variables.keys() != arrays.keys() or any(arrays[n].shape != tuple(v.shape) for n, v in variables.items()):
            raise PoseError(f"{path} is the state of another network or optimizer than the one this command describes.")
        for broken in damaged:  # it must not count as the newest when older states are deleted
            broken.unlink()
        return arrays, metadata["progress"]
    if damaged:
        raise PoseError(f"No training state in {directory} can be read: {', '.join(p.name for p in damaged)}.")
    return None


def states(directory: str | Path) -> list[Path]:
    """The state files of a run, oldest first."""
    return sorted(Path(directory).glob("state-*.h5"))


def state_variables(model: keras.Model, extra: Extra = NOTHING) -> dict[str, keras.Variable]:
    """All that a state holds of a compiled model, its optimizer and its running losses, by name."""
    variables = {f"model/{name}": variable for name, variable in named_weights(model).items()}
    variables |= {f"optimizer/{i:05d}": variable for i, variable in enumerate(model.optimizer.variables)}
    variables |= extra
    return variables | {f"metrics/{i:05d}": variable for i, variable in enumerate(model.metrics_variables)}
