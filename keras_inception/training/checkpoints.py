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
_DAMAGE = (tf.errors.OpError, IndexError, ValueError, RuntimeError)


class Store:
    """The checkpoints of one run: model, optimizer, average and dropout's state.

    The data's position is the step itself (see data.pipeline).

    Args:
        folder: Where they lie.
        model, optimizer, average, scale: What they hold; the last two may be None.
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
        self._checkpoint = tf.train.Checkpoint(**parts)
        self._scratch = None if writes else tempfile.TemporaryDirectory()
        target = str(folder) if self._scratch is None else self._scratch.name
        self._manager = tf.train.CheckpointManager(self._checkpoint, target, max_to_keep=KEEP)
        self._last_saved: int | None = None
        self._best = tf.train.CheckpointManager(
            self._checkpoint, f"{target}/best", max_to_keep=1, checkpoint_name="best"
        )

    def save(self, step: int) -> None:
        """Saves `step`, unless it is the newest already; keeps the newest three.

        Raises:
            OSError: it could not be written, for instance on a full disk; older ones are intact.
        """
        if self._last_saved == step:
            return
        self._write(self._manager, step)
        self._last_saved = step

    def save_best(self, step: int) -> None:
        """Saves `step` as the best so far, in place of the one before. Raises OSError as `save`."""
        self._write(self._best, step)

    def restore_best(self) -> int:
        """Restores the best checkpoint, and returns its step.

        Raises:
            ValueError: there is none, or it is damaged.
        """
        found = sorted((self._folder / "best").glob("best-*.index"))
        if not found:
            raise ValueError(f"{self._folder} holds no best checkpoint; keep=last takes the last.")
        try:
            self._checkpoint.restore(
                str(found[-1].with_suffix(""))
            ).assert_existing_objects_matched()
        except (*_DAMAGE, AssertionError) as error:
            raise ValueError(
                f"{found[-1]} is damaged; keep=last takes the last checkpoint. ({error})"
            ) from error
        return int(found[-1].stem.rpartition("-")[2])

    def _write(self, manager: tf.train.CheckpointManager, step: int) -> None:
        try:
            manager.save(checkpoint_number=step)
        except tf.errors.OpError as error:
            for rest in self._folder.rglob("*_temp"):
                shutil.rmtree(rest, ignore_errors=True)
            raise OSError(
                f"The checkpoint of step {step} could not be written to {self._folder}; the one "
                f"before is intact. Free some space and start the same command again. ({error})"
            ) from error

    def restore_newest(self) -> int:
        """Restores the newest checkpoint that is whole, and returns its step; 0 without any.

        Raises:
            ValueError: there are checkpoints, but all of them are damaged.
        """
        steps = self._steps()
        for step in reversed(steps):
            path = str(self._folder / f"ckpt-{step}")
            try:
                self._checkpoint.restore(path).assert_existing_objects_matched()
            except (*_DAMAGE, AssertionError) as error:
                reason = str(error).splitlines()[0]
                logging.warning("Checkpoint %s is damaged, trying the one before: %s", path, reason)
                continue
            self._last_saved = step
            return step
        if steps:
            raise ValueError(
                f"All checkpoints in {self._folder} are damaged. Give --fresh to start anew."
            )
        return 0

    def _steps(self) -> list[int]:
        """Steps that have a checkpoint, in order."""
        found = (re.fullmatch(r"ckpt-(\d+)\.index", p.name) for p in self._folder.glob("*.index"))
        return sorted(int(match[1]) for match in found if match)
