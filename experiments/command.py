"""How every command here ends: 0, or 2 with one sentence when the user's input is at fault."""

import sys
from collections.abc import Callable
from contextlib import suppress

from pose_regression.errors import PoseError, Terminated


def run(main: Callable[[], int | None]) -> None:
    """Call `main` and exit: its return value (None is 0), 2 for a `PoseError`, 130 for Ctrl-C, 143 for SIGTERM."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):  # whoever replaced it may have no encoding
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # names of any bytes, shown
    try:
        sys.exit(main() or 0)
    except PoseError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except Terminated:
        print("SIGTERM: the state is saved; continue with --resume.", flush=True)
        sys.exit(128 + 15)
