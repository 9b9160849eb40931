"""Evaluation as the papers did it: any networks on the same views of the same images.

A data set's images are decoded once each; every network gets the views that its own contract asks
for, and its probabilities are averaged over the views. What is kept of an image is a few numbers,
so 50,000 images of 1,000 classes take a few megabytes, and an evaluation that was stopped goes on.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_inception.bar import Bar
from keras_inception.buckets import is_remote
from keras_inception.data import Held, Source, decoding_of, open_run, open_source, views
from keras_inception.data.decode import Decoding
from keras_inception.data.stream import stream
from keras_inception.evaluation import results
from keras_inception.evaluation.metrics import KEPT_ROWS, Predictions
from keras_inception.evaluation.notes import Notes
from keras_inception.evaluation.task import RESTRICTIONS, Look, Task, plan, run_of
from keras_inception.messages import some
from keras_inception.runs import RunFolder
from keras_inception.runtime import load_classifier
from keras_inception.runtime.classifier import BATCH

# What tells an image's content, and its views as each network sees them.
Seen = tuple[np.ndarray, dict[Look, np.ndarray]]


def evaluate(
    models: Any,
    dataset: Any = None,
    *,
    crops: str = "",
    ensemble: bool = False,
    part: str = "test",
    ground_truth: str | os.PathLike | None = None,
    keys: str = "",
    data_dir: str = "",
    limit: int = 0,
    restrict: str = "",
    output: str | os.PathLike | None = None,
    fresh: bool = False,
    batch_size: int = BATCH,
    verbose: int = 1,
    source: Source | None = None,
) -> results.Evaluation:
    """Measures networks on a data set.

    `evaluate(run_dir)` is a run's own evaluation: on the test part that the run had, in the views
    of its recipe. It is written into the run folder, where the report reads it.

    Args:
        models: What `load_classifier` takes, such as a run folder or a file, or a list of such.
        dataset: What `train` takes as data, or an opened `Source`; a run's in the parts that it
            had. What a program holds without a test part is measured as a whole; whole-number
            labels without names count the first model's classes. None for a run's own evaluation,
            which takes none of the arguments from `crops` to `output`.
        crops: Views: "1" (the default), "mirror", "10", "12" or "144"; see `data.views.views`.
        ensemble: Whether to measure the average of all models' probabilities, too.
        part: "test", "validation" or "train".
        ground_truth, keys, data_dir: See `data.open_source`. A run's data set is opened with the
            keys of its recipe.
        limit: Measure that many images, drawn by a fixed seed; 0 for all.
        restrict: "" lets all outputs compete, so that an answer that is no class of the data set
            is wrong; "data" leaves out the outputs that are none, as is usual for ImageNet-A.
        output, fresh: A folder for the results. An evaluation that was stopped goes on there, or
            is started anew.
        batch_size: Views that a network is given at once.
        verbose: 1 shows the progress, 2 in lines, 0 nothing.
        source: With a run's own evaluation, the run's data set, if it is open already.

    Returns:
        What evaluation.json holds (see `results.collect`), as a dict that prints as a table.

    Raises:
        ValueError: an argument is out of range, a model's classes are not the data set's, or
            `output` holds another evaluation or is a run folder.
        ChangedData: the data set of a run has changed since.
        tf.errors.OpError: an image of a run's own evaluation is gone; elsewhere it is left out.
    """
    given = list(models) if isinstance(models, list | tuple) else [models]
    if dataset is None:
        how = (crops, ensemble, part != "test", ground_truth, keys, data_dir, limit, restrict)
        return _evaluate_run(_own_run(given, *how, output), source, fresh, batch_size, verbose)
    _check(given, crops, ensemble, restrict, output)
    opened = _open(dataset, ground_truth, keys, data_dir, given, verbose)
    task = plan(given, opened, part, crops or "1", ensemble, limit, batch_size, restrict)
    return _measure(task, Path(output) if output else None, fresh, verbose)


def _evaluate_run(
    run: RunFolder, source: Source | None, fresh: bool, batch_size: int, verbose: int
) -> results.Evaluation:
    """A run's own evaluation, whose images could all be read when the run began."""
    crops = {"center": "1"}.get(run.recipe.views, run.recipe.views)
    task = plan(
        [run.address],
        source or open_run(run, verbose=verbose),
        "test",
        crops,
        batch_size=batch_size,
    )
    result = _measure(dataclasses.replace(task, tolerant=False), run.path, fresh, verbose)
    run.publish()
    return result


def _measure(task: Task, output: Path | None, fresh: bool, verbose: int) -> results.Evaluation:
    """Asks, summarizes and writes."""
    noise = np.stack([entrant.answers_to_noise() for entrant in task.entrants])
    notes = Notes(output, task.protocol(), noise, fresh)
    if notes.rows:
        _check_contents(task, notes.rows)
    rows = _answer(task, notes, Bar(verbose))
    result = results.Evaluation(results.collect(task, rows))
    if output:
        results.write(output, task, rows, result)
        notes.done()
    return result


def _own_run(given: Sequence[Any], *how: Any) -> RunFolder:
    """The run that is measured as its recipe says.

    Args:
        given: The models.
        *how: The arguments that say how models are to be measured: none for a run.
    """
    path = given[0] if len(given) == 1 and isinstance(given[0], str | os.PathLike) else None
    run = RunFolder(os.fspath(path)) if path else None
    if run is None or not run.config_path.exists():
        shown = f"{given[0]}, which is no run folder" if len(given) == 1 else f"{len(given)} models"
        raise ValueError(
            "Only one run folder can be measured without `dataset`: it has a test part of its own. "
            f"Received: {shown}"
        )
    if any(how):
        raise ValueError(
            "Without `dataset`, a run is measured as its recipe says and the result is written "
            "into the run folder. Give `dataset` to choose crops, part, limit or output. "
            f"Received: dataset=None for {run.address}"
        )
    return run


def _check_contents(task: Task, rows: dict[str, np.ndarray]) -> None:
    """Raises ValueError if images are others than those that a stopped evaluation answered."""
    before = dict(zip(rows["index"].tolist(), rows["content"], strict=True))
    names = [
        task.split.describe(number)
        for number, found in stream(before, task.content)
        if isinstance(found, Exception) or (found != before[number]).any()
    ]
    if names:
        raise ValueError(
            f"{len(names)} of the {len(before)} images that were answered before this evaluation "
            f"was stopped have changed: {some(names)}. Give another `output`, or `fresh=True` to "
            "start anew."
        )


def _check(
    given: Sequence[Any],
    crops: str,
    ensemble: bool,
    restrict: str,
    output: str | os.PathLike | None,
) -> None:
    """What can be told before anything is opened."""
    if not given:
        raise ValueError("`models` should name at least one model. Received: an empty list")
    if ensemble and len(given) < 2:
        raise ValueError(f"An ensemble takes at least two models. Received: {len(given)}")
    if crops and crops not in views.CROPS:
        known = ", ".join(views.CROPS)
        raise ValueError(f"`crops` should be one of {known}. Received: crops={crops!r}")
    if restrict not in RESTRICTIONS:
        raise ValueError(f"`restrict` should be 'data' or ''. Received: restrict={restrict!r}")
    if is_remote(output):
        raise ValueError(
            f"`output` should be a folder on this machine. Received: output={output!r}"
        )
    if output and (Path(output) / "config.json").exists():
        raise ValueError(
            "`output` is a run folder, which has an evaluation.json of its own. Give a folder in "
            f"it, such as {Path(output) / 'evaluations' / 'mine'}. Received: {output}"
        )


def _open(
    dataset: Any,
    ground_truth: str | os.PathLike | None,
    keys: str,
    data_dir: str,
    models: Sequence[Any],
    verbose: int,
) -> Source:
    """The data set; a run's in the parts that the run had."""
    if isinstance(dataset, Source):
        return dataset
    runs = [run for run in map(run_of, models) if run]
    decoding = decoding_of(runs[0]) if runs else Decoding()
    if not isinstance(dataset, str | os.PathLike):

        def class_names() -> Sequence[str]:  # the model is loaded when the data is in order
            return (run_of(models[0]) or load_classifier(models[0])).class_names

        held = Held(test=dataset, class_names=class_names)
        return open_source(held, decoding=decoding, verbose=verbose)
    dataset = os.fspath(dataset)
    for run in runs:
        # Drawn anew, the test part would hold images that the run has trained on.
        if run.recipe.dataset == dataset and not ground_truth:
            return open_run(run, verbose=verbose)
    return open_source(
        dataset,
        data_dir=data_dir,
        decoding=decoding,
        ground_truth=ground_truth,
        keys=keys,
        verbose=verbose,
    )


def _answer(task: Task, notes: Notes, progress: Bar) -> dict[str, np.ndarray]:
    """Asks every network about every image.

    Args:
        task: Who is asked what.
        notes: The answers of an evaluation that was stopped, and where those of this one go.
        progress: Told how many images are done.

    Returns:
        See `results.read_predictions`.

    Raises:
        ValueError: no image can be read.
    """
    looks = {entrant.look(task.split) for entrant in task.entrants}
    kinds = {(look.decoding, look.channels) for look in looks}
    # Which bands of a file are taken was decided when the data set was opened.
    bands = task.split.decoding.bands
    splits = {
        d: dataclasses.replace(task.split, decoding=dataclasses.replace(d, bands=bands))
        for d, _ in kinds
    }

    def see(number: int) -> Seen:
        image = task.split.encoded(number)
        pixels = {(d, c): splits[d].pixels(number, c, image) for d, c in kinds}
        return task.content(number, image), {
            look: views.take(pixels[look.decoding, look.channels], look.contract, task.crops)
            for look in looks
        }

    rows = {name: [array] for name, array in notes.rows.items()}
    # An image that could not be read before is tried again.
    numbers = np.setdiff1d(task.numbers, notes.rows.get("index", [])).tolist()
    group = max(1, task.batch_size // views.CROPS[task.crops])
    pending: dict[int, Seen] = {}
    for done, (number, seen) in enumerate(stream(numbers, see), start=1):
        if not isinstance(seen, Exception):
            pending[number] = seen
        elif task.tolerant:
            reason = (str(seen).splitlines() or [type(seen).__name__])[0]
            logging.warning("%s cannot be read: %s", task.split.describe(number), reason)
        else:
            raise seen
        if pending and (len(pending) == group or done == len(numbers)):
            for name, array in _ask(task, pending).items():
                rows.setdefault(name, []).append(array)
            pending = {}
            progress(len(task.numbers) - len(numbers) + done, len(task.numbers))
            notes.save(rows)
    if not rows:
        raise ValueError(
            f"None of the {len(task.numbers)} images of {task.source.name} can be read."
        )
    columns = {name: np.concatenate(arrays) for name, arrays in rows.items()}
    order = np.argsort(columns["index"], kind="stable")
    return {name: column[order] for name, column in columns.items()}


def _ask(task: Task, pending: dict[int, Seen]) -> dict[str, np.ndarray]:
    """The answers to some images; see `_answer`."""
    index = np.array(list(pending))
    labels = task.labels(index)
    together = np.zeros((len(index), views.CROPS[task.crops], len(task.answer_names)))
    found: list[np.ndarray] = []
    for entrant in task.entrants:
        look = entrant.look(task.split)
        seen = np.concatenate([by[look] for _, by in pending.values()])
        found.append(entrant.answers(seen, task).reshape(together.shape))
        together += found[-1] / len(task.entrants)
    found += [together] * task.ensemble
    means = [each.mean(1, dtype=np.float64) for each in found]
    about = {
        "index": index,
        "content": np.stack([content for content, _ in pending.values()]),
        "labels": labels,
    }
    if task.several:
        return about | {"probabilities": np.stack(means, axis=1).astype(np.float32)}
    predictions = [Predictions.of(mean, labels) for mean in means]
    return about | {
        "single_view": np.stack([each[:, 0].argmax(1) for each in found], axis=1),
        **{name: np.stack([getattr(p, name) for p in predictions], axis=1) for name in KEPT_ROWS},
    }
