"""When to step, log, evaluate, save and stop."""

from __future__ import annotations

import contextlib
import math
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_inception.data import Source, evaluation_batches, open_source, train_batches
from keras_inception.models.registry import default_preprocessing, get_model
from keras_inception.preprocessing import Preprocessing
from keras_inception.training import checkpoints, curves
from keras_inception.training.averages import MovingAverage, merge_statistics
from keras_inception.training.optimizers import make_optimizer, make_schedule
from keras_inception.training.recipes import Recipe
from keras_inception.training.run_folder import RunFolder, write
from keras_inception.training.step import Step
from keras_inception.training.strategy import describe, make_strategy

STEPS_PER_LOOP = 10
SECONDS_BETWEEN_CHECKPOINTS = 60.0
SECONDS_BETWEEN_LOG_LINES = 30.0


class Interrupted(Exception):
    """The run was asked to stop (SIGTERM or Ctrl-C) and has saved; `signal` says by what."""

    def __init__(self, signal_number: int, step: int) -> None:
        super().__init__(f"Stopped at step {step}; start the same command again to go on.")
        self.signal = signal_number


class NonFinite(Exception):
    """A loss, gradient or weight is not finite; nothing of it was saved."""


def train(
    recipe: Recipe,
    run_dir: str,
    *,
    strategy: tf.distribute.Strategy | None = None,
    download: bool = False,
) -> RunFolder:
    """Trains a variant and leaves a run folder; goes on where an earlier run of it stopped.

    Args:
        recipe: What to compute.
        run_dir: The run folder.
        strategy: Which devices train; by default what the machine has.
        download: Whether a TFDS data set may be fetched.

    Returns:
        The run folder, with model.keras, history.csv and curves.png in it.

    Raises:
        ValueError: the recipe, the data or the folder cannot be trained with; before training.
        Interrupted: SIGTERM or Ctrl-C; everything is saved.
        NonFinite: training diverged; the last checkpoint is from before.
    """
    recipe.check()
    contract = default_preprocessing(recipe.model).replace(
        size=(recipe.image_size, recipe.image_size), crop_fraction=1.0
    )
    source = open_source(
        recipe.dataset,
        data_dir=recipe.data_dir,
        validation_fraction=recipe.validation_fraction,
        seed=recipe.seed,
        download=download,
    )
    folder = RunFolder(run_dir)
    steps_per_epoch = source.num_examples("train") // recipe.batch_size
    if not steps_per_epoch:
        raise ValueError(
            f"The batch should be at most the training part's {source.num_examples('train')} "
            f"pictures. Received: --batch_size={recipe.batch_size}"
        )
    strategy = strategy or make_strategy()
    if recipe.batch_size % strategy.num_replicas_in_sync:
        raise ValueError(
            f"The global batch should divide by the {strategy.num_replicas_in_sync} replicas. "
            f"Received: --batch_size={recipe.batch_size}"
        )
    keras.utils.set_random_seed(recipe.seed)
    run = _Run(recipe, folder, source, contract, strategy, steps_per_epoch)
    folder.begin(recipe, source.class_names, contract, source.provenance)
    print(
        f"{recipe.model} at {recipe.image_size} px, {run.model.count_params():,} parameters, on "
        f"{recipe.dataset}: {source.num_examples('train')} training, "
        f"{source.num_examples('validation')} validation and {source.num_examples('test')} test "
        f"pictures of {len(source.class_names)} classes; {describe(strategy)}, seed {recipe.seed}",
        flush=True,
    )
    with _stop_signals() as stop:
        run.to_the_end(stop)
    run.finish()
    return folder


class _Run:
    """A training run between its start and its end."""

    def __init__(
        self,
        recipe: Recipe,
        folder: RunFolder,
        source: Source,
        contract: Preprocessing,
        strategy: tf.distribute.Strategy,
        steps_per_epoch: int,
    ) -> None:
        self.recipe, self.folder, self.source = recipe, folder, source
        self.contract, self.strategy = contract, strategy
        self.steps_per_epoch = steps_per_epoch
        self.total_steps = recipe.epochs * steps_per_epoch
        with strategy.scope(), _precision(recipe.precision):
            self.model = _network(recipe, len(source.class_names), training=True)
            self.schedule = make_schedule(recipe, steps_per_epoch)
            self.optimizer = make_optimizer(recipe, self.schedule)
            self.optimizer.build(self.model.trainable_variables)
            self.average = MovingAverage(self.model, recipe.ema) if recipe.ema else None
        self.step_functions = Step(self.model, self.optimizer, recipe, self.average)
        self.store = checkpoints.Store(
            folder.checkpoints_path, self.model, self.optimizer, self.average
        )
        self.step = 0
        self.reported = time.monotonic()

    def to_the_end(self, stop: dict[str, int]) -> None:
        """Trains to the last step, or raises Interrupted."""
        self.step = self.store.restore_newest()
        rows = [row for row in self.folder.history if row["step"] <= self.step]
        if self.step:
            print(f"Going on from step {self.step} of {self.total_steps}.", flush=True)
        batches = iter(self._training_batches(self.step))
        started, saved = time.monotonic(), time.monotonic()
        first_step = self.step
        while self.step < self.total_steps:
            epoch_end = (self.step // self.steps_per_epoch + 1) * self.steps_per_epoch
            epoch_started, epoch_first = time.monotonic(), self.step
            sums = np.zeros(2)
            while self.step < epoch_end:
                count = min(STEPS_PER_LOOP, epoch_end - self.step)
                loss, correct, norm = (
                    float(v) for v in self._loop(batches, tf.constant(count, tf.int32))
                )
                self._check_finite(loss, norm, count)
                self.step += count
                sums += (loss, correct)
                done = self.step - epoch_first
                rate = (self.step - first_step) / (time.monotonic() - started)
                self._progress(sums / done, rate)
                ending = stop.get("signal")
                if self.step == epoch_end:
                    # Before the checkpoint: resuming drops a row too many, but cannot add one.
                    seconds = time.monotonic() - epoch_started
                    rows.append(self._row(sums / done, done, seconds))
                    self.folder.write_history(rows)
                    self._show(rows[-1])
                due = time.monotonic() - saved > SECONDS_BETWEEN_CHECKPOINTS
                if ending or due or self.step == epoch_end:
                    self._save()
                    saved = time.monotonic()
                if ending and self.step < self.total_steps:
                    raise Interrupted(ending, self.step)

    def finish(self) -> None:
        """Writes the trained network and the curves."""
        with self._averaged():
            inference = _network(self.recipe, len(self.source.class_names), training=False)
            for layer in inference.layers:
                layer.set_weights(self.model.get_layer(layer.name).get_weights())
        write(self.folder.model_path, lambda path: inference.save(path))
        rows = self.folder.history
        write(self.folder.path / "curves.png", lambda path: curves.draw(rows, path))

    @tf.function(reduce_retracing=True)
    def _loop(self, batches: Any, count: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """`count` steps on the devices: sums of loss and of hits, and the largest norm."""
        loss, correct, norm = tf.constant(0.0), tf.constant(0.0), tf.constant(0.0)
        for _ in tf.range(count):
            shares = self.strategy.run(self.step_functions.train, args=(next(batches),))
            total = {k: self.strategy.reduce("SUM", v, axis=None) for k, v in shares.items()}
            loss += total["loss"]
            correct += total["correct"]
            # NaN has to stay: tf.maximum keeps it.
            norm = tf.maximum(norm, total["norm"])
        return loss, correct, norm

    @tf.function(reduce_retracing=True)
    def _evaluate_batch(self, batch: Any) -> dict[str, tf.Tensor]:
        shares = self.strategy.run(self.step_functions.evaluate, args=(batch,))
        return {k: self.strategy.reduce("SUM", v, axis=None) for k, v in shares.items()}

    def _training_batches(self, start_step: int) -> tf.distribute.DistributedDataset:
        recipe, replicas = self.recipe, self.strategy.num_replicas_in_sync

        def make(context: tf.distribute.InputContext) -> tf.data.Dataset:
            hosts = context.num_input_pipelines
            return train_batches(
                self.source,
                self.contract,
                batch_size=recipe.batch_size // replicas,
                seed=recipe.seed,
                augmentation=recipe.augmentation,
                start_step=start_step,
                shard=(context.input_pipeline_id, hosts),
                replicas=replicas // hosts,
            )

        return self.strategy.distribute_datasets_from_function(make)

    def _validate(self) -> dict[str, float]:
        """Loss and accuracy on the validation part, every example once."""
        recipe, replicas = self.recipe, self.strategy.num_replicas_in_sync

        def make(context: tf.distribute.InputContext) -> tf.data.Dataset:
            hosts = context.num_input_pipelines
            return evaluation_batches(
                self.source,
                "validation",
                self.contract,
                batch_size=max(1, recipe.batch_size // replicas),
                shard=(context.input_pipeline_id, hosts),
                replicas=replicas // hosts,
            )

        sums = {"loss": 0.0, "correct": 0.0, "examples": 0.0}
        for batch in self.strategy.distribute_datasets_from_function(make):
            for key, value in self._evaluate_batch(batch).items():
                sums[key] += float(value)
        return {
            "validation_loss": sums["loss"] / sums["examples"],
            "validation_accuracy": sums["correct"] / sums["examples"],
        }

    def _row(self, means: np.ndarray, steps: int, seconds: float) -> dict[str, float]:
        """An epoch's row of history.csv."""
        row = {
            "epoch": self.step // self.steps_per_epoch,
            "step": self.step,
            "learning_rate": float(self.schedule(self.step - 1)),
            "loss": means[0],
            "accuracy": means[1] / self.recipe.batch_size,
            "images_per_second": steps * self.recipe.batch_size / seconds,
        }
        if self.source.num_examples("validation"):
            with self._averaged():
                row |= self._validate()
        return {k: v if isinstance(v, int) else round(float(v), 6) for k, v in row.items()}

    def _check_finite(self, loss: float, norm: float, count: int) -> None:
        if math.isfinite(loss) and math.isfinite(norm):
            return
        self._refuse(f"the {'gradient norm' if math.isfinite(loss) else 'loss'}", count)

    def _refuse(self, what: str, count: int) -> None:
        first, batch = self.step, self.recipe.batch_size
        stream = train_batches(
            self.source,
            self.contract,
            batch_size=batch,
            seed=self.recipe.seed,
            start_step=first,
        )
        examples = [
            self.source.describe("train", int(i))
            for element in stream.take(count)
            for i in element["index"].numpy()
        ]
        shown = ", ".join(examples[:8]) + (f" and {len(examples) - 8} more" * (len(examples) > 8))
        raise NonFinite(
            f"{what.capitalize()} is not finite within steps {first + 1} to {first + count}; the "
            f"last checkpoint is from before. The pictures of these steps: {shown}. Try a lower "
            "--learning_rate, more --warmup_epochs, or --clip_norm."
        )

    def _save(self) -> None:
        merge_statistics(self.model, self.strategy)
        if not all(np.isfinite(w.numpy()).all() for w in self.model.weights):
            self._refuse("a weight", 1)
        self.store.save(self.step)

    @contextlib.contextmanager
    def _averaged(self) -> Iterator[None]:
        """Inside, the model has the weights that are evaluated and exported."""
        merge_statistics(self.model, self.strategy)
        with self.average.applied() if self.average else contextlib.nullcontext():
            yield

    def _progress(self, means: np.ndarray, steps_per_second: float) -> None:
        """One line that rewrites itself on a terminal; in a log, a line every half minute."""
        terminal = sys.stdout.isatty()
        if not terminal and time.monotonic() - self.reported < SECONDS_BETWEEN_LOG_LINES:
            return
        self.reported = time.monotonic()
        left = (self.total_steps - self.step) / steps_per_second
        print(
            f"{chr(13) if terminal else ''}  step {self.step}/{self.total_steps}  "
            f"loss {means[0]:.3f}  accuracy {means[1] / self.recipe.batch_size:.1%}  "
            f"{steps_per_second * self.recipe.batch_size:.0f} images/s  "
            f"{_clock(left)} left ",
            end="" if terminal else "\n",
            flush=True,
        )

    def _show(self, row: dict[str, float]) -> None:
        left = (self.total_steps - self.step) * self.recipe.batch_size / row["images_per_second"]
        validation = (
            f"  validation {row['validation_accuracy']:.1%}" if "validation_accuracy" in row else ""
        )
        print(
            f"{chr(13) if sys.stdout.isatty() else ''}"
            f"epoch {row['epoch']:.0f}/{self.recipe.epochs}  loss {row['loss']:.3f}  "
            f"accuracy {row['accuracy']:.1%}{validation}  rate {row['learning_rate']:.2g}  "
            f"{row['images_per_second']:.0f} images/s  {_clock(left)} left",
            flush=True,
        )


def _network(recipe: Recipe, classes: int, training: bool) -> keras.Model:
    """The recipe's variant: logits and auxiliary heads to train, probabilities to use."""
    return get_model(
        recipe.model,
        weights=(recipe.weights or None) if training else None,
        input_shape=(recipe.image_size, recipe.image_size, 3),
        classes=classes,
        classifier_activation=None if training else "softmax",
        aux_logits=training and recipe.aux_weight > 0,
        dropout=recipe.dropout,
        bn_momentum=recipe.bn_momentum,
    )


@contextlib.contextmanager
def _precision(policy: str) -> Iterator[None]:
    """Layers that are made inside compute by this dtype policy."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


@contextlib.contextmanager
def _stop_signals() -> Iterator[dict[str, int]]:
    """A dict that gets "signal" when SIGTERM or Ctrl-C asks to stop; a second one stops at once."""
    stop: dict[str, int] = {}

    def ask(number: int, frame: Any) -> None:
        if "signal" in stop:
            raise KeyboardInterrupt
        stop["signal"] = number

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes}:{seconds:02d}"
