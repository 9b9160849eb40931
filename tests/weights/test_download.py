"""Downloads: resumed, verified, safe under races, and nothing half-written is left behind."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import http.client
import http.server
import multiprocessing
import os
import socketserver
import subprocess
import sys
import threading
import time
import zipfile

import numpy as np
import pytest

from keras_inception.catalog import Weights
from keras_inception.files import cache_folder
from keras_inception.weights import DownloadError, download, fetch

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
                if start:
                    last, size = len(outer.content) - 1, len(outer.content)
                    self.send_header("Content-Range", f"bytes {start}-{last}/{size}")
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
    folder = cache_folder("models")
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
    assert str(cache_folder("models") / "v4.safetensors") in message
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


def test_the_beginning_of_a_digest_is_enough(server):
    record = server.record(hash=f"sha256:{SHA256[:8]}")
    path = fetch(record)
    path.write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(ValueError, match=r"cached file .*v4\.safetensors is damaged"):
        fetch(record)


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
        "import sys; from keras_inception import Weights, weights;"
        "weights.fetch(Weights(name='x.y', url=sys.argv[1]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, f"{server.url}/v4.safetensors"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert f"{len(CONTENT)}/{len(CONTENT)}" in done.stdout


# --- Servers that do what no server should ------------------------------------------------------


class HostileServer:
    """Answers each connection with what a function of it and its number sends."""

    def __init__(self, behave):
        self.connections = 0
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                outer.connections += 1
                self.request.settimeout(5)
                with contextlib.suppress(OSError):
                    self.range = b"Range:" in self.request.recv(65536)
                    behave(self, outer.connections)

            def send(self, *parts):
                for part in parts:
                    self.request.sendall(part if isinstance(part, bytes) else part.encode())

            def trickle(self, content, pause=0.02, limit=500):
                for byte in content[:limit]:
                    self.request.sendall(bytes([byte]))
                    time.sleep(pause)

            def redirect(self, address):
                self.send(f"HTTP/1.1 302 Found\r\nLocation: {address}\r\n\r\n")

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.host = f"127.0.0.1:{self.server.server_address[1]}"

    def close(self):
        self.server.shutdown()
        self.server.server_close()


OK = "HTTP/1.1 200 OK\r\n"
WHOLE = f"Content-Length: {len(CONTENT)}\r\n"


def nothing_left(server, number):
    if server.range:
        server.send("HTTP/1.1 416 Range Not Satisfiable\r\n\r\n")
    else:
        server.send(OK, 'ETag: "1"\r\n', WHOLE, "\r\n", CONTENT[:1000])


def endless(server, number, head=OK + "\r\n", limit=64):
    server.send(head)
    for _ in range(limit):
        server.send(CONTENT[: 2**20])


# What a server does -> what is said, where that does not depend on time. Each is asked at most five
# times.
HOSTILE = {
    "nothing left of a file that is not whole": (nothing_left, ""),
    "endless body": (endless, "bytes that were expected"),
    "too long a body": (
        lambda s, n: s.send(OK, f"Content-Length: {10**15}\r\n\r\n", b"x"),
        "bytes that were expected",
    ),
    "endless body of a redirect": (
        lambda s, n: endless(s, n, "HTTP/1.1 302 Found\r\nLocation: ftp://a/b\r\n\r\n"),
        "from http to ftp://a/b, which is not followed",
    ),
    "endless headers": (lambda s, n: endless(s, n, OK), ""),
    "slow body": (
        lambda s, n: (s.send(OK, WHOLE, "\r\n"), s.trickle(CONTENT)),
        "it takes more than",
    ),
    "silence": (lambda s, n: time.sleep(1), "timed out"),
    "no answer": (lambda s, n: None, ""),
    "noise": (lambda s, n: s.send(CONTENT[:5000]), ""),
    "a body that is cut": (lambda s, n: s.send(OK, WHOLE, "\r\n", CONTENT[:99]), "ended after 99"),
    "a redirect to a file": (lambda s, n: s.redirect("file:///etc/passwd"), "is not allowed"),
    "a redirect to no address": (lambda s, n: s.redirect("http://[/"), ""),
    "another part": (
        lambda s, n: s.send(
            'HTTP/1.1 206 Partial\r\nETag: "1"\r\nContent-Range: bytes 5-9/10\r\n\r\n12345'
        ),
        "bytes instead of",
    ),
    "no content": (lambda s, n: s.send("HTTP/1.1 204 No\r\n\r\n"), "answered 204"),
    "a length below zero": (lambda s, n: s.send(OK, "Content-Length: -1\r\n\r\n", b"x"), ""),
    "a reason of control characters": (
        lambda s, n: s.send("HTTP/1.1 404 \x1b[2J\x07Not\r\n\r\n"),
        r"404 \x1b[2J\x07Not",
    ),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_servers(kind, tmp_path, monkeypatch):
    """All end in one line, after a bounded number of connections, with little on the disk."""
    behave, message = HOSTILE[kind]
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    monkeypatch.delenv(download.MIRROR_VARIABLE, raising=False)
    for name, value in {
        "_FIRST_PAUSE": 0.001,
        "_TIMEOUT": 0.3,
        "_DEADLINE": 1.0 if kind == "slow body" else 60.0,
    }.items():
        monkeypatch.setattr(download, name, value)
    server = HostileServer(behave)
    record = Weights(
        name="inception_v4.test",
        url=f"http://{server.host}/v4.safetensors",
        variant="InceptionV4",
        hash=f"sha256:{SHA256}",
        size=len(CONTENT),
    )
    try:
        with pytest.raises(DownloadError) as caught:
            fetch(record)
    finally:
        server.close()
    assert message in str(caught.value)
    assert str(caught.value).isprintable()
    assert "weights=" in str(caught.value) or "not what was published" in str(caught.value)
    assert 0 < server.connections <= 5
    cache = cache_folder("models")
    assert sum(p.stat().st_size for p in cache.iterdir()) < len(CONTENT) + 2**22


def test_https_is_not_left_for_http(server, monkeypatch):
    """The first server stands in for one with https: what a client sees of it is the same."""
    monkeypatch.setattr(http.client.HTTPSConnection, "connect", http.client.HTTPConnection.connect)
    plain = server.record().url
    secure = HostileServer(lambda s, n: s.redirect(plain))
    record = dataclasses.replace(server.record(), url=f"https://{secure.host}/v4.safetensors")
    try:
        with pytest.raises(DownloadError, match=f"redirects from https to {plain}, which is not"):
            fetch(record)
    finally:
        secure.close()
    assert not server.requests and not left_behind()


def test_http_without_a_digest_is_said(server, caplog):
    fetch(server.record(hash=""))
    assert "anybody on the way could exchange it" in caplog.text


def test_what_is_no_file_in_the_cache_is_named(server):
    path = cache_folder("models") / "v4.safetensors"
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    with pytest.raises(ValueError, match=r"v4\.safetensors should be a file"):
        fetch(server.record())
