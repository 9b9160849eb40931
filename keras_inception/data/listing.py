"""The files below a folder: what may be an image, and everything else by kind."""

from __future__ import annotations

import dataclasses
import errno
import os
import stat
from pathlib import Path

from keras_inception.data.convert import kind_by_content

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
    """

    images: list[str] = dataclasses.field(default_factory=list)
    left_out: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    links: list[str] = dataclasses.field(default_factory=list)

    def leave_out(self, kind: str, path: str) -> None:
        self.left_out.setdefault(kind, []).append(path)


def list_images(folder: str | Path, deep: bool = True) -> Listing:
    """Looks through a folder.

    Args:
        folder: The folder.
        deep: Whether its folders are looked through as well; links to folders are followed.
    """
    listing = Listing()
    _look(str(folder), listing, frozenset({_identity(os.stat(folder))}), deep)
    listing.images.sort(key=lambda path: path.split(os.sep))
    return listing


def _identity(state: os.stat_result) -> tuple[int, int]:
    return state.st_dev, state.st_ino


def _look(folder: str, listing: Listing, around: frozenset[tuple[int, int]], deep: bool) -> None:
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
            if not deep:
                continue
            if _identity(state) in around:
                listing.leave_out("links to themselves", path)
                continue
            if os.path.islink(path):
                listing.links.append(path)
            _look(path, listing, around | {_identity(state)}, deep)
        elif not stat.S_ISREG(state.st_mode):
            listing.leave_out("FIFOs, sockets and devices", path)
        elif is_image(path):
            listing.images.append(path)
        else:
            ending = os.path.splitext(name)[1].lower()
            listing.leave_out(f"{ending} files" if ending else "files without an ending", path)


def is_image(path: str) -> bool:
    """Whether a regular file is an image by its name or, where that does not say, its content."""
    if path.lower().endswith(SUFFIXES):
        return True
    try:
        with open(path, "rb") as file:
            return bool(kind_by_content(file.read(32)))
    except OSError:
        return False


def _is_unicode(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def printable(path: str) -> str:
    """A path for a message: bytes that are no Unicode and control characters are escaped."""
    text = path.encode(errors="surrogateescape").decode(errors="backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
