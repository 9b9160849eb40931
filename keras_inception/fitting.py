"""Keras' own loop, `compile` and `fit`, with what this package's loop has; on every backend."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_inception.identity import attach, identity_of
from keras_inception.messages import some
from keras_inception.models.measure import check_flat
from keras_inception.models.saving import save_model
from keras_inception.optimizers import make_optimizer, make_schedule, rate_factors
from keras_inception.recipes import Recipe, named


def optimizer(
    recipe: str | Recipe, steps_per_epoch: int, model: keras.Model | None = None
) -> keras.optimizers.Optimizer:
    """A recipe's optimizer with its schedule and its limit of the gradients' norm, for `compile`.

    Args:
        recipe: A recipe, or its name. Its `batch_size` and `epochs` should be those of `fit`: the
            learning rate scales with the batch, and a cosine ends with the last epoch.
        steps_per_epoch: Batches an epoch.
        model: The network; only a recipe with `layer_decay` needs it.

    Returns:
        The optimizer; `optimizer.learning_rate` follows the schedule.

    Raises:
        ValueError: the recipe has `layer_decay`, and there is no model.
    """
    recipe = named(recipe) if isinstance(recipe, str) else recipe
    factors = None
    if recipe.layer_decay != 1:
        if model is None:
            raise ValueError(
                "`model` should be given for a recipe with a learning rate for each layer. "
                f"Received: model=None, layer_decay={recipe.layer_decay}"
            )
        factors = rate_factors(model, recipe.layer_decay)
    made = make_optimizer(recipe, make_schedule(recipe, steps_per_epoch), factors)
    made.global_clipnorm = recipe.clip_norm or None
    return made


def losses(model: keras.Model, recipe: str | Recipe) -> dict[str, Any]:
    """The losses of all heads, their weights, and accuracy: `model.compile(..., **losses(...))`.

    Args:
        model: A network of the family, with or without auxiliary heads.
        recipe: A recipe, or its name: its `aux_weight`, `label_smoothing`, and the L2 penalty of
            `weight_decay`, which becomes the regularizer of the model's kernels.

    Returns:
        "loss", "loss_weights" and "metrics" for `compile`. With auxiliary heads `fit` is given
        labels for each: see `head_labels`.

    Raises:
        ValueError: the model has auxiliary heads, and the recipe gives them no weight.
    """
    recipe = named(recipe) if isinstance(recipe, str) else recipe
    heads = list(model.output) if isinstance(model.output, dict) else ["predictions"]
    if len(heads) > 1 and not recipe.aux_weight:
        raise ValueError(
            "`recipe` should have an `aux_weight` above 0 for a network with auxiliary heads; "
            f"build it with `aux_logits=False`. Received: aux_weight=0 for {some(heads)}"
        )
    for variable in model.trainable_variables:
        if variable.name == "kernel":
            decay = 0.0 if recipe.decays_weights_apart else recipe.weight_decay
            # TF-Slim's L2: half the sum of squares.
            variable.regularizer = keras.regularizers.L2(decay / 2) if decay else None
    found: dict[str, Any] = {
        "loss": {
            name: CrossEntropy(_gives_logits(model, name), recipe.label_smoothing, name)
            for name in heads
        },
        "loss_weights": {n: 1.0 if n == "predictions" else recipe.aux_weight for n in heads},
        "metrics": {"predictions": ["accuracy"]},
    }
    if isinstance(model.output, dict):
        return found
    return {"loss": found["loss"]["predictions"], "metrics": ["accuracy"]}


def head_labels(model: keras.Model, labels: Any) -> Any:
    """The same labels for every head: what `fit` takes with a network that has auxiliary ones.

    Args:
        model: The network.
        labels: An array, or a tensor of a data set:
            `dataset.map(lambda image, label: (image, head_labels(model, label)))`.

    Returns:
        A dict with the labels for each output; the labels where there is only one.
    """
    return dict.fromkeys(model.output, labels) if isinstance(model.output, dict) else labels


def _gives_logits(model: keras.Model, head: str) -> bool:
    """Whether an output is logits, or else probabilities, by the activation of its layer."""
    check_flat(model)
    activation = getattr(model.get_layer(head), "activation", None)
    known = {keras.activations.linear: True, keras.activations.softmax: False}
    if activation not in known:
        raise ValueError(
            f"The output {head!r} should give logits or a softmax. Received: {activation}"
        )
    return known[activation]


@keras.saving.register_keras_serializable("keras_inception")
class CrossEntropy(keras.losses.Loss):
    """Cross-entropy with smoothed labels, which are whole numbers or shares of the classes.

    Args:
        from_logits: Whether the network gives logits, or probabilities.
        smoothing: Share of the labels that is spread over all classes.
        name: Of the loss.
    """

    def __init__(
        self, from_logits: bool, smoothing: float = 0.0, name: str = "predictions", **others: Any
    ) -> None:
        super().__init__(name=name, **others)
        self._from_logits, self._smoothing = from_logits, smoothing

    def get_config(self) -> dict[str, Any]:
        """The arguments, which Keras writes into files of compiled models."""
        own = {"from_logits": self._from_logits, "smoothing": self._smoothing}
        return {**super().get_config(), **own}

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """float32 (batch,)."""
        classes = y_pred.shape[-1]
        y_true = ops.convert_to_tensor(y_true)
        if len(y_true.shape) == 2 and y_true.shape[-1] == 1 != classes:
            y_true = ops.squeeze(y_true, -1)
        if len(y_true.shape) == 1:
            y_true = ops.one_hot(ops.cast(y_true, "int32"), classes)
        return keras.losses.categorical_crossentropy(
            ops.cast(y_true, "float32"),
            ops.cast(y_pred, "float32"),
            from_logits=self._from_logits,
            label_smoothing=self._smoothing,
        )


class SaveModel(keras.callbacks.Callback):
    """Saves the network of `fit` with its identity, which Keras' `ModelCheckpoint` loses.

    The file holds the predictions without auxiliary heads and without the optimizer, as
    `load_classifier` and `load_model` take it. To go on with a training that stopped, use Keras'
    `BackupAndRestore` beside it.

    Args:
        path: A `.keras` file, written after an epoch.
        class_names: Names of the classes in the order of the outputs; by default those that the
            model knows.
        monitor: A name in the logs, such as "val_predictions_accuracy": only epochs that are better
            are saved, by a higher accuracy or a lower loss. None saves every epoch.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        class_names: Sequence[str] | None = None,
        monitor: str | None = None,
    ) -> None:
        super().__init__()
        self._path, self._class_names, self._monitor = os.fspath(path), class_names, monitor
        self._best: float | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Checks the number of names, before any step."""
        outputs = self.model.output
        outputs = outputs["predictions"] if isinstance(outputs, dict) else outputs
        if self._class_names is not None and len(self._class_names) != outputs.shape[-1]:
            raise ValueError(
                f"`class_names` should be {outputs.shape[-1]} names, one an output. "
                f"Received: {len(self._class_names)}"
            )

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Saves the network, if the epoch is better."""
        if self._monitor is not None:
            if self._monitor not in (logs or {}):
                raise ValueError(
                    f"`monitor` should be one of {some(logs or {}, 9)}. "
                    f"Received: monitor={self._monitor!r}"
                )
            sign = 1 if "accuracy" in self._monitor else -1
            value = sign * float((logs or {})[self._monitor])
            if self._best is not None and not value > self._best:
                return
            self._best = value
        model = self.model
        output = model.output["predictions"] if isinstance(model.output, dict) else model.output
        saved = keras.Model(model.input, output, name=model.name)
        identity = identity_of(model)
        if identity is not None:
            if self._class_names is not None:
                identity = identity.replace(class_names=tuple(self._class_names))
            attach(saved, identity)
        save_model(saved, self._path)
