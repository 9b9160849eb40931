"""The recipes' optimizers and learning rates, on every backend of Keras."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_inception.models.measure import block_of, endpoints
from keras_inception.recipes import Recipe


@keras.saving.register_keras_serializable("keras_inception")
class RMSprop(keras.optimizers.RMSprop):
    """RMSProp as TF1 computed it: the mean square starts at 1, where Keras' starts at 0.

    With the papers' epsilon of 1.0 inside the root, Keras' first updates would be up to
    sqrt(1.9) times larger.
    """

    def add_optimizer_variables(
        self, trainable_variables: Any, name: Any, initializer: Any = "zeros"
    ) -> Any:
        start = "ones" if name == "velocity" else initializer
        return super().add_optimizer_variables(trainable_variables, name, start)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """TensorFlow's one operation, where Keras computes with an array for each intermediate."""
        if not self.momentum or keras.backend.backend() != "tensorflow":
            super().update_step(gradient, variable, learning_rate)
            return
        import tensorflow as tf

        index = self._get_variable_index(variable)
        tf.raw_ops.ResourceApplyRMSProp(
            var=_handle(variable),
            ms=_handle(self._velocities[index]),
            mom=_handle(self._momentums[index]),
            lr=learning_rate,
            rho=self.rho,
            momentum=self.momentum,
            epsilon=self.epsilon,
            grad=gradient,
        )


@keras.saving.register_keras_serializable("keras_inception")
class AdamW(keras.optimizers.AdamW):
    """Keras' AdamW, under TensorFlow in one operation a variable."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Without the decay of weights, which Keras applies before."""
        if keras.backend.backend() != "tensorflow":
            super().update_step(gradient, variable, learning_rate)
            return
        import tensorflow as tf

        index = self._get_variable_index(variable)
        step = tf.cast(self.iterations.value + 1, tf.float32)
        tf.raw_ops.ResourceApplyAdam(
            var=_handle(variable),
            m=_handle(self._momentums[index]),
            v=_handle(self._velocities[index]),
            beta1_power=tf.pow(self.beta_1, step),
            beta2_power=tf.pow(self.beta_2, step),
            lr=learning_rate,
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )


def _handle(variable: Any) -> Any:
    """What operations know a variable by; in an update of replicas, this replica's copy."""
    return (variable.value if isinstance(variable, keras.Variable) else variable).handle


@keras.saving.register_keras_serializable("keras_inception")
class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up to `peak`, then cosine to 0, a staircase of factors, or constant.

    Args:
        peak: Learning rate after the warm-up.
        kind: "cosine", "exponential" or "constant".
        warmup_steps: Steps of warm-up; the schedule's own clock starts after them.
        total_steps: Steps of the whole run, where the cosine reaches 0.
        decay_rate: The staircase's factor.
        decay_steps: Steps between the staircase's factors.
    """

    def __init__(
        self,
        peak: float,
        kind: str,
        warmup_steps: int,
        total_steps: int,
        decay_rate: float = 0.94,
        decay_steps: int = 1,
    ) -> None:
        self.peak, self.kind = peak, kind
        self.warmup_steps, self.total_steps = warmup_steps, total_steps
        self.decay_rate, self.decay_steps = decay_rate, decay_steps

    def get_config(self) -> dict[str, Any]:
        """The arguments, which Keras writes into files of compiled models."""
        return dict(vars(self))

    def __call__(self, step: Any) -> Any:
        step = ops.cast(step, "float32")
        after = ops.maximum(step - self.warmup_steps, 0.0)
        if self.kind == "cosine":
            progress = ops.minimum(after / max(1, self.total_steps - self.warmup_steps), 1.0)
            factor = 0.5 * (1.0 + ops.cos(math.pi * progress))
        elif self.kind == "exponential":
            factor = ops.power(self.decay_rate, ops.floor(after / self.decay_steps))
        else:
            factor = 1.0
        warmup = ops.minimum((step + 1.0) / max(1, self.warmup_steps), 1.0)
        return self.peak * factor * warmup


def make_schedule(recipe: Recipe, steps_per_epoch: int) -> Schedule:
    """The recipe's learning rate; it is given per 256 images and scales with the batch."""
    return Schedule(
        peak=recipe.learning_rate * recipe.batch_size / 256,
        kind=recipe.schedule,
        warmup_steps=round(recipe.warmup_epochs * steps_per_epoch),
        total_steps=recipe.epochs * steps_per_epoch,
        decay_rate=recipe.decay_rate,
        decay_steps=max(1, round(recipe.decay_epochs * steps_per_epoch)),
    )


def make_optimizer(
    recipe: Recipe, schedule: Schedule, factors: Sequence[float] | None = None
) -> keras.optimizers.Optimizer:
    """The recipe's optimizer; L2 and clipping belong to the train step.

    Args:
        recipe: Its optimizer and that optimizer's settings.
        schedule: The learning rate.
        factors: A factor of the rate for each variable that it will be built for.
    """
    kinds = {
        "rmsprop": RMSprop,
        "adamw": AdamW,
        "lion": keras.optimizers.Lion,
        "sgd": keras.optimizers.SGD,
    }
    kind, settings = kinds[recipe.optimizer], {}
    if recipe.optimizer == "rmsprop":
        settings = {"rho": 0.9, "momentum": recipe.momentum, "epsilon": recipe.epsilon}
    elif recipe.optimizer == "sgd":
        settings = {"momentum": recipe.momentum}
    decay = recipe.weight_decay if recipe.decays_weights_apart else 0.0
    if factors is not None or decay:
        kind = _with_factors(kind, factors, decay)
    optimizer = kind(schedule, **settings)
    # Keras decays by 0 otherwise, and AdamW, which takes no None, by 0.004.
    optimizer.weight_decay = None
    return optimizer


def _with_factors(kind: type, factors: Sequence[float] | None, decay: float) -> type:
    """An optimizer with a rate of its own for each variable, for the decay of weights, too.

    Keras would compute the schedule once more for the decay of each variable.
    """

    class WithFactors(kind):  # type: ignore[misc]
        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            rate = learning_rate
            if factors is not None:
                rate *= factors[self._get_variable_index(variable)]
            if decay:
                self.assign_sub(variable, variable * decay * ops.cast(rate, variable.dtype))
            super().update_step(gradient, variable, rate)

    return WithFactors


def rate_factors(model: keras.Model, layer_decay: float) -> list[float]:
    """The factor of the learning rate for each variable that trains, in their order.

    1 behind the last block (the classifiers), `layer_decay` in the last block, its square in the
    one before, and so on; what comes before the first block counts as one block more.
    """
    blocks = list(endpoints(model))
    found: dict[int, float] = {}
    for layer in model.layers:
        block = block_of(layer.name, blocks)
        behind = len(blocks) - blocks.index(block) if block in blocks else 0
        depth = len(blocks) + 1 if block == "stem" else behind
        found |= {id(v): layer_decay**depth for v in layer.trainable_variables}
    return [found[id(v)] for v in model.trainable_variables]
