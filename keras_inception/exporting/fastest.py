"""The fastest way to run a network on this machine: measured, checked and left in a folder."""

from __future__ import annotations

import dataclasses
import gc
import importlib.util
import json
import platform
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import keras_inception
from keras_inception.backend import need_tensorflow
from keras_inception.exporting import checks
from keras_inception.exporting.onnx import Onnx, OpenVINO
from keras_inception.exporting.targets import check_holds
from keras_inception.exporting.tflite import TFLite
from keras_inception.files import exchange, restore, scratch, write
from keras_inception.identity import Identity, attach
from keras_inception.models.fusion import fuse
from keras_inception.models.saving import save_model
from keras_inception.runtime import Classifier, load_classifier, optimized
from keras_inception.runtime.engine import FileEngine
from keras_inception.runtime.keras import KerasEngine, in_float32

# What may differ from Keras' answers, by precision: the largest difference of a probability.
LIMITS = {"float32": 1e-4, "bfloat16": 0.05, "int8": 0.05}
ROUNDS, WARM_UP = 7, 2  # calls of an engine that are timed, and before them
# An engine that takes that many times the best's time after warming up is not measured further.
HOPELESS = 2.0
CHECKED = 64  # images that answers are compared on


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One way to run a network.

    Attributes:
        engine: What runs it, as `runtime.optimized.opened` names it.
        precision: Of the features; a key of `LIMITS`.
        frozen: Of TensorFlow: whether the weights become constants of the graph.
    """

    engine: str
    precision: str
    frozen: bool = False

    @property
    def name(self) -> str:
        """As tables show it."""
        return f"{self.engine} {self.precision}{' frozen' * self.frozen}"

    @property
    def folder(self) -> str:
        """Name of the folder with its files, which candidates that run the same ones share."""
        return f"litert-{self.precision}" if self.engine == "litert" else self.engine

    @property
    def missing(self) -> str:
        """What to install, or nothing."""
        gone = [name for name in _NEEDS.get(self.engine, ()) if not importlib.util.find_spec(name)]
        extra = f"pip install 'keras-inception[{self.engine}]'"
        return f"not installed ({' and '.join(gone)}): {extra}" if gone else ""

    def make(self, fused: Classifier, folder: Path) -> Classifier:
        """The network on the engine, whose files are written into the folder if it is not there.

        Args:
            fused: The network with BatchNorm folded, as Keras runs it in float32.
            folder: Of this candidate, or of one before it with the same files.
        """
        if not folder.exists():
            folder.mkdir(parents=True)
            path = folder / optimized.FILES[self.engine]
            if self.engine == "litert":
                TFLite("dynamic" if self.precision == "int8" else "float32").write(fused, path)
            elif self.engine == "onnx":
                Onnx().write(fused, path)
            elif self.engine == "openvino":
                OpenVINO().write(fused, folder)
            else:
                _write_keras(fused, path)
        return Classifier(*optimized.opened(folder, self.engine, self.precision, self.frozen))


_NEEDS = {"litert": ("ai_edge_litert",), "onnx": Onnx.needs, "openvino": OpenVINO.needs}
CANDIDATES = (
    Candidate("tensorflow", "float32"),
    Candidate("tensorflow", "float32", frozen=True),
    Candidate("tensorflow", "bfloat16"),
    Candidate("tensorflow", "bfloat16", frozen=True),
    Candidate("litert", "float32"),
    Candidate("litert", "int8"),
    Candidate("onnx", "float32"),
    Candidate("openvino", "float32"),
    Candidate("openvino", "bfloat16"),
)
_KERAS = Candidate("keras", "float32")  # what is exact, and what is left where nothing is better


def _write_keras(classifier: Classifier, path: Path) -> None:
    model = _model_of(classifier)
    # The identity goes into the file and not into the caller's model.
    shared = keras.Model(model.inputs, model.outputs, name=model.name)
    save_model(attach(shared, classifier.identity), path)


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
    restore(output)
    check_holds(
        output, {optimized.RECORD, "model.bin", *optimized.FILES.values()}, optimized.RECORD
    )
    given = load_classifier(source)
    engine = KerasEngine(in_float32(_model_of(given)), given.identity.output)
    exact = Classifier(engine, given.identity, given.run)
    output.parent.mkdir(parents=True, exist_ok=True)
    with scratch(output.parent) as place:
        trial = _Trial(exact, images, batch_size)
        best, rows = trial.contest(candidates, _fused(exact), place)
        exchange(_folder_of_chosen(rows, trial, place), output)
    if verbose:
        print(table(exact, rows, batch_size), flush=True)
    best.run = given.run
    if isinstance(best.engine, FileEngine):
        best.engine.path = output / best.engine.path.name  # which was measured in another folder
    return best


@dataclasses.dataclass
class Row:
    """What was found of a candidate.

    Attributes:
        candidate: The candidate, or `_KERAS`.
        milliseconds: Of a call, median; None if it was not measured.
        difference: The largest of a probability; None if it was not run.
        left_out: Why, or nothing.
        chosen: Whether it is the choice.
    """

    candidate: Candidate
    milliseconds: float | None = None
    difference: float | None = None
    left_out: str = ""
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
        self.exact, self.batch_size = exact, batch_size
        repeats = -(-batch_size // len(self.images))
        self.batch = np.concatenate([self.images] * repeats)[:batch_size]

    def contest(
        self, candidates: Sequence[Candidate], fused: Classifier, folder: Path
    ) -> tuple[Classifier, list[Row]]:
        """The fastest classifier that passes, or Keras' own, and what was found of each."""
        rows = [Row(_KERAS)]
        best, leader = self.exact, rows[0]
        for candidate in candidates:
            row = Row(candidate, left_out=candidate.missing)
            rows.append(row)
            if not row.left_out and candidate.precision != "float32" and not self.has_images:
                row.left_out = "needs images to be checked on"
            if row.left_out:
                continue
            try:
                made = candidate.make(fused, folder / candidate.folder)
                self._check(row, made)
            except Exception as error:  # converters and runtimes have no common kind of error
                row.left_out = (str(error).strip().splitlines() or ["it cannot be run"])[0][:200]
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

    def _check(self, row: Row, made: Classifier) -> None:
        """Raises ValueError if a classifier's answers are not Keras'."""
        answers = made.predict(self.images)
        row.difference = float(np.abs(answers - self.answers).max())
        limit = LIMITS[row.candidate.precision]
        if row.difference > limit:
            raise ValueError(f"a probability differs by {row.difference:.2g}, more than {limit:g}")
        changed = int((~checks.same_answers(answers, self.answers, self.exact.thresholds)).sum())
        if changed and self.has_images:
            raise ValueError(f"{changed} of {len(answers)} images get another answer")

    def _milliseconds(self, one: Classifier, other: Classifier) -> tuple[float, float]:
        """Medians of calls that take turns, fewer if the other is hopelessly slower."""
        taken = []
        for _ in range(WARM_UP + ROUNDS):
            taken.append((self._once(one), self._once(other)))
            if len(taken) == WARM_UP and taken[-1][1] > HOPELESS * taken[-1][0]:
                return taken[-1]
        first, second = (statistics.median(column[WARM_UP:]) for column in zip(*taken, strict=True))
        return first, second

    def _once(self, classifier: Classifier) -> float:
        began = time.perf_counter()
        classifier.predict(self.batch)
        return (time.perf_counter() - began) * 1000


def _folder_of_chosen(rows: Sequence[Row], trial: _Trial, scratch: Path) -> Path:
    """The folder in which the chosen candidate was made, with the record of what was measured."""
    (chosen,) = (row.candidate for row in rows if row.chosen)
    made = scratch / chosen.folder
    if chosen == _KERAS:
        made.mkdir(exist_ok=True)
        _write_keras(trial.exact, made / optimized.FILES["keras"])
    record = json.dumps(_record(chosen, rows, trial), indent=2, ensure_ascii=False)
    write(made / optimized.RECORD, record + "\n")
    return made


def _record(chosen: Candidate, rows: Sequence[Row], trial: _Trial) -> dict[str, Any]:
    """What optimize.json holds."""
    return {
        "chosen": {
            "engine": chosen.engine,
            "precision": chosen.precision,
            "frozen": chosen.frozen,
        },
        "batch_size": trial.batch_size,
        "images": len(trial.images) if trial.has_images else 0,
        "measured": [
            {
                "name": row.candidate.name,
                "milliseconds": row.milliseconds,
                "difference": row.difference,
                "left_out": row.left_out,
            }
            for row in rows
        ],
        "machine": {
            "name": platform.node(),
            "architecture": platform.machine(),
            "processors": optimized.processors(),
        },
        "versions": {
            "keras-inception": keras_inception.__version__,
            "keras": keras.__version__,
            "tensorflow": tf.__version__,
        },
    }


def table(exact: Classifier, rows: Sequence[Row], batch_size: int) -> str:
    """What was measured, as lines."""
    height, width, _ = exact.input_shape
    what = f"{exact.identity.variant or 'The network'} at {height} x {width}"
    lines = [f"{what}, {batch_size} image{'s' * (batch_size > 1)} a call:"]
    base = rows[0].milliseconds
    for row in rows:
        line = f"  {'*' if row.chosen else ' '} {row.candidate.name:28}"
        if row.milliseconds is not None and base is not None:
            line += f" {row.milliseconds:8.1f} ms {base / row.milliseconds:6.2f}x"
        if row.difference is not None:
            line += f"  largest difference {row.difference:.1e}"
        lines.append(f"{line} {row.left_out}".rstrip())
    return "\n".join(lines)


def _model_of(classifier: Classifier) -> Any:
    """The Keras model that a classifier runs."""
    need_tensorflow("optimize")
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
    own = exact.identity
    kept = known.replace(
        preprocessing=exact.preprocessing,
        class_names=own.class_names,
        output=own.output,
        thresholds=own.thresholds,
    )
    return Classifier(KerasEngine(model, own.output), kept)
