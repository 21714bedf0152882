"""What servers share: who may ask how often, where to listen, how much may be sent."""

import socket

import pytest

from experiments import web
from pose_regression.errors import PoseError


def test_a_client_that_asks_too_often_waits_and_others_do_not():
    limit = web.RateLimit(2, seconds=10)
    limit.check("a", 100.0)
    limit.check("a", 104.0)
    with pytest.raises(PoseError, match="More than 2 requests in 10 seconds .* try again in 5 seconds"):
        limit.check("a", 105.0)
    limit.check("b", 105.0)
    limit.check("a", 110.0)
    with pytest.raises(PoseError):
        limit.check("a", 111.0)
    limit.check("c", 200.0)
    assert set(limit.times) == {"c"}


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("pc", False)],
)
def test_local_addresses(host, local):
    assert web.is_local(host) is local


def test_a_port_in_use_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        with pytest.raises(PoseError, match=f"^The page cannot listen at 127.0.0.1:{number}: "):
            web.check_address("127.0.0.1", number, server="The page")


@pytest.mark.parametrize(
    ("length", "status"),
    [
        ("0", None),
        ("100", None),
        ("101", 413),
        ("9" * 5000, 413),
        ("-1", 411),
        ("", 411),
        ("1_0", 411),
        ("\u00b2", 411),
    ],
)
def test_the_announced_length_decides(length, status):
    refusal = web.refused_length(length, max_body=100)
    assert (None if refusal is None else refusal[0]) == status


@pytest.mark.parametrize("megabytes", [0, -1, 1001, float("nan"), float("inf")])
def test_a_limit_that_makes_no_sense_is_refused(megabytes):
    with pytest.raises(PoseError, match="--max-upload-mb must be over 0 and at most 1000"):
        web.upload_limit(megabytes)
    assert web.upload_limit(2.5) == 2_500_000


def test_a_photograph_s_file_is_gone_after_the_block_and_errors_call_it_by_name():
    with pytest.raises(PoseError, match=r"^photo\.jpg is broken\.$"), web.as_file(b"abc", "photo.jpg") as path:
        assert path.read_bytes() == b"abc"
        raise PoseError(f"{path} is broken.")
    assert not path.parent.exists()
