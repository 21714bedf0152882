"""What servers share: who may ask how often, how much may be sent, and where it lies meanwhile."""

import pytest

from pose_regression.errors import PoseError
from pose_regression.inference import limits


def test_a_client_that_asks_too_often_waits_and_others_do_not():
    limit = limits.RateLimit(2, seconds=10)
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
    assert limits.is_local(host) is local


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
    refusal = limits.refused_length(length, max_body=100)
    assert (None if refusal is None else refusal[0]) == status


def test_a_photograph_s_file_is_gone_after_the_block_and_errors_call_it_by_name():
    with pytest.raises(PoseError, match=r"^photo\.jpg is broken\.$"), limits.as_file(b"abc", "photo.jpg") as path:
        assert path.read_bytes() == b"abc"
        raise PoseError(f"{path} is broken.")
    assert not path.parent.exists()
