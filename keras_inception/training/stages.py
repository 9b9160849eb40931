"""A training from its command to its end: checks before slow work, then one stage or two."""

from __future__ import annotations

import contextlib
import logging
import math
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from keras_inception.buckets import is_remote, local
from keras_inception.data import (
    ChangedData,
    Changes,
    Fingerprint,
    Source,
    fingerprint,
    inspection,
    open_source,
)
from keras_inception.files import write
from keras_inception.locks import FolderLock
from keras_inception.models.registry import default_preprocessing
from keras_inception.preprocessing import Preprocessing
from keras_inception.recipes import Recipe
from keras_inception.runs import RunFolder
from keras_inception.training import balance, memory
from keras_inception.training.endings import LostWorker, stop_requests
from keras_inception.training.loop import Descent
from keras_inception.training.options import Options
from keras_inception.training.probe import Probe
from keras_inception.training.strategy import (
    describe,
    is_chief,
    is_multi_worker,
    make_strategy,
    wait_for_all,
)
from keras_inception.weights import resolve as resolve_weights

# What watches the validation part, and its values where the data has no such part.
_WATCHED = {"keep": "last", "patience": 0}


def train(
    recipe: Recipe,
    run_dir: str | Path,
    *,
    strategy: tf.distribute.Strategy | None = None,
    download: bool = False,
    steps_per_loop: int = 10,
    xla: bool = False,
    fresh: bool = False,
    keep_parts: bool = False,
    source: Source | None = None,
    lock: FolderLock | None = None,
) -> RunFolder:
    """Trains a variant and leaves a run folder; goes on where an earlier run of it stopped.

    Args:
        recipe: What to compute.
        run_dir: The run folder.
        strategy: Which devices train; by default what the machine has.
        download: Whether a TFDS data set may be fetched.
        steps_per_loop: Steps that the devices take before they answer.
        xla: Whether each replica's forward and backward pass is compiled.
        fresh: Whether the files of an earlier run in the folder are removed first; that happens
            when everything else has been checked, and nothing but a run's files is removed.
        keep_parts: Whether a run may go on with the images that it has, in the parts that they
            are in, though others were added to the data set since it began.
        source: The data set, if `open_bound` has opened it already.
        lock: The lock of the folder, which is taken and kept; by default one for this call.

    Returns:
        The run folder, with weights.safetensors, model.keras, history.csv and curves.png in it.
        With `head_epochs` or `probe`, the stage in which only the classifiers train has a run
        folder of its own, head/ in it (unless it is the only stage: a probe with no epochs).

    Raises:
        ValueError: the recipe, the data or the folder cannot be trained with; before training.
        Interrupted: SIGTERM or Ctrl-C; everything is saved.
        NonFinite: training diverged; the last checkpoint is from before.
        LostImage: an image was removed or damaged during the training.
        LostWorker: another worker of the cluster is gone.
    """
    recipe.check()
    Options(
        run_dir=str(run_dir),
        download=download,
        steps_per_loop=steps_per_loop,
        xla=xla,
        fresh=fresh,
        keep_parts=keep_parts,
    ).check()
    strategy = strategy or make_strategy()
    if xla and recipe.sync_bn and strategy.num_replicas_in_sync > 1:
        raise ValueError(
            "`xla` compiles each replica's own pass, and `sync_bn` talks to the other replicas "
            "within it; take one of the two."
        )
    if is_remote(run_dir) and is_multi_worker(strategy):
        raise ValueError(
            "Several workers need a `run_dir` that all of them see as it is at the moment, such as "
            f"one of NFS, and work on copies of a bucket's. Received: run_dir={str(run_dir)!r}"
        )
    folder = RunFolder(run_dir)
    if fresh:
        folder.check_clearable()
    if source is None:
        source = open_bound(recipe, folder, fresh=fresh, keep_parts=keep_parts, download=download)
    recipe, notes = for_data(recipe, source)
    if not fresh:
        folder.check_recipe(recipe)
    notes += inspection.short_form(source) + balance.describe(recipe, source)
    shown = source
    if recipe.class_weight == "sampling":
        source = balance.with_equal_classes(source, recipe.seed)
    if recipe.epochs:
        _check_batch(recipe, source, strategy)

    head = RunFolder(folder.path / "head")
    stages: list[tuple[type[Descent] | type[Probe], Recipe, RunFolder]] = [
        (Descent if recipe.epochs else Probe, recipe, folder)
    ]
    starts_from_head = bool(recipe.epochs and (recipe.probe or recipe.head_epochs))
    if starts_from_head and (fresh or not head.weights_path.exists()):
        stages.insert(0, (Probe if recipe.probe else Descent, _head_stage(recipe), head))

    def prepare(
        kind: type[Descent] | type[Probe], stage: Recipe, where: RunFolder
    ) -> Descent | Probe:
        """Builds a stage; raises ValueError if it cannot be trained."""
        later = starts_from_head and where is folder
        weights = str(head.weights_path) if later else stage.weights
        loaded = resolve_weights(weights_here(weights) or None, stage.model)
        contract = (loaded and loaded.identity.preprocessing) or default_preprocessing(stage.model)
        size = (stage.image_size,) * 2
        contract = contract.replace(size=size, crop_fraction=stage.crop_fraction)
        keras.utils.set_random_seed(stage.seed)
        run: Descent | Probe
        if kind is Probe:
            run = Probe(stage, where, shown, contract, strategy, loaded)
        else:
            how: dict[str, Any] = {"steps_per_loop": steps_per_loop, "xla": xla}
            run = Descent(stage, where, source, contract, strategy, loaded, **how)
        memory.check_step(stage, run.model, strategy)
        return run

    run = prepare(*stages[0])
    with contextlib.ExitStack() as stack:
        if is_chief(strategy):
            (lock or stack.enter_context(FolderLock(folder.address))).take()
            folder.fetch()
            stack.enter_context(folder.published())
            if fresh:
                folder.clear()
            folder.remove_leftovers()
            begin(folder, recipe, shown, run.contract)
        wait_for_all(strategy)
        for note in notes:
            run.progress.say(note)
        for i, (kind, stage, where) in enumerate(stages):
            if i:
                run = prepare(kind, stage, where)
            if is_chief(strategy) and where is not folder:
                begin(where, stage, shown, run.contract)
            run.progress.say(_opening_line(stage, run, shown))
            _to_the_end(run)
    return folder


def weights_here(weights: str) -> str:
    """What a recipe's weights are to a builder: a bucket's file as a copy on this machine.

    Raises:
        ValueError: the bucket has no such file.
    """
    if not is_remote(weights):
        return weights
    path = local(weights)
    if not path.exists():
        raise ValueError(f"There is no weights file {weights}.")
    return str(path)


def _to_the_end(run: Descent | Probe) -> None:
    try:
        with stop_requests() as stop:
            run.run(stop)
        run.finish()
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError) as error:
        if not is_multi_worker(run.strategy):
            raise
        raise LostWorker(
            f"Another worker is gone after step {run.step}; restart all of them with the same "
            f"command, and the run goes on from its last checkpoint. ({type(error).__name__})"
        ) from error


def open_bound(
    recipe: Recipe,
    folder: RunFolder,
    *,
    fresh: bool = False,
    keep_parts: bool = False,
    download: bool = False,
) -> Source:
    """The recipe's data set, in the parts that a run in the folder has, if there is one.

    Raises:
        ValueError: the recipe or the data set is not the one that the run began with; the
            message says how it differs, and nothing was written.
    """
    if not fresh:
        # Another seed or share draws other parts: the settings are named before the images.
        # Of what the data decide, `train` compares what they decided.
        folder.check_recipe(recipe, but=[*_WATCHED, "epochs"] if recipe.min_steps else _WATCHED)
    record = folder.path / fingerprint.FILE
    before = None if fresh or not record.exists() else Fingerprint.read(record)
    if before is None and not fresh and folder.config_path.exists():
        logging.warning(
            "%s is a run of an earlier version, which did not note its images: it goes on, and "
            "whether they are still the same is not known.",
            folder.path,
        )
    anew = f"The run in {folder.path} is as it was. Start it anew with `fresh=True`"
    try:
        source = open_source(
            recipe.dataset,
            data_dir=recipe.data_dir,
            split=recipe.split,
            validation_fraction=recipe.validation_fraction,
            seed=recipe.seed,
            download=download,
            max_pixels=recipe.max_pixels,
            background=recipe.background_color,
            parts=before,
        )
    except ChangedData as error:
        raise ValueError(
            f"{error}. {anew}, give another `run_dir`, or put the data back as it was."
        ) from error
    if source.added and not keep_parts:
        changes = Changes(added=source.added)
        raise ValueError(
            f"The data set {recipe.dataset} has changed since this run began: {changes}. {anew}, "
            "or go on without the new images with `keep_parts=True`."
        )
    return source


def begin(folder: RunFolder, recipe: Recipe, source: Source, contract: Preprocessing) -> None:
    """Writes what is known of a stage before it trains."""
    folder.begin(recipe, source.class_names, contract, source.provenance)
    source.fingerprint().write(folder.path / fingerprint.FILE)
    if source.unreadable:
        lines = "".join(f"{line}\n" for line in source.unreadable)
        write(folder.path / "unreadable.txt", lines)


def for_data(recipe: Recipe, source: Source) -> tuple[Recipe, list[str]]:
    """The recipe as this data set allows it, and what is to be said of that."""
    recipe, notes = _with_enough_steps(recipe, source.num_examples("train"))
    changes = {name: v for name, v in _WATCHED.items() if getattr(recipe, name) != v}
    if not changes or source.num_examples("validation"):
        return recipe, notes
    if not recipe.validation_fraction:
        asked = ", ".join(f"`{name}={getattr(recipe, name)}`" for name in changes)
        raise ValueError(
            f"{asked} needs a validation part, and the data set has none of its own. Received: "
            "validation_fraction=0.0"
        )
    note = (
        f"The share {recipe.validation_fraction:g} of so few images leaves no validation part: "
        "training goes to its last epoch and keeps the last weights (keep=last, patience=0)."
    )
    return recipe.replace(**changes), [*notes, note]


def _with_enough_steps(recipe: Recipe, images: int) -> tuple[Recipe, list[str]]:
    """The recipe with the epochs that its `min_steps` need, and what is to be said of that."""
    an_epoch = images // recipe.batch_size
    if not recipe.epochs or not an_epoch or recipe.epochs * an_epoch >= recipe.min_steps:
        return recipe, []
    epochs = math.ceil(recipe.min_steps / an_epoch)
    note = (
        f"{recipe.epochs} epochs of {images} images are {recipe.epochs * an_epoch} steps, few "
        f"for a fine-tuning: {epochs} epochs, for at least {recipe.min_steps} steps "
        "(`epochs` of your own is taken as it is)."
    )
    return recipe.replace(epochs=epochs, min_steps=recipe.min_steps), [note]


def _check_batch(recipe: Recipe, source: Source, strategy: tf.distribute.Strategy) -> None:
    """Raises ValueError if the batch does not fit the data, or the replicas."""
    images = source.num_examples("train")
    if recipe.batch_size > images:
        raise ValueError(
            f"`batch_size` should be at most the training part's {images} images. "
            f"Received: batch_size={recipe.batch_size}"
        )
    replicas, parts = strategy.num_replicas_in_sync, recipe.accumulation_steps
    if recipe.batch_size % (replicas * parts):
        raise ValueError(
            f"`batch_size` should divide by the {replicas} replicas times "
            f"`accumulation_steps={parts}`. Received: batch_size={recipe.batch_size}"
        )


def _head_stage(recipe: Recipe) -> Recipe:
    """The stage in which only the classifiers train, as a recipe of its own."""
    return recipe.replace(
        freeze="backbone",
        head_epochs=0,
        epochs=recipe.head_epochs,  # 0 for a probe
        learning_rate=recipe.head_learning_rate,
        schedule="constant",
        warmup_epochs=0.0,
        keep="last",
    )


def _opening_line(recipe: Recipe, run: Descent | Probe, source: Source) -> str:
    width = recipe.width_multiplier
    return (
        f"{recipe.model} at {recipe.image_size} px{'' if width == 1 else f', width {width:g}'}, "
        f"{run.model.count_params():,} parameters, on "
        f"{recipe.dataset}: {source.num_examples('train')} training, "
        f"{source.num_examples('validation')} validation and {source.num_examples('test')} test "
        f"images of {len(source.class_names)} classes; {describe(run.strategy)}, "
        f"seed {recipe.seed}"
    )
