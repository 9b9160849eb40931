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
import tensorflow as tf

from keras_inception import data
from keras_inception.data.decode import Decoding
from keras_inception.evaluation.metrics import wilson_interval
from keras_inception.export import checks, fresh
from keras_inception.export.checks import Check, agreement, at_most, equal
from keras_inception.export.networks import Network, network_of
from keras_inception.export.saved_model import MAX_PIXELS, SIGNATURES
from keras_inception.export.targets import (
    FLOAT32,
    GRAPH_BYTES,
    TARGETS,
    Settings,
    Target,
    chosen,
)
from keras_inception.export.tflite import check_form
from keras_inception.files import write
from keras_inception.preprocessing import Preprocessing
from keras_inception.runs import RunFolder

IMAGES = 128  # held-out images that an export is compared on
CALIBRATION = 100  # training images that an int8 export measures its activations on
_SCRATCH = ".export-"  # what an export writes before it is checked


@dataclasses.dataclass(frozen=True)
class Samples:
    """What an export is compared on.

    Attributes:
        images: float32 (n, height, width, channels) in 0..255, fitted by the contract.
        labels: int64 (n,), or None where the images' classes are not the network's.
        encoded: One image as a file's bytes.
        pixels: The same as uint8 (height, width, channels).
        origin: Where the images come from, for people.
    """

    images: np.ndarray
    labels: np.ndarray | None
    encoded: bytes
    pixels: np.ndarray
    origin: str


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
    max_pixels: int = MAX_PIXELS,
    runtime: str | Path | None = None,
    latency: bool = True,
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

    Returns:
        What export.json in the folder holds: "images", "labels", "preprocessing" and "files", by
        name: bytes, sha256, differences, accuracy with its interval, latency and checks.

    Raises:
        ExportCheckError: a file differs from the Keras model by more than its limits; it is
            removed.
        ValueError: bad input; known before anything is converted.
        OSError: the folder cannot be written.
    """
    targets = chosen(formats, quantize)
    check_form("int8" if "int8" in quantize else "float32", ends, outputs)
    run = RunFolder(source) if _is_run(source) else None
    if output is None and run is None:
        raise ValueError("`output` should name the folder to write into. Received: output=None")
    folder = Path(output) if output is not None else RunFolder(source).path
    if run is None or folder.resolve() != run.path.resolve():
        _check_folder(folder)
    if calibration < 1 or images < 1:
        raise ValueError(
            "`images` and `calibration` should be at least 1. "
            f"Received: images={images}, calibration={calibration}"
        )
    network = network_of(source, preprocessing, labels)
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
        drawn = _drawn(opened, "train", network, calibration)
        settings = dataclasses.replace(settings, calibration=list(drawn["image"]))
    samples = _held_out(opened, network, images) if opened else _made_up(network, images)
    return _write_all(network, targets, settings, samples, folder, latency)


def export_run(run_dir: str | Path, source: data.Source | None = None) -> dict[str, Any]:
    """Exports a finished run into its folder and checks what was exported.

    Adds saved_model/, model.tflite (float32), model_int8.tflite (dynamic range) and export.json.

    Args:
        run_dir: The run folder.
        source: The run's data set, if it is open already.

    Returns:
        What export.json holds: see `export`.

    Raises:
        ExportCheckError: a file differs from the Keras model; it is removed.
        ValueError: the folder holds no finished run.
    """
    run = RunFolder(run_dir)
    if not run.model_path.exists():
        raise ValueError(
            f"{run.path} holds no trained model (no model.keras); let its training end first."
        )
    return export(run.path, output=run.path, dataset=source, latency=False)


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


# ------------------------------------------------------------------------------- what to compare


def _drawn(source: data.Source, part: str, network: Network, count: int) -> dict[str, np.ndarray]:
    """Examples of a part at even distances, so of many classes: "image" in 0..255 and "label"."""
    split = source.splits[part]
    if not len(split):
        raise ValueError(f"{source.name} has no images in its {part} part.")
    spread = np.unique(np.linspace(0, len(split) - 1, count).astype(int))
    some = dataclasses.replace(source, splits={part: split.subset(spread)})
    unscaled = network.preprocessing.replace(inside_model=True)
    channels, batch = network.input_shape[2], min(64, len(spread))
    found: dict[str, list[np.ndarray]] = {"image": [], "label": []}
    for one in data.evaluation_batches(some, part, unscaled, batch_size=batch, channels=channels):
        real = one["weight"].numpy() > 0
        for name, columns in found.items():
            columns.append(one[name].numpy()[real])
    return {name: np.concatenate(columns) for name, columns in found.items()}


def _held_out(source: data.Source, network: Network, count: int) -> Samples:
    drawn = _drawn(source, "test", network, count)
    named = list(source.class_names) == network.labels
    encoded = source.splits["test"].file(0)
    origin = f"test images of {source.name}"
    pixels = source.decoding.decode(tf.constant(encoded), network.input_shape[2]).numpy()
    labels = drawn["label"] if named else None
    return Samples(drawn["image"], labels, encoded, pixels, origin)


def _made_up(network: Network, count: int) -> Samples:
    """Smooth colored noise at several scales, where no data set is at hand."""
    rng, (height, width, channels) = np.random.default_rng(0), network.input_shape
    images = []
    for i in range(count):
        coarse = rng.uniform(0, 255, (2 + i % 7, 2 + i % 7, channels)).astype(np.float32)
        smooth = Preprocessing((height, width), crop_fraction=1.0, interpolation="bicubic")
        noise = rng.normal(0, 4 * (i % 5), (height, width, channels))
        images.append(np.clip(smooth.fit(coarse) + noise, 0, 255).astype(np.float32))
    pixels = images[0].round().astype(np.uint8)
    encoded = tf.io.encode_png(pixels).numpy()
    origin = "made-up images, since no data set was given"
    return Samples(np.stack(images), None, encoded, pixels, origin)


# -------------------------------------------------------------------------- writing and checking


def _write_all(
    network: Network,
    targets: list[Target],
    settings: Settings,
    samples: Samples,
    folder: Path,
    latency: bool,
) -> dict[str, Any]:
    count = len(samples.images)
    print(f"Exports, compared with the Keras model on {count} {samples.origin}:", flush=True)
    want = _keras_probabilities(network, samples.images)
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
        with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=folder) as scratch:
            path = Path(scratch) / target.file
            target.write(network, path, settings)
            made, answers = _compare(target, path, network, samples, want, settings)
            result["files"][target.file] = _settled(path, made, target.suspect) | {
                "format": target.format,
                "quantization": target.quantization,
                **_measured(answers, want, samples.labels),
            }
            path.rename(folder / target.file)
    if latency:
        _add_latency(result["files"], folder, samples.images)
    write(folder / "labels.txt", "".join(f"{name}\n" for name in network.labels))
    RunFolder(folder).write_json("export.json", result)
    print(table(result), flush=True)
    return result


def _keras_probabilities(network: Network, images: np.ndarray) -> np.ndarray:
    parts = [images[i : i + 64] for i in range(0, len(images), 64)]
    return np.concatenate([network.probabilities(tf.constant(p)).numpy() for p in parts])


def _compare(
    target: Target,
    path: Path,
    network: Network,
    samples: Samples,
    want: np.ndarray,
    settings: Settings,
) -> tuple[list[Check], np.ndarray]:
    """All checks of one file, and its probabilities."""
    got = checks.answers_of(path / target.runs, samples.images, samples.encoded, samples.pixels)
    about, limits = got["about"], target.limits
    identity = network.written_identity
    assert identity.preprocessing is not None
    made = [
        equal("labels in the file", about["labels"] == network.labels, True),
        equal(
            "contract in the file",
            Preprocessing.from_dict(about["preprocessing"]) == identity.preprocessing,
            True,
        ),
    ]
    if target.format == "saved_model":
        made += _check_saved_model(got, network, samples)
    elif target.format in ("tflite", "web"):
        made += _check_tflite(path / target.runs, about, network, settings, target)
    where = about.get("runtime", about["engine"])
    found = got["probabilities"]
    return made + agreement(where, found, want, limits.largest, limits.mean), found


def _check_saved_model(got: dict[str, Any], network: Network, samples: Samples) -> list[Check]:
    about, fitted = got["about"], network.preprocessing.fit(samples.pixels)
    want = network.probabilities(tf.constant(fitted[None])).numpy()
    signatures = [s for s in SIGNATURES if s != "features" or network.has_features]
    return [
        equal("signatures", about["signatures"], signatures),
        # A counter or two besides the weights; twice the weights would be keras#23553.
        at_most("stored floats", about["floats"], network.model.count_params() + 100),
        *agreement("image", got["raw"], want, FLOAT32.largest, FLOAT32.mean),
        equal(
            "classify_bytes: best class",
            str(got["best_classes"][0, 0]),
            network.labels[int(want[0].argmax())],
        ),
        equal("classify_bytes_marked: valid", got["marked_valid"].tolist(), [True, False]),
        equal("answers to empty batches", got["empty"].tolist(), [0, 0]),
        equal("bad requests refused", len(got["refused"]), fresh.BAD_REQUESTS),
    ]


def _check_tflite(
    path: Path, about: dict[str, Any], network: Network, settings: Settings, target: Target
) -> list[Check]:
    heaviest = network.model.count_params() * target.bytes_a_weight * 1.1 + GRAPH_BYTES
    foreign = [op for op in about["operations"] if op.startswith("Flex") or op == "CUSTOM"]
    dtype = settings.ends if target.quantization == "int8" else "float32"
    return [
        equal("signature", [about["inputs"], about["outputs"]], [["image"], [settings.outputs]]),
        equal(
            "input",
            [about["input_dtype"], about["input_shape"]],
            [dtype, [1, *network.input_shape]],
        ),
        equal("operations that a phone lacks", foreign, []),
        at_most("bytes", _size(path), heaviest),
    ]


def _settled(path: Path, made: list[Check], suspect: str) -> dict[str, Any]:
    """Prints the checks; raises if one failed."""
    size = _size(path)
    print(f"  {path.name} ({size / 1e6:.1f} MB)", flush=True)
    for check in made:
        print(f"    {check}", flush=True)
    checks.require(made, path.name, suspect)
    digest = hashlib.sha256()
    for file in _files(path):
        digest.update(file.read_bytes())
    return {
        "bytes": size,
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


def _add_latency(files: dict[str, Any], folder: Path, images: np.ndarray) -> None:
    """Milliseconds of one image in each file, with one thread and with two."""
    for threads in (1, 2):
        paths = {folder / t.file / t.runs: t.file for t in TARGETS if t.file in files}
        for path, milliseconds in checks.latencies_of(list(paths), images, threads).items():
            files[paths[Path(path)]].setdefault("latency_ms", {})[str(threads)] = milliseconds


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


def _files(path: Path) -> list[Path]:
    return sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in _files(path))


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
