"""Read MATLAB files that may be missing, damaged or of another kind."""

from pathlib import Path
from typing import Any

from scipy.io import loadmat

from pose_regression.errors import PoseError


def read_variables(path: str | Path, names: tuple[str, ...]) -> tuple[Any, ...]:
    """Read the variables `names` of the MATLAB 5 file `path`, in that order.

    Raises:
        PoseError: `path` is absent, no readable MATLAB 5 file, or lacks one of `names`.
    """
    path = Path(path)
    if not path.is_file():
        raise PoseError(f"{path} does not exist; expected a MATLAB file with {' and '.join(names)}.")
    try:
        # Without `variable_names` a damaged name would read as "no such variable"; these files hold nothing else.
        content = loadmat(path)
    except NotImplementedError as error:
        raise PoseError(f"{path} is in MATLAB's 7.3 format; expected version 5 (save with -v6 or -v7).") from error
    except Exception as error:  # scipy raises over a dozen kinds, zlib.error and MemoryError among them.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise PoseError(f"{path} is damaged or not a MATLAB file ({reason}).") from error
    absent = [name for name in names if name not in content]
    if absent:
        found = ", ".join(name for name in content if not name.startswith("__")) or "nothing"
        raise PoseError(f"{path} holds {found}; expected the variable {absent[0]}.")
    return tuple(content[name] for name in names)
