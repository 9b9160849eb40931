"""The files below a folder: what may be an image, and everything else by kind."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import stat
from pathlib import Path
from typing import Any

from keras_inception.buckets import errors, gfile, is_remote, naming, opened
from keras_inception.data.decoding import FORMATS
from keras_inception.data.plain import format_of
from keras_inception.files import LARGEST_IMAGE

# Names that are taken for images without a look into the file; a first pass decodes them all.
SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".dib", ".webp")
# What file managers, network drives and notebooks leave behind, besides names with a dot first.
_LEFTOVERS = {
    "__macosx", "@eadir", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "$recycle.bin",
    "#recycle", "@recycle", "@recently-snapshot", "lost+found",
}  # fmt: skip

LEFTOVER = "leftovers of file managers and notebooks"
FOLLOWED = "links to folders, which were followed"


def is_leftover(name: str) -> bool:
    """Whether a file or folder of this name is no part of a data set."""
    return name.startswith(".") or name.lower() in _LEFTOVERS


@dataclasses.dataclass
class Listing:
    """What is below a folder.

    Attributes:
        images: Paths of files that are images, by name or content, sorted as paths.
        left_out: Kind -> paths of what is not used.
        links: Folders that are links, and were followed.
        folders: Paths of the folders, sorted, without leftovers.
    """

    images: list[str] = dataclasses.field(default_factory=list)
    left_out: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    links: list[str] = dataclasses.field(default_factory=list)
    folders: list[str] = dataclasses.field(default_factory=list)

    def leave_out(self, kind: str, path: str) -> None:
        self.left_out.setdefault(kind, []).append(path)


def list_images(folder: str | Path) -> Listing:
    """Looks through a folder and all folders below it, each of them once.

    Args:
        folder: The folder, on this machine or in a bucket. Links to folders are followed.
    """
    listing = Listing()
    if is_remote(folder):
        _look_in_bucket(str(folder), listing)
    else:
        _look(str(folder), listing, frozenset({_identity(os.stat(folder))}))
    listing.images.sort(key=lambda path: path.split(os.sep))
    return listing


def is_folder(path: Any) -> bool:
    """Whether there is a folder of this path.

    Raises:
        tensorflow.errors.OpError: a bucket does not answer, or does not let us in.
    """
    if path.is_dir():
        return True
    if is_remote(path):
        # `is_dir` is also False where a bucket does not answer; `stat` raises the bucket's error.
        with contextlib.suppress(errors().NotFoundError):
            gfile().stat(str(path))
    return False


def _entries(folder: str) -> list[tuple[str, bool]]:
    """Names in a folder of a bucket, sorted, and whether they are folders."""
    found = []
    for name in sorted(gfile().listdir(folder)):
        plain = name.rstrip("/")
        # Asking takes a request each, which image files are spared.
        holds_files = name.endswith("/") or (
            not plain.lower().endswith(SUFFIXES) and gfile().isdir(f"{folder}/{plain}")
        )
        found.append((plain, holds_files))
    return found


def _look_in_bucket(folder: str, listing: Listing) -> None:
    """As `_look`; a bucket has no links, devices or names that are not UTF-8."""
    for name, holds_files in _entries(folder):
        path = f"{folder}/{name}"
        if is_leftover(name):
            listing.leave_out(LEFTOVER, path)
        elif holds_files:
            listing.folders.append(path)
            _look_in_bucket(path, listing)
        else:
            _note_file(path, listing)


def _identity(state: os.stat_result) -> tuple[int, int]:
    return state.st_dev, state.st_ino


def _look(folder: str, listing: Listing, around: frozenset[tuple[int, int]]) -> None:
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        listing.leave_out("folders that cannot be read", folder)
        return
    for name in names:
        path = os.path.join(folder, name)
        if is_leftover(name):
            listing.leave_out(LEFTOVER, path)
            continue
        if not _is_unicode(name):
            listing.leave_out("names that are not UTF-8", path)
            continue
        try:
            state = os.stat(path)
        except OSError as error:
            loop = error.errno == errno.ELOOP
            dangling = os.path.islink(path) and error.errno == errno.ENOENT
            kind = "links to themselves" if loop else "files that cannot be read"
            listing.leave_out("dangling links" if dangling else kind, path)
            continue
        if stat.S_ISDIR(state.st_mode):
            if _identity(state) in around:
                listing.leave_out("links to themselves", path)
                continue
            listing.folders.append(path)
            if os.path.islink(path):
                listing.links.append(path)
            _look(path, listing, around | {_identity(state)})
        elif not stat.S_ISREG(state.st_mode):
            listing.leave_out("FIFOs, sockets and devices", path)
        elif state.st_size > LARGEST_IMAGE:
            listing.leave_out(f"files of more than {LARGEST_IMAGE / 2**30:g} GiB", path)
        else:
            _note_file(path, listing)


def _note_file(path: str, listing: Listing) -> None:
    if is_image(path):
        listing.images.append(path)
    else:
        ending = os.path.splitext(path)[1].lower()
        listing.leave_out(f"{ending} files" if ending else "files without an ending", path)


def is_image(path: str) -> bool:
    """Whether a regular file is an image by its name or, where that does not say, its content."""
    if path.lower().endswith(SUFFIXES):
        return True
    try:
        with naming(path):
            return format_of(head_of(path)) != FORMATS[0]
    except OSError:
        return False


def head_of(path: str) -> bytes:
    """The first 32 bytes of a file, on this machine or in a bucket."""
    with opened(path) as file:
        return file.read(32)


def _is_unicode(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
