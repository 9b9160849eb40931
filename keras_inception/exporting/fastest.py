"""The fastest way to run a network on this machine: measured, checked and remembered."""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import importlib.util
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

import keras_inception
from keras_inception import files
from keras_inception.identity import Identity
from keras_inception.models.fusion import fuse
from keras_inception.runtime import Classifier, load_classifier
from keras_inception.runtime.keras import KerasEngine, in_float32

ENGINES = ("keras", "tensorflow", "litert", "onnx", "openvino")
CHOICES = ("auto", *ENGINES)

# What may differ from Keras' answers, by precision: the largest difference of a probability.
LIMITS = {"float32": 1e-4, "bfloat16": 0.05, "int8": 0.05}
ROUNDS, WARM_UP = 7, 2  # calls of an engine that are timed, and before them
# An engine whose first calls take that many times the best's is not measured further.
HOPELESS = 2.0
CHECKED = 64  # images that answers are compared on

# Packages whose versions a choice depends on.
_PACKAGES = (
    "keras",
    "tensorflow",
    "tensorflow_cpu",
    "ai-edge-litert",
    "onnxruntime",
    "openvino",
)


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One way to run a network.

    Attributes:
        engine: One of `ENGINES`.
        precision: Of the features; a key of `LIMITS`.
        make: (the fused Keras model in float32 with its contract, a folder for files) -> engine and
            what it runs.
        form: What distinguishes two candidates of one engine and precision.
        needs: Packages, of the optional extra that has the engine's name.
    """

    engine: str
    precision: str
    make: Callable[[Classifier, Path], Classifier]
    form: str = ""
    needs: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """As tables show it."""
        return " ".join(part for part in (self.engine, self.precision, self.form) if part)

    @property
    def missing(self) -> str:
        """What to install, or nothing."""
        gone = [name for name in self.needs if not importlib.util.find_spec(name)]
        extra = f"pip install 'keras-inception[{self.engine}]'"
        return f"not installed ({' and '.join(gone)}): {extra}" if gone else ""


def _tensorflow(precision: str, frozen: bool) -> Candidate:
    def make(fused: Classifier, folder: Path) -> Classifier:
        from keras_inception.runtime.tensorflow import TensorFlowEngine

        model = _model_of(fused)
        if precision != "float32":
            model = fuse(model, precision)
        return Classifier(TensorFlowEngine(model, frozen=frozen), fused.identity)

    return Candidate("tensorflow", precision, make, "frozen" if frozen else "")


def _litert(precision: str, quantization: str) -> Candidate:
    def make(fused: Classifier, folder: Path) -> Classifier:
        from keras_inception.exporting.tflite import export_tflite

        path = folder / f"{quantization}.tflite"
        if not path.exists():
            export_tflite(fused, path, quantization=quantization)
        return load_classifier(path, threads=processors())

    return Candidate("litert", precision, make, needs=("ai_edge_litert",))


def _onnx(fused: Classifier, folder: Path) -> Classifier:
    from keras_inception.exporting.onnx import export_onnx

    path = folder / "model.onnx"
    if not path.exists():
        export_onnx(fused, path)
    return load_classifier(path)


def _openvino(precision: str) -> Candidate:
    def make(fused: Classifier, folder: Path) -> Classifier:
        from keras_inception.exporting.onnx import export_openvino
        from keras_inception.runtime import openvino

        path = folder / "openvino" / "model.xml"
        if not path.exists():
            export_openvino(fused, path.parent)
        return Classifier(*openvino.read(path, precision=precision))

    return Candidate("openvino", precision, make, needs=("openvino",))


CANDIDATES = (
    _tensorflow("float32", frozen=False),
    _tensorflow("float32", frozen=True),
    _tensorflow("bfloat16", frozen=False),
    _tensorflow("bfloat16", frozen=True),
    _litert("float32", "float32"),
    _litert("int8", "dynamic"),
    Candidate("onnx", "float32", _onnx, needs=("onnx", "tf2onnx", "onnxruntime")),
    _openvino("float32"),
    _openvino("bfloat16"),
)


def optimize(
    source: Any,
    images: Any = None,
    *,
    engine: str = "auto",
    batch_size: int = 1,
    fresh: bool = False,
    say: Callable[[str], None] = print,
) -> Classifier:
    """The same classifier on what runs it fastest on this machine, with the same answers.

    BatchNorm is folded first (`fuse`). Then engines and precisions are measured in turns against
    the best so far, and those that differ from Keras' answers are refused. What was chosen is said,
    and remembered for this machine, this shape of network and these versions: the next call checks
    the remembered choice on its images and measures nothing.

    Args:
        source: What `load_classifier` makes a Keras model of: a model, a run folder, a file.
        images: Images to hold answers against, uint8 or float (n, *input_shape) in 0..255, fitted
            to the network's size as `Classifier.fit` does; the first 64 are used. They should be
            like those that will be classified. Without images there is no telling what 16 or 8 bits
            cost, and only float32 is tried.
        engine: "auto" for the fastest of all; or one of "keras", "tensorflow", "litert", "onnx" and
            "openvino", for its fastest precision.
        batch_size: How many images will be classified at once; what is fastest depends on it.
        fresh: Measure again, whatever is remembered.
        say: Is given the lines that say what was chosen and why.

    Returns:
        A classifier. With `engine="keras"`, or where nothing passes or is faster, Keras runs it.

    Raises:
        ValueError: an argument is out of range, the source is no Keras classifier, or the engine's
            package is missing or all of its answers differ.
    """
    if engine not in CHOICES:
        raise ValueError(
            f"`engine` should be one of {', '.join(CHOICES)}. Received: engine={engine!r}"
        )
    if batch_size < 1:
        raise ValueError(f"`batch_size` should be at least 1. Received: batch_size={batch_size}")
    given = load_classifier(source)
    if engine == "keras":
        return given
    candidates = [c for c in CANDIDATES if engine in ("auto", c.engine)]
    if engine != "auto" and all(candidate.missing for candidate in candidates):
        raise ValueError(f"`engine={engine}`: {candidates[0].missing}")
    exact = Classifier(KerasEngine(in_float32(_model_of(given))), given.identity, given.run)
    trial = _Trial(exact, images, batch_size)
    memory = _Memory(exact, trial.has_images, engine, batch_size)
    fused = _fused(exact)
    remembered = None if fresh else memory.choice()
    if remembered == "keras":
        say(f"{_what(exact)}: Keras, as measured before on this machine")
        return exact
    for candidate in candidates:
        if candidate.name == remembered and not candidate.missing:
            made = candidate.make(fused, memory.folder)
            problem = trial.problem(candidate, made)
            if not problem:
                say(f"{_what(exact)}: {candidate.name}, as measured before on this machine")
                made.run = given.run
                return made
            say(f"{_what(exact)}: {candidate.name} was fastest, but {problem}. Measuring again.")
    best, rows = trial.contest(candidates, fused, memory.folder, or_keras=engine == "auto")
    chosen = next((row.candidate for row in rows if row.chosen), None)
    say(table(exact, rows, batch_size))
    if chosen is None and engine != "auto":
        raise ValueError(
            f"`engine={engine}`: nothing of it can run this network with the same answers: "
            f"{'; '.join(row.word for row in rows if row.word)}"
        )
    memory.remember(chosen.name if chosen else "keras", rows)
    best.run = given.run
    return best


@dataclasses.dataclass
class Row:
    """What was found of a candidate.

    Attributes:
        candidate: None for Keras itself.
        milliseconds: Of a call, median; None if it was not measured.
        difference: The largest of a probability; None if it was not run.
        word: Why it was left out, or nothing.
        chosen: Whether it is the choice.
    """

    candidate: Candidate | None
    milliseconds: float | None = None
    difference: float | None = None
    word: str = ""
    chosen: bool = False


class _Trial:
    """Keras' answers, and engines held against them in turns."""

    def __init__(self, exact: Classifier, images: Any, batch_size: int) -> None:
        self.has_images = images is not None and len(images) > 0
        if self.has_images:
            self.images = np.asarray(images[:CHECKED])
        else:  # float32's rounding shows on any images
            rng = np.random.default_rng(0)
            self.images = rng.integers(0, 256, (4, *exact.input_shape)).astype(np.float32)
        self.answers = exact.predict(self.images)
        self.exact = exact
        repeats = -(-batch_size // len(self.images))
        self.batch = np.concatenate([self.images] * repeats)[:batch_size]

    def problem(self, candidate: Candidate, made: Classifier, row: Row | None = None) -> str:
        """Why an engine's answers are refused, or nothing."""
        answers = made.predict(self.images)
        if answers.shape != self.answers.shape or not np.isfinite(answers).all():
            return "its answers are of another shape or not finite"
        difference = float(np.abs(answers - self.answers).max())
        if row is not None:
            row.difference = difference
        changed = int((answers.argmax(1) != self.answers.argmax(1)).sum())
        if difference > LIMITS[candidate.precision]:
            limit = LIMITS[candidate.precision]
            return f"a probability differs by {difference:.2g}, more than {limit:g}"
        if changed and self.has_images:
            return f"{changed} of {len(answers)} images get another answer"
        return ""

    def contest(
        self, candidates: Sequence[Candidate], fused: Classifier, folder: Path, or_keras: bool
    ) -> tuple[Classifier, list[Row]]:
        """The fastest classifier that passes, and what was found of each.

        With `or_keras`, that is Keras if no candidate is faster.
        """
        rows = [Row(None)]
        best, leader = self.exact, rows[0]
        for candidate in candidates:
            row = Row(candidate, word=candidate.missing)
            rows.append(row)
            if not row.word and candidate.precision != "float32" and not self.has_images:
                row.word = "needs images to be checked on"
            if row.word:
                continue
            try:
                made = candidate.make(fused, folder)
                row.word = self._is_hopeless(made, leader) or self.problem(candidate, made, row)
            except Exception as error:  # converters and runtimes have no common kind of error
                row.word = f"cannot run it: {(str(error).strip().splitlines() or ['?'])[0][:200]}"
            if row.word:
                continue
            leading, row.milliseconds = self._milliseconds(best, made)
            if leader.milliseconds is None:
                leader.milliseconds = leading
            # A leader that was measured in other minutes is compared by the ratio of this duel.
            row.milliseconds *= leader.milliseconds / leading
            if row.milliseconds < leader.milliseconds:
                best, leader = made, row
            del made
            gc.collect()
        passed = [row for row in rows[1:] if row.milliseconds is not None]
        if leader is rows[0] and not or_keras and passed:
            leader = min(passed, key=lambda row: row.milliseconds or 0.0)
            assert leader.candidate is not None
            best = leader.candidate.make(fused, folder)
        leader.chosen = True
        return best, rows

    def _is_hopeless(self, made: Classifier, leader: Row) -> str:
        """Whether the first calls of an engine are so slow that it need not be measured."""
        if leader.milliseconds is None:
            return ""
        made.predict(self.batch)
        began = time.perf_counter()
        made.predict(self.batch)
        taken = (time.perf_counter() - began) * 1000
        slow = taken > HOPELESS * leader.milliseconds
        return f"slow: {taken:.0f} ms, the best so far {leader.milliseconds:.0f} ms" if slow else ""

    def _milliseconds(self, one: Classifier, other: Classifier) -> tuple[float, float]:
        """Medians of calls that take turns."""
        taken: tuple[list[float], list[float]] = ([], [])
        for _ in range(WARM_UP + ROUNDS):
            for classifier, into in zip((one, other), taken, strict=True):
                began = time.perf_counter()
                classifier.predict(self.batch)
                into.append((time.perf_counter() - began) * 1000)
        first, second = (statistics.median(into[WARM_UP:]) for into in taken)
        return first, second


class _Memory:
    """What was chosen on this machine: a file for each shape of network, and files of engines."""

    def __init__(self, exact: Classifier, checked: bool, engine: str, batch_size: int) -> None:
        model = _model_of(exact)
        shape = {
            "identity": exact.identity.replace(class_names=()).to_metadata(),
            "weights": [[list(w.shape), str(w.dtype)] for w in model.weights],
            "input": list(exact.input_shape),
            "images": checked,
            "engine": engine,
            "batch_size": batch_size,
        }
        self.circumstances = {
            "machine": machine(),
            "versions": versions(),
            "limits": LIMITS,
            "candidates": [candidate.name for candidate in CANDIDATES],
        }
        name = hashlib.sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest()[:16]
        self.path = files.cache_folder("engines") / f"{name}.json"
        self.folder = folder_for(exact)

    def choice(self) -> str | None:
        """The candidate's name that was chosen under the same circumstances, or None."""
        try:
            record = json.loads(self.path.read_text(encoding="utf-8"))
            if record["circumstances"] == json.loads(json.dumps(self.circumstances)):
                return str(record["chosen"])
        except (OSError, ValueError, KeyError, TypeError):
            pass  # nothing is remembered, or nothing that can be read
        return None

    def remember(self, chosen: str, rows: Sequence[Row]) -> None:
        """Writes the choice with what was measured."""
        record = {
            "chosen": chosen,
            "measured": [
                {
                    "name": row.candidate.name if row.candidate else "keras",
                    "milliseconds": row.milliseconds,
                    "difference": row.difference,
                    "left_out": row.word,
                }
                for row in rows
            ],
            "circumstances": self.circumstances,
        }
        files.write(self.path, json.dumps(record, indent=2) + "\n")


def folder_for(exact: Classifier) -> Path:
    """Where the files lie that engines run: by the weights, the labels and the versions."""
    model = _model_of(exact)
    content = hashlib.sha256()
    for part in (versions(), json.loads(model.to_json()), exact.identity.to_metadata()):
        content.update(json.dumps(part, sort_keys=True).encode())
    for weight in model.get_weights():
        content.update(np.ascontiguousarray(weight).tobytes())
    folder = files.cache_folder("engines") / content.hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def table(exact: Classifier, rows: Sequence[Row], batch_size: int) -> str:
    """What was measured, as lines."""
    plural = "s" if batch_size > 1 else ""
    lines = [f"{_what(exact)}, {batch_size} image{plural} a call:"]
    base = rows[0].milliseconds
    for row in rows:
        name = row.candidate.name if row.candidate else "keras"
        line = f"  {'*' if row.chosen else ' '} {name:28}"
        if row.milliseconds is not None and base is not None:
            line += f" {row.milliseconds:8.1f} ms {base / row.milliseconds:6.2f}x"
            if row.difference is not None:
                line += f"  largest difference {row.difference:.1e}"
        lines.append(line + (f" {row.word}" if row.word else ""))
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    """What of this machine decides which engine is fastest: the processor and its instructions."""
    facts: dict[str, Any] = {"architecture": platform.machine(), "processors": processors()}
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return facts | {"model": platform.processor()}
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    flags = sorted(fields.get("flags", fields.get("Features", "")).split())
    return facts | {"model": fields.get("model name", ""), "flags": " ".join(flags)}


def processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def versions() -> dict[str, str]:
    """Versions of this package and of what runs networks."""
    found = {"keras-inception": keras_inception.__version__}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _model_of(classifier: Classifier) -> Any:
    """The Keras model that a classifier runs."""
    if not isinstance(classifier.engine, KerasEngine):
        raise ValueError(
            "`optimize` starts from a Keras model: a run folder, a .keras file, weights or a built "
            f"model. Received: {classifier!r}"
        )
    return classifier.engine.model


def _fused(exact: Classifier) -> Classifier:
    """The classifier with BatchNorm folded; as it is, if its model is not a flat graph."""
    try:
        model = fuse(_model_of(exact))
    except ValueError:
        return exact
    known: Identity = getattr(model, "identity", None) or exact.identity
    kept = known.replace(preprocessing=exact.preprocessing, class_names=exact.identity.class_names)
    return Classifier(KerasEngine(model), kept)


def _what(exact: Classifier) -> str:
    height, width, _ = exact.input_shape
    return f"{exact.identity.variant or 'The network'} at {height} x {width}"
