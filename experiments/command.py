"""How every command here ends: 0, or 2 with one sentence when the user's input is at fault."""

import importlib.util
import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pose_regression.errors import PoseError, Terminated


def run(main: Callable[[], int | None]) -> None:
    """Call `main` and exit: its return value (None is 0), 2 for a `PoseError`, 130 for Ctrl-C, 143 for SIGTERM.

    Streams may be closed (`>&-`) or full (2), or their reader gone (`| head -1`): 141, as of a process that SIGPIPE
    ends.
    """
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):  # whoever replaced it may have no encoding
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # names of any bytes, shown
    try:
        status = main() or 0
        sys.stdout.flush()
        sys.exit(status)
    except OSError as error:
        if not _stdout_fails():
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left to flush goes nowhere
        if isinstance(error, BrokenPipeError):
            sys.exit(128 + 13)
        print(f"error: stdout could not be written: {error.strerror}.", file=sys.stderr)
        sys.exit(2)
    except PoseError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except Terminated:
        print("SIGTERM: the state is saved; continue with --resume.", flush=True)
        sys.exit(128 + 15)
    except Exception:
        if fault := _fault_of_keras_settings():
            print(f"error: {fault}", file=sys.stderr)
            sys.exit(2)
        raise


def _stdout_fails() -> bool:
    try:
        sys.stdout.write("\n")
        sys.stdout.flush()
    except OSError:
        return True
    return False


def _open_closed_streams() -> None:
    """Files that a command opens must not become its standard streams, into which libraries write."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "r" if number == 0 else "w", encoding="utf-8", closefd=False))


def _fault_of_keras_settings() -> str:
    """Why Keras cannot be imported, if that is because of keras.json or KERAS_BACKEND."""
    path = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras", "keras.json")
    settings: dict = {}
    with suppress(OSError, ValueError, TypeError):  # Keras does without what it cannot read, too
        settings = dict(json.loads(path.read_bytes()))
    backend = os.environ.get("KERAS_BACKEND") or settings.get("backend") or "tensorflow"
    if backend not in ("tensorflow", "jax") or importlib.util.find_spec(backend) is None:
        return f"Keras is set to the backend {backend}, by {path} or KERAS_BACKEND; set KERAS_BACKEND=tensorflow."
    if (floatx := settings.get("floatx", "float32")) not in ("float16", "float32", "float64"):
        return f"{path}: floatx must be float16, float32 or float64. Received: {floatx}"
    return ""
