"""One writer a folder: a lock that names its owner, and that a dead owner does not keep.

On one machine the operating system holds the lock (flock), so that it ends with its process,
however that ends. It also holds between machines where the file system passes flock on (NFS 4, most
cluster file systems). For those that do not, the owner touches a file every few seconds: an owner
on another machine whose file stands still is dead. Two processes that start on two machines within
the same second on such a file system are not kept apart. A bucket (gs://) has no lock at all: there
the owner writes its file anew every few seconds.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import platform
import threading
import time
from pathlib import Path
from typing import Any

import filelock

from keras_inception import buckets
from keras_inception.buckets import as_path, is_remote, naming
from keras_inception.files import write

SECONDS_BETWEEN_BEATS = 10.0
LOCK, OWNER = ".lock", "owner.json"


class InUse(ValueError):
    """Another process writes the folder; the message says which, and what to do."""


class FolderLock:
    """The right to write a folder; taken with `take`, given back at the end of the `with` block.

    Args:
        folder: The folder, whether it exists yet or not.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = as_path(folder)
        self._is_remote = is_remote(folder)
        self._is_taken = False
        self._lock: filelock.FileLock | None = None
        self._ended = threading.Event()
        self._beats = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> FolderLock:
        return self

    def __exit__(self, *exception: Any) -> None:
        if not self._is_taken:
            return
        self._ended.set()
        if self._beats.is_alive():
            self._beats.join()
        with self._naming():
            (self._folder / OWNER).unlink(missing_ok=True)
        self._release()

    def take(self) -> None:
        """Takes the lock, and makes the folder if need be; nothing if it is taken already.

        Raises:
            InUse: another process, which lives, has it.
        """
        if self._is_taken:
            return
        with self._naming():
            self._folder.mkdir(parents=True, exist_ok=True)
            # Without a lock of the system's, the owner's beats have to do.
            held_by_system = not self._is_remote and self._acquire()
            if self._lives(held_by_system):
                self._release()
                raise self._in_use()
            self._is_taken = True
            self._write_owner(0)
        self._beats.start()

    def _acquire(self) -> bool:
        """Takes the operating system's lock; False if the file system has none."""
        lock = filelock.FileLock(self._folder / LOCK, timeout=0)
        try:
            lock.acquire()
        except filelock.Timeout as error:
            raise self._in_use() from error
        except NotImplementedError:
            return False
        self._lock = lock
        return True

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()
        self._lock, self._is_taken = None, False

    def _write_owner(self, beat: int) -> None:
        owner = {"host": platform.node(), "process": os.getpid(), "machine": _machine()}
        if self._is_remote:
            buckets.write(f"{self._folder}/{OWNER}", json.dumps(owner | {"beat": beat}) + "\n")
        else:
            write(self._folder / OWNER, json.dumps(owner) + "\n")

    def _naming(self) -> contextlib.AbstractContextManager[None]:
        return naming(str(self._folder)) if self._is_remote else contextlib.nullcontext()

    def _owner(self) -> dict[str, Any]:
        try:
            owner = json.loads((self._folder / OWNER).read_text())
        except (OSError, ValueError, RecursionError):
            return {}
        return owner if isinstance(owner, dict) else {}

    def _lives(self, held_by_system: bool) -> bool:
        """Whether the owner that is written down lives."""
        owner = self._owner()
        if not owner:
            return False
        if owner.get("machine") == _machine():
            # A number of a process says little: others, in other containers, have the same.
            return not held_by_system and _lives(owner.get("process"))
        logging.warning(
            "%s was used by process %s on %s; looking whether it still is.",
            self._folder,
            owner.get("process"),
            owner.get("host"),
        )
        before, deadline = self._touched(), time.monotonic() + 3 * SECONDS_BETWEEN_BEATS
        while time.monotonic() < deadline:
            if self._touched() != before:
                return bool(self._owner())
            time.sleep(SECONDS_BETWEEN_BEATS / 20)
        return False

    def _touched(self) -> Any:
        """What changes with each beat of the owner."""
        if self._is_remote:
            return self._owner()
        try:
            return (self._folder / OWNER).stat().st_mtime_ns
        except OSError:
            return 0

    def _beat(self) -> None:
        beat = 0
        while not self._ended.wait(SECONDS_BETWEEN_BEATS):
            beat += 1
            with contextlib.suppress(OSError), self._naming():
                if self._is_remote:
                    self._write_owner(beat)
                else:
                    os.utime(self._folder / OWNER)

    def _in_use(self) -> InUse:
        owner = self._owner()
        who = f"process {owner.get('process', 'unknown')} on {owner.get('host', 'this machine')}"
        return InUse(
            f"{self._folder} is written by {who}. Wait for its end or stop it, or give another "
            "`run_dir`."
        )


def _machine() -> str:
    """What tells machines apart: containers of one machine share it, and its flock."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return platform.node()


def _lives(process: Any) -> bool:
    if type(process) is not int or process < 1:
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # somebody else's
    return True
