"""How far an evaluation has come, in a file, so that one that was stopped goes on."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from keras_inception import archives
from keras_inception.budget import refusing
from keras_inception.files import write

SAVE_EVERY = 30.0  # seconds between two notes
_ROWS = {"index", "content", "labels"}


class Notes:
    """What is known of each image so far, kept in a file so that a stopped evaluation goes on.

    Args:
        folder: Where; None keeps nothing.
        protocol: What the answers depend on, as JSON holds it.
        fingerprints: float32 (models, 5).
        fresh: Whether to start anew.
    """

    def __init__(
        self,
        folder: Path | None,
        protocol: dict[str, Any],
        fingerprints: np.ndarray,
        fresh: bool,
    ) -> None:
        self.path = folder / "unfinished.npz" if folder else None
        self._protocol, self._fingerprints = json.dumps(protocol), fingerprints
        self.rows: dict[str, np.ndarray] = {}
        self._saved = time.monotonic()
        if self.path is None or fresh or not self.path.exists():
            return
        with refusing(self.path, "an unfinished evaluation, which `fresh=True` removes"):
            rows = archives.arrays(self.path)
            before, theirs = str(rows.pop("protocol")), rows.pop("fingerprints")
            if len({len(column) for column in rows.values()}) != 1 or not rows.keys() >= _ROWS:
                raise ValueError("it lacks rows")
            is_same = before == self._protocol and np.allclose(theirs, fingerprints, atol=1e-3)
        if not is_same:
            raise ValueError(
                f"{folder} holds an unfinished evaluation of other models, images or crops. "
                "Give another `output`, or `fresh=True` to start anew."
            )
        self.rows = rows

    def save(self, rows: dict[str, list[np.ndarray]]) -> None:
        """Writes the rows so far, if the last time is long enough ago."""
        if self.path is None or time.monotonic() - self._saved < SAVE_EVERY:
            return
        self._saved = time.monotonic()
        columns: dict[str, Any] = {
            **{name: np.concatenate(parts) for name, parts in rows.items()},
            "protocol": np.array(self._protocol),
            "fingerprints": self._fingerprints,
        }
        write(self.path, lambda path: np.savez(path, **columns))

    def done(self) -> None:
        if self.path is not None:
            self.path.unlink(missing_ok=True)
