"""Where the tests find reference data that is not part of the repository."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def _folder(variable: str) -> Path:
    if not os.environ.get(variable):
        pytest.skip(f"{variable} is not set")
    folder = Path(os.environ[variable])
    if not folder.is_dir():
        pytest.skip(f"{variable}={folder} is no folder")
    return folder


@pytest.fixture(scope="session")
def pose_reference() -> Path:
    """Golden vectors and published predictions."""
    return _folder("POSE_REFERENCE")


@pytest.fixture(scope="session")
def pose_data() -> Path:
    """Real photographs and annotations: lsp/, lspet/, mpii/."""
    return _folder("POSE_DATA")
