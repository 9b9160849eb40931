"""The fastest way to run a network on this machine: measured, checked and left in a folder."""

from __future__ import annotations

import dataclasses
import gc
import importlib.util
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import keras_inception
from keras_inception.exporting.onnx import Onnx, OpenVINO
from keras_inception.exporting.targets import SCRATCH, check_holds, exchange
from keras_inception.exporting.tflite import TFLite
from keras_inception.files import write
from keras_inception.identity import Identity, attach
from keras_inception.models.fusion import fuse
from keras_inception.models.saving import save_model
from keras_inception.runtime import Classifier, load_classifier, optimized
from keras_inception.runtime.keras import KerasEngine, in_float32

# What may differ from Keras' answers, by precision: the largest difference of a probability.
LIMITS = {"float32": 1e-4, "bfloat16": 0.05, "int8": 0.05}
ROUNDS, WARM_UP = 7, 2  # calls of an engine that are timed, and before them
# An engine whose first calls take that many times the best's is not measured further.
HOPELESS = 2.0
CHECKED = 64  # images that answers are compared on


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One way to run a network.

    Attributes:
        engine: What runs it, as `runtime.optimized.opened` names it.
        precision: Of the features; a key of `LIMITS`.
        make: (the fused network as Keras runs it in float32, a folder) -> the network on the
            engine. It writes the engine's files into the folder, which does not exist yet, or
            opens those that it wrote there.
        frozen: Of TensorFlow: whether the weights become constants of the graph.
        needs: Packages, of the optional extra that has the engine's name.
        folder: Name of the folder, which candidates that run the same files share.
    """

    engine: str
    precision: str
    make: Callable[[Classifier, Path], Classifier]
    frozen: bool = False
    needs: tuple[str, ...] = ()
    folder: str = ""

    @property
    def name(self) -> str:
        """As tables show it."""
        return f"{self.engine} {self.precision}{' frozen' * self.frozen}"

    @property
    def missing(self) -> str:
        """What to install, or nothing."""
        gone = [name for name in self.needs if not importlib.util.find_spec(name)]
        extra = f"pip install 'keras-inception[{self.engine}]'"
        return f"not installed ({' and '.join(gone)}): {extra}" if gone else ""


def _candidate(
    engine: str,
    precision: str,
    write_files: Callable[[Classifier, Path], Any],
    *,
    frozen: bool = False,
    needs: tuple[str, ...] = (),
    folder: str = "",
) -> Candidate:
    def make(fused: Classifier, place: Path) -> Classifier:
        if not place.exists():
            place.mkdir(parents=True)
            write_files(fused, place)
        return Classifier(*optimized.opened(place, engine, precision, frozen))

    return Candidate(engine, precision, make, frozen, needs, folder or engine)


def _write_keras(classifier: Classifier, folder: Path) -> None:
    model = _model_of(classifier)
    # The identity goes into the file and not into the caller's model.
    shared = keras.Model(model.inputs, model.outputs, name=model.name)
    save_model(attach(shared, classifier.identity), folder / optimized.KERAS_FILE)


def _litert(precision: str, quantization: str) -> Candidate:
    def write_files(fused: Classifier, folder: Path) -> None:
        TFLite(quantization).write(fused, folder / optimized.LITERT_FILE)

    needs = ("ai_edge_litert",)
    return _candidate("litert", precision, write_files, needs=needs, folder=quantization)


def _openvino(precision: str) -> Candidate:
    def write_files(fused: Classifier, folder: Path) -> None:
        OpenVINO().write(fused, folder)

    return _candidate("openvino", precision, write_files, needs=OpenVINO.needs)


def _write_onnx(fused: Classifier, folder: Path) -> None:
    Onnx().write(fused, folder / optimized.ONNX_FILE)


CANDIDATES = (
    _candidate("tensorflow", "float32", _write_keras),
    _candidate("tensorflow", "float32", _write_keras, frozen=True),
    _candidate("tensorflow", "bfloat16", _write_keras),
    _candidate("tensorflow", "bfloat16", _write_keras, frozen=True),
    _litert("float32", "float32"),
    _litert("int8", "dynamic"),
    _candidate("onnx", "float32", _write_onnx, needs=Onnx.needs),
    _openvino("float32"),
    _openvino("bfloat16"),
)


def optimize(
    source: Any,
    output: str | Path,
    images: Any = None,
    *,
    batch_size: int = 1,
    candidates: Sequence[Candidate] = CANDIDATES,
    verbose: int = 1,
) -> Classifier:
    """The same classifier on what runs it fastest on this machine, with the same answers.

    BatchNorm is folded first (`fuse`). Then engines and precisions are measured in turns against
    the best so far, and those that differ from Keras' answers are refused. What was chosen is
    left in a folder, which `load_classifier` and every command take like any model.

    Args:
        source: What `load_classifier` makes a Keras model of: a model, a run folder, a file.
        output: The folder: the files of the engine that was chosen, with contract and class names
            in them, and optimize.json, which says what was measured and on which machine. It is
            new, or one of an earlier call, which is replaced.
        images: Images to hold answers against, uint8 or float (n, *input_shape) in 0..255, fitted
            to the network's size as `Classifier.crop_and_resize` does; the first 64 are used. They
            should be like those that will be classified. Without images there is no telling what
            16 or 8 bits cost, and only float32 is tried.
        batch_size: How many images will be classified at once; what is fastest depends on it.
        candidates: What is tried, of `keras_inception.exporting.fastest.CANDIDATES`.
        verbose: 1 prints what was measured, 0 nothing.

    Returns:
        The classifier that was chosen. Where nothing passes or is faster, Keras runs it.

    Raises:
        ValueError: an argument is out of range, the source is no Keras classifier, or the folder
            holds something else.
    """
    if batch_size < 1:
        raise ValueError(f"`batch_size` should be at least 1. Received: batch_size={batch_size}")
    output = Path(output)
    check_holds(output, optimized.FILES, optimized.RECORD)
    given = load_classifier(source)
    exact = Classifier(KerasEngine(in_float32(_model_of(given))), given.identity, given.run)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=output.parent) as name:
        scratch = Path(name)
        trial = _Trial(exact, images, batch_size)
        best, rows = trial.contest(candidates, _fused(exact), scratch)
        chosen = next(row.candidate for row in rows if row.chosen)
        made = scratch / (chosen.folder or chosen.name if chosen else "keras")
        made.mkdir(exist_ok=True)
        if chosen is None:
            _write_keras(exact, made)
        record = json.dumps(_record(rows, trial), indent=2, ensure_ascii=False)
        write(made / optimized.RECORD, record + "\n")
        exchange(made, output)
    if verbose:
        print(table(exact, rows, batch_size), flush=True)
    best.run = given.run
    return best


@dataclasses.dataclass
class Row:
    """What was found of a candidate.

    Attributes:
        candidate: None for Keras itself.
        milliseconds: Of a call, median; None if it was not measured.
        difference: The largest of a probability; None if it was not run.
        reason: Why it was left out, or nothing.
        chosen: Whether it is the choice.
    """

    candidate: Candidate | None
    milliseconds: float | None = None
    difference: float | None = None
    reason: str = ""
    chosen: bool = False

    @property
    def name(self) -> str:
        return self.candidate.name if self.candidate else "keras"


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
        self.exact, self.batch_size = exact, batch_size
        repeats = -(-batch_size // len(self.images))
        self.batch = np.concatenate([self.images] * repeats)[:batch_size]

    def contest(
        self, candidates: Sequence[Candidate], fused: Classifier, folder: Path
    ) -> tuple[Classifier, list[Row]]:
        """The fastest classifier that passes, or Keras' own, and what was found of each."""
        rows = [Row(None)]
        best, leader = self.exact, rows[0]
        for candidate in candidates:
            row = Row(candidate, reason=candidate.missing)
            rows.append(row)
            if not row.reason and candidate.precision != "float32" and not self.has_images:
                row.reason = "needs images to be checked on"
            if row.reason:
                continue
            try:
                made = candidate.make(fused, folder / (candidate.folder or candidate.name))
                row.reason = self._is_hopeless(made, leader) or self._problem(row, made)
            except Exception as error:  # converters and runtimes have no common kind of error
                first = (str(error).strip().splitlines() or ["?"])[0]
                row.reason = f"cannot run it: {first[:200]}"
            if row.reason:
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
        leader.chosen = True
        return best, rows

    def _problem(self, row: Row, made: Classifier) -> str:
        """Why an engine's answers are refused, or nothing."""
        assert row.candidate is not None
        answers = made.predict(self.images)
        if answers.shape != self.answers.shape or not np.isfinite(answers).all():
            return "its answers are of another shape or not finite"
        row.difference = float(np.abs(answers - self.answers).max())
        changed = int((answers.argmax(1) != self.answers.argmax(1)).sum())
        limit = LIMITS[row.candidate.precision]
        if row.difference > limit:
            return f"a probability differs by {row.difference:.2g}, more than {limit:g}"
        if changed and self.has_images:
            return f"{changed} of {len(answers)} images get another answer"
        return ""

    def _is_hopeless(self, made: Classifier, leader: Row) -> str:
        """Whether the first calls of an engine are so slow that it need not be measured."""
        if leader.milliseconds is None:
            return ""
        made.predict(self.batch)
        taken = self._once(made)
        slow = taken > HOPELESS * leader.milliseconds
        return f"slow: {taken:.0f} ms, the best so far {leader.milliseconds:.0f} ms" if slow else ""

    def _milliseconds(self, one: Classifier, other: Classifier) -> tuple[float, float]:
        """Medians of calls that take turns."""
        taken = [(self._once(one), self._once(other)) for _ in range(WARM_UP + ROUNDS)]
        first, second = (statistics.median(column[WARM_UP:]) for column in zip(*taken, strict=True))
        return first, second

    def _once(self, classifier: Classifier) -> float:
        began = time.perf_counter()
        classifier.predict(self.batch)
        return (time.perf_counter() - began) * 1000


def _record(rows: Sequence[Row], trial: _Trial) -> dict[str, Any]:
    """What optimize.json holds."""
    chosen = next(row.candidate for row in rows if row.chosen)
    return {
        "chosen": {
            "engine": chosen.engine if chosen else "keras",
            "precision": chosen.precision if chosen else "float32",
            "frozen": bool(chosen and chosen.frozen),
        },
        "batch_size": trial.batch_size,
        "images": len(trial.images) if trial.has_images else 0,
        "measured": [
            {
                "name": row.name,
                "milliseconds": row.milliseconds,
                "difference": row.difference,
                "left_out": row.reason,
            }
            for row in rows
        ],
        "machine": {"processor": _processor(), "processors": optimized.processors()},
        "versions": {
            "keras-inception": keras_inception.__version__,
            "keras": keras.__version__,
            "tensorflow": tf.__version__,
        },
    }


def _processor() -> str:
    """The processor's name, for people."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return (named or [platform.machine()])[0]


def table(exact: Classifier, rows: Sequence[Row], batch_size: int) -> str:
    """What was measured, as lines."""
    height, width, _ = exact.input_shape
    what = f"{exact.identity.variant or 'The network'} at {height} x {width}"
    lines = [f"{what}, {batch_size} image{'s' * (batch_size > 1)} a call:"]
    base = rows[0].milliseconds
    for row in rows:
        line = f"  {'*' if row.chosen else ' '} {row.name:28}"
        if row.milliseconds is not None and base is not None:
            line += f" {row.milliseconds:8.1f} ms {base / row.milliseconds:6.2f}x"
            if row.difference is not None:
                line += f"  largest difference {row.difference:.1e}"
        lines.append(line + (f" {row.reason}" if row.reason else ""))
    return "\n".join(lines)


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
