"""Checkpoints to go on from: written whole, checked when read, the newest good one used."""

from __future__ import annotations

import logging
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

KEEP = 3

# What TensorFlow raises for a truncated, altered or incomplete checkpoint.
_DAMAGE = (tf.errors.OpError, IndexError, ValueError, RuntimeError, AssertionError)


class Store:
    """The checkpoints of one run: model, optimizer, average and dropout's state.

    The data's position is the step itself (see data.pipeline), which is the checkpoint's number.

    Args:
        folder: Where they lie.
        model, optimizer, average, scale: What they hold; the last two may be None.
        epoch: Sums over the epoch that is under way, for its row of the history.
        writes: Whether this process is the one whose checkpoints are kept. Another worker of a
            cluster has to take part in saving, into a folder that is thrown away.
    """

    def __init__(
        self,
        folder: Path,
        model: keras.Model,
        optimizer: Any,
        average: Any,
        scale: Any = None,
        epoch: tf.Variable | None = None,
        *,
        writes: bool = True,
    ) -> None:
        self._folder = folder
        # No Keras format and no tracking of the model holds the states of dropout's seeds.
        seeds = [
            layer.seed_generator.state.value
            for layer in model.layers
            if getattr(layer, "seed_generator", None) is not None
        ]
        parts = {"model": model, "optimizer": optimizer, "seeds": seeds}
        if average is not None:
            parts["average"] = average.shadows
        if scale is not None:
            parts["scale"] = [scale.value, scale.finite_steps]
        if epoch is not None:
            parts["epoch"] = epoch
        self._checkpoint = tf.train.Checkpoint(**parts)
        self._scratch = None if writes else tempfile.TemporaryDirectory()
        self._target = folder if self._scratch is None else Path(self._scratch.name)

    def save(self, step: int) -> None:
        """Saves `step`; keeps the newest three.

        Raises:
            OSError: it could not be written, for instance on a full disk; older ones are intact.
        """
        self._write(self._target / f"ckpt-{step}", KEEP)

    def save_best(self, step: int) -> None:
        """Saves `step` as the best so far, in place of the one before. Raises OSError as `save`."""
        self._write(self._target / "best" / f"best-{step}", 1)

    def restore_best(self) -> int:
        """Restores the best checkpoint, and returns its step.

        Raises:
            ValueError: there is none, or it is damaged.
        """
        steps = _steps(self._folder / "best", "best")
        if not steps:
            raise ValueError(
                f"{self._folder} holds no best checkpoint; `keep=last` takes the last."
            )
        path = self._folder / "best" / f"best-{steps[-1]}"
        try:
            self._read(path)
        except _DAMAGE as error:
            raise ValueError(
                f"{path} is damaged; `keep=last` takes the last checkpoint. ({error})"
            ) from error
        return steps[-1]

    def restore_newest(self) -> int:
        """Restores the newest checkpoint that is whole, and returns its step; 0 without any.

        Raises:
            ValueError: there are checkpoints, but all of them are damaged.
        """
        steps = _steps(self._folder, "ckpt")
        for step in reversed(steps):
            path = self._folder / f"ckpt-{step}"
            try:
                self._read(path)
            except _DAMAGE as error:
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                logging.warning("Checkpoint %s is damaged, trying the one before: %s", path, reason)
                continue
            return step
        if steps:
            raise ValueError(
                f"All checkpoints in {self._folder} are damaged. Start anew with `fresh=True`."
            )
        return 0

    def _write(self, path: Path, keep: int) -> None:
        """Writes a checkpoint, and removes those of its kind before the newest `keep`."""
        kind, _, step = path.name.partition("-")
        # TensorFlow writes the index under its own name, where a kill leaves half of it.
        unfinished = path.with_name(f"{path.name}_temp")
        try:
            self._checkpoint.write(str(unfinished / path.name))
            for data in unfinished.glob("*.data-*"):
                data.replace(path.parent / data.name)
            (unfinished / f"{path.name}.index").replace(f"{path}.index")
            shutil.rmtree(unfinished)
        except (tf.errors.OpError, OSError) as error:
            for rest in self._folder.rglob("*_temp"):
                shutil.rmtree(rest, ignore_errors=True)
            raise OSError(
                f"The checkpoint of step {step} could not be written to {self._folder}; the one "
                f"before is intact. Free some space and start the same command again. ({error})"
            ) from error
        for old in _steps(path.parent, kind)[:-keep]:
            # The index first: without it the rest is no checkpoint any more.
            (path.parent / f"{kind}-{old}.index").unlink()
            for rest in path.parent.glob(f"{kind}-{old}.data-*"):
                rest.unlink()

    def _read(self, path: Path) -> None:
        self._checkpoint.read(str(path)).assert_existing_objects_matched()


def _steps(folder: Path, kind: str) -> list[int]:
    """Steps that have a checkpoint of a kind, in order."""
    found = (re.fullmatch(rf"{kind}-(\d+)\.index", p.name) for p in folder.glob("*.index"))
    return sorted(int(match[1]) for match in found if match)
