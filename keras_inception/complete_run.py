"""A complete run in one call, from images to a report, and what it leaves as an object.

It stands above training, evaluation, exports and the report, and the command calls it.
"""

from __future__ import annotations

import base64
import dataclasses
import functools
import html
import os
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from keras_inception import evaluation, exporting, training
from keras_inception import report as pages
from keras_inception.backend import need_tensorflow
from keras_inception.data import Held, Source
from keras_inception.data.sources.memory import named_or_held
from keras_inception.evaluation import results
from keras_inception.locks import FolderLock
from keras_inception.messages import nearest
from keras_inception.options import Options, run_dir_of
from keras_inception.recipes import Recipe, named
from keras_inception.result import frame
from keras_inception.runs import RunFolder
from keras_inception.runtime import Classifier, load_classifier


class Run:
    """A run: what lies in its folder, as objects. Every function that takes a run folder takes it.

    Args:
        path: The run folder.

    Attributes:
        path: The run folder, as it was given.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = os.fspath(path)
        self._folder = RunFolder(self.path)

    def __fspath__(self) -> str:
        return self.path

    @property
    def recipe(self) -> Recipe:
        """What was computed."""
        return self._folder.recipe

    @property
    def class_names(self) -> list[str]:
        """Class names in the order of the model's outputs."""
        return self._folder.class_names

    @functools.cached_property
    def model(self) -> keras.Model:
        """The trained network, which takes images scaled by `model.preprocessing`."""
        return self._folder.load_model()

    @functools.cached_property
    def classifier(self) -> Classifier:
        """The trained network with its contract and class names: images in, probabilities out."""
        return load_classifier(self.path)

    @property
    def history(self) -> dict[str, list[float | None]]:
        """The columns of history.csv, a value an epoch, as `pandas.DataFrame` takes them."""
        rows = self._folder.history
        return {name: [row.get(name) for row in rows] for row in rows for name in row}

    @property
    def evaluation(self) -> results.Evaluation | None:
        """What evaluation.json holds (see `evaluate`); None before the evaluation."""
        found = results.read(self._folder.path)
        return results.Evaluation(found) if found else None

    @property
    def report(self) -> Any:
        """The path of report.html; None before it is written."""
        return self._folder.at("report.html") if self._folder.report_path.exists() else None

    def to_dict(self) -> dict[str, Any]:
        """The run as JSON holds it: its folder, recipe, class names, history and evaluation."""
        return {
            "path": self.path,
            "recipe": dataclasses.asdict(self.recipe),
            "class_names": self.class_names,
            "history": self.history,
            "evaluation": self.evaluation and self.evaluation.to_dict(),
        }

    def to_pandas(self) -> Any:
        """The history as a `pandas.DataFrame`, a row an epoch."""
        return frame(self._folder.history)

    def __repr__(self) -> str:
        return "\n".join(f"{name:10} {text}" for name, text in self._facts().items())

    def _repr_html_(self) -> str:
        """The run in a notebook: a table, and the curves of the training."""
        rows = {name: html.escape(text) for name, text in self._facts().items()}
        if self.report:
            address = html.escape(os.fspath(self.report))
            rows["report"] = f'<a href="{address}" target="_blank">{address}</a>'
        cells = "".join(f"<tr><th>{name}</th><td>{text}</td></tr>" for name, text in rows.items())
        curves = self._folder.curves_path
        image = base64.b64encode(curves.read_bytes()).decode() if curves.exists() else ""
        drawn = f'<img alt="curves" src="data:image/png;base64,{image}">' if image else ""
        return f"<table>{cells}</table>{drawn}"

    def _facts(self) -> dict[str, str]:
        """What is said of a run in a few lines."""
        recipe, epochs, found = self.recipe, len(self._folder.history), self.evaluation
        facts = {
            "run": self.path,
            "model": f"{recipe.model} at {recipe.image_size} px",
            "data": f"{recipe.dataset}, {len(self.class_names)} classes",
            "training": f"{epochs} epoch{'s' * (epochs > 1)}" if epochs else "the classifier alone",
        }
        if found:
            one = found["results"][0]
            low, high = one["accuracy_interval"]
            facts["accuracy"] = (
                f"{one['accuracy']:.1%} ({low:.1%} to {high:.1%}) of {found['images']} test images"
            )
            if one.get("output") == "sigmoid":
                facts["precision"] = f"{one['mean_average_precision']:.1%}, the classes' mean"
        return facts


def load_run(path: str | os.PathLike) -> Run:
    """The run in a folder, as `train` returned it.

    Args:
        path: The run folder, on this machine or in a bucket.

    Raises:
        ValueError: it is no run folder.
    """
    run = Run(path)
    run.recipe.check()
    return run


def train(
    data: Any = None,
    recipe: str | Recipe = "finetune",
    run_dir: str | os.PathLike | None = None,
    *,
    model: str | None = None,
    weights: str | None = None,
    validation: Any = None,
    test: Any = None,
    groups: Any = None,
    evaluate: bool = True,
    export: bool = True,
    report: bool = True,
    fresh: bool = False,
    strategy: str | tf.distribute.Strategy = "auto",
    verbose: int = 1,
    **fields: Any,
) -> Run:
    """Trains a network, evaluates it, exports it, checks the exports and writes a report.

    The same call goes on after an interruption.

    Args:
        data: The images: what `--dataset` takes, such as "folder:PATH"; the path of a folder or a
            CSV file; (images, labels) or (images, labels, class names), with an array of values in
            0..255 or a list of paths, and whole numbers or class names as labels; a pandas table
            with the columns path and label, and split and group if it has them; a finite
            `tf.data.Dataset` of (image, label); or a Hugging Face data set with an Image and a
            ClassLabel column. By default the recipe's.
        recipe: The name of a recipe (`keras-inception recipes` lists them), or a `Recipe`.
        run_dir: The run folder; by default runs/<dataset>-<model>.
        model, weights: The variant, and the weights to start from; by default the recipe's.
        validation, test: These parts of data that is no path, by default drawn out of it.
        groups: What belongs in one part, such as a patient: an entry for each image of `data` that
            is no path; or the recipe's text, such as a regular expression on paths.
        evaluate, export, report: Whether the test part is measured, the recipe's formats are
            written and checked, and report.html is written.
        fresh: Whether an earlier run's files in the folder are removed first.
        strategy: Which devices train: a name that `--strategy` takes, or a strategy.
        verbose: 1 prints the progress and what was measured, 2 in lines, 0 nothing.
        **fields: Fields of the recipe, such as `epochs=2`, and the other options of a run, such as
            `download=True`: what `keras-inception train --help` lists.

    Raises:
        TypeError: there is no such field.
        ValueError: the recipe, the data or the folder cannot be trained with; before training.
        keras_inception.training.Ending: the run ended early; what was saved is good.
        keras_inception.exporting.ExportCheckError: an exported file differs from the network.
    """
    need_tensorflow("train")
    given, held = named_or_held(data, validation, test, groups)
    given |= {"model": model, "weights": weights}
    recipe, options = _settings(recipe, run_dir, fresh, strategy, given, fields)
    if export:
        exporting.check_recipe(recipe)
    finish = functools.partial(_finish, evaluate, export, report, verbose)
    with training.stop_at_once(), FolderLock(options.run_dir) as lock:
        _carry_out(recipe, options, strategy, held, lock, verbose, finish)
    return Run(options.run_dir)


def _carry_out(
    recipe: Recipe,
    options: Options,
    strategy: str | tf.distribute.Strategy,
    held: Held | None,
    lock: FolderLock,
    verbose: int,
    finish: Callable[[RunFolder, Source], None],
) -> None:
    """Trains; on the chief, `finish` then takes the run folder and the data set."""
    if options.deterministic:
        training.repeat_bit_for_bit()
    devices = _devices(options) if isinstance(strategy, str) else strategy
    opening = {
        "fresh": options.fresh,
        "keep_parts": options.keep_parts,
        "download": options.download,
    }
    source = training.open_bound(
        recipe, RunFolder(options.run_dir), held=held, verbose=verbose, **opening
    )
    folder = training.train(
        recipe,
        options.run_dir,
        strategy=devices,
        steps_per_loop=options.steps_per_loop,
        xla=options.xla,
        source=source,
        lock=lock,
        verbose=verbose,
        **opening,
    )
    if training.is_chief(devices):
        finish(folder, source)


def _settings(
    recipe: str | Recipe,
    run_dir: str | os.PathLike | None,
    fresh: bool,
    strategy: str | tf.distribute.Strategy,
    given: dict[str, Any],
    fields: dict[str, Any],
) -> tuple[Recipe, Options]:
    """The recipe and the options of a call; of what is given, None stands for the recipe's."""
    if "dataset" in fields:
        raise TypeError("`train` takes the data set as `data`, its first argument.")
    given = given | fields
    recipe_fields, option_fields = (
        [field.name for field in dataclasses.fields(kind)] for kind in (Recipe, Options)
    )
    known = {*recipe_fields, *option_fields}
    for name in given:
        if name not in known:
            raise TypeError(f"`train` has no argument {name!r}{nearest(name, known)}")
    chosen = named(recipe) if isinstance(recipe, str) else recipe
    chosen = chosen.replace(
        **{n: v for n, v in given.items() if n in recipe_fields and v is not None}
    )
    chosen.check()
    options = Options(
        **{n: v for n, v in given.items() if n in option_fields},
        run_dir=os.fspath(run_dir or run_dir_of(chosen)),
        fresh=fresh,
        strategy=strategy if isinstance(strategy, str) else "auto",
    )
    options.check()
    return chosen, options


def _devices(options: Options) -> tf.distribute.Strategy:
    return training.make_strategy(
        options.strategy,
        options.tpu,
        options.num_virtual_devices,
        options.workers,
        options.worker_index,
    )


def _finish(
    evaluate: bool, export: bool, report: bool, verbose: int, folder: RunFolder, source: Source
) -> None:
    """What follows a training: each stage reads the run folder and adds its part."""
    with training.naming_lost_images(source, "test"):
        if evaluate:
            result = evaluation.evaluate(folder.address, source=source, verbose=verbose)
            if verbose:
                print(result, flush=True)
        if export:
            exporting.export_run(folder.address, source, verbose)
        if report:
            page = pages.write_report(folder.address, source)
            if verbose:
                print(f"Report: {page}")
