"""When a run steps, logs, evaluates, saves and stops."""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_inception import messages, pictures
from keras_inception.data import (
    Augmentation,
    Batches,
    Order,
    evaluation_batches,
    train_batches,
)
from keras_inception.runs import best_epoch
from keras_inception.training import checkpoints, tensorboard
from keras_inception.training.averages import merging
from keras_inception.training.endings import Interrupted, NonFinite
from keras_inception.training.lost import naming_lost_images
from keras_inception.training.stage import Place, Stage
from keras_inception.training.statistics import Modes, NormStatistics
from keras_inception.training.step import Step
from keras_inception.training.strategy import distributed, is_chief

SECONDS_BETWEEN_CHECKPOINTS = 60.0


class Descent(Stage):
    """Gradient descent: when it steps, logs, evaluates, saves and stops.

    Args:
        step_functions: What a step computes, on the network that trains.
        schedule: The learning rate of a step.
        inference: Makes the network that is left behind: see `Stage`.
        place: What else a `Stage` needs.
        steps_per_loop: Steps that the devices take before they answer.
    """

    def __init__(
        self,
        step_functions: Step,
        schedule: Callable[[int], Any],
        inference: Callable[[], keras.Model],
        place: Place,
        steps_per_loop: int = 1,
    ) -> None:
        recipe, source = place.recipe, place.source
        self.steps_per_epoch = source.num_examples("train") // recipe.batch_size
        total_steps = recipe.epochs * self.steps_per_epoch
        super().__init__(step_functions.model, inference, place, total_steps)
        self.step_functions, self.average = step_functions, step_functions.average
        self._schedule, self._steps_per_loop = schedule, steps_per_loop
        self._merge = merging(self.model, self.strategy)
        self._statistics = NormStatistics(self.model, self.strategy, self._evaluate_batch)
        self._warned = False
        self._lost = functools.partial(naming_lost_images, source)
        # Loss, hits, steps and seconds of the epoch that is under way.
        self.sums = tf.Variable(np.zeros(4), trainable=False)
        self.store = checkpoints.Store(
            self.folder.checkpoints_path,
            self.model,
            step_functions.optimizer,
            self.average,
            step_functions.scale,
            self.sums,
            writes=is_chief(self.strategy),
        )

    def run(self, stop: dict[str, int]) -> None:
        self.step = self.store.restore_newest()
        rows = [row for row in self.folder.history if row["step"] <= self.step]
        if self.step:
            self.progress.say(f"Going on from step {self.step} of {self.total_steps}.")
        if self.step == self.total_steps:
            return
        with self._training_batches(self.step) as batches:
            self._train(batches, rows, stop)

    def _train(self, batches: Batches, rows: list[dict[str, float]], stop: dict[str, int]) -> None:
        """Steps, epochs, checkpoints; `rows` are the epochs before."""
        saved = time.monotonic()
        while self.step < self.total_steps and not self._is_out_of_patience(rows):
            epoch_end = (self.step // self.steps_per_epoch + 1) * self.steps_per_epoch
            if self.step == epoch_end - self.steps_per_epoch:
                self.sums.assign(np.zeros(4))
            while self.step < epoch_end:
                started = time.monotonic()
                count = min(self._steps_per_loop, epoch_end - self.step)
                due = started - saved > SECONDS_BETWEEN_CHECKPOINTS
                asked = [tf.constant(float(v)) for v in (stop.get("signal", 0), due)]
                with self._lost("train", functools.partial(self._indices, count)):
                    loss, correct, norm, signals, dues = (
                        float(v)
                        for v in self._loop(batches.iterator, tf.constant(count, tf.int32), asked)
                    )
                self._check_finite(loss, norm, count)
                self.step += count
                self.sums.assign_add([loss, correct, count, time.monotonic() - started])
                mean_loss, hits, _ = self._means()
                self.progress.loop(self.step, mean_loss, hits, self._rate())
                if self.step == epoch_end:
                    # Write the row before the checkpoint: resuming can drop an extra row but
                    # cannot recreate a missing one.
                    rows.append(self._row())
                    self.progress.epoch(rows[-1])
                    self._keep(rows)
                # What any worker was asked, all of them do: they have to save the same step.
                if signals or dues or self.step == epoch_end:
                    self._save()
                    saved = time.monotonic()
                if signals and self.step < self.total_steps:
                    raise Interrupted(
                        f"Stopped at step {self.step}; start the same command again to go on.",
                        stop.get("signal", signal.SIGTERM),
                    )

    def _is_out_of_patience(self, rows: list[dict[str, float]]) -> bool:
        """Whether so many epochs in a row were no better that training ends; says so."""
        if not self.recipe.patience or not rows or self.step != rows[-1]["step"]:
            return False
        accuracies = [row["validation_accuracy"] for row in rows]
        since = len(rows) - 1 - accuracies.index(max(accuracies))
        if since < self.recipe.patience:
            return False
        self.progress.say(f"No better validation accuracy for {since} epochs: training ends here.")
        return True

    def _means(self) -> tuple[float, float, float]:
        """Loss and hits of a step, and steps a second, of the epoch so far."""
        loss, correct, steps, seconds = self.sums.numpy()
        return loss / steps, correct / steps, steps / max(seconds, 1e-9)

    def _keep(self, rows: list[dict[str, float]]) -> None:
        """Writes the history, and the weights if no epoch was better by validation accuracy."""
        if self.recipe.keep == "best" and best_epoch(rows) is rows[-1]:
            self._merge()
            self.store.save_best(self.step)
        if is_chief(self.strategy):
            self.folder.write_history(rows)
            tensorboard.add_row(self.folder.tensorboard_path, rows[-1])

    def finish(self) -> None:
        if self.recipe.keep == "best":
            self.progress.say(f"Best epoch by validation: step {self.store.restore_best()}.")
        self._warned = False  # once more, of the weights that are kept
        with self._evaluated():  # every worker takes part in the statistics
            self._write(functools.partial(pictures.curves, self.folder.history))

    @tf.function(reduce_retracing=True)
    def _loop(
        self, batches: Any, count: tf.Tensor, asked: list[tf.Tensor]
    ) -> tuple[tf.Tensor, ...]:
        """`count` steps on the devices.

        Returns:
            Sums of loss and of hits, the largest norm, and what all workers were `asked` in sum.
        """
        loss, correct, norm = tf.constant(0.0), tf.constant(0.0), tf.constant(0.0)
        for _ in tf.range(count):
            shares = self.strategy.run(self.step_functions.train, args=(next(batches),))
            total = {k: self.strategy.reduce("SUM", v, axis=None) for k, v in shares.items()}
            loss += total["loss"]
            correct += total["correct"]
            # NaN has to stay: tf.maximum keeps it.
            norm = tf.maximum(norm, total["norm"])
        answers = self.strategy.run(lambda: [tf.identity(a) for a in asked])
        return loss, correct, norm, *(self.strategy.reduce("SUM", a, axis=None) for a in answers)

    @tf.function(reduce_retracing=True, autograph=False)
    def _evaluate_batch(self, batch: Any) -> dict[str, tf.Tensor]:
        shares = self.strategy.run(self.step_functions.evaluate, args=(batch,))
        return {k: self.strategy.reduce("SUM", v, axis=None) for k, v in shares.items()}

    def _training_batches(self, start_step: int) -> Batches:
        recipe = self.recipe
        dataset = functools.partial(
            train_batches,
            self.source,
            self.contract,
            batch_size=recipe.batch_size // self.strategy.num_replicas_in_sync,
            seed=recipe.seed,
            augmentation=Augmentation(recipe.augmentation, recipe.mirror, recipe.mix),
            start_step=start_step,
        )
        return Batches(distributed(self.strategy, dataset))

    @functools.cached_property
    def _plain_images(self) -> Iterable[Any]:
        """Batches of training images as evaluation sees them, in the order of the first epoch.

        Always the same ones, so that a run that goes on has the statistics of one that did not
        stop. Batches are those that training normalizes by: micro-batches.
        """
        parts = self.strategy.num_replicas_in_sync * self.recipe.accumulation_steps
        size, seed = self.recipe.batch_size // parts, self.recipe.seed

        @tf.autograph.experimental.do_not_convert
        def as_evaluated(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            several = self.source.several
            label = batch["label"] if several else tf.argmax(batch["label"], -1)
            weight = tf.ones_like(batch["index"], tf.float32)
            return {**batch, "label": label, "weight": weight}

        def dataset(**host: Any) -> tf.data.Dataset:
            batches = train_batches(self.source, self.contract, batch_size=size, seed=seed, **host)
            return batches.map(as_evaluated)

        return distributed(self.strategy, dataset)

    @functools.cached_property
    def _validation_images(self) -> Iterable[Any]:
        size = max(1, self.recipe.batch_size // self.strategy.num_replicas_in_sync)
        dataset = functools.partial(
            evaluation_batches, self.source, "validation", self.contract, batch_size=size
        )
        return distributed(self.strategy, dataset)

    def _validate(self) -> dict[str, float]:
        """Loss and accuracy on the validation part, every example once."""
        sums = {"loss": 0.0, "correct": 0.0, "examples": 0.0}
        with self._lost("validation"), Batches(self._validation_images) as batches:
            for batch in batches:
                for key, value in self._evaluate_batch(batch).items():
                    sums[key] += float(value)
        return {
            "validation_loss": sums["loss"] / sums["examples"],
            "validation_accuracy": sums["correct"] / sums["examples"],
        }

    def _row(self) -> dict[str, float]:
        """An epoch's row of history.csv."""
        loss, hits, steps_a_second = self._means()
        row = {
            "epoch": self.step // self.steps_per_epoch,
            "step": self.step,
            "learning_rate": self._rate(),
            "loss": loss,
            "accuracy": hits / self.recipe.batch_size,
            "images_per_second": steps_a_second * self.recipe.batch_size,
        }
        if self.source.num_examples("validation"):
            with self._evaluated():
                row |= self._validate()
        return {k: v if isinstance(v, int) else round(float(v), 6) for k, v in row.items()}

    def _rate(self) -> float:
        """The learning rate of the step before."""
        return float(self._schedule(self.step - 1))

    def _check_finite(self, loss: float, norm: float, count: int) -> None:
        if math.isfinite(loss) and math.isfinite(norm):
            return
        self._refuse(f"the {'gradient norm' if math.isfinite(loss) else 'loss'}", count)

    def _refuse(self, what: str, count: int) -> None:
        first = self.step
        examples = [self.source.describe("train", i) for i in self._indices(count)]
        raise NonFinite(
            f"{what.capitalize()} is not finite within steps {first + 1} to {first + count}; the "
            f"last checkpoint is from before. The images of these steps: "
            f"{messages.some(examples, 8)}. Try a lower `learning_rate`, more `warmup_epochs`, or "
            "`clip_norm`."
        )

    def _indices(self, count: int) -> list[int]:
        """Numbers of the training images of the next `count` steps."""
        batch = self.recipe.batch_size
        at = np.arange(self.step * batch, (self.step + count) * batch)
        return Order(self.source.splits["train"], self.recipe.seed).examples_at(at).tolist()

    def _save(self) -> None:
        self._merge()
        self._check_weights("a weight")
        self.store.save(self.step)

    def _check_weights(self, what: str) -> None:
        """Exports are checked against the network itself, so that they would agree on NaN."""
        if not all(np.isfinite(w.numpy()).all() for w in self.model.weights):
            self._refuse(what, 1)

    @contextlib.contextmanager
    def _evaluated(self) -> Iterator[None]:
        """Inside, the model has the weights and statistics that are evaluated and exported.

        Training goes on from its own afterwards: looking at a network does not change it.
        """
        self._merge()
        with contextlib.ExitStack() as stack:
            if self.average:
                stack.enter_context(self.average.applied())
                self._check_weights("an averaged weight")
            if self._statistics.moving:
                batch = self.recipe.batch_size // self.recipe.accumulation_steps
                whole = self.source.num_examples("train") // batch
                steps = min(-(-self.recipe.precise_bn // batch), whole)
                with self._lost("train"), Batches(self._plain_images) as batches:
                    modes = stack.enter_context(self._statistics.applied(batches, steps, batch))
                self._check_weights("a statistic of BatchNorm")
                self._warn(modes)
            yield

    def _warn(self, modes: Modes) -> None:
        """Warns, once a run and once at its end, if evaluation contradicts training."""
        if self._warned or not modes.disagree or not is_chief(self.strategy):
            return
        self._warned = True
        recipe = self.recipe
        logging.warning(
            "BatchNorm: of the same %d training images, %.1f %% are right with the statistics of "
            "their batch, and %.1f %% with those that evaluation and export use (%s). %s",
            modes.images,
            100 * modes.training,
            100 * modes.evaluation,
            f"of {recipe.precise_bn} images, precise_bn"
            if recipe.precise_bn
            else f"moving averages, bn_momentum={recipe.bn_momentum:g}",
            "A larger batch_size, sync_bn or freeze=norms would bring both together."
            if recipe.precise_bn
            else "Let precise_bn compute them anew, or lower bn_momentum.",
        )
