"""What the stages of a training have in common."""

from __future__ import annotations

import abc
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from keras_inception.data import Source
from keras_inception.files import write
from keras_inception.identity import attach
from keras_inception.models.saving import save_model
from keras_inception.preprocessing import Preprocessing
from keras_inception.recipes import Recipe
from keras_inception.runs import RunFolder
from keras_inception.training import thresholds
from keras_inception.training.progress import Progress
from keras_inception.training.strategy import is_chief, wait_for_all
from keras_inception.weights import save_weights


class Place(NamedTuple):
    """What a stage computes, where, and on what.

    Attributes:
        recipe: What to compute.
        folder: The stage's run folder; nothing is written before its `run`.
        source: The data set; its training part is the one that is trained on.
        contract: The contract of the network's input.
        strategy: Which devices compute.
    """

    recipe: Recipe
    folder: RunFolder
    source: Source
    contract: Preprocessing
    strategy: tf.distribute.Strategy


class Stage(abc.ABC):
    """A stage of a training: first `run`, until the network is trained, then `finish`.

    Args:
        model: The network that trains; built in the strategy's scope.
        inference: Makes the network that is left behind, which gives probabilities, with the
            present weights of the one that trains.
        place: What else it needs; its fields are attributes of the stage.
        total_steps: Steps of the whole stage.

    Attributes:
        step: Steps that are done.
        progress: Prints the stage's lines.
    """

    def __init__(
        self,
        model: keras.Model,
        inference: Callable[[], keras.Model],
        place: Place,
        total_steps: int,
    ) -> None:
        self.place = place
        self.recipe, self.folder, self.source, self.contract, self.strategy = place
        self.model, self._inference = model, inference
        self.step, self.total_steps = 0, total_steps
        self.progress = Progress(
            prints=is_chief(self.strategy),
            batch_size=self.recipe.batch_size,
            total_steps=total_steps,
            epochs=self.recipe.epochs,
        )

    @abc.abstractmethod
    def run(self, stop: dict[str, int]) -> None:
        """Trains to the last step, from where an earlier run of the stage stopped.

        Args:
            stop: Gets "signal" when the process is asked to stop.

        Raises:
            Interrupted: it was asked to stop; everything is saved.
        """

    @abc.abstractmethod
    def finish(self) -> None:
        """Writes the trained network, its weights and the curves."""

    def _write(self, draw: Callable[[Path], Any]) -> None:
        """Writes what a stage leaves behind; all workers call it, the chief writes.

        Args:
            draw: Writes the image of the curves.
        """
        if is_chief(self.strategy):
            folder, left = self.folder, self._inference()
            known = left.identity.replace(
                preprocessing=self.contract, class_names=tuple(self.source.class_names)
            )
            if self.source.several:
                chosen, said = thresholds.chosen(left, self.source, self.contract)
                known = known.replace(thresholds=chosen)
                self.progress.say(said)
            save_model(attach(left, known), folder.model_path)
            write(folder.curves_path, draw)
            # A next stage starts from the network that trained, auxiliary heads included. Last,
            # since this file says that the stage has ended.
            attach(self.model, known)
            write(folder.weights_path, lambda path: save_weights(self.model, path))
        wait_for_all(self.strategy)
