import os
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from pose_regression.container import read_container
from pose_regression.data import mpii, synthetic
from pose_regression.data.augment import NONE, plan_epoch
from pose_regression.errors import PoseError
from pose_regression.skeleton import PA16J
from pose_regression.training import hosts

TINY = "--recipe quick --blocks 1 --width 18 --input-size 64 --batch-size 8 --save-every 2".split()


def test_one_host_is_the_trivial_case():
    assert (hosts.count(), hosts.index(), hosts.first()) == (1, 0, True)
    assert hosts.from_first({"a": [1, None]}) == {"a": [1, None]}
    rows = np.arange(6).reshape(3, 2)
    assert hosts.gather(rows, 3) is rows


def test_shares_of_the_hosts_are_the_batches_of_one(people, monkeypatch):
    plan = plan_epoch(mpii.load(people, "train"), PA16J, seed=0, epoch=0, augmentation=NONE)
    shares = []
    for index in range(2):
        monkeypatch.setattr(hosts, "count", lambda: 2)
        monkeypatch.setattr(hosts, "index", lambda index=index: index)
        shares.append(hosts.share(plan, 8).index)
    batches = plan.index[: len(plan) // 8 * 8].reshape(-1, 8)
    np.testing.assert_array_equal(np.concatenate([s.reshape(-1, 4) for s in shares], axis=1), batches)


@pytest.mark.parametrize(
    ("addresses", "index", "said"),
    [("10.0.0.1:8476,10.0.0.2", 0, "KERAS_BACKEND=jax"), ("10.0.0.1", 0, "KERAS_BACKEND=jax")],
)
def test_other_backends_are_refused(addresses, index, said):
    with pytest.raises(PoseError, match=said):
        hosts.join(addresses, index)


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthetic")
    synthetic.write(folder, train=34, validation=7, seed=5)
    return folder


@pytest.fixture(scope="module", autouse=True)
def compiled_once(tmp_path_factory):
    """JAX keeps what it has compiled for the processes that come later: compiling is nearly all that they do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path_factory.mktemp("compiled")))
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        yield


def start(people, output, *more) -> subprocess.Popen:
    command = [sys.executable, "-m", "experiments.train_mpii", "--data", people, "--output", output, *TINY, *more]
    log = open(f"{output}.log", "w", encoding="utf-8")
    environment = os.environ | {"KERAS_BACKEND": "jax", "TF_CPP_MIN_LOG_LEVEL": "3"}
    with log:
        return subprocess.Popen([*map(str, command)], stdout=log, stderr=subprocess.STDOUT, env=environment)


def two_hosts(people, folder, *more) -> list[subprocess.Popen]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        addresses = f"127.0.0.1:{free.getsockname()[1]},127.0.0.1"
    return [
        start(people, folder / f"host{i}", "--hosts", addresses, "--host-index", i, "--resume", *more) for i in (0, 1)
    ]


def history(run) -> np.ndarray:
    return np.loadtxt(run / "history.csv", delimiter=",", skiprows=1, ndmin=2)


@pytest.mark.slow
def test_two_hosts_and_two_devices_train_as_one(people, tmp_path):
    runs = [start(people, tmp_path / "one", "--epochs", 2)]
    runs += [start(people, tmp_path / "both", "--epochs", 2, "--devices", 2)]
    for run in [*runs, *two_hosts(people, tmp_path, "--epochs", 2)]:
        assert run.wait(600) == 0, [path.read_text()[-2000:] for path in tmp_path.glob("*.log")]
    expected, _ = read_container(tmp_path / "one" / "last.weights.h5")
    for name in ("both", "host0"):
        np.testing.assert_allclose(history(tmp_path / name), history(tmp_path / "one"), rtol=2e-3, atol=0.1)
        found, _ = read_container(tmp_path / name / "last.weights.h5")
        for array in expected:
            np.testing.assert_allclose(found[array], expected[array], rtol=0.02, atol=5e-3, err_msg=array)
    assert not (tmp_path / "host1").exists()  # it writes nothing


@pytest.mark.slow
def test_a_lost_host_stops_the_other_within_a_minute_and_both_resume(people, tmp_path):
    first, second = two_hosts(people, tmp_path, "--epochs", 6)
    while not list((tmp_path / "host0").glob("state-0000[1-9]*.h5")):
        assert first.poll() is None, (tmp_path / "host0.log").read_text()[-2000:]
        time.sleep(0.2)
    second.kill()
    killed = time.monotonic()
    assert first.wait(60) == 1
    assert time.monotonic() - killed < 60
    assert "lost another host" in (tmp_path / "host0.log").read_text()
    for run in two_hosts(people, tmp_path, "--epochs", 6):
        assert run.wait(300) == 0, [path.read_text()[-2000:] for path in tmp_path.glob("*.log")]
    assert "Resuming at epoch" in (tmp_path / "host0.log").read_text()
    np.testing.assert_array_equal(history(tmp_path / "host0")[:, 0], range(1, 7))
