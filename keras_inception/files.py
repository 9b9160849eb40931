"""Files on this machine: written whole or not at all, and the folder that keeps downloads."""

from __future__ import annotations

import contextlib
import ctypes
import glob
import io
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from keras_inception.messages import printable

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# What a file is written from: see `write`.
Content = bytes | str | Callable[[Path], Any]
# Stands in the name of a file that is being written; what has it afterwards was left by a kill.
UNFINISHED = "-unfinished-"
# Begins the name of the folder in which a command makes what it exchanges at its end.
SCRATCH = ".export-"
# The most bytes of a text, such as a table of images, and of an image's file.
LARGEST_TEXT, LARGEST_IMAGE = 2**30, 2**30
_KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}


def cache_folder(kind: str) -> Path:
    """The folder `kind` ("models", "datasets") in Keras' home: $KERAS_HOME, or else ~/.keras."""
    home = os.environ.get("KERAS_HOME") or os.path.join(os.path.expanduser("~"), ".keras")
    return Path(home) / kind


def regular(path: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """The path. Raises ValueError if it is there but no regular file: reading may never end."""
    with contextlib.suppress(FileNotFoundError):
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            kind = _KINDS.get(stat.S_IFMT(mode), "a device")
            raise ValueError(f"{printable(os.fspath(path))} is {kind}, no regular file.")
    return path


def opened(path: str | os.PathLike[str]) -> BinaryIO:
    """Opens a file to read it: the one function that opens paths of users.

    Raises:
        ValueError: it is a pipe, a device, a socket or a folder.
        OSError: it is not there, or cannot be opened.
    """
    return Path(regular(path)).open("rb")


def read(path: str | os.PathLike[str], most: int = LARGEST_TEXT) -> bytes:
    """A file's bytes.

    Args:
        path: The file.
        most: How many bytes it may have.

    Raises:
        ValueError: it has more, or is no regular file.
        OSError: it is not there, or cannot be read.
    """
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise ValueError(
                f"{printable(os.fspath(path))} has {size:,} bytes; at most {most:,} are read."
            )
        return file.read(size)


def read_text(path: str | os.PathLike[str]) -> str:
    """A file's text in UTF-8. Raises UnicodeDecodeError, or as `read`."""
    return io.TextIOWrapper(io.BytesIO(read(path)), encoding="utf-8").read()


def refuse_link(path: Path) -> Path:
    """The path. Raises ValueError if it is a link, which could lead out of its folder."""
    if path.is_symlink():
        raise ValueError(
            f"{printable(os.fspath(path))} is a link, and nothing is read, written or removed "
            "through links in a run folder. Put what it points to in its place, or remove it."
        )
    return path


def write(path: Path, content: Content) -> None:
    """Writes a file under a temporary name and renames it: it is there whole, or not at all.

    Args:
        path: The file.
        content: Bytes, text, or a function that is given the temporary path to write to.

    Raises:
        ValueError: the path is one of a bucket.
    """
    write_all({path: content})


def write_all(contents: Mapping[Path, Content]) -> None:
    """Writes files that belong together, and renames them when all of them are there.

    What stops it before leaves the earlier files. What a killed process left is removed when the
    same file is written again.

    Args:
        contents: File -> what `write` takes.

    Raises:
        ValueError: a path is one of a bucket.
    """
    with contextlib.ExitStack() as stack:
        written = {}
        for path, content in contents.items():
            temporary = written[path] = stack.enter_context(_unfinished(path))
            if callable(content) or len(contents) > 1:  # it takes long enough to be killed
                _remove_left(path)
            if callable(content):
                content(temporary)
            elif isinstance(content, str):
                temporary.write_text(content, encoding="utf-8")
            else:
                temporary.write_bytes(content)
            temporary.chmod(0o644)
        for path, temporary in written.items():
            temporary.replace(path)


@contextlib.contextmanager
def _unfinished(path: Path) -> Iterator[Path]:
    """A temporary file beside a file, locked for as long as its process lives, then removed."""
    if path.parts and path.parts[0].endswith(":") and len(path.parts[0]) > 2:
        # pathlib has made gs:/bucket of gs://bucket.
        where = f"{path.parts[0]}//{'/'.join(path.parts[1:])}"
        raise ValueError(f"This file is written on this machine only. Received: {where}")
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        # Writers such as Keras' look at the suffix.
        handle, name = tempfile.mkstemp(
            prefix=f".{path.stem}{UNFINISHED}", suffix=path.suffix, dir=path.parent
        )
        with contextlib.suppress(OSError):  # a file system without locks
            _lock(handle)
        if os.path.exists(name):  # another process took it for dead before it was locked
            break
        os.close(handle)
    if fcntl is None:  # Windows renames no file that is open
        os.close(handle)
    try:
        yield Path(name)
    finally:
        if fcntl is not None:
            os.close(handle)
        Path(name).unlink(missing_ok=True)


def _remove_left(path: Path) -> None:
    """Removes what killed processes left of a file: what no living one has locked."""
    begin, end = glob.escape(f".{path.stem}{UNFINISHED}"), glob.escape(path.suffix)
    for left in path.parent.glob(f"{begin}*{end}"):
        with contextlib.suppress(OSError, ValueError), Path(regular(left)).open("r+b") as file:
            if fcntl is not None:
                _lock(file.fileno(), wait=False)
                left.unlink()


def _lock(handle: int, wait: bool = True) -> None:
    if fcntl is not None:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


@contextlib.contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """A new folder in a folder, to make in it what is exchanged; removed at the end.

    It is locked as long as its process lives, so that `remove_scratch` leaves it alone.
    """
    while True:
        with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=folder) as name, _locked(Path(name)):
            if os.path.exists(name):  # no other process took it for dead before it was locked
                yield Path(name)
                return


def remove_scratch(folder: Path) -> None:
    """Removes what killed processes left of `scratch` in a folder; nothing on Windows."""
    for left in folder.glob(f"{SCRATCH}*"):
        with contextlib.suppress(OSError, ValueError), _locked(refuse_link(left), wait=False):
            if fcntl is not None:
                shutil.rmtree(left) if left.is_dir() else left.unlink()


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Waits until no other process is in here with this folder, where the system has locks."""
    with _locked(folder):
        yield


@contextlib.contextmanager
def _locked(folder: Path, wait: bool = True) -> Iterator[None]:
    """Holds a folder's lock. Raises BlockingIOError if another process does, without `wait`."""
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            _lock(handle, wait)
        except BlockingIOError:
            raise
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(handle)


def exchange(made: Path, path: Path) -> None:
    """Puts a file or folder in the place of an earlier one, which is whole until then.

    Linux exchanges two folders in one step, so that one of both is there whenever the process is
    killed. Elsewhere a kill between two steps leaves the earlier one beside the place, and
    `restore` puts it back.

    Args:
        made: The new one, on the same disk.
        path: The place.
    """
    restore(path)
    if not path.is_dir():
        made.replace(path)
    elif not _swapped(made, path):
        former = _former(path)
        path.rename(former)
        try:
            made.rename(path)
        except OSError:
            former.rename(path)
            raise
        shutil.rmtree(former)


def restore(path: Path) -> None:
    """Puts back the folder that an `exchange` took away and was killed before it put another."""
    former = _former(path)
    if former.is_dir() and not former.is_symlink():
        shutil.rmtree(former) if path.exists() else former.rename(path)


def _former(path: Path) -> Path:
    return path.with_name(f".{path.name}-former")


def _swapped(one: Path, other: Path) -> bool:
    """Exchanges two folders in one step; whether the system can."""
    try:
        rename = ctypes.CDLL(None).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    here, exchanged = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of linux/fcntl.h and linux/fs.h
    return rename(here, os.fsencode(one), here, os.fsencode(other), exchanged) == 0
