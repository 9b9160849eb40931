"""Published files on this machine: downloaded once, verified before anything reads them.

The cache is `models/` in Keras' home (KERAS_HOME, by default ~/.keras), which keras.applications
uses as well. A file appears there under its name only when it is complete and its digest is right.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.client
import logging
import os
import re
import shutil
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import filelock
import keras

from keras_inception.files import cache_folder
from keras_inception.weights.catalog import Weights

MIRROR_VARIABLE = "KERAS_INCEPTION_MIRROR"
_CHUNK = 2**20
_ATTEMPTS = 5
_FIRST_PAUSE = 1.0  # seconds; doubled after each failed attempt
_TIMEOUT = 30.0  # seconds without a byte
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
    path = cache_folder("models") / record.filename
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
            _write(path.with_name(f"{path.name}.sha256"), digest)
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

    Raises:
        DownloadError: the server refuses, or stays away for all attempts.
    """
    pause, failures, reason = _FIRST_PAUSE, 0, ""
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            return _append(url, part)
        except urllib.error.HTTPError as error:
            reason = f"the server answered {error.code} {error.reason}"
            if error.code not in _PASSING:
                break
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError) as error:
            reason = str(getattr(error, "reason", error)) or type(error).__name__
        except ConnectionError as error:
            reason = str(error)
        progressed = part.exists() and part.stat().st_size > before
        failures = 1 if progressed else failures + 1
        if failures >= _ATTEMPTS:
            break
        logging.warning("%s: %s; trying again in %.0f s.", url, reason, pause)
        time.sleep(pause)
        pause = _FIRST_PAUSE if progressed else pause * 2
    raise DownloadError(
        f"{record.name} could not be downloaded from {url}: {reason}. Download it elsewhere and "
        f"put it at {path}, or give its path as `weights=`; {MIRROR_VARIABLE} names another server."
    )


def _append(url: str, part: Path) -> None:
    """One connection: the rest of the file, or all of it if it changed since or cannot be resumed.

    Raises:
        URLError, HTTPException, ConnectionError, TimeoutError: it broke off.
    """
    request = urllib.request.Request(url, headers={"User-Agent": "keras_inception"})
    start = part.stat().st_size if part.exists() else 0
    validator = _validator(part)
    if start and validator.exists():
        request.add_header("Range", f"bytes={start}-")
        request.add_header("If-Range", validator.read_text())
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # 416: nothing is left after what we have
            raise
        found = re.search(r"/(\d+)$", error.headers.get("Content-Range", ""))
        if found and int(found[1]) == start:
            return
        part.unlink()
        raise http.client.IncompleteRead(b"") from error
    with response:
        resumes = response.status == 206
        start = start if resumes else 0
        tag = response.headers.get("ETag") or response.headers.get("Last-Modified")
        if tag and not tag.startswith("W/"):
            _write(validator, tag)
        else:
            validator.unlink(missing_ok=True)
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else None
        bar = keras.utils.Progbar(total, unit_name="byte")
        with part.open("ab" if resumes else "wb") as file:
            done = start
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                done += len(chunk)
                bar.update(done, finalize=done == total)
        if total is not None and done < total:
            raise http.client.IncompleteRead(b"", total - done)


def _validator(part: Path) -> Path:
    """Beside a partial file: which version of the file at the server it is the beginning of."""
    return part.with_name(f"{part.name}.etag")


def _is_zipped(record: Weights) -> bool:
    return record.url.endswith(".zip") and not record.filename.endswith(".zip")


def _unzipped(part: Path, target: Path, record: Weights) -> Path:
    """The one member that is wanted out of a downloaded zip. Raises ValueError without it."""
    try:
        with zipfile.ZipFile(part) as archive:
            members = [n for n in archive.namelist() if n.rsplit("/", 1)[-1] == record.filename]
            if len(members) != 1:
                raise ValueError(f"it holds {archive.namelist()[:5]} instead of {record.filename}")
            with archive.open(members[0]) as source, target.open("wb") as copy:
                shutil.copyfileobj(source, copy)
    except zipfile.BadZipFile as error:
        raise ValueError(f"it is a damaged zip archive ({error})") from error
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
    note = path.with_name(f"{path.name}.sha256")
    kind, _, digest = record.hash.partition(":")
    checks = [(kind, digest)] if digest else []
    if note.exists():
        checks.append(("sha256", note.read_text()))
    for kind, wanted in checks:
        found = _digests(path, {kind})[kind]
        if not found.startswith(wanted):
            raise ValueError(
                f"The cached file {path} is damaged (its {kind} is {found}, not {wanted}). Remove "
                "it, and it is downloaded again."
            )


def _digests(path: Path, kinds: set[str]) -> dict[str, str]:
    """Hexadecimal digests of a file, by kind, in one pass."""
    digests = {kind: hashlib.new(kind, usedforsecurity=False) for kind in kinds}
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            for digest in digests.values():
                digest.update(chunk)
    return {kind: digest.hexdigest() for kind, digest in digests.items()}


@contextlib.contextmanager
def _temporary_beside(path: Path) -> Iterator[Path]:
    handle, name = tempfile.mkstemp(dir=path.parent)
    os.close(handle)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _write(path: Path, text: str) -> None:
    """Writes a small text file as a whole or not at all."""
    with _temporary_beside(path) as temporary:
        temporary.write_text(text)
        os.replace(temporary, path)
