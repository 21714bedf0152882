"""Where the tests find reference data that is not part of the repository."""

import ipaddress
import os
import socket
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


@pytest.fixture(autouse=True, scope="session")
def no_network():
    """Nothing is fetched unless asked for: whatever connects to another machine fails."""
    connect = socket.socket.connect

    def local_only(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and not ipaddress.ip_address(address[0]).is_loopback:
            raise OSError(f"a test connects to {address}")
        return connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", local_only)
        yield


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
