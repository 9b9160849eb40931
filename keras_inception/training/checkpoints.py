"""Checkpoints to go on from: written whole, checked when read, the newest good one used."""

from __future__ import annotations

import logging
import re
import shutil
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
        model, optimizer, average: What they hold; `average` may be None.
    """

    def __init__(self, folder: Path, model: keras.Model, optimizer: Any, average: Any) -> None:
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
        self._checkpoint = tf.train.Checkpoint(**parts)
        self._manager = tf.train.CheckpointManager(self._checkpoint, str(folder), max_to_keep=KEEP)

    def save(self, step: int) -> None:
        """Saves `step`, unless it is the newest already; keeps the newest three.

        Raises:
            OSError: it could not be written, for instance on a full disk; older ones are intact.
        """
        if self._steps() and self._steps()[-1] == step:
            return
        try:
            self._manager.save(checkpoint_number=step)
        except tf.errors.OpError as error:
            for rest in self._folder.glob("*_temp"):
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
