"""What a fine-tuning is going to do, and how long that takes on this machine: said before it."""

from __future__ import annotations

import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any

import keras
import tensorflow as tf

from keras_inception.data import Batches, Source, evaluation_batches, train_batches
from keras_inception.preprocessing import Preprocessing
from keras_inception.recipes import Recipe, named
from keras_inception.training.features import VIEWS
from keras_inception.training.lost import naming_lost_images
from keras_inception.training.networks import first_block, training_network
from keras_inception.training.optimizers import make_optimizer, make_schedule
from keras_inception.training.progress import minutes
from keras_inception.training.step import Step

# Batches that are timed, after one for tracing (as many on all workers, which wait for each other);
# and images of one, where a processor computes them.
_BATCHES = 3
_IMAGES = 8
# A training step is about three passes forward: the gradient is taken by activations and weights.
_PASSES = 3.0
# A training shorter than this is not measured, but taken for so many passes.
_SHORT = 60.0
# Where no accelerator is at hand, a forecast of so many seconds mentions the probe.
_LONG = 180.0
# With fewer steps than the recipe's, fine-tuning was less accurate on every set (docs/training.md).
# Where an epoch has fewer than `_SHORT_EPOCH`, a smaller batch makes more of them.
_FEW_STEPS, _SHORT_EPOCH, _SMALL_BATCH = named("finetune").min_steps, 10, 8


def forecast(
    recipe: Recipe,
    source: Source,
    model: keras.Model,
    network: keras.Model,
    contract: Preprocessing,
    strategy: tf.distribute.Strategy,
) -> list[str]:
    """Lines that say what a run does that first fits or trains a classifier, and how long it takes.

    Args:
        recipe: The run's, with `probe` or `head_epochs`.
        source: The data set.
        model: The network of the first stage; it is not changed.
        network: What computes the features of that stage.
        contract: How an image becomes their input.
        strategy: Which devices compute.

    Returns:
        Two or three lines. Times are of this machine, measured on a few batches.
    """
    training, validation = (source.num_examples(part) for part in ("train", "validation"))
    replicas, parts = strategy.num_replicas_in_sync, recipe.accumulation_steps
    slow = not any(tf.config.list_logical_devices(kind) for kind in ("GPU", "TPU"))
    images = max(1, min(recipe.batch_size, training) // (replicas * parts))
    images = parts * (min(images, _IMAGES) if slow else images)

    def seconds(step: Callable[[Any], tf.Tensor], trains: bool = False) -> float:
        """Of an image."""

        def make(context: tf.distribute.InputContext) -> tf.data.Dataset:
            hosts = context.num_input_pipelines
            shard, here = (context.input_pipeline_id, hosts), replicas // hosts
            if trains:
                return train_batches(
                    source,
                    contract,
                    batch_size=images,
                    seed=recipe.seed,
                    shard=shard,
                    replicas=here,
                )
            return evaluation_batches(
                source, "train", contract, batch_size=images, shard=shard, replicas=here
            ).repeat()

        batches = Batches(strategy.distribute_datasets_from_function(make))
        with naming_lost_images(source, "train"), batches:
            return _seconds(strategy, step, batches) / (images * replicas)

    forward = seconds(lambda batch: tf.reduce_sum(network(batch["image"], training=False)))
    if recipe.probe:
        views = VIEWS[recipe.views]
        first = forward * views * (training + validation)
        seen = "each once" if views == 1 else f"each in {views} views, once,"
        what = (
            f"{training} training and {validation} validation images, {seen} through the frozen "
            "network; then a classifier is fitted to their features"
        )
    else:
        first = forward * recipe.head_epochs * (training + validation)
        what = f"the classifiers alone, {recipe.head_epochs} epochs of {training} images"
    lines = [f"First: {what}: about {minutes(first)}."]
    second = 0.0
    if recipe.epochs:
        shown = recipe.epochs * (training // recipe.batch_size) * recipe.batch_size
        second = _PASSES * forward * shown
        if second > _SHORT:
            second = seconds(_training_step(recipe, source, strategy), trains=True) * shown
        second += forward * recipe.epochs * validation
        layers = "all"
        if recipe.unfreeze_from:
            layers = f"the layers from {first_block(model, recipe.unfreeze_from)} on"
        if recipe.freeze == "backbone":
            layers = "the classifiers"
        lines.append(
            f"Then: {layers} {'layers ' if layers == 'all' else ''}train, {recipe.epochs} epochs "
            f"of {training // recipe.batch_size} steps: about {minutes(second)}."
        )
        lines[-1] += _more_steps(recipe, training)
    lines.append(
        f"About {minutes(first + second)} in all on this machine, measured on {_BATCHES} batches "
        f"of {images * replicas} images; then evaluation, exports and their checks."
    )
    if slow and recipe.probe and second and first + second > _LONG:
        lines[-1] += (
            f" There is no GPU here: recipe=probe does the first part alone, {minutes(first)} of "
            f"the {minutes(first + second)}."
        )
    return lines


def _more_steps(recipe: Recipe, training: int) -> str:
    """A sentence with settings that take more steps, where the recipe's are too few to learn."""
    steps = recipe.epochs * (training // recipe.batch_size)
    if steps >= _FEW_STEPS:
        return ""
    batch = recipe.batch_size
    if training // batch < _SHORT_EPOCH:
        batch = min(batch, _SMALL_BATCH, training)
    epochs = max(recipe.epochs, math.ceil(_FEW_STEPS / (training // batch)))
    smaller = f"`batch_size={batch}` with " if batch < recipe.batch_size else ""
    return (
        f" {steps} steps are few for a fine-tuning: {smaller}`epochs={epochs}` takes "
        f"{epochs * (training // batch)}."
    )


def _training_step(
    recipe: Recipe, source: Source, strategy: tf.distribute.Strategy
) -> Callable[[Any], tf.Tensor]:
    """A step of a network of its own, which is thrown away afterwards."""
    with strategy.scope():
        model = training_network(recipe, len(source.class_names), None)
        optimizer = make_optimizer(recipe, make_schedule(recipe, 1))
        optimizer.build(model.trainable_variables)
    step = Step(model, optimizer, recipe)
    return lambda batch: step.train(batch)["loss"]


def _seconds(
    strategy: tf.distribute.Strategy, step: Callable[[Any], tf.Tensor], batches: Iterable[Any]
) -> float:
    """Seconds of a batch, without the first, on which the step is traced."""

    @tf.function
    def run(batch: Any) -> tf.Tensor:
        return strategy.run(step, args=(batch,))

    taken: list[float] = []
    began = time.monotonic()
    for batch in itertools.islice(batches, _BATCHES + 1):
        for result in strategy.experimental_local_results(run(batch)):
            result.numpy()  # waits for the device
        now = time.monotonic()
        taken.append(now - began)
        began = now
    return statistics.median(taken[1:])  # one that waited for its images counts little
