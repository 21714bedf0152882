"""Weights by name: whole and the right ones, or one sentence; against a server on this machine."""

import contextlib
import hashlib
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import keras
import numpy as np
import pytest
from test_weights import write_authors_file

from pose_regression.container import read_container
from pose_regression.errors import PoseError
from pose_regression.model import hub, weights
from pose_regression.model.load import load_model
from pose_regression.model.network import PoseRegressor


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return PoseRegressor(num_blocks=1, width=16)  # 256 px, 16 joints, 2 context maps, as a file's layout implies


@pytest.fixture(scope="module")
def content(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("authors") / "authors.h5"
    write_authors_file(model, path)
    return path.read_bytes()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requested.append(self.path)
        status, headers, body = self.server.answers.get(self.path, (404, {}, b"nothing here"))
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def serve(monkeypatch):
    """Start a server that gives `answers`: path -> (status, headers, body)."""
    monkeypatch.setenv("no_proxy", "*")
    servers = []

    def start(answers, handler=Handler):
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.answers, server.requested = answers, []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    return tmp_path / "keras" / "pose_regression"


@pytest.fixture
def publish(monkeypatch, content):
    """Let the name "mpii" mean a file at a port of this machine."""

    md5 = hashlib.md5(content).hexdigest()

    def to(port):
        url = f"http://127.0.0.1:{port}/release/authors.h5"
        monkeypatch.setitem(hub.PUBLISHED, "mpii", hub.Published(url, md5, "from the test"))
        return url

    return to


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_published_weights_are_those_of_the_authors_release():
    published = hub.PUBLISHED["mpii"]
    assert published.url == (
        "https://github.com/dluvizon/pose-regression/releases/download/0.1.1/reception_mpii_weights_tf_ch_last_v1.h5"
    )
    assert published.md5 == "0f41d21e6c049ca590b520367f950f7f"


def test_weights_are_downloaded_converted_and_kept(model, content, serve, publish, cache, monkeypatch):
    server = serve({"/release/authors.h5": (200, {}, content)})
    url = publish(server.server_port)
    loaded, skeleton = load_model("mpii")
    for old, new in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert len(skeleton) == 16
    assert files(cache) == ["mpii.weights.h5"]
    assert read_container(cache / "mpii.weights.h5")[1]["notes"]["url"] == url
    again, _ = load_model("mpii")
    np.testing.assert_array_equal(again.get_weights()[0], model.get_weights()[0])
    assert server.requested == ["/release/authors.h5"]
    # Another input size than that of the file.
    small = PoseRegressor((64, 64, 3), num_blocks=1, width=16, weights="mpii")
    np.testing.assert_array_equal(small.get_weights()[0], model.get_weights()[0])


@pytest.mark.parametrize("elsewhere", [False, True], ids=["right file", "another file"])
def test_redirect_to_another_host_is_followed_and_verified(content, serve, publish, cache, monkeypatch, elsewhere):
    store = serve({"/object": (200, {}, content[:-1] + b"x" if elsewhere else content)})
    location = {"Location": f"http://localhost:{store.server_port}/object"}
    server = serve({"/release/authors.h5": (302, location, b"")})
    publish(server.server_port)
    if elsewhere:
        with pytest.raises(PoseError, match="could not be downloaded .*its MD5 is"):
            weights.fetch_weights("mpii")
        assert files(cache) == []
    else:
        assert weights.fetch_weights("mpii") == cache / "mpii.weights.h5"
    assert store.requested == ["/object"]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda content: (200, {}, content[: len(content) // 2]), "its MD5 is"),
        (lambda content: (200, {"Content-Length": str(len(content))}, content[:5000]), "retrieval incomplete"),
        (lambda content: (200, {}, b""), "its MD5 is"),
        (lambda content: (404, {}, b"gone"), "404 -- Not Found"),
        (lambda content: (500, {}, b"broken"), "500 -- Internal Server Error"),
        (lambda content: (302, {"Location": "file:///etc/hostname"}, b""), "302 -- .*not allowed"),
    ],
    ids=["wrong file", "truncated", "empty", "missing", "server error", "redirect to a file"],
)  # fmt: skip
def test_failed_download_is_one_sentence_and_leaves_nothing(content, serve, publish, cache, answer, reason):
    server = serve({"/release/authors.h5": answer(content)})
    url = publish(server.server_port)
    with pytest.raises(PoseError, match=reason) as caught:
        load_model("mpii")
    message = str(caught.value)
    assert url in message and str(cache / "authors.h5") in message and "\n" not in message
    assert files(cache) == []


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "without a length"])
def test_a_body_without_end_is_given_up(serve, publish, cache, monkeypatch, announced):
    class Endless(Handler):
        def do_GET(self):
            self.send_response(200)
            if announced:
                self.send_header("Content-Length", str(10**15))
            self.end_headers()
            with contextlib.suppress(OSError):
                while True:
                    self.wfile.write(bytes(1 << 16))

    monkeypatch.setattr(hub, "LARGEST", 1_000_000)
    server = serve({}, Endless)
    publish(server.server_port)
    with pytest.raises(PoseError, match="could not be downloaded .it is longer than 1000000 bytes"):
        weights.fetch_weights("mpii")
    assert files(cache) == []


def test_a_body_that_comes_in_drops_is_given_up(serve, publish, cache, monkeypatch):
    class Drops(Handler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):
                while True:
                    self.wfile.write(b"x")
                    time.sleep(0.02)

    monkeypatch.setattr(hub, "LONGEST", 0.5)
    publish(serve({}, Drops).server_port)
    with pytest.raises(PoseError, match="could not be downloaded .not done after 0.5 seconds"):
        weights.fetch_weights("mpii")
    assert files(cache) == []


@pytest.mark.parametrize(
    "location", ["http://127.0.0.1/authors.h5", "ftp://127.0.0.1/authors.h5", "file:///etc/hostname"]
)
def test_no_redirect_leaves_https(location):
    request = urllib.request.Request("https://github.com/authors.h5")
    with pytest.raises(urllib.error.URLError, match=f"redirected from https to {location}"):
        hub._Redirects().redirect_request(request, None, 302, "Found", {}, location)
    onwards = hub._Redirects().redirect_request(request, None, 302, "Found", {}, "https://elsewhere.com/authors.h5")
    assert onwards.full_url == "https://elsewhere.com/authors.h5"


def test_without_a_connection_the_sentence_names_url_and_place(publish, cache):
    url = publish(free_port())
    with pytest.raises(PoseError) as caught:
        PoseRegressor(num_blocks=1, width=16, weights="mpii")
    assert str(caught.value) == (
        f"The weights 'mpii' could not be downloaded ([Errno 111] Connection refused): fetch {url} by hand and save it "
        f"as {cache / 'authors.h5'}."
    )


def test_a_silent_server_is_given_up(publish, cache, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(hub, "TIMEOUT", 0.3)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        publish(listener.getsockname()[1])
        with pytest.raises(PoseError, match="could not be downloaded .*timed out"):
            weights.fetch_weights("mpii")


def test_a_file_fetched_by_hand_is_checked_and_used(content, publish, cache, monkeypatch):
    publish(free_port())
    cache.mkdir(parents=True)
    (cache / "authors.h5").write_bytes(content[:-1] + b"x")
    with pytest.raises(PoseError, match="authors.h5 is not the published file, or damaged: its MD5 is "):
        weights.fetch_weights("mpii")
    (cache / "authors.h5").write_bytes(content)
    assert weights.fetch_weights("mpii").is_file()
    assert files(cache) == ["authors.h5", "mpii.weights.h5"]  # the user's file stays


def test_cache_that_cannot_be_written_is_named(serve, content, publish, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "file"))
    publish(serve({"/release/authors.h5": (200, {}, content)}).server_port)
    with pytest.raises(PoseError, match="file/pose_regression could not be written: .*KERAS_HOME names another place"):
        weights.fetch_weights("mpii")


def test_shipped_weights_are_found_in_a_clone_and_in_an_installed_package(monkeypatch, tmp_path):
    path = hub.shipped_weights("small")
    assert path.name == "small.weights.h5"
    monkeypatch.setattr(hub, "__file__", str(tmp_path / "site-packages" / "pose_regression" / "model" / "hub.py"))
    with pytest.raises(PoseError, match="weights 'small' are not shipped with this version"):
        hub.shipped_weights("small")
    installed = tmp_path / "site-packages" / "pose_regression" / "shipped_weights" / "small.weights.h5"
    installed.parent.mkdir(parents=True)
    shutil.copy(path, installed)
    assert hub.shipped_weights("small") == installed


def test_shipped_weights_are_part_of_the_package(tmp_path):
    clone, copy = Path(hub.__file__).parents[2], tmp_path / "clone"
    if not (clone / "setup.py").is_file():
        pytest.skip("the package is installed, and there is no clone to build it from")
    shutil.copytree(clone / "weights", copy / "weights")
    (copy / "pose_regression").mkdir()
    for name in ("setup.py", "pose_regression/__init__.py"):
        shutil.copy(clone / name, copy / name)
    command = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", str(tmp_path / "built")]
    result = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    built = tmp_path / "built" / "pose_regression" / "shipped_weights" / "small.weights.h5"
    assert built.read_bytes() == hub.shipped_weights("small").read_bytes()


def test_shipped_weights_have_the_listed_checksums():
    folder = hub.shipped_weights("small").parent
    for line in (folder / "SHA256").read_text().splitlines():
        digest, name = line.split()
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
