"""What servers share: where to listen, and the limit on what is sent."""

import socket

import pytest

from experiments import web
from pose_regression.errors import PoseError


def test_a_port_in_use_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        with pytest.raises(PoseError, match=f"^The page cannot listen at 127.0.0.1:{number}: "):
            web.check_address("127.0.0.1", number, server="The page")


@pytest.mark.parametrize("megabytes", [0, -1, 1001, float("nan"), float("inf")])
def test_a_limit_that_makes_no_sense_is_refused(megabytes):
    with pytest.raises(PoseError, match="--max-upload-mb must be over 0 and at most 1000"):
        web.upload_limit(megabytes)
    assert web.upload_limit(2.5) == 2_500_000
