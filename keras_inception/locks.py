"""One writer a folder: a lock that names its owner, and that a dead owner does not keep.

On one machine the operating system holds the lock (flock), so that it ends with its process,
however that ends. It also holds between machines where the file system passes flock on (NFS 4, most
cluster file systems). For those that do not, and for buckets (gs://), which have no locks, the
owner writes its file anew every few seconds: an owner whose file stands still is dead. Two
processes that start on two machines within the same second there are not kept apart.
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
from keras_inception.files import refuse_link

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
        self._folder = buckets.as_path(folder)
        self._owner_path = self._folder / OWNER
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
        self._beats.join()
        with buckets.naming(self._folder):
            self._owner_path.unlink(missing_ok=True)
        self._is_taken = False
        self._release()

    def take(self) -> None:
        """Takes the lock, and makes the folder if need be; nothing if it is taken already.

        Raises:
            InUse: another process, which lives, has it.
        """
        if self._is_taken:
            return
        with buckets.naming(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            is_held = not buckets.is_remote(self._folder) and self._acquire()
            if self._owner_lives(is_held):
                self._release()
                raise self._in_use()
            self._write_owner(0)
        self._is_taken = True
        self._beats.start()

    def _acquire(self) -> bool:
        """Takes the operating system's lock; False if the file system has none."""
        lock = filelock.FileLock(refuse_link(self._folder / LOCK), timeout=0)
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
        self._lock = None

    def _write_owner(self, beat: int) -> None:
        owner = {"host": platform.node(), "process": os.getpid(), "machine": _machine()}
        buckets.write(self._owner_path, json.dumps(owner | {"beat": beat}) + "\n")

    def _beat(self) -> None:
        beat = 0
        while not self._ended.wait(SECONDS_BETWEEN_BEATS):
            beat += 1
            with contextlib.suppress(OSError):
                self._write_owner(beat)

    def _owner(self) -> dict[str, Any]:
        """What the owner wrote last; empty without one."""
        try:
            with buckets.naming(self._owner_path):
                owner = json.loads(buckets.read(self._owner_path))
        except (OSError, ValueError, RecursionError):
            return {}
        return owner if isinstance(owner, dict) else {}

    def _owner_lives(self, is_held: bool) -> bool:
        """Whether the owner that is written down lives; `is_held`: the system's lock is ours."""
        # Some file systems lack a file for the moment in which it is replaced.
        owner = self._owner() or self._owner()
        if not owner:
            return False
        if is_held and owner.get("machine") == _machine():
            return False  # it had the system's lock until it died
        logging.warning(
            "%s was used by process %s on %s; looking whether it still is.",
            self._folder,
            owner.get("process"),
            owner.get("host"),
        )
        deadline = time.monotonic() + 3 * SECONDS_BETWEEN_BEATS
        while time.monotonic() < deadline:
            now = self._owner() or self._owner()
            if now != owner:
                return bool(now)
            time.sleep(SECONDS_BETWEEN_BEATS / 20)
        return False

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
