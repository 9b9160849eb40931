"""Exports: written, checked in processes of their own, and only then kept."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_inception import buckets, data
from keras_inception.data.decode import MAX_REQUEST_PIXELS, Decoding
from keras_inception.evaluation.metrics import wilson_interval
from keras_inception.exporting import checks
from keras_inception.exporting.checks import Check
from keras_inception.exporting.compare import compare, files, keras_probabilities, size
from keras_inception.exporting.diagnose import layer_errors, verdict
from keras_inception.exporting.diagnose import table as errors_table
from keras_inception.exporting.networks import Network, network_of
from keras_inception.exporting.samples import Samples, drawn, held_out, made_up
from keras_inception.exporting.targets import GRAPH_BYTES, TARGETS, Settings, Target, chosen, names
from keras_inception.exporting.tflite import FEWEST_IMAGES, calibration_images, check_form
from keras_inception.exporting.web import runtime_files
from keras_inception.files import write
from keras_inception.preprocessing import Preprocessing
from keras_inception.recipes import Recipe
from keras_inception.runs import RunFolder

IMAGES = 128  # held-out images that an export is compared on
CALIBRATION = 100  # training images that an int8 export measures its activations on
_SCRATCH = ".export-"  # what an export writes before it is checked


def export(
    source: Any,
    formats: Sequence[str] = ("saved_model", "tflite"),
    quantize: Sequence[str] = ("float32", "dynamic"),
    output: str | Path | None = None,
    *,
    dataset: str | data.Source | None = None,
    preprocessing: Preprocessing | None = None,
    labels: Sequence[str] | None = None,
    images: int = IMAGES,
    calibration: int = CALIBRATION,
    ends: str = "float32",
    outputs: str = "probabilities",
    author: str = "",
    license: str = "",
    max_pixels: int = MAX_REQUEST_PIXELS,
    runtime: str | Path | None = None,
    latency: bool = True,
    diagnose: bool = False,
) -> dict[str, Any]:
    """Exports a network, and compares each file with the Keras model in a process of its own.

    Args:
        source: A run folder, a `.keras` file, a weights file, the name of published weights or a
            built model: what `keras_inception.load_classifier` makes a Keras model of.
        formats: "saved_model", "tflite", "web" (a page with LiteRT.js), and with their extras
            installed "onnx" and "openvino".
        quantize: Of the .tflite files: "float32", "float16", "dynamic" and "int8".
        output: Folder to write into; by default the run folder. It may hold earlier exports,
            which are replaced, and nothing else.
        dataset: What `keras_inception.data.open_source` opens: its test part is what the files are
            compared on, its training part what "int8" is calibrated with. By default the run's.
            Without either the comparison is on made-up images.
        preprocessing, labels: Contract and class names, where `source` does not hold them.
        images: How many images the files are compared on.
        calibration: How many images "int8" is calibrated with.
        ends, outputs: See `export_tflite`.
        author, license: For the files' metadata.
        max_pixels: Larger images are refused by the SavedModel, before it decodes them.
        runtime: For "web", the folder node_modules to copy LiteRT.js from; see `export_web`.
        latency: Whether the time of one image is measured, with one thread and with two.
        diagnose: Whether every layer's output is compared, too: the network is written once more
            for each file. A failed check then names the first layer whose output departs.

    Returns:
        What export.json in the folder holds: "images", "labels", "preprocessing" and "files", by
        name: bytes, sha256, differences, accuracy with its interval, latency, checks and, with
        `diagnose`, the relative error of each layer.

    Raises:
        ExportCheckError: a file differs from the Keras model by more than its limits; it is
            removed.
        ValueError: bad input; known before anything is converted.
        OSError: the folder cannot be written.
    """
    targets = chosen(formats, quantize)
    check_form("int8" if "int8" in quantize else "float32", ends, outputs)
    given, source = source, buckets.local(source)
    run = RunFolder(source) if _is_run(source) else None
    if output is None and run is None:
        raise ValueError("`output` should name the folder to write into. Received: output=None")
    written = RunFolder(output if output is not None else given)
    folder = written.path
    if run is None or folder.resolve() != run.path.resolve():
        _check_folder(folder)
    if calibration < 1 or images < 1:
        raise ValueError(
            "`images` and `calibration` should be at least 1. "
            f"Received: images={images}, calibration={calibration}"
        )
    if "web" in formats and runtime is not None:
        runtime_files(Path(runtime))
    if "int8" in quantize and calibration < FEWEST_IMAGES:
        raise ValueError(
            f'quantize="int8" needs `calibration` of at least {FEWEST_IMAGES} images. '
            f"Received: calibration={calibration}"
        )
    network = network_of(source, preprocessing, labels)
    if outputs == "logits":
        network.check_logits()
    _check_space(folder, targets, network)
    opened = data.open_source(dataset) if isinstance(dataset, str) else dataset
    if opened is None and run is not None:
        opened = data.open_run(run)
    settings = Settings(
        ends=ends,
        outputs=outputs,
        author=author,
        license=license,
        decoding=opened.decoding if opened else Decoding(),
        max_pixels=max_pixels,
        runtime=runtime,
    )
    if any(target.needs_calibration for target in targets):
        if opened is None:
            raise ValueError(
                'quantize="int8" measures activations on real training images: export a run '
                'folder, or give `dataset`; "dynamic" needs none.'
            )
        some = drawn(opened, "train", network, calibration)["image"]
        checked = calibration_images(list(some), network.input_shape)
        settings = dataclasses.replace(settings, calibration=checked)
    samples = held_out(opened, network, images) if opened else made_up(network, images)
    result = _write_all(network, targets, settings, samples, folder, latency, diagnose)
    written.publish()
    return result


def export_run(run_dir: str | Path, source: data.Source | None = None) -> dict[str, Any]:
    """Exports a finished run into its folder, as its recipe says, and checks what was exported.

    Args:
        run_dir: The run folder.
        source: The run's data set, if it is open already.

    Returns:
        What export.json holds: see `export`; nothing if the recipe exports nothing.

    Raises:
        ExportCheckError: a file differs from the Keras model; it is removed.
        ValueError: the folder holds no finished run, or the recipe names an unknown form.
    """
    run = RunFolder(run_dir)
    if not run.model_path.exists():
        raise ValueError(
            f"{run.path} holds no trained model (no model.keras); let its training end first."
        )
    formats, quantize = names(run.recipe.formats), names(run.recipe.quantization)
    if not formats:
        return {}
    return export(run.address, formats, quantize, run.address, dataset=source, latency=False)


def check_recipe(recipe: Recipe) -> None:
    """Raises ValueError if a recipe's exports are unknown, or need packages that are missing."""
    if names(recipe.formats):
        chosen(names(recipe.formats), names(recipe.quantization))


def _is_run(source: Any) -> bool:
    return isinstance(source, str | os.PathLike) and (Path(source) / "config.json").exists()


def _check_folder(folder: Path) -> None:
    """Raises ValueError if a folder holds something that no export wrote."""
    ours = {
        "export.json",
        "labels.txt",
        *(target.file for target in TARGETS),
    }
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"`output` should be a folder. Received: {folder}")
    others = sorted(p.name for p in folder.iterdir()) if folder.exists() else []
    others = [name for name in others if name not in ours and not name.startswith(_SCRATCH)]
    if others:
        raise ValueError(
            f"`output` should be a new folder, or one of an earlier export. {folder} also holds "
            f"{', '.join(others[:3])}{f' and {len(others) - 3} more' * (len(others) > 3)}."
        )


def _check_space(folder: Path, targets: list[Target], network: Network) -> None:
    """Raises OSError if the disks are too full for what is written."""
    weights = network.model.count_params()
    needed = sum(target.bytes_a_weight * weights + GRAPH_BYTES for target in targets)
    replaced = sum(size(folder / t.file) for t in targets if (folder / t.file).exists())
    for place, much in (
        (folder, needed - replaced),
        (Path(tempfile.gettempdir()), 4 * weights + GRAPH_BYTES),  # what converters read from
    ):
        there = next(p for p in (place, *place.absolute().parents) if p.exists())
        free = shutil.disk_usage(there).free
        if free < much:
            raise OSError(
                f"{there} has {free / 1e6:.1f} MB free, and the export needs about "
                f"{much / 1e6:.1f} MB there."
            )


def _write_all(
    network: Network,
    targets: list[Target],
    settings: Settings,
    samples: Samples,
    folder: Path,
    latency: bool,
    diagnose: bool,
) -> dict[str, Any]:
    count = len(samples.images)
    print(f"Exports, compared with the Keras model on {count} {samples.origin}:", flush=True)
    want = keras_probabilities(network, samples.images)
    if not np.isfinite(want).all():
        raise ValueError(
            "The network's own answers are not finite numbers for "
            f"{(~np.isfinite(want)).any(-1).sum()} of {count} images: its layers overflow. Nothing "
            "was exported."
        )
    result: dict[str, Any] = {
        "images": count,
        "origin": samples.origin,
        "labels": network.labels,
        "preprocessing": network.preprocessing.to_dict(),
        "keras": _accuracy(want, samples.labels),
        "files": {},
    }
    folder.mkdir(parents=True, exist_ok=True)
    for left in [*folder.glob(f"{_SCRATCH}*"), folder / "export.json"]:
        _remove(left)
    for target in targets:
        _remove(folder / target.file)
        try:
            result["files"][target.file] = _write(
                network, target, settings, samples, want, folder, diagnose
            )
        except OSError as error:
            if error.errno is None:  # a message of ours
                raise
            path = folder / target.file
            raise OSError(f"{path} cannot be written: {error.strerror}") from error
    if latency:
        _add_latency(result["files"], folder, samples.images)
    write(folder / "labels.txt", "".join(f"{name}\n" for name in network.labels))
    RunFolder(folder).write_json("export.json", result)
    print(table(result), flush=True)
    return result


def _write(
    network: Network,
    target: Target,
    settings: Settings,
    samples: Samples,
    want: np.ndarray,
    folder: Path,
    diagnose: bool,
) -> dict[str, Any]:
    """Writes and checks one file, and returns what export.json says of it."""
    with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=folder) as scratch:
        path = Path(scratch) / target.file
        target.write(network, path, settings)
        made, answers = compare(target, path, network, samples, want, settings)
        _print_checks(path, made)
        why, layers = f"Usual reasons: {target.suspect}", {}
        if diagnose:
            errors = layer_errors(network, target, settings, samples.images, answers, want)
            why = verdict(errors, target.limits.layer)
            print(f"{errors_table(errors)}\n    {why}", flush=True)
            layers = {"layers": [dataclasses.asdict(error) for error in errors]}
        checks.require(made, path.name, why)
        row = {
            "format": target.format,
            "quantization": target.quantization,
            **_described(path, made),
            **_measured(answers, want, samples.labels),
            **layers,
        }
        path.rename(folder / target.file)
    return row


def _print_checks(path: Path, made: list[Check]) -> None:
    print(f"  {path.name} ({size(path) / 1e6:.1f} MB)", flush=True)
    for check in made:
        print(f"    {check}", flush=True)


def _described(path: Path, made: list[Check]) -> dict[str, Any]:
    """Size, digest and checks of a file or folder."""
    digest = hashlib.sha256()
    for file in files(path):
        digest.update(file.read_bytes())
    return {
        "bytes": size(path),
        "sha256": digest.hexdigest(),
        "checks": [
            {"name": c.name, "measured": c.measured, "limit": c.limit, "passed": bool(c.passed)}
            for c in made
        ],
    }


def _measured(got: np.ndarray, want: np.ndarray, labels: np.ndarray | None) -> dict[str, Any]:
    difference = np.abs(got - want)
    return {
        "largest_difference": float(difference.max()),
        "mean_moved": float(difference.sum(-1).mean() / 2),
        "same_answers": float((got.argmax(-1) == want.argmax(-1)).mean()),
        **_accuracy(got, labels),
    }


def _accuracy(probabilities: np.ndarray, labels: np.ndarray | None) -> dict[str, Any]:
    """Accuracy with its interval; nothing where no labels are known."""
    if labels is None:
        return {}
    right = int((probabilities.argmax(-1) == labels).sum())
    return {
        "accuracy": right / len(labels),
        "accuracy_interval": list(wilson_interval(right, len(labels))),
    }


def _add_latency(found: dict[str, Any], folder: Path, images: np.ndarray) -> None:
    """Milliseconds of one image in each file, with one thread and with two."""
    for threads in (1, 2):
        paths = {folder / t.file / t.runs: t.file for t in TARGETS if t.file in found}
        for path, milliseconds in checks.latencies_of(list(paths), images, threads).items():
            found[paths[Path(path)]].setdefault("latency_ms", {})[str(threads)] = milliseconds


def table(result: dict[str, Any]) -> str:
    """What each file weighs and how it compares, as text."""
    keras_row = result["keras"]
    rows = [["file", "MB", "largest", "mean moved", "same", "accuracy", "ms, 1 / 2 threads"]]
    rows.append(["Keras", "", "", "", "", _interval(keras_row), ""])
    for name, row in result["files"].items():
        times = " / ".join(f"{ms:.1f}" for ms in row.get("latency_ms", {}).values())
        rows.append(
            [
                name,
                f"{row['bytes'] / 1e6:.1f}",
                f"{row['largest_difference']:.2g}",
                f"{row['mean_moved']:.2g}",
                f"{row['same_answers']:.1%}",
                _interval(row),
                times,
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


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
