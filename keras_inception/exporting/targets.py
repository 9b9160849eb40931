"""What every form of export is: it writes a network, and holds what it wrote against it."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import importlib.util
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from keras_inception import data
from keras_inception.exporting import checks
from keras_inception.exporting.checks import Check
from keras_inception.exporting.exportable import Exportable
from keras_inception.exporting.samples import Samples
from keras_inception.files import SCRATCH, exchange, restore, scratch
from keras_inception.messages import some
from keras_inception.preprocessing import Preprocessing
from keras_inception.runs import EXPORTS
from keras_inception.runtime import load_classifier

GRAPH_BYTES = 500_000  # what a file may hold besides weights


@dataclasses.dataclass(frozen=True)
class Precision:
    """What numbers of fewer bits save, and what they may cost (see `checks.agreement`).

    Attributes:
        bytes_a_weight: About how much is written.
        largest: Limit of the largest difference of a probability from the Keras model's; None: it
            is only reported.
        mean: Limit of the mean over the images of the probability mass that moved.
    """

    bytes_a_weight: int
    largest: float | None
    mean: float


# By quantization. float32 differs by rounding. Quantised weights cost an uncertain network more
# than a sure one, and what they cost depends on the processor's kernels; so a single probability is
# only reported there, and the mean has room. Images in a wrong scale or order of channels move more
# than that.
PRECISIONS = {
    "float32": Precision(4, 1e-4, 1e-4),
    "float16": Precision(2, 0.05, 0.01),
    "dynamic": Precision(1, None, 0.1),
    "int8": Precision(1, None, 0.1),
}


class Target(abc.ABC):
    """One form of export with its options.

    Attributes:
        format: Its name, which `--formats` takes.
        file: Name of the file or folder that `export` writes.
        holds: Names of what lies in that folder, first one that tells its form; empty of a file.
        runs: Name of the file in that folder that a runtime loads, where it is not the folder.
        quantization: Of the weights, a key of `PRECISIONS`.
        needs: Packages of optional extras, which the extra of the format's name installs.
    """

    format: ClassVar[str]
    holds: ClassVar[tuple[str, ...]] = ()
    runs: ClassVar[str] = ""
    needs: ClassVar[tuple[str, ...]] = ()

    @property
    def file(self) -> str:
        return EXPORTS[self.format]

    @property
    def quantization(self) -> str:
        return "float32"

    @property
    def precision(self) -> Precision:
        """What is written a weight, and the limits to keep."""
        return PRECISIONS[self.quantization]

    def write(self, source: Any, path: str | Path) -> Path:
        """Writes a network; what was at the path before is whole until then.

        Args:
            source: What `keras_inception.load_classifier` makes a Keras model of. To give a
                contract or class names that it does not hold, give a
                `load_classifier(source, preprocessing=..., class_names=...)`.
            path: File or folder to write. An earlier export of this form is replaced.

        Raises:
            ValueError: the source is no classifier, an option does not fit it, or the path holds
                something else than such an export.
            OSError: it cannot be written; an earlier export is as it was.
        """
        path = Path(path)
        self.check_packages()
        self.check_place(path)
        network = Exportable(load_classifier(source))
        self.check_network(network)
        path.parent.mkdir(parents=True, exist_ok=True)
        with scratch(path.parent) as place:
            made = place / path.name
            with naming(path):
                self.make(network, made)
            exchange(made, path)
        return path

    @abc.abstractmethod
    def make(self, network: Exportable, path: Path) -> None:
        """Writes a network at a path where nothing is."""

    def with_data(self, source: data.Source | None, network: Exportable, count: int) -> Target:
        """The target with what it needs of a data set, where it was not given.

        Args:
            source: The data set, or None.
            network: What is exported.
            count: How many training images are used where a target measures something on some.

        Raises:
            ValueError: a target cannot be made without a data set.
        """
        return self

    def check_packages(self) -> None:
        """Raises ValueError if a package is missing."""
        missing = [name for name in self.needs if not importlib.util.find_spec(name)]
        if missing:
            raise ValueError(
                f'The format "{self.format}" needs {" and ".join(missing)}: '
                f"pip install 'keras-inception[{self.format}]'"
            )

    def check_network(self, network: Exportable) -> None:  # noqa: B027
        """Raises ValueError if an option does not fit a network."""

    def check_place(self, path: Path) -> None:
        """Raises ValueError if a path holds something that is no earlier export of this form."""
        restore(path)
        if self.holds:
            check_holds(path, self.holds, self.holds[0])
        elif path.is_dir():
            raise ValueError(f"{path} should be a file, or not exist yet.")

    def check(
        self, path: Path, network: Exportable, samples: Samples, want: np.ndarray
    ) -> tuple[list[Check], np.ndarray]:
        """Holds what was written against the Keras model, in a process of its own.

        Args:
            path: What was written.
            network: What it was made of.
            samples: Images to compare on.
            want: The Keras model's probabilities of them.

        Returns:
            The checks, passed or not, and the probabilities (images, classes).

        Raises:
            ExportCheckError: it cannot be loaded or run.
        """
        got = checks.answers_of(path / self.runs, samples.images, samples.encoded, samples.pixels)
        about, identity = got["about"], network.written_identity
        said = identity.thresholds
        same = Preprocessing.from_dict(about["preprocessing"]) == identity.preprocessing
        made = [
            checks.equal(
                "class names in the file", about["class_names"] == network.class_names, True
            ),
            checks.equal("contract in the file", same, True),
            *(
                []
                if network.thresholds is None
                else [checks.equal("thresholds in the file", about["thresholds"], list(said))]
            ),
            *self.own_checks(path, got, network, samples),
        ]
        where, found = about.get("runtime", about["engine"]), got["probabilities"]
        largest, mean = self.precision.largest, self.precision.mean
        return made + checks.agreement(where, found, want, largest, mean, network.thresholds), found

    def own_checks(
        self, path: Path, got: dict[str, Any], network: Exportable, samples: Samples
    ) -> list[Check]:
        """What only this form has to keep, of what `fresh.answers` found."""
        return []


def check_holds(folder: Path, names: Collection[str], mark: str = "") -> None:
    """Raises ValueError if a folder holds something else than these names, or lacks the mark."""
    for name in names:
        restore(folder / name)
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ValueError(f"{folder} should be a folder, or not exist yet.")
    there = {p.name for p in folder.iterdir() if not p.name.startswith(SCRATCH)}
    others = sorted(there - set(names))
    if others or (mark and there and mark not in there):
        raise ValueError(
            f"An export's folder should be new, or one of an earlier export, which is replaced. "
            f"{folder} {f'also holds {some(others)}' if others else f'has no {mark}'}."
        )


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Names in an error of the system what is written, which has another name until it is whole."""
    try:
        yield
    except OSError as error:
        raise OSError(f"{path} cannot be written: {error.strerror or error}") from error
