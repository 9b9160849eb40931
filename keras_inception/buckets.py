"""Buckets (gs:// and the like): paths to read from, and folders as copies that are copied back.

Locks, renames, HDF5 files, plots and the exports' checks need a real file system. So a run folder
in a bucket is worked on as a copy in a temporary folder.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import shutil
import tempfile
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_inception import files
from keras_inception.files import UNFINISHED

SECONDS_BETWEEN_COPIES = 60.0
# A folder with none of these is no run and no network. It may be a data set, and is not copied.
_MARKS = ("config.json", "export.json", "saved_model.pb", "model.xml")
# In names of files that are not finished.
_UNFINISHED = (UNFINISHED, "_temp", ".tempstate")


def is_remote(path: Any) -> bool:
    """Whether a path is one of a bucket, such as gs://bucket/folder; hf:// is for weights alone."""
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else ""
    return "://" in text and not text.startswith("hf://")


def as_path(path: str | os.PathLike[str]) -> Any:
    """A path to read from: a `pathlib.Path`, or its like for a bucket.

    Buckets are read by TensorFlow's file systems, through etils' `epath`, which comes with
    tensorflow-datasets.

    Raises:
        ValueError: the path is of a kind that neither knows.
    """
    text = os.fspath(path)
    if not is_remote(text):
        return Path(text)
    from etils import epath

    try:
        return epath.Path(text)
    except KeyError as error:
        scheme = text.partition("://")[0]
        raise ValueError(
            f"No file system is known for {scheme}://; gs:// is, and what else tensorflow-datasets "
            f"takes. Received: {text}"
        ) from error


def opened(path: Any) -> Any:
    """Opens a file of a bucket, or a regular file of this machine (`files.opened`), to read it."""
    return gfile().GFile(os.fspath(path), "rb") if is_remote(path) else files.opened(path)


def read(path: Any, most: int = files.LARGEST_TEXT) -> bytes:
    """The bytes of a file of a bucket, or of this machine (`files.read`).

    Raises:
        ValueError: it has more than `most`, or is no regular file.
    """
    if not is_remote(path):
        return files.read(path, most)
    with opened(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"{path} has more than the {most:,} bytes that are read.")
    return content


def local(path: Any) -> Any:
    """A path on this machine: the path itself, or the copy of a folder or file of a bucket.

    A bucket's is copied once a process, and removed at its end.

    Raises:
        OSError: the bucket does not answer, or does not let us in.
    """
    return copy_of(path).path if is_remote(path) else path


def copy_of(path: Any) -> Copy:
    """The copy of a folder or file of a bucket, made now or before."""
    return _copy_of(os.fspath(path).rstrip("/"))


@functools.cache
def _copy_of(address: str) -> Copy:
    copy = Copy(address)
    copy.fetch()
    return copy


class Copy:
    """A folder of a bucket, and its copy in a temporary folder.

    Args:
        address: Such as gs://bucket/folder; it need not be there yet.

    Attributes:
        path: Where the copy is.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        scratch = tempfile.mkdtemp(prefix="keras_inception-")
        # With this object, at the latest when the process ends.
        weakref.finalize(self, shutil.rmtree, scratch, ignore_errors=True)
        self.path = Path(scratch) / address.rpartition("/")[2]
        # Name -> size and time of change of the bucket's file, and of the copy.
        self._there: dict[str, tuple[int, int]] = {}
        self._here: dict[str, tuple[int, int]] = {}
        self._busy = threading.Lock()

    def fetch(self) -> None:
        """Copies what is new or changed in the bucket; removes what is gone from it.

        Raises:
            OSError: the bucket does not answer, or does not let us in.
        """
        with self._busy, naming(self.address):
            found = self._states_there()
            for name, state in found.items():
                if self._there.get(name) != state:
                    target = self.path / name if name else self.path
                    target.parent.mkdir(parents=True, exist_ok=True)
                    gfile().copy(self._at(name), str(target), overwrite=True)
                    self._here[name] = _state_here(target)
            for name in self._there.keys() - found.keys():
                (self.path / name).unlink(missing_ok=True)
                self._here.pop(name, None)
            self._there = found

    def publish(self) -> None:
        """Copies back what was written since, in the order in which it was written.

        So the bucket always holds a state that the folder had, or one between two of them.

        Raises:
            OSError: the bucket does not answer, or does not let us in; or the copy is gone.
        """
        with self._busy, naming(self.address):
            if self._here and not self.path.is_dir():
                # Otherwise all that was in it would be removed from the bucket.
                raise OSError(f"The copy of {self.address} is no folder any more: {self.path}")
            found = self._states_here()
            for name in sorted(found, key=lambda name: found[name][1]):
                if self._here.get(name) == found[name]:
                    continue
                source, target = str(self.path / name), self._at(name)
                gfile().makedirs(target.rpartition("/")[0])
                # An old checkpoint may have been removed since.
                if os.path.exists(source):
                    _put(source, target)
                    self._here[name] = found[name]
            for name in self._here.keys() - found.keys():
                with contextlib.suppress(errors().NotFoundError):
                    gfile().remove(self._at(name))
                del self._here[name]

    @contextlib.contextmanager
    def published(self) -> Iterator[None]:
        """Inside, the bucket is brought up to date every minute, and at the end."""
        ended = threading.Event()

        def keep_on() -> None:
            while not ended.wait(SECONDS_BETWEEN_COPIES):
                try:
                    self.publish()
                except OSError as error:
                    logging.warning("%s; trying again in a minute.", error)

        thread = threading.Thread(target=keep_on, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            self.publish()

    def _at(self, name: str) -> str:
        return f"{self.address}/{name}" if name else self.address

    def _states_there(self) -> dict[str, tuple[int, int]]:
        if not gfile().isdir(self.address):
            # A bucket that does not answer is no folder either; its error comes now.
            with contextlib.suppress(errors().NotFoundError):
                return {"": _state_there(self.address)}
            return {}
        if not any(gfile().exists(f"{self.address}/{mark}") for mark in _MARKS):
            return {}
        files = {}
        for folder, _, names in gfile().walk(self.address):
            for name in names:
                path = f"{folder.rstrip('/')}/{name}"
                if name and not _is_private(path.removeprefix(f"{self.address}/")):
                    files[path.removeprefix(f"{self.address}/")] = _state_there(path)
        return files

    def _states_here(self) -> dict[str, tuple[int, int]]:
        found = {}
        for path in self.path.rglob("*"):
            name = path.relative_to(self.path).as_posix()
            with contextlib.suppress(FileNotFoundError):  # removed since
                if path.is_file() and not _is_private(name):
                    found[name] = _state_here(path)
        return found


def write(address: Any, text: str) -> None:
    """Writes a small file, of a bucket or of this machine: it is there whole, or not at all."""
    if not is_remote(address):
        files.write(Path(address), text)
        return
    with tempfile.TemporaryDirectory(prefix="keras_inception-") as scratch:
        source = Path(scratch) / "text"
        source.write_text(text, encoding="utf-8")
        with naming(address):
            _put(str(source), str(address))


def _put(source: str, address: str) -> None:
    """Copies a file of this machine under another name and renames it: whole, or not at all."""
    folder, _, name = address.rpartition("/")
    unfinished = f"{folder}/{UNFINISHED}{name}"
    gfile().copy(source, unfinished, overwrite=True)
    gfile().rename(unfinished, address, overwrite=True)


def _is_private(name: str) -> bool:
    """Whether a file belongs to a process, or is not finished."""
    hidden = any(part.startswith(".") for part in name.split("/"))
    return hidden or name.endswith("owner.json") or any(mark in name for mark in _UNFINISHED)


def _state_here(path: Path) -> tuple[int, int]:
    state = path.stat()
    return state.st_size, state.st_mtime_ns


def _state_there(path: str) -> tuple[int, int]:
    state = gfile().stat(path)
    return int(state.length), int(state.mtime_nsec)


@contextlib.contextmanager
def naming(address: Any) -> Iterator[None]:
    """Turns TensorFlow's errors about a bucket into an OSError of one line."""
    if not is_remote(address):
        yield
        return
    try:
        yield
    except errors().OpError as error:
        reason = (error.message.splitlines() or [type(error).__name__])[0]
        raise OSError(f"{address} cannot be read or written: {reason}") from error


def gfile() -> Any:
    """TensorFlow's file systems, which know buckets."""
    import tensorflow as tf

    return tf.io.gfile


def errors() -> Any:
    """What they raise."""
    import tensorflow as tf

    return tf.errors
