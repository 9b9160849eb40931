"""The stage that fits the classifier alone: each image once through the frozen network, then a
regression to convergence on the features.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_inception import archives, pictures
from keras_inception.data.parts import stratified
from keras_inception.files import write
from keras_inception.models.fusion import fuse
from keras_inception.training import balance
from keras_inception.training.features import feature_network, pooled_features
from keras_inception.training.linear import Head, fit_head
from keras_inception.training.lost import naming_lost_images
from keras_inception.training.stage import Place, Stage
from keras_inception.training.strategy import is_chief, wait_for_all

# One image of each class in so many is held out where the data set has no validation part.
_HELD_OUT = 4


class Probe(Stage):
    """The classifier alone, fitted to the features of the frozen network.

    Args:
        model: The network, with a classifier "predictions" that is replaced.
        inference: Makes the network that is left behind: see `Stage`.
        place: What else a `Stage` needs.
    """

    def __init__(
        self, model: keras.Model, inference: Callable[[], keras.Model], place: Place
    ) -> None:
        super().__init__(model, inference, place, total_steps=1)
        with self.strategy.scope():
            # As it is deployed: the features differ by rounding, and take less time.
            self.network = fuse(feature_network(model))

    def run(self, stop: dict[str, int]) -> None:
        started = time.monotonic()
        with naming_lost_images(self.source, "train"):
            features = pooled_features(self.network, self.place, self.progress.say, stop)
        kept = self.folder.features_path / "head.npz"
        if is_chief(self.strategy):
            head, tried = self._fit(features)
            write(kept, lambda path: np.savez(path, kernel=head.kernel, bias=head.bias))
            self._draw = functools.partial(
                pictures.curves, tried.path, by="penalty", chosen=head.penalty
            )
            self._note(head, tried, len(features["train"]) / (time.monotonic() - started))
        wait_for_all(self.strategy)
        # All workers take the chief's: theirs could differ in the last bit.
        layer = self.model.get_layer("predictions")
        fitted = archives.arrays(kept)
        layer.kernel.assign(fitted["kernel"])
        layer.bias.assign(fitted["bias"])
        self.step = 1

    def finish(self) -> None:
        self._write(lambda path: self._draw(path))

    def _fit(self, features: dict[str, np.ndarray]) -> tuple[Head, Head]:
        """The classifier, and the fit that chose its regularization: another without validation."""
        classes = len(self.source.class_names)
        weights = None
        if self.recipe.class_weight != "none":
            weights = balance.class_weights(self.source.splits["train"].labels, classes)
        rows, labels = self._rows(features, "train")
        held_rows, held_labels = self._rows(features, "validation")
        if len(held_labels):
            head = fit_head(rows, labels, held_rows, held_labels, classes, weights)
            return head, head
        # The views of an image stay together.
        held = np.repeat(
            _some_of_each(self.source.splits["train"].labels), features["train"].shape[1]
        )
        tried = fit_head(rows[~held], labels[~held], rows[held], labels[held], classes, weights)
        return fit_head(rows, labels, rows, labels, classes, weights, (tried.penalty,)), tried

    def _rows(self, features: dict[str, np.ndarray], part: str) -> tuple[np.ndarray, np.ndarray]:
        """A part's features and labels, a row for each view of an image."""
        images, views, width = features[part].shape
        rows = features[part].reshape(images * views, width)
        return rows, np.repeat(self.source.splits[part].labels, views, axis=0)

    def _note(self, head: Head, tried: Head, images_per_second: float) -> None:
        """Says what was fitted, and writes it as the history's only row and as probe.json."""
        (chosen,) = [row for row in head.path if row["penalty"] == head.penalty]
        held = bool(self.source.num_examples("validation"))
        shown = f", validation {chosen['validation_accuracy']:.1%}" if held else ""
        self.progress.say(
            f"classifier fitted  loss {chosen['loss']:.3f}  accuracy {chosen['accuracy']:.1%}"
            f"{shown}  regularization {head.penalty:.2g}"
        )
        row: dict[str, float] = {"epoch": 1, "step": 1, "learning_rate": 0.0}
        names = ["loss", "accuracy"]
        names += ["validation_loss", "validation_accuracy"] * held
        row |= {name: round(chosen[name], 6) for name in names}
        row["images_per_second"] = round(images_per_second, 6)
        self.folder.write_history([row])
        content: dict[str, Any] = {"penalty": head.penalty, "path": tried.path}
        self.folder.write_json("probe.json", content)


def _some_of_each(labels: np.ndarray) -> np.ndarray:
    """bool (n,): the first of every four examples of a class; none of a class with one."""
    held = np.zeros(len(labels), bool)
    if labels.ndim == 2:
        held[stratified(labels, 1 / _HELD_OUT, seed=0)[1]] = True
        return held
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        held[members[::_HELD_OUT][: len(members) - 1]] = True
    return held
