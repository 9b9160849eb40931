"""Downloads: resumed, verified, safe under races, and nothing half-written is left behind."""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import multiprocessing
import os
import subprocess
import sys
import threading
import zipfile

import numpy as np
import pytest

from keras_inception.weights import DownloadError, Weights, download, fetch

CONTENT = np.random.default_rng(0).bytes(3 * 2**20)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server:
    """One file over HTTP on loopback, with ranges, and with the failures that a test asks for."""

    def __init__(self):
        self.content, self.etag = CONTENT, '"v1"'
        self.dies_after: list[int] = []  # bytes after which a connection breaks off, one a request
        self.statuses: list[int] = []  # answers to give before it works
        self.requests: list[str | None] = []  # their Range headers
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *arguments):
                return None

            def do_GET(self):
                outer.requests.append(self.headers.get("Range"))
                if outer.statuses:
                    self.send_error(outer.statuses.pop(0))
                    return
                start = 0
                if self.headers.get("Range") and self.headers.get("If-Range") == outer.etag:
                    start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
                self.send_response(206 if start else 200)
                self.send_header("ETag", outer.etag)
                self.send_header("Content-Length", str(len(outer.content) - start))
                self.end_headers()
                body = outer.content[start:]
                if outer.dies_after:
                    body = body[: outer.dies_after.pop(0)]
                self.wfile.write(body)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def record(self, **changes):
        fields = {"name": "inception_v4.test", "variant": "InceptionV4", "hash": f"sha256:{SHA256}"}
        return Weights(url=f"{self.url}/v4.safetensors", **{**fields, **changes})


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    monkeypatch.delenv(download.MIRROR_VARIABLE, raising=False)
    monkeypatch.setattr(download, "_FIRST_PAUSE", 0.01)
    server = Server()
    yield server
    server.server.shutdown()
    server.server.server_close()


def left_behind():
    """Names in the cache, the lock aside."""
    folder = download.cache_folder("models")
    return (
        {p.name for p in folder.iterdir()} - {"v4.safetensors.lock"} if folder.exists() else set()
    )


def test_a_file_is_downloaded_once(server):
    path = fetch(server.record())
    assert path.read_bytes() == CONTENT
    assert fetch(server.record()) == path
    assert server.requests == [None]
    assert left_behind() == {"v4.safetensors"}


def test_a_server_that_dies_half_way_and_comes_back(server):
    server.dies_after = [2**20 + 5, 2**20]
    assert fetch(server.record()).read_bytes() == CONTENT
    assert server.requests == [None, f"bytes={2**20 + 5}-", f"bytes={2**21 + 5}-"]


def test_a_later_process_resumes(server, monkeypatch):
    monkeypatch.setattr(download, "_ATTEMPTS", 1)
    server.dies_after = [2**20]
    with pytest.raises(DownloadError, match="could not be downloaded"):
        fetch(server.record())
    assert left_behind() == {"v4.safetensors.part", "v4.safetensors.part.etag"}
    assert fetch(server.record()).read_bytes() == CONTENT
    assert server.requests[-1] == f"bytes={2**20}-"
    assert left_behind() == {"v4.safetensors"}


def test_a_file_that_changed_at_the_server_is_not_mixed(server, monkeypatch):
    monkeypatch.setattr(download, "_ATTEMPTS", 1)
    server.dies_after = [2**20]
    with pytest.raises(DownloadError):
        fetch(server.record())
    server.content, server.etag = CONTENT[::-1], '"v2"'
    digest = hashlib.sha256(server.content).hexdigest()
    assert fetch(server.record(hash=f"sha256:{digest}")).read_bytes() == CONTENT[::-1]


def test_passing_errors_are_tried_again(server):
    server.statuses = [503, 500, 429]
    assert fetch(server.record()).read_bytes() == CONTENT
    assert len(server.requests) == 4


def test_a_refusal_names_the_way_out(server):
    server.statuses = [404]
    with pytest.raises(DownloadError) as caught:
        fetch(server.record())
    message = str(caught.value)
    assert "404" in message and server.url in message and "weights=" in message
    assert str(download.cache_folder("models") / "v4.safetensors") in message
    assert len(server.requests) == 1 and not left_behind()


def test_offline(server, monkeypatch):
    record = dataclasses.replace(server.record(), url="http://127.0.0.1:9/v4.safetensors")
    with pytest.raises(DownloadError, match=r"http://127\.0\.0\.1:9/v4.*put it at .*`weights=`"):
        fetch(record)
    assert not left_behind()


@pytest.mark.parametrize("kind", ["md5", "sha1", "sha256", "sha384"])
def test_a_wrong_digest_is_refused(server, kind):
    published = hashlib.new(kind, b"something else").hexdigest()
    with pytest.raises(DownloadError, match=f"its {kind} is .*, the published one {published}"):
        fetch(server.record(hash=f"{kind}:{published}"))
    assert not left_behind()


def test_a_truncated_file_is_refused_though_the_server_says_it_is_whole(server):
    server.content = CONTENT[:-1]
    with pytest.raises(DownloadError, match="not what was published"):
        fetch(server.record())
    assert not left_behind()


def test_the_beginning_of_a_digest_is_enough_and_what_came_is_remembered(server):
    path = fetch(server.record(hash=f"sha256:{SHA256[:8]}"))
    assert left_behind() == {"v4.safetensors", "v4.safetensors.sha256"}
    path.write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(ValueError, match=r"cached file .*v4\.safetensors is damaged"):
        fetch(server.record(hash=""))


def test_a_damaged_file_in_the_cache_is_named(server):
    path = fetch(server.record())
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"cached file .*v4\.safetensors is damaged.*Remove it"):
        fetch(server.record())


def test_a_mirror(server, monkeypatch):
    record = dataclasses.replace(
        server.record(), url="https://example.org/a/model.safetensors", filename="v4.safetensors"
    )
    monkeypatch.setenv(download.MIRROR_VARIABLE, f"{server.url}/mirror/")
    assert fetch(record).read_bytes() == CONTENT


def test_a_zipped_file(server, tmp_path):
    with zipfile.ZipFile(tmp_path / "v4.zip", "w") as archive:
        archive.writestr("folder/v4.safetensors", CONTENT)
    server.content = (tmp_path / "v4.zip").read_bytes()
    record = dataclasses.replace(server.record(), url=f"{server.url}/v4.safetensors.zip")
    record = dataclasses.replace(record, filename="v4.safetensors")
    assert fetch(record).read_bytes() == CONTENT
    assert left_behind() == {"v4.safetensors"}


def test_a_zip_without_the_file(server, tmp_path):
    with zipfile.ZipFile(tmp_path / "v4.zip", "w") as archive:
        archive.writestr("../v4.txt", CONTENT)
    server.content = (tmp_path / "v4.zip").read_bytes()
    record = dataclasses.replace(
        server.record(), url=f"{server.url}/v4.safetensors.zip", filename="v4.safetensors"
    )
    with pytest.raises(DownloadError, match="instead of v4.safetensors"):
        fetch(record)
    assert not left_behind()


def test_a_browser_is_needed(server):
    with pytest.raises(DownloadError, match="needs a browser"):
        fetch(server.record(manual=True))


def _fetch_in_a_process(record, home, queue):
    os.environ["KERAS_HOME"] = home
    queue.put(hashlib.sha256(fetch(record).read_bytes()).hexdigest())


def test_two_processes_at_once(server, tmp_path):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    arguments = (server.record(), str(tmp_path / "home"), queue)
    racers = [context.Process(target=_fetch_in_a_process, args=arguments) for _ in range(2)]
    for racer in racers:
        racer.start()
    digests = [queue.get(timeout=120) for _ in racers]
    for racer in racers:
        racer.join()
    assert digests == [SHA256, SHA256]
    assert len(server.requests) == 1
    assert left_behind() == {"v4.safetensors"}


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MiB at the cache's place, and a function that makes it read-only."""
    disk = tmp_path / "home"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if os.name != "posix" or os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no tmpfs can be mounted here")
    yield lambda: subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk(server, small_disk):
    with pytest.raises(DownloadError, match="the disk is full.*KERAS_HOME"):
        fetch(server.record())
    assert not left_behind()


def test_a_read_only_cache(server, small_disk):
    """What is in it can be used; nothing can be added."""
    server.content = CONTENT[: 2**20]
    there = server.record(hash=f"sha256:{hashlib.sha256(server.content).hexdigest()}")
    path = fetch(there)
    small_disk()
    assert fetch(there) == path
    with pytest.raises(DownloadError, match="Read-only file system.*Set KERAS_HOME to another"):
        fetch(dataclasses.replace(there, filename="other.safetensors"))


def test_progress_is_shown(server, tmp_path):
    """In a process of its own, since pytest takes the output."""
    code = (
        "import sys; from keras_inception.weights import Weights, fetch;"
        "fetch(Weights(name='x.y', url=sys.argv[1]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, f"{server.url}/v4.safetensors"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert f"{len(CONTENT)}/{len(CONTENT)}" in done.stdout
