"""The tests at both ends of what setup.py allows: `nox`, or `nox -s oldest`. Cost: ten minutes each on two cores."""

import nox

OLDEST = {
    "keras": "3.15.0", "tensorflow": "2.20.0", "numpy": "1.26.4", "scipy": "1.13.1", "h5py": "3.11.0",
    "pillow": "11.0.0", "matplotlib": "3.9.0", "tensorboard": "2.20.0", "jax": "0.7.0",
}  # fmt: skip


@nox.session
def oldest(session: nox.Session) -> None:
    """Every requirement at its lower bound, on the oldest Python."""
    session.install("-e", ".[test]", *(f"{name}=={version}" for name, version in OLDEST.items()))
    session.run("pytest", *session.posargs)


@nox.session
def newest(session: nox.Session) -> None:
    """What pip takes today."""
    session.install("--upgrade", "-e", ".[test]")
    session.run("pytest", *session.posargs)
