"""Published files on this machine: downloaded once, verified before anything reads them.

The cache is `models/` in Keras' home (KERAS_HOME, by default ~/.keras), which keras.applications
uses as well. A file appears there under its name only when it is complete and its digest is right.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import io
import logging
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import filelock
import keras

from keras_inception import files
from keras_inception.messages import printable
from keras_inception.weights import readers
from keras_inception.weights.catalog import Weights

MIRROR_VARIABLE = "KERAS_INCEPTION_MIRROR"
_CHUNK = 2**20
_ATTEMPTS = 5
_FIRST_PAUSE = 1.0  # seconds; doubled after each failed attempt
_TIMEOUT = 30.0  # seconds without a byte
_PROGRESS = 2**16  # bytes that make an attempt a successful one
_TOTAL_TIME = 6 * 3600.0  # seconds
_WINDOW, _SLOWEST = 60.0, 4096  # seconds, and the fewest bytes a second over them
_ZIPS_ADD = 2**20
# What names a version of a file at its server: a strong ETag or a date.
_VERSION = r"(?!W/)[ -~]{1,200}"
# What a server may mean to answer better the next time.
_PASSING = {408, 425, 429, 500, 502, 503, 504}


class DownloadError(OSError):
    """A published file could not be brought here."""


def fetch(record: Weights, mirror: str | None = None) -> Path:
    """The path of a published file, downloaded if it is not in the cache yet.

    Args:
        record: Which file.
        mirror: Base URL to take it from instead, as `{mirror}/{filename}`; by default the
            environment variable KERAS_INCEPTION_MIRROR, if it is set.

    Raises:
        DownloadError: the file cannot be downloaded, or its digest is wrong; the message says what
            to do instead.
        ValueError: a file of that name in the cache is damaged.
    """
    path = files.cache_folder("models") / record.filename
    if path.exists():
        _check_cached(path, record)
        return path
    if record.manual:
        raise DownloadError(
            f"{record.url} needs a browser. Download it, put it at {path}, or give its path as "
            "`weights=`."
        )
    url = record.url
    mirror = mirror or os.environ.get(MIRROR_VARIABLE)
    if mirror:
        zipped = ".zip" if _is_zipped(record) else ""
        url = f"{mirror.rstrip('/')}/{record.filename}{zipped}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(f"{path}.lock"):
            if path.exists():  # another process was faster
                _check_cached(path, record)
            else:
                _bring(url, path, record)
    except DownloadError:
        raise
    except OSError as error:
        reason = "the disk is full" if error.errno == errno.ENOSPC else str(error)
        raise DownloadError(
            f"{record.name} could not be stored in {path.parent}: {reason}. Set KERAS_HOME to "
            f"another folder, or download {url} yourself and give its path as `weights=`."
        ) from error
    return path


def _bring(url: str, path: Path, record: Weights) -> None:
    """Downloads, unzips, verifies, and only then renames."""
    if not url.startswith("https:") and not _published_in_full(record):
        logging.warning(
            "%s comes without https and without a whole published digest: anybody on the way could "
            "exchange it.",
            url,
        )
    part = path.with_name(f"{path.name}.part")
    member = path.with_name(f"{path.name}.member")
    resumed = part.exists()
    try:
        _download(url, part, record, path)
        try:
            ready = _unzipped(part, member, record) if _is_zipped(record) else part
            digest = _verified(ready, record)
        except ValueError as error:
            part.unlink()
            if resumed:  # what was there before may have been another file's beginning
                return _bring(url, path, record)
            raise DownloadError(f"{url} is not what was published: {error}.") from error
        if not _published_in_full(record):
            files.write(path.with_name(f"{path.name}.sha256"), digest)
        os.replace(ready, path)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            part.unlink(missing_ok=True)
        raise
    finally:
        member.unlink(missing_ok=True)
        if not part.exists() or path.exists():
            part.unlink(missing_ok=True)
            _validator(part).unlink(missing_ok=True)


def _download(url: str, part: Path, record: Weights, path: Path) -> None:
    """Appends to `part` until it is complete, over as many connections as it takes.

    A connection counts as progress only where it brought the file further than any before it, so
    that the number of connections has an end.

    Raises:
        DownloadError: the server refuses, stays away for all attempts, or does not come to an end.
    """
    limits = _Limits(record)
    pause, failures, reason, furthest = _FIRST_PAUSE, 0, "", 0
    while True:
        furthest = max(furthest, part.stat().st_size if part.exists() else 0)
        try:
            return _append(url, part, limits)
        except urllib.error.HTTPError as error:
            error.close()
            reason = f"the server answered {error.code} {error.reason}"
            if error.code not in _PASSING:
                break
        except (_GivenUp, ValueError) as error:  # ValueError: an address that is none
            reason = str(error)
            break
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError) as error:
            reason = str(getattr(error, "reason", error)) or type(error).__name__
        except ConnectionError as error:
            reason = str(error)
        progressed = part.exists() and part.stat().st_size >= furthest + _PROGRESS
        failures = 1 if progressed else failures + 1
        if failures >= _ATTEMPTS:
            break
        logging.warning("%s: %s; trying again in %.0f s.", url, printable(reason, 1000), pause)
        time.sleep(pause)
        pause = _FIRST_PAUSE if progressed else pause * 2
    raise DownloadError(
        printable(
            f"{record.name} could not be downloaded from {url}: {reason}. Download it elsewhere "
            f"and put it at {path}, or give its path as `weights=`; {MIRROR_VARIABLE} names "
            "another server."
        )
    )


class _GivenUp(Exception):
    """A server does what no further attempt makes better."""


class _Limits:
    """What a download may take: checked at each read from the network."""

    def __init__(self, record: Weights) -> None:
        # A zip archive of a published file is hardly larger than the file.
        self.bytes = record.size + _ZIPS_ADD if record.size else readers.LARGEST_FILE
        self.needs_https = not _published_in_full(record)
        self._end = time.monotonic() + _TOTAL_TIME
        self._window_end, self._window_bytes = 0.0, 0

    def connected(self) -> None:
        """A new connection begins, and with it a new measurement of its speed."""
        self._window_end, self._window_bytes = time.monotonic() + _WINDOW, 0

    def came(self, count: int) -> None:
        """Some bytes came from the network.

        Raises:
            TimeoutError: too few came lately.
            _GivenUp: it takes too long in all.
        """
        now = time.monotonic()
        if now > self._end:
            raise _GivenUp(f"it takes more than {_TOTAL_TIME / 3600:.1f} hours")
        self._window_bytes += count
        if now > self._window_end:
            if self._window_bytes < _SLOWEST * _WINDOW:
                raise TimeoutError(
                    f"it sent {self._window_bytes:,} bytes in the last {_WINDOW:.0f} seconds"
                )
            self.connected()

    def check_size(self, total: int) -> None:
        """Raises `_GivenUp` if the file has or says more bytes than it may have."""
        if total > self.bytes:
            raise _GivenUp(
                f"it sends {total:,} bytes or more; at most {self.bytes:,} were expected"
            )


class _Watched(io.RawIOBase):
    """What comes from a connection, headers included, held against limits."""

    def __init__(self, raw: io.RawIOBase, limits: _Limits) -> None:
        self._raw, self._limits = raw, limits

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        try:
            count = self._raw.readinto(buffer)
        except (TimeoutError, ConnectionError):
            raise
        except OSError as error:  # such as "no route to host": the disk is not to blame
            raise ConnectionError(str(error)) from error
        self._limits.came(count or 0)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


def _opener(limits: _Limits) -> urllib.request.OpenerDirector:
    """Opens http and https addresses within limits, and follows redirects to such."""

    class Response(http.client.HTTPResponse):
        def __init__(self, sock: Any, *arguments: Any, **options: Any) -> None:
            super().__init__(sock, *arguments, **options)
            limits.connected()
            self.fp = io.BufferedReader(_Watched(self.fp.detach(), limits))  # type: ignore

    class Plain(http.client.HTTPConnection):
        response_class = Response

    class Secure(http.client.HTTPSConnection):
        response_class = Response

    class HTTP(urllib.request.HTTPHandler):
        def http_open(self, request: urllib.request.Request) -> Any:
            return self.do_open(Plain, request)

    class HTTPS(urllib.request.HTTPSHandler):
        def https_open(self, request: urllib.request.Request) -> Any:
            return self.do_open(Secure, request)

    class Redirects(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, req, fp, code, msg, headers, newurl):  # type: ignore
            fp.close()  # urllib would read all of it
            if urllib.parse.urlsplit(newurl).scheme not in ("http", "https"):
                raise _GivenUp(f"it redirects to {newurl}, which is neither http nor https")
            if req.type == "https" and not newurl.startswith("https:") and limits.needs_https:
                raise _GivenUp(
                    f"it redirects from https to {newurl}: anybody on the way could exchange the "
                    "file, of which no whole digest is known"
                )
            return super().redirect_request(req, fp, code, msg, headers, newurl)

    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        HTTP(),
        HTTPS(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        Redirects(),
    ):
        opener.add_handler(handler)
    return opener


def _append(url: str, part: Path, limits: _Limits) -> None:
    """One connection: the rest of the file, or all of it if it changed since or cannot be resumed.

    Raises:
        URLError, HTTPException, ConnectionError, TimeoutError: it broke off.
        _GivenUp: another attempt would be no better.
    """
    request = urllib.request.Request(url, headers={"User-Agent": "keras_inception"})
    start = part.stat().st_size if part.exists() else 0
    validator = _validator(part)
    version = validator.read_text(errors="replace") if validator.exists() else ""
    if start and re.fullmatch(_VERSION, version):
        request.add_header("Range", f"bytes={start}-")
        request.add_header("If-Range", version)
    try:
        response = _opener(limits).open(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not request.has_header("Range"):
            raise
        error.close()  # 416: nothing is left after what we have
        found = re.search(r"/(\d{1,18})$", error.headers.get("Content-Range", ""))
        if found and int(found[1]) == start:
            return
        part.unlink()
        raise http.client.IncompleteRead(b"") from error
    with response:
        start = _resumed_at(response, start)
        tag = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
        if re.fullmatch(_VERSION, tag):
            files.write(validator, tag)
        else:
            validator.unlink(missing_ok=True)
        # http.client holds the body against the header's number, where that is one.
        total = None if response.length is None else start + response.length
        limits.check_size(total or 0)
        bar = keras.utils.Progbar(total, unit_name="byte")
        with part.open("ab" if start else "wb") as file:
            done = start
            while chunk := response.read(_CHUNK):
                done += len(chunk)
                limits.check_size(done)
                file.write(chunk)
                bar.update(done, finalize=done == total)
        if total is not None and done < total:
            raise http.client.IncompleteRead(b"", total - done)


def _resumed_at(response: http.client.HTTPResponse, start: int) -> int:
    """The byte of the file that a response begins with.

    Raises:
        _GivenUp: it is not the file, or another part of it than was asked for.
    """
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise _GivenUp("the server packs the file, which was not asked for")
    if response.status == 200:
        return 0
    sent = re.match(r"bytes (\d{1,18})-", response.headers.get("Content-Range", ""))
    if response.status != 206 or (sent and int(sent[1]) != start):
        raise _GivenUp(f"the server answered {response.status} with another part of the file")
    return start


def _validator(part: Path) -> Path:
    """Beside a partial file: which version of the file at the server it is the beginning of."""
    return part.with_name(f"{part.name}.etag")


def _is_zipped(record: Weights) -> bool:
    return record.url.endswith(".zip") and not record.filename.endswith(".zip")


def _unzipped(part: Path, target: Path, record: Weights) -> Path:
    """The one member that is wanted out of a downloaded zip. Raises ValueError without it."""
    with readers.refusing(part, "zip"):
        content = readers.whole(part)
        archive = readers.archives.Zip(content, readers.Budget.of(len(content)))
        members = [n for n in archive.names if n.rsplit("/", 1)[-1] == record.filename]
        if len(members) != 1:
            raise ValueError(f"it holds {archive.names[:5]} instead of {record.filename}")
        member = archive.read(members[0])
    target.write_bytes(member)
    return target


def _verified(path: Path, record: Weights) -> str:
    """The file's sha256, once its published digest and size were found right.

    Raises:
        ValueError: they are wrong.
    """
    kind, _, published = (record.hash or "sha256:").partition(":")
    digests, size = _digests(path, {kind, "sha256"}), path.stat().st_size
    found = digests[kind]
    if not found.startswith(published):
        raise ValueError(f"its {kind} is {found}, the published one {published}")
    if record.size is not None and size != record.size:
        raise ValueError(f"it has {size:,} bytes instead of {record.size:,}")
    return digests["sha256"]


def _published_in_full(record: Weights) -> bool:
    kind, _, digest = record.hash.partition(":")
    return bool(digest) and len(digest) == hashlib.new(kind, usedforsecurity=False).digest_size * 2


def _check_cached(path: Path, record: Weights) -> None:
    """Raises ValueError if a cached file is not the one that was published, or downloaded."""
    if not path.is_file():
        raise ValueError(f"{path} should be a file: it is where {record.name} belongs.")
    note = path.with_name(f"{path.name}.sha256")
    kind, _, digest = record.hash.partition(":")
    checks = [(kind, digest)] if digest else []
    if note.exists():
        checks.append(("sha256", note.read_text(errors="replace").strip() or "unknown"))
    for kind, wanted in checks:
        found = _digests(path, {kind})[kind]
        if not found.startswith(wanted):
            raise ValueError(
                f"The cached file {path} is damaged (its {kind} is {found}, not {wanted!r:.80}). "
                "Remove it, and it is downloaded again."
            )


def _digests(path: Path, kinds: set[str]) -> dict[str, str]:
    """Hexadecimal digests of a file, by kind, in one pass."""
    digests = {kind: hashlib.new(kind, usedforsecurity=False) for kind in kinds}
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            for digest in digests.values():
                digest.update(chunk)
    return {kind: digest.hexdigest() for kind, digest in digests.items()}
