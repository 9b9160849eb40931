"""When to step, log, evaluate, save and stop."""

from __future__ import annotations

import contextlib
import math
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_inception.data import Source, evaluation_batches, open_source, train_batches
from keras_inception.files import write
from keras_inception.models.registry import default_preprocessing
from keras_inception.preprocessing import Preprocessing
from keras_inception.recipes import Recipe
from keras_inception.runs import RunFolder
from keras_inception.training import checkpoints, curves
from keras_inception.training.averages import MovingAverage, merge_statistics
from keras_inception.training.networks import inference_network, training_network
from keras_inception.training.optimizers import make_optimizer, make_schedule
from keras_inception.training.progress import Progress
from keras_inception.training.step import LossScale, Step
from keras_inception.training.strategy import (
    describe,
    is_chief,
    is_multi_worker,
    make_strategy,
)
from keras_inception.weights import Loaded
from keras_inception.weights import resolve as resolve_weights

SECONDS_BETWEEN_CHECKPOINTS = 60.0


class Interrupted(Exception):
    """The run was asked to stop (SIGTERM or Ctrl-C) and has saved; `signal` says by what."""

    def __init__(self, signal_number: int, step: int) -> None:
        super().__init__(f"Stopped at step {step}; start the same command again to go on.")
        self.signal = signal_number


class NonFinite(Exception):
    """A loss, gradient or weight is not finite; nothing of it was saved."""


class LostWorker(Exception):
    """Another worker of the cluster is gone; the last checkpoint is good."""


def train(
    recipe: Recipe,
    run_dir: str,
    *,
    strategy: tf.distribute.Strategy | None = None,
    download: bool = False,
    steps_per_loop: int = 10,
    xla: bool = False,
) -> RunFolder:
    """Trains a variant and leaves a run folder; goes on where an earlier run of it stopped.

    Args:
        recipe: What to compute.
        run_dir: The run folder.
        strategy: Which devices train; by default what the machine has.
        download: Whether a TFDS data set may be fetched.
        steps_per_loop: Steps that the devices take before they answer.
        xla: Whether each replica's forward and backward pass is compiled.

    Returns:
        The run folder, with model.keras, history.csv and curves.png in it. With `head_epochs`,
        the stage in which only the classifiers train has a run folder of its own, head/ in it.

    Raises:
        ValueError: the recipe, the data or the folder cannot be trained with; before training.
        Interrupted: SIGTERM or Ctrl-C; everything is saved.
        NonFinite: training diverged; the last checkpoint is from before.
        LostWorker: another worker of the cluster is gone.
    """
    recipe.check()
    if steps_per_loop < 1:
        raise ValueError(f"--steps_per_loop should be at least 1. Received: {steps_per_loop}")
    strategy = strategy or make_strategy()
    if xla and recipe.sync_bn and strategy.num_replicas_in_sync > 1:
        raise ValueError(
            "--xla compiles each replica's own pass, and --sync_bn talks to the other replicas "
            "within it; take one of the two."
        )
    start: Any = recipe.weights
    if recipe.head_epochs:
        head = RunFolder(Path(run_dir) / "head")
        if not head.model_path.exists():
            options = {"strategy": strategy, "download": download}
            options |= {"steps_per_loop": steps_per_loop, "xla": xla}
            train(_head_stage(recipe), str(head.path), **options)
        start = str(head.model_path)
    loaded = resolve_weights(start or None, recipe.model)
    contract = (loaded and loaded.preprocessing) or default_preprocessing(recipe.model)
    contract = contract.replace(size=(recipe.image_size,) * 2, crop_fraction=recipe.crop_fraction)
    source = open_source(
        recipe.dataset,
        data_dir=recipe.data_dir,
        split=recipe.split,
        validation_fraction=recipe.validation_fraction,
        seed=recipe.seed,
        download=download,
    )
    folder = RunFolder(run_dir)
    steps_per_epoch = source.num_examples("train") // recipe.batch_size
    if not steps_per_epoch:
        raise ValueError(
            f"The batch should be at most the training part's {source.num_examples('train')} "
            f"images. Received: --batch_size={recipe.batch_size}"
        )
    parts = strategy.num_replicas_in_sync * recipe.accumulation_steps
    if recipe.batch_size % parts:
        raise ValueError(
            f"The global batch should divide by the {strategy.num_replicas_in_sync} replicas times "
            f"--accumulation_steps={recipe.accumulation_steps}. "
            f"Received: --batch_size={recipe.batch_size}"
        )
    keras.utils.set_random_seed(recipe.seed)
    run = _Run(recipe, folder, source, contract, strategy, steps_per_epoch, loaded)
    run.steps_per_loop = steps_per_loop
    run.use_step_functions(xla)
    if is_chief(strategy):
        folder.begin(recipe, source.class_names, contract, source.provenance)
    width = recipe.width_multiplier
    run.progress.say(
        f"{recipe.model} at {recipe.image_size} px{'' if width == 1 else f', width {width:g}'}, "
        f"{run.model.count_params():,} parameters, on "
        f"{recipe.dataset}: {source.num_examples('train')} training, "
        f"{source.num_examples('validation')} validation and {source.num_examples('test')} test "
        f"images of {len(source.class_names)} classes; {describe(strategy)}, seed {recipe.seed}",
    )
    try:
        with _stop_signals() as stop:
            run.to_the_end(stop)
        run.finish()
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError) as error:
        if not is_multi_worker(strategy):
            raise
        raise LostWorker(
            f"Another worker is gone after step {run.step}; restart all of them with the same "
            f"command, and the run goes on from its last checkpoint. ({type(error).__name__})"
        ) from error
    return folder


def _head_stage(recipe: Recipe) -> Recipe:
    """The stage before the others, as a recipe of its own."""
    return recipe.replace(
        freeze="backbone",
        head_epochs=0,
        epochs=recipe.head_epochs,
        learning_rate=recipe.head_learning_rate,
        schedule="constant",
        warmup_epochs=0.0,
        keep="last",
    )


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
        loaded: Loaded | None,
    ) -> None:
        self.recipe, self.folder, self.source = recipe, folder, source
        self.contract, self.strategy = contract, strategy
        self.steps_per_epoch = steps_per_epoch
        self.total_steps = recipe.epochs * steps_per_epoch
        with strategy.scope():
            self.model = training_network(recipe, len(source.class_names), loaded)
            self.schedule = make_schedule(recipe, steps_per_epoch)
            self.optimizer = make_optimizer(recipe, self.schedule)
            self.optimizer.build(self.model.trainable_variables)
            self.average = MovingAverage(self.model, recipe.ema) if recipe.ema else None
            self.scale = LossScale() if recipe.precision == "mixed_float16" else None
        self.store = checkpoints.Store(
            folder.checkpoints_path,
            self.model,
            self.optimizer,
            self.average,
            self.scale,
            writes=is_chief(strategy),
        )
        self.step, self.steps_per_loop = 0, 1
        self.progress = Progress(
            prints=is_chief(strategy),
            batch_size=recipe.batch_size,
            total_steps=self.total_steps,
            epochs=recipe.epochs,
        )

    def use_step_functions(self, xla: bool) -> None:
        """Sets how a replica computes its part of a step."""
        self.step_functions = Step(
            self.model, self.optimizer, self.recipe, self.average, self.scale, xla
        )

    def to_the_end(self, stop: dict[str, int]) -> None:
        """Trains to the last step, or raises Interrupted."""
        self.step = self.store.restore_newest()
        rows = [row for row in self.folder.history if row["step"] <= self.step]
        if self.step:
            self.progress.say(f"Going on from step {self.step} of {self.total_steps}.")
        batches = iter(self._training_batches(self.step))
        saved = time.monotonic()
        while self.step < self.total_steps:
            epoch_end = (self.step // self.steps_per_epoch + 1) * self.steps_per_epoch
            epoch_started, epoch_first = time.monotonic(), self.step
            sums = np.zeros(2)
            while self.step < epoch_end:
                count = min(self.steps_per_loop, epoch_end - self.step)
                due = time.monotonic() - saved > SECONDS_BETWEEN_CHECKPOINTS
                asked = [tf.constant(float(v)) for v in (stop.get("signal", 0), due)]
                loss, correct, norm, signals, dues = (
                    float(v) for v in self._loop(batches, tf.constant(count, tf.int32), asked)
                )
                self._check_finite(loss, norm, count)
                self.step += count
                sums += (loss, correct)
                done = self.step - epoch_first
                mean_loss, hits = (float(v) for v in sums / done)
                self.progress.loop(self.step, mean_loss, hits, self._rate())
                if self.step == epoch_end:
                    # Before the checkpoint: resuming drops a row too many, but cannot add one.
                    seconds = time.monotonic() - epoch_started
                    rows.append(self._row(sums / done, done, seconds))
                    self.progress.epoch(rows[-1])
                    self._keep(rows)
                # What any worker was asked, all of them do: they have to save the same step.
                if signals or dues or self.step == epoch_end:
                    self._save()
                    saved = time.monotonic()
                if signals and self.step < self.total_steps:
                    raise Interrupted(stop.get("signal", signal.SIGTERM), self.step)

    def _keep(self, rows: list[dict[str, float]]) -> None:
        """Writes the history, and the weights if no epoch was better by validation accuracy."""
        if self.recipe.keep == "best":
            last, *before = [row["validation_accuracy"] for row in reversed(rows)]
            if last > max(before, default=-1.0):
                self._merge()
                self.store.save_best(self.step)
        if is_chief(self.strategy):
            self.folder.write_history(rows)
            curves.to_tensorboard(self.folder.path / "tensorboard", rows[-1])

    def finish(self) -> None:
        """Writes the trained network and the curves."""
        if self.recipe.keep == "best":
            self.progress.say(f"Best epoch by validation: step {self.store.restore_best()}.")
        with self._averaged():  # every worker takes part in averaging the statistics
            if not is_chief(self.strategy):
                return
            inference = inference_network(self.recipe, self.model)
            for layer in inference.layers:
                layer.set_weights(self.model.get_layer(layer.name).get_weights())
        write(self.folder.model_path, lambda path: inference.save(path))
        rows = self.folder.history
        write(self.folder.path / "curves.png", lambda path: curves.draw(rows, path))

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
                mix=recipe.mix,
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
            "learning_rate": self._rate(),
            "loss": means[0],
            "accuracy": means[1] / self.recipe.batch_size,
            "images_per_second": steps * self.recipe.batch_size / seconds,
        }
        if self.source.num_examples("validation"):
            with self._averaged():
                row |= self._validate()
        return {k: v if isinstance(v, int) else round(float(v), 6) for k, v in row.items()}

    def _rate(self) -> float:
        """The learning rate of the step before."""
        return float(self.schedule(self.step - 1))

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
            f"last checkpoint is from before. The images of these steps: {shown}. Try a lower "
            "--learning_rate, more --warmup_epochs, or --clip_norm."
        )

    def _merge(self) -> None:
        merge_statistics(self.model, self.strategy)

    def _save(self) -> None:
        self._merge()
        if not all(np.isfinite(w.numpy()).all() for w in self.model.weights):
            self._refuse("a weight", 1)
        self.store.save(self.step)

    @contextlib.contextmanager
    def _averaged(self) -> Iterator[None]:
        """Inside, the model has the weights that are evaluated and exported."""
        self._merge()
        with self.average.applied() if self.average else contextlib.nullcontext():
            yield


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
