"""Published files on this machine: downloaded once, verified before anything reads them.

The cache is `models/` in Keras' home (KERAS_HOME, by default ~/.keras), which keras.applications
uses as well. A file appears there under its name only when it is complete and its digest is right.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import logging
import os
import time
import urllib.error
import urllib.request
from pathlib import Path

import filelock
import keras

from keras_inception import archives, files
from keras_inception.budget import LARGEST_FILE, Budget, refusing
from keras_inception.catalog import Weights
from keras_inception.messages import printable

MIRROR_VARIABLE = "KERAS_INCEPTION_MIRROR"
_CHUNK = 2**20
_ATTEMPTS = 5
_FIRST_PAUSE = 1.0  # seconds; doubled after each failed attempt
_TIMEOUT = 30.0  # seconds without a byte
_DEADLINE = 6 * 3600.0  # seconds for the whole file
_ZIPS_ADD = 2**20  # bytes: a zip archive of a published file is hardly larger than the file
_LONGEST_MESSAGE = 1000
# HTTP statuses worth retrying.
_PASSING = {408, 416, 425, 429, 500, 502, 503, 504}


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
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(f"{path}.lock"):
            if path.exists():  # another process was faster
                _check_cached(path, record)
            else:
                _bring(url, part, path, record)
    except DownloadError:
        raise
    except OSError as error:
        reason = str(error)
        if error.errno == errno.ENOSPC:
            reason = "the disk is full"
            part.unlink(missing_ok=True)
            _tag(part).unlink(missing_ok=True)
        raise DownloadError(
            f"{record.name} could not be stored in {path.parent}: {reason}. Set KERAS_HOME to "
            f"another folder, or download {url} yourself and give its path as `weights=`."
        ) from error
    return path


def _bring(url: str, part: Path, path: Path, record: Weights) -> None:
    """Downloads to `part`, unzips, verifies, and only then renames."""
    if not url.startswith("https:") and not _has_whole_digest(record):
        logging.warning(
            "%s comes without https and without a whole published digest: anybody on the way could "
            "exchange it.",
            url,
        )
    _download(url, part, path, record)
    _tag(part).unlink(missing_ok=True)  # from here on it is no beginning of a download
    try:
        if _is_zipped(record):
            files.write(part, _member(part, record))
        _check(part, record)
    except ValueError as error:
        part.unlink()
        raise DownloadError(f"{url} is not what was published: {error}.") from error
    os.replace(part, path)


def _download(url: str, part: Path, path: Path, record: Weights) -> None:
    """Appends to `part` until it is complete, over as many connections as it takes.

    Raises:
        DownloadError: the server refuses, stays away for all attempts, or does not come to an end.
    """
    limit = record.size + _ZIPS_ADD if record.size else LARGEST_FILE
    deadline, pause, reason = time.monotonic() + _DEADLINE, _FIRST_PAUSE, ""
    for attempt in range(_ATTEMPTS):
        if attempt:
            said = printable(reason, _LONGEST_MESSAGE)
            logging.warning("%s: %s; trying again in %.0f s.", url, said, pause)
            time.sleep(pause)
            pause *= 2
        try:
            return _append(url, part, limit, deadline)
        except urllib.error.HTTPError as error:
            error.close()
            reason = f"the server answered {error.code} {error.reason}"
            if error.code == 416:  # nothing follows what we have: it is not the file's beginning
                part.unlink(missing_ok=True)
            elif error.code not in _PASSING:
                break
        except ValueError as error:  # another attempt would be no better
            reason = str(error)
            break
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError) as error:
            reason = str(getattr(error, "reason", error)) or type(error).__name__
    raise DownloadError(
        printable(
            f"{record.name} could not be downloaded from {url}: {reason}. Try again later, which "
            f"goes on where it stopped; or download it elsewhere and put it at {path}, or give its "
            f"path as `weights=`; {MIRROR_VARIABLE} names another server.",
            _LONGEST_MESSAGE,
        )
    )


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects as urllib does, but never from https to http."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):  # type: ignore
        fp.close()  # urllib would read all of its body
        if not newurl.startswith(("https:",) if req.type == "https" else ("https:", "http:")):
            raise ValueError(f"it redirects from {req.type} to {newurl}, which is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _append(url: str, part: Path, limit: int, deadline: float) -> None:
    """One connection: the rest of the file, or all of it if it changed since or cannot be resumed.

    Raises:
        URLError, HTTPException, ConnectionError: it broke off.
        ValueError: another attempt would be no better.
    """
    request = urllib.request.Request(url, headers={"User-Agent": "keras_inception"})
    start = part.stat().st_size if part.exists() and _tag(part).exists() else 0
    if start:
        request.add_header("Range", f"bytes={start}-")
        request.add_header("If-Range", _tag(part).read_text())
    try:
        response = urllib.request.build_opener(_Redirects).open(request, timeout=_TIMEOUT)
    except urllib.error.URLError:
        raise
    except OSError as error:  # while the headers came: the disk is not to blame
        raise ConnectionError(str(error)) from error
    with response:
        sent = response.headers.get("Content-Range", "")
        if response.status != 206:
            start = 0
        if response.status not in (200, 206) or (start and not sent.startswith(f"bytes {start}-")):
            raise ValueError(f"the server answered {response.status} with another part of the file")
        tag = response.headers.get("ETag", "")
        if tag.startswith('"') and tag.isascii() and tag.isprintable():  # it names one version
            files.write(_tag(part), tag)
        else:
            _tag(part).unlink(missing_ok=True)
        total = None if response.length is None else start + response.length
        bar = keras.utils.Progbar(total, unit_name="byte")
        with part.open("ab" if start else "wb") as file:
            done = start
            while chunk := _read(response, deadline):
                done += len(chunk)
                if max(done, total or 0) > limit:
                    raise ValueError(f"it sends more than the {limit:,} bytes that were expected")
                file.write(chunk)
                bar.update(done, finalize=done == total)
    if total is not None and done < total:
        raise ConnectionError(f"it ended after {done:,} of {total:,} bytes")


def _read(response: http.client.HTTPResponse, deadline: float) -> bytes:
    """What came next, at most a chunk; empty at the end."""
    if time.monotonic() > deadline:
        raise ValueError(f"it takes more than {_DEADLINE / 3600:.1f} hours")
    try:
        return response.read1(_CHUNK)
    except OSError as error:  # such as "no route to host": the disk is not to blame
        raise ConnectionError(str(error)) from error


def _tag(part: Path) -> Path:
    """Beside a partial file: which version of the file at the server it is the beginning of."""
    return part.with_name(f"{part.name}.etag")


def _is_zipped(record: Weights) -> bool:
    return record.url.endswith(".zip") and not record.filename.endswith(".zip")


def _member(part: Path, record: Weights) -> bytes:
    """The one member that is wanted out of a downloaded zip. Raises ValueError without it."""
    with refusing(part, "zip"), files.opened(part) as file:
        archive = archives.Zip(file, Budget.of(part.stat().st_size))
        members = [n for n in archive.names if n.rsplit("/", 1)[-1] == record.filename]
        if len(members) != 1:
            raise ValueError(f"it holds {archive.names[:5]} instead of {record.filename}")
        return archive.read(members[0])


def _has_whole_digest(record: Weights) -> bool:
    kind, _, digest = record.hash.partition(":")
    return bool(digest) and len(digest) == hashlib.new(kind, usedforsecurity=False).digest_size * 2


def _check(path: Path, record: Weights) -> None:
    """Raises ValueError if a file has not the size and the digest that were published."""
    size = path.stat().st_size
    if record.size is not None and size != record.size:
        raise ValueError(f"it has {size:,} bytes instead of {record.size:,}")
    kind, _, published = record.hash.partition(":")
    if not published:
        return
    digest = hashlib.new(kind, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    # Some publishers give the beginning of a digest only.
    if not digest.hexdigest().startswith(published):
        raise ValueError(f"its {kind} is {digest.hexdigest()}, the published one {published}")


def _check_cached(path: Path, record: Weights) -> None:
    """Raises ValueError if a cached file is not the one that was published."""
    if not path.is_file():
        raise ValueError(f"{path} should be a file: it is where {record.name} belongs.")
    try:
        _check(path, record)
    except ValueError as error:
        raise ValueError(
            f"The cached file {path} is damaged: {error}. Remove it, and it is downloaded again."
        ) from error
