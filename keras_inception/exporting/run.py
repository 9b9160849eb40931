"""Exports: all are written, checked in processes of their own, and only then put in place."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_inception import buckets, data
from keras_inception.contracts import Given
from keras_inception.evaluation.metrics import wilson_interval
from keras_inception.exporting import checks, named
from keras_inception.exporting.exportable import Exportable
from keras_inception.exporting.samples import Samples, held_out, made_up
from keras_inception.exporting.targets import Target, check_holds, naming
from keras_inception.files import alone, exchange, remove_scratch, scratch, write
from keras_inception.recipes import Recipe
from keras_inception.result import Result, scalars
from keras_inception.runs import EXPORTS, RunFolder
from keras_inception.runtime import load_classifier

IMAGES = 128  # held-out images that an export is compared on
CALIBRATION = 100  # training images that an int8 export measures its activations on


def export(
    source: Any,
    output: str | Path | None = None,
    targets: Sequence[Target | str] = ("saved_model", "tflite", "tflite:dynamic"),
    *,
    dataset: Any = None,
    preprocessing: Given | None = None,
    class_names: Sequence[str] | None = None,
    num_images: int = IMAGES,
    num_calibration: int = CALIBRATION,
    latency: bool = True,
    verbose: int = 1,
) -> Exports:
    """Exports a network, and compares each file with the Keras model in a process of its own.

    Args:
        source: A run folder, a `.keras` file, a weights file, the name of published weights or a
            built model: what `keras_inception.load_classifier` makes a Keras model of.
        output: Folder to write into; by default the run folder. It may hold earlier exports,
            which are replaced when all new ones are written and checked, and nothing else.
        targets: `SavedModel`, `TFLite`, `Web`, `Onnx` and `OpenVINO` of
            `keras_inception.exporting`, with their options; or names, which stand for the same
            without options: "saved_model", "tflite", "tflite:float16", "tflite:dynamic",
            "tflite:int8", "web", and with their extras installed "onnx" and "openvino".
        dataset: What `train` takes as data: its test part is what the files are compared on, its
            training part what "tflite:int8" is calibrated with. By default the run's. Without
            either the comparison is on made-up images.
        preprocessing, class_names: Where `source` does not hold them; as of `load_classifier`.
        num_images: How many images the files are compared on.
        num_calibration: How many images "tflite:int8" is calibrated with.
        latency: Whether the time of one image is measured, with one thread and with two.
        verbose: 1 prints what was measured, 0 nothing.

    Returns:
        What export.json in the folder holds: "images", "class_names", "preprocessing" and "files",
        by name: bytes, sha256, differences, accuracy with its interval, latency and checks. After
        a kill it may hold "unfinished": then some files may be those of an earlier export.

    Raises:
        ExportCheckError: a file differs from the Keras model by more than its limits. Nothing is
            kept of the new export, and an earlier one is as it was.
        ValueError: bad input; known before anything is converted.
        OSError: the folder cannot be written; an earlier export is as it was.
    """
    chosen = _chosen(targets)
    _check_counts(num_images=num_images, num_calibration=num_calibration)
    run = _run_of(source)
    place, folder = _place(output, run, chosen)
    network = Exportable(
        load_classifier(buckets.local(source), preprocessing=preprocessing, class_names=class_names)
    )
    for target in chosen:
        target.check_network(network)
    opened = _opened(dataset, run, verbose)
    chosen = [target.with_data(opened, network, num_calibration) for target in chosen]
    samples = held_out(opened, network, num_images) if opened else made_up(network, num_images)
    result = Exports(_exported(network, chosen, samples, folder, latency, _speaker(verbose)))
    if buckets.is_remote(place):
        buckets.copy_of(place).publish()
    return result


def export_run(
    run_dir: str | Path, source: data.Source | None = None, verbose: int = 1
) -> Exports | None:
    """Exports a finished run into its folder, as its recipe says, and checks what was exported.

    Args:
        run_dir: The run folder.
        source: The run's data set, if it is open already.
        verbose: 1 prints what was measured, 0 nothing.

    Returns:
        What export.json holds: see `export`; None if the recipe exports nothing.

    Raises:
        ExportCheckError: a file differs from the Keras model; an earlier export stays.
        ValueError: the folder holds no finished run, or the recipe names an unknown form.
    """
    run = RunFolder(run_dir)
    if not run.model_path.exists():
        raise ValueError(
            f"{run.path} holds no trained model (no model.keras); let its training end first."
        )
    targets = _of_recipe(run.recipe)
    if not targets:
        return None
    return export(run.address, targets=targets, dataset=source, latency=False, verbose=verbose)


def check_recipe(recipe: Recipe) -> None:
    """Raises ValueError if a recipe's exports are unknown, or need packages that are missing."""
    for target in _of_recipe(recipe):
        target.check_packages()


def _of_recipe(recipe: Recipe) -> list[Target]:
    formats, quantization = named.names(recipe.formats), named.names(recipe.quantization)
    return named.of_names(formats, quantization) if formats else []


def _speaker(verbose: int) -> Callable[[str], None]:
    """What prints lines, or nothing."""
    return (lambda line: print(line, flush=True)) if verbose else (lambda line: None)


def _chosen(targets: Sequence[Target | str]) -> list[Target]:
    """The targets, which can be written side by side.

    Raises:
        ValueError: there are none, two would be one file, or a package is missing.
    """
    given = [targets] if isinstance(targets, str | Target) else targets
    chosen = [named.target(one) for one in given]
    files = [target.file for target in chosen]
    for file in files:
        if files.count(file) > 1:
            raise ValueError(f"`targets` holds two that are written as {file}: export them apart.")
    if not chosen:
        raise ValueError(f"`targets` should name at least one target. Received: {targets!r}")
    for target in chosen:
        target.check_packages()
    return chosen


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"`{name}` should be at least 1. Received: {name}={count}")


def _run_of(source: Any) -> RunFolder | None:
    """The run that a source is."""
    if not isinstance(source, str | os.PathLike):
        return None
    run = RunFolder(os.fspath(source))
    return run if run.config_path.exists() else None


def _opened(dataset: Any, run: RunFolder | None, verbose: int) -> data.Source | None:
    """The data set that is given, decoded as the run's images were, or the run's.

    What a program holds is in the parts that a run had which trained on it.
    """
    if dataset is None:
        return data.open_run(run, verbose=verbose) if run is not None else None
    if isinstance(dataset, data.Source):
        source = dataset
    elif isinstance(dataset, str | os.PathLike):
        source = data.open_source(dataset, verbose=verbose)
    else:
        held = data.Held(dataset)
        if run is not None and run.recipe.dataset == held.kind:
            return data.open_run(run, held, verbose)
        source = data.open_source(held, verbose=verbose)
    return source.decoded_as(data.decoding_of(run)) if run else source


def _place(
    output: str | Path | None, run: RunFolder | None, targets: list[Target]
) -> tuple[str | Path, Path]:
    """Where to write: the folder as it was given, and on this machine, if it is a bucket's.

    Raises:
        ValueError: none is given, or it holds something that neither an export nor the run wrote.
    """
    if output is None and run is None:
        raise ValueError("`output` should name the folder to write into. Received: output=None")
    place = output if output is not None else run.address  # type: ignore[union-attr]
    folder = Path(buckets.local(place))
    if run is None or folder.resolve() != run.path.resolve():
        own = {target.file for target in targets}
        check_holds(folder, {"export.json", "labels.txt", *EXPORTS.values(), *own})
    for target in targets:
        target.check_place(folder / target.file)
    return place, folder


def _exported(
    network: Exportable,
    targets: list[Target],
    samples: Samples,
    folder: Path,
    latency: bool,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Writes all targets, checks them and puts them in place; what export.json holds."""
    count = len(samples.images)
    say(f"Exports, compared with the Keras model on {count} {samples.origin}:")
    want = _probabilities(network, samples.images)
    result: dict[str, Any] = {
        "images": count,
        "origin": samples.origin,
        "class_names": network.class_names,
        "preprocessing": network.preprocessing.to_dict(),
        "keras": _accuracy(want, samples.labels, network.thresholds),
        **_said_thresholds(network),
        "files": {},
    }
    folder.mkdir(parents=True, exist_ok=True)
    remove_scratch(folder)
    with scratch(folder) as place:
        for target in targets:
            made = place / target.file
            with naming(folder / target.file):
                target.make(network, made)
            result["files"][target.file] = _row(target, made, network, samples, want, say)
        if latency:
            _add_latency(targets, result["files"], place, samples.images)
        write(place / "labels.txt", "".join(f"{one}\n" for one in network.class_names))
        with alone(folder):
            _put_in_place(place, folder, result)
    say(table(result))
    return result


def _put_in_place(made: Path, folder: Path, result: dict[str, Any]) -> None:
    """Exchanges an export's files with those of an earlier one.

    Where a kill leaves some of each, export.json is that of the new export and "unfinished".
    """

    def record(content: dict[str, Any]) -> None:
        text = json.dumps(content, indent=2, ensure_ascii=False)
        write(folder / "export.json", text + "\n")

    record(result | {"unfinished": True})
    for file in [*result["files"], "labels.txt"]:
        exchange(made / file, folder / file)
    record(result)


def _probabilities(network: Exportable, images: np.ndarray) -> np.ndarray:
    """The Keras model's answers.

    Raises:
        ValueError: they are not finite.
    """
    parts = [images[i : i + 64] for i in range(0, len(images), 64)]
    found = np.concatenate([network.probabilities(tf.constant(p)).numpy() for p in parts])
    if not np.isfinite(found).all():
        raise ValueError(
            "The network's own answers are not finite numbers for "
            f"{(~np.isfinite(found)).any(-1).sum()} of {len(images)} images: its layers overflow. "
            "Nothing was exported."
        )
    return found


def _row(
    target: Target,
    path: Path,
    network: Exportable,
    samples: Samples,
    want: np.ndarray,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Checks one file or folder; what export.json says of it."""
    made, answers = target.check(path, network, samples, want)
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    size, digest = sum(file.stat().st_size for file in files), hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    say(f"  {path.name} ({size / 1e6:.1f} MB)")
    for check in made:
        say(f"    {check}")
    checks.require(made, path.name)
    difference = np.abs(answers - want)
    return {
        "format": target.format,
        "quantization": target.quantization,
        "bytes": size,
        "sha256": digest.hexdigest(),
        "checks": [dataclasses.asdict(check) for check in made],
        "largest_difference": float(difference.max()),
        "mean_moved": checks.moved(difference, network.thresholds),
        "same_answers": float(checks.same_answers(answers, want, network.thresholds).mean()),
        **_accuracy(answers, samples.labels, network.thresholds),
    }


def _said_thresholds(network: Exportable) -> dict[str, Any]:
    """Of a network with a sigmoid for each class, from which probability each is named."""
    thresholds = network.identity.thresholds
    return {"thresholds": list(thresholds)} if thresholds else {}


def _accuracy(
    probabilities: np.ndarray, labels: np.ndarray | None, thresholds: np.ndarray | None
) -> dict[str, Any]:
    """Accuracy with its interval; nothing where no labels are known.

    Of images with several labels it is the share whose labels are all named, and no other.
    """
    if labels is None:
        return {}
    if thresholds is not None:
        right = int(((probabilities >= thresholds) == labels).all(-1).sum())
    else:
        right = int((probabilities.argmax(-1) == labels).sum())
    return {
        "accuracy": right / len(labels),
        "accuracy_interval": list(wilson_interval(right, len(labels))),
    }


def _add_latency(
    targets: list[Target], rows: dict[str, Any], folder: Path, images: np.ndarray
) -> None:
    """Milliseconds of one image in each file, with one thread and with two."""
    paths = {folder / target.file / target.runs: target.file for target in targets}
    for threads in (1, 2):
        for path, milliseconds in checks.latencies_of(list(paths), images, threads).items():
            rows[paths[Path(path)]].setdefault("latency_ms", {})[str(threads)] = milliseconds


class Exports(Result):
    """What export.json holds: see `export`."""

    def __repr__(self) -> str:
        return table(self)

    def rows(self) -> list[dict[str, Any]]:
        """A row a file."""
        return [{"file": name} | scalars(row) for name, row in self["files"].items()]


def table(result: dict[str, Any]) -> str:
    """What each file weighs and how it compares, as text."""
    rows = [["file", "MB", "largest", "mean moved", "same", "accuracy", "ms, 1 / 2 threads"]]
    rows.append(["Keras", "", "", "", "", _interval(result["keras"]), ""])
    for name, row in result["files"].items():
        rows.append(
            [
                name,
                f"{row['bytes'] / 1e6:.1f}",
                f"{row['largest_difference']:.2g}",
                f"{row['mean_moved']:.2g}",
                f"{row['same_answers']:.1%}",
                _interval(row),
                " / ".join(f"{ms:.1f}" for ms in row.get("latency_ms", {}).values()),
            ]
        )
    used = [i for i in range(len(rows[0])) if any(row[i] for row in rows[1:])]
    widths = {i: max(len(row[i]) for row in rows) for i in used}
    return "\n".join(
        "  " + "  ".join(f"{row[i]:{widths[i]}}" for i in used).rstrip() for row in rows
    )


def _interval(row: dict[str, Any]) -> str:
    if "accuracy" not in row:
        return ""
    low, high = row["accuracy_interval"]
    return f"{row['accuracy']:.1%} ({low:.1%} to {high:.1%})"
