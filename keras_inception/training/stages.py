"""A training from its command to its end: checks before slow work, then a stage or two."""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
from collections.abc import Iterator
from pathlib import Path

import keras
import tensorflow as tf

from keras_inception.buckets import is_remote, local
from keras_inception.data import (
    ChangedData,
    Changes,
    Fingerprint,
    Held,
    Source,
    inspection,
    open_for,
)
from keras_inception.files import write
from keras_inception.locks import FolderLock
from keras_inception.models.registry import default_preprocessing
from keras_inception.optimizers import make_optimizer, make_schedule, rate_factors
from keras_inception.options import Options
from keras_inception.preprocessing import Preprocessing
from keras_inception.recipes import Recipe
from keras_inception.runs import RunFolder
from keras_inception.training import balance, memory, precision
from keras_inception.training.averages import MovingAverage
from keras_inception.training.endings import LostWorker, stop_requests
from keras_inception.training.loop import Descent
from keras_inception.training.networks import inference_network, training_network
from keras_inception.training.probe import Probe
from keras_inception.training.stage import Place, Stage
from keras_inception.training.step import LossScale, Step
from keras_inception.training.strategy import (
    in_words,
    is_chief,
    is_multi_worker,
    make_strategy,
    wait_for_all,
)
from keras_inception.weights import Loaded
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
    verbose: int = 1,
) -> RunFolder:
    """Trains a variant and leaves a run folder; goes on where an earlier run of it stopped.

    Args:
        recipe: What to compute.
        run_dir: The run folder.
        strategy: Which devices train; by default what the machine has.
        download: Whether a TFDS data set may be fetched.
        steps_per_loop: Steps that the devices take before they answer.
        xla: Whether each replica's forward and backward pass is compiled.
        fresh: Whether an earlier run's files, and no others, are removed from the folder when
            everything has been checked.
        keep_parts: Whether a run goes on with its images, though the data set has more by now.
        source: The data set, if `open_bound` has opened it already.
        lock: The lock of the folder, which is taken and kept; by default one for this call.
        verbose: 1 prints the progress, 2 in lines, 0 nothing.

    Returns:
        The run folder, with weights.safetensors, model.keras, history.csv and curves.png in it.
        The stage in which only the classifiers train (`head_epochs`, `probe`) has a run folder of
        its own, head/ in it, unless it is the only stage.

    Raises:
        ValueError: the recipe, the data or the folder cannot be trained with; before training.
        Interrupted: SIGTERM or Ctrl-C; everything is saved.
        NonFinite: the training diverged; the last checkpoint is from before.
        LostImage: an image was removed or damaged during the training.
        LostWorker: another worker of the cluster is gone.
    """
    recipe.check()
    strategy = strategy or make_strategy()
    _check_options(recipe, Options(str(run_dir), steps_per_loop=steps_per_loop, xla=xla), strategy)
    folder = RunFolder(run_dir)
    source = source or open_bound(
        recipe, folder, fresh=fresh, keep_parts=keep_parts, download=download, verbose=verbose
    )
    recipe, notes = precision.decided(recipe, folder, strategy, fresh)
    recipe, of_data = for_data(recipe, source)
    if not fresh:
        folder.check_recipe(recipe)
    stages = _shown(plan(recipe, source, folder, strategy, fresh, steps_per_loop, xla), verbose)
    first = next(stages)  # what its network cannot do is refused before the folder is touched
    with _writing(folder, strategy, fresh, lock):
        _begin(first, recipe, folder, source, [*notes, *of_data])
        for stage in itertools.chain([first], stages):
            _carry_out(stage, source, begins=stage.folder is not folder)
    return folder


@contextlib.contextmanager
def _writing(
    folder: RunFolder, strategy: tf.distribute.Strategy, fresh: bool, lock: FolderLock | None
) -> Iterator[None]:
    """Inside, the chief alone writes the folder, which is cleared before if it is to be fresh."""
    with contextlib.ExitStack() as stack:
        if is_chief(strategy):
            (lock or stack.enter_context(FolderLock(folder.address))).take()
            folder.fetch()
            stack.enter_context(folder.published())
            if fresh:
                folder.clear()
            folder.remove_leftovers()
        yield


def plan(
    recipe: Recipe,
    source: Source,
    folder: RunFolder,
    strategy: tf.distribute.Strategy,
    fresh: bool = False,
    steps_per_loop: int = 10,
    xla: bool = False,
) -> Iterator[Stage]:
    """The stages of a training, in their order.

    Each is built when it is asked for: its network starts from the weights that the stage before
    has left.

    Args:
        recipe: What to compute.
        source: The data set.
        folder: The run folder; a first stage's is head/ in it.
        strategy: Which devices compute.
        fresh: Whether a first stage is repeated that has ended.
        steps_per_loop: Steps that the devices take before they answer.
        xla: Whether each replica's forward and backward pass is compiled.

    Raises:
        ValueError: the recipe's network, its weights or its batch cannot be used.
    """
    repeated = source
    if recipe.class_weight == "sampling":
        repeated = balance.with_equal_classes(source, recipe.seed)
    probe = functools.partial(_probe, source, strategy)
    descent = functools.partial(_descent, repeated, strategy, steps_per_loop, xla)
    if not recipe.epochs:
        yield probe(recipe, recipe.weights, folder)
        return
    _check_batch(recipe, repeated, strategy)
    weights, kind = recipe.weights, probe if recipe.probe else descent
    if recipe.probe or recipe.head_epochs:
        weights = str(folder.head.weights_path)
        if fresh or not folder.head.weights_path.exists():
            yield kind(_head_stage(recipe), recipe.weights, folder.head)
    yield descent(recipe, weights, folder)


def _shown(stages: Iterator[Stage], verbose: int) -> Iterator[Stage]:
    """The same stages, which print as `verbose` of `train` says."""
    for stage in stages:
        stage.progress.prints &= verbose > 0
        stage.progress.in_lines = verbose > 1
        yield stage


def _probe(
    source: Source,
    strategy: tf.distribute.Strategy,
    recipe: Recipe,
    weights: str,
    folder: RunFolder,
) -> Stage:
    """The stage that fits the classifier; raises ValueError if its network cannot be used."""
    loaded, contract = _start(recipe, weights)
    frozen = recipe.replace(freeze="backbone", aux_weight=0.0)
    with strategy.scope():
        model = training_network(frozen, len(source.class_names), loaded)
    memory.check_step(recipe, model, strategy)
    inference = functools.partial(inference_network, recipe, model, _output(source))
    return Probe(model, inference, Place(recipe, folder, source, contract, strategy))


def _descent(
    source: Source,
    strategy: tf.distribute.Strategy,
    steps_per_loop: int,
    xla: bool,
    recipe: Recipe,
    weights: str,
    folder: RunFolder,
) -> Stage:
    """A stage of gradient descent; raises ValueError if its network cannot be used."""
    loaded, contract = _start(recipe, weights)
    classes, class_weights = len(source.class_names), None
    if recipe.class_weight == "balanced":
        class_weights = balance.class_weights(source.splits["train"].labels, classes)
    schedule = make_schedule(recipe, source.num_examples("train") // recipe.batch_size)
    with strategy.scope():
        model = training_network(recipe, classes, loaded)
        factors = rate_factors(model, recipe.layer_decay) if recipe.layer_decay != 1 else None
        optimizer = make_optimizer(recipe, schedule, factors)
        optimizer.build(model.trainable_variables)
        average = MovingAverage(model, recipe.ema) if recipe.ema else None
        scale = LossScale() if recipe.precision == "mixed_float16" else None
    memory.check_step(recipe, model, strategy)
    step = Step(
        model,
        optimizer,
        batch_size=recipe.batch_size,
        parts=recipe.accumulation_steps,
        aux_weight=recipe.aux_weight,
        label_smoothing=recipe.label_smoothing,
        l2_weight=0.0 if recipe.decays_weights_apart else recipe.weight_decay,
        clip_norm=recipe.clip_norm,
        class_weights=class_weights,
        several=source.several,
        average=average,
        scale=scale,
        xla=xla,
    )
    inference = functools.partial(inference_network, recipe, model, _output(source))
    place = Place(recipe, folder, source, contract, strategy)
    return Descent(step, schedule, inference, place, steps_per_loop)


def _output(source: Source) -> str:
    """What a network for a data set gives: an `Identity.output`."""
    return "sigmoid" if source.several else "softmax"


def _start(recipe: Recipe, weights: str) -> tuple[Loaded | None, Preprocessing]:
    """The arrays that a stage starts from, if any, and the contract of its input.

    Raises:
        ValueError: there are no such weights.
    """
    if is_remote(weights):
        path = local(weights)
        if not path.exists():
            raise ValueError(f"There is no weights file {weights}.")
        weights = str(path)
    loaded = resolve_weights(weights or None, recipe.model)
    contract = (loaded and loaded.identity.preprocessing) or default_preprocessing(recipe.model)
    if recipe.aspect != "weights":
        contract = contract.replace(aspect=recipe.aspect)
    size = (recipe.image_size,) * 2
    keras.utils.set_random_seed(recipe.seed)
    return loaded, contract.replace(size=size, crop_fraction=recipe.crop_fraction)


def _begin(
    stage: Stage, recipe: Recipe, folder: RunFolder, source: Source, notes: list[str]
) -> None:
    """Writes what is known of a training before its first stage, and says it."""
    if is_chief(stage.strategy):
        begin(folder, recipe, source, stage.contract)
    wait_for_all(stage.strategy)
    findings = [*inspection.short_form(source), *inspection.cropped_away(source, stage.contract)]
    for line in [*notes, *findings, *balance.describe(recipe, source)]:
        stage.progress.say(line)


def _carry_out(stage: Stage, source: Source, *, begins: bool) -> None:
    """Runs and finishes a stage, unless it is asked to stop or another worker is lost."""
    if begins and is_chief(stage.strategy):
        begin(stage.folder, stage.recipe, source, stage.contract)
    stage.progress.say(_opening_line(stage, source))
    try:
        with stop_requests() as stop:
            stage.run(stop)
        stage.finish()
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError) as error:
        if not is_multi_worker(stage.strategy):
            raise
        raise LostWorker(
            f"Another worker is gone after step {stage.step}; restart all of them with the same "
            f"command, and the run goes on from its last checkpoint. ({type(error).__name__})"
        ) from error


def open_bound(
    recipe: Recipe,
    folder: RunFolder,
    *,
    held: Held | None = None,
    fresh: bool = False,
    keep_parts: bool = False,
    download: bool = False,
    verbose: int = 1,
) -> Source:
    """The recipe's data set, in the parts that a run in the folder has, if there is one.

    Raises:
        ValueError: the recipe or the data set is not the one that the run began with; the
            message says how it differs, and nothing was written.
    """
    if fresh:
        folder.check_clearable()
    else:
        # Another seed or share draws other parts: the settings are named before the images.
        # Of what the data and the machine decide, `train` compares what they decided.
        decided = {"epochs": bool(recipe.min_steps), "precision": recipe.precision == "auto"}
        folder.check_recipe(recipe, but=[*_WATCHED, *(name for name in decided if decided[name])])
    begun = not fresh and (folder.data_path.exists() or folder.checkpoints_path.exists())
    before = Fingerprint.read(folder.data_path) if begun else None
    anew = f"The run in {folder.path} is as it was. Start it anew with `fresh=True`"
    try:
        source = open_for(recipe, before, download, held, verbose)
    except ChangedData as error:
        raise ValueError(
            f"{error}. {anew}, give another `run_dir`, or put the data back as it was."
        ) from error
    if not source.num_examples("train"):
        raise ValueError(f"{recipe.dataset} has no training part: it is for evaluation only.")
    if source.added and not keep_parts:
        changes = Changes(added=source.added)
        raise ValueError(
            f"The data set {recipe.dataset} has changed since this run began: {changes}. {anew}, "
            "or go on without the new images with `keep_parts=True`."
        )
    return source


def begin(folder: RunFolder, recipe: Recipe, source: Source, contract: Preprocessing) -> None:
    """Writes what is known of a stage before it trains; the record of its data last.

    A run without that record was killed while it began, and begins again.
    """
    folder.begin(recipe, source.class_names, contract, source.provenance)
    if source.unreadable:
        lines = "".join(f"{line}\n" for line in source.unreadable)
        write(folder.unreadable_path, lines)
    source.fingerprint().write(folder.data_path)


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


def _check_options(recipe: Recipe, options: Options, strategy: tf.distribute.Strategy) -> None:
    """Raises ValueError if the run, or these devices, cannot do what is asked."""
    options.check()
    if options.xla and recipe.sync_bn and strategy.num_replicas_in_sync > 1:
        raise ValueError(
            "`xla` compiles each replica's own pass, and `sync_bn` talks to the other replicas "
            "within it; take one of the two."
        )
    if is_remote(options.run_dir) and is_multi_worker(strategy):
        raise ValueError(
            "Several workers need a `run_dir` that all of them see as it is at the moment, such as "
            "one of NFS, and work on copies of a bucket's. "
            f"Received: run_dir={options.run_dir!r}"
        )


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


def _opening_line(stage: Stage, source: Source) -> str:
    recipe, width = stage.recipe, stage.recipe.width_multiplier
    return (
        f"{recipe.model} at {recipe.image_size} px{'' if width == 1 else f', width {width:g}'}, "
        f"{stage.model.count_params():,} parameters, on "
        f"{recipe.dataset}: {source.num_examples('train')} training, "
        f"{source.num_examples('validation')} validation and {source.num_examples('test')} test "
        f"images of {len(source.class_names)} classes; {in_words(stage.strategy)}, "
        f"seed {recipe.seed}"
    )
