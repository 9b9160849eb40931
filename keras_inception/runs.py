"""The run folder: what a run leaves behind, and the only thing that later stages read.

The table in `RunFolder` says what each file is called, and what is in it.
"""

from __future__ import annotations

import contextlib
import csv
import json
import platform
import shutil
from collections.abc import Collection
from importlib import metadata
from pathlib import Path
from typing import Any

from keras_inception import buckets, files, recipes
from keras_inception.buckets import as_path, is_remote
from keras_inception.files import UNFINISHED, refuse_link, write
from keras_inception.locks import LOCK, OWNER
from keras_inception.preprocessing import Preprocessing
from keras_inception.recipes import Recipe

_PACKAGES = ("tensorflow", "tensorflow-cpu", "keras", "tensorflow-datasets", "numpy")

_LONGEST_COUNT = 16  # digits

# What a process that was killed while it wrote leaves behind.
_LEFTOVERS = (
    f".*{UNFINISHED}*",
    "checkpoints/*_temp*",
    "checkpoints/best/*_temp*",
    "checkpoints/*.tempstate*",
    "checkpoints/best/*.tempstate*",
)


# What an export is called, in a run folder or another, by its target's name.
EXPORTS = {
    "saved_model": "saved_model",
    "tflite:float32": "model.tflite",
    "tflite:float16": "model_float16.tflite",
    "tflite:dynamic": "model_int8.tflite",
    "tflite:int8": "model_full_int8.tflite",
    "web": "web",
    "onnx": "model.onnx",
    "openvino": "openvino",
}


class _File:
    """A file or folder that a run writes; as an attribute of a run folder, its path.

    Args:
        name: What it is called in the run folder.
        content: What is in it.
        only: Of a folder that may hold other files, too, the patterns of the run's.
    """

    def __init__(self, name: str, content: str, *, only: tuple[str, ...] = ()) -> None:
        self.name, self.content, self.only = name, content, only

    def __get__(self, run: RunFolder, owner: type) -> Path:
        path = run.inside(self.name)
        for below in path.rglob("*"):
            refuse_link(below)
        return path


class RunFolder:
    """A run's folder by its path.

    A folder of a bucket is worked on as a copy on this machine (see `buckets`): `publish` copies
    back what was written.

    Args:
        path: The folder, whether it exists yet or not.

    Attributes:
        address: The folder, as it was given.
        path: The folder on this machine: the same, or the copy.
    """

    config_path = _File("config.json", "the resolved recipe and the versions it ran with")
    split_path = _File("split.json", "how the data was divided")
    data_path = _File(
        "data.json.gz",
        "which images, of which class and content, are in which part: what a run that goes on, its "
        "evaluation, export and report are held to",
    )
    unreadable_path = _File("unreadable.txt", "the images that were left out, if there were any")
    labels_path = _File("labels.txt", "class names in the order of the outputs")
    preprocessing_path = _File("preprocessing.json", "the contract of the model's input")
    history_path = _File("history.csv", "a row an epoch")
    curves_path = _File("curves.png", "the same, drawn; of a probe, what it tried")
    tensorboard_path = _File("tensorboard", "the same", only=("events.out.tfevents.*",))
    checkpoints_path = _File(
        "checkpoints",
        "to go on from; model, optimizer, average, step, dropout's state",
        only=("best/best-*", "best/checkpoint", "ckpt-*", "checkpoint"),
    )
    features_path = _File(
        "features",
        "of a probe: the pooled features",
        only=("key.json", "head.npz", "train*.np[yz]", "validation*.np[yz]"),
    )
    probe_path = _File("probe.json", "of a probe: the regularizations that were tried")
    weights_path = _File(
        "weights.safetensors",
        "the trained weights, auxiliary heads included, with the network's identity: what the next "
        "stage, or a builder's `weights=`, starts from",
    )
    model_path = _File("model.keras", "the trained network, without auxiliary heads; scaled images")
    evaluation_path = _File("evaluation.json", "what the test part says of it")
    predictions_path = _File("predictions.npz", "its answers to the test part")
    unfinished_path = _File("unfinished.npz", "the same, while the evaluation goes on")
    confusion_path = _File("confusion_matrix.png", "which classes it takes for which")
    reliability_path = _File("reliability.png", "how often it is right, by its confidence")
    export_path = _File("export.json", "what was exported, and how its checks ended")
    report_path = _File("report.html", "the page of the run")
    inspection_path = _File(  # the tables there are corrected by hand, and stay
        "inspection",
        "what `inspect` found in its data",
        only=("inspection.json", "labels.html", "next.html"),
    )
    evaluations_path = _File("evaluations", "measurements of the run by `evaluate`, a folder each")

    def __init__(self, path: str | Path) -> None:
        self.address = path
        self.path = Path(buckets.local(path))

    def inside(self, name: str) -> Path:
        """The path of a file or folder of the run. Raises ValueError if that is a link."""
        return refuse_link(self.path / name)

    def at(self, name: str) -> Any:
        """The path of a file of the run, in the bucket if the folder is in one."""
        return as_path(self.address) / name

    def fetch(self) -> None:
        """Brings the copy of a bucket's folder up to date; nothing for another."""
        if is_remote(self.address):
            buckets.copy_of(self.address).fetch()

    def publish(self) -> None:
        """Brings a bucket's folder up to date; nothing for another.

        Raises:
            OSError: the bucket cannot be written.
        """
        if is_remote(self.address):
            buckets.copy_of(self.address).publish()

    def published(self) -> contextlib.AbstractContextManager[None]:
        """Inside, a bucket's folder is brought up to date every minute, and at the end."""
        if is_remote(self.address):
            return buckets.copy_of(self.address).published()
        return contextlib.nullcontext()

    @property
    def head(self) -> RunFolder:
        """The run folder of the stage that trained only the classifiers."""
        return RunFolder(self.inside("head"))

    @property
    def recipe(self) -> Recipe:
        """The recipe that the run resolved its flags to.

        Raises:
            ValueError: config.json is missing or damaged.
        """
        if not self.config_path.exists():
            raise ValueError(f"{self.path} is no run folder: it has no config.json.")
        return recipes.load(self.config_path)

    @property
    def config(self) -> dict[str, Any]:
        """config.json: "recipe" and "versions"."""
        return self._json("config.json")

    @property
    def class_names(self) -> list[str]:
        """Class names in the order of the model's outputs."""
        return self._text("labels.txt").removesuffix("\n").split("\n")

    @property
    def preprocessing(self) -> Preprocessing:
        """The contract of the model's input.

        Raises:
            ValueError: preprocessing.json is missing or damaged.
        """
        fields = self._json("preprocessing.json")
        try:
            return Preprocessing.from_dict(fields)
        except (TypeError, KeyError, ValueError) as error:
            raise ValueError(f"{self.path / 'preprocessing.json'} is damaged: {error}") from error

    @property
    def history(self) -> list[dict[str, float]]:
        """The rows of history.csv, an epoch each; empty before the first.

        Raises:
            ValueError: the file is damaged.
        """
        if not self.history_path.exists():
            return []
        try:
            lines = csv.DictReader(files.read_text(self.history_path).splitlines(keepends=True))
            rows = [{k: _number(v) for k, v in row.items() if v} for row in lines]
            if all(row.keys() >= {"epoch", "step", "loss", "accuracy"} for row in rows):
                return rows
            error: Exception | str = "columns are missing"
        except (ValueError, TypeError, AttributeError, csv.Error) as failure:
            error = failure
        raise ValueError(
            f"{self.history_path} is damaged ({error}). Remove it to go on without the rows of the "
            "epochs that are done."
        )

    def begin(
        self, recipe: Recipe, class_names: tuple[str, ...], contract: Preprocessing, split: dict
    ) -> None:
        """Writes what is known before training.

        Raises:
            ValueError: the folder holds a run of another recipe; the message names the fields.
        """
        self.check_recipe(recipe)
        versions = {"python": platform.python_version()}
        for package in _PACKAGES:
            try:
                versions[package] = metadata.version(package)
            except metadata.PackageNotFoundError:
                continue  # one of the TensorFlow wheels is there, not all
        self.write_json("config.json", {"recipe": recipe.to_dict(), "versions": versions})
        self.write_json("split.json", split)
        self.write_json("preprocessing.json", contract.to_dict())
        write(self.labels_path, "".join(f"{name}\n" for name in class_names))

    def check_recipe(self, recipe: Recipe, but: Collection[str] = ()) -> None:
        """Raises ValueError if the folder holds a run of another recipe; it names the fields.

        Args:
            recipe: What is to be trained.
            but: Names of fields that may differ.
        """
        if not self.config_path.exists():
            return
        before, now = self.recipe.to_dict(), recipe.to_dict()
        changed = [name for name in now if now[name] != before[name] and name not in but]
        if changed:
            what = ", ".join(f"{name} was {before[name]!r}, is {now[name]!r}" for name in changed)
            raise ValueError(
                f"{self.path} holds a run of another recipe ({what}). Give another `run_dir`, or "
                "`fresh=True` to start that run anew."
            )

    def check_clearable(self) -> None:
        """Raises ValueError if there are files in the folder but no run's, or links."""
        self._refuse_links()
        if self.config_path.exists():
            recipes.load(self.config_path, check=False)
        elif self.path.exists() and any(not _is_passing(p.name) for p in self.path.iterdir()):
            raise ValueError(
                f"`fresh=True` removes the files of an earlier run; {self.path} has no config.json "
                "of one."
            )

    def _refuse_links(self) -> None:
        """Raises ValueError if something of the run is a link: what it points to is not the run's.

        A run's own paths refuse links whenever they are asked for.
        """
        for folder in (self, self.head):
            for file in _written():
                file.__get__(folder, RunFolder)

    def clear(self) -> None:
        """Removes the files that a run writes, and nothing else.

        Raises:
            ValueError: there are files in the folder but no run's, or a file or folder of the run
                is a link.
        """
        self.check_clearable()
        if not self.config_path.exists():
            return
        if self.head.config_path.exists():
            self.head.clear()
            _remove_empty(self.head.path)
        self.remove_leftovers()
        # config.json last: a clearing that was interrupted can be repeated.
        for file in reversed(_written()):
            path = self.path / file.name
            for mine in (p for pattern in file.only for p in path.glob(pattern)):
                _remove(mine)
            for folder in (path / "best", path) if file.only else ():
                _remove_empty(folder)
            if not file.only:
                _remove(path)

    def remove_leftovers(self) -> None:
        """Removes the unfinished files of a process that was killed.

        Raises:
            ValueError: a file or folder of the run is a link.
        """
        self._refuse_links()
        files.remove_scratch(self.path)
        for pattern in _LEFTOVERS:
            for file in self.path.glob(pattern):
                _remove(file)

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        write(self.inside(name), json.dumps(content, indent=2) + "\n")

    def write_history(self, rows: list[dict[str, float]]) -> None:
        columns = list(dict.fromkeys(key for row in rows for key in row))

        def save(path: Path) -> None:
            with path.open("w", newline="") as file:
                writer = csv.DictWriter(file, columns)
                writer.writeheader()
                writer.writerows(rows)

        write(self.history_path, save)

    def load_model(self) -> Any:
        """The trained `keras.Model`; takes images scaled by `preprocessing`.

        Raises:
            ValueError: the run has not ended yet.
        """
        if not self.model_path.exists():
            raise ValueError(
                f"{self.path} holds no trained model (no model.keras); let its training end first."
            )
        from keras_inception.models.saving import load_model

        return load_model(self.model_path)

    def read_json(self, name: str) -> dict[str, Any] | None:
        """A stage's file, such as evaluation.json; None before that stage."""
        return self._json(name) if self.inside(name).exists() else None

    def _json(self, name: str) -> dict[str, Any]:
        try:
            content = json.loads(self._text(name))
        except (json.JSONDecodeError, RecursionError) as error:
            raise ValueError(f"{self.path / name} is damaged: {error}") from error
        if not isinstance(content, dict):
            raise ValueError(f"{self.path / name} is damaged: it holds no JSON object.")
        return content

    def _text(self, name: str) -> str:
        path = self.inside(name)
        try:
            return files.read_text(path)
        except FileNotFoundError as error:
            raise ValueError(f"{self.path} is no run folder: it has no {name}.") from error
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is damaged: {error}") from error


def _written() -> list[_File]:
    """The table of a run's files, its exports included."""
    own = [file for file in vars(RunFolder).values() if isinstance(file, _File)]
    return [*own, *(_File(name, "an export") for name in EXPORTS.values())]


def _is_passing(name: str) -> bool:
    """Whether a file comes and goes with the process that writes the folder."""
    return name in (LOCK, OWNER) or UNFINISHED in name


def _number(text: str) -> float:
    """A number of history.csv, which is written back as it stands there."""
    return int(text) if text.isdecimal() and len(text) < _LONGEST_COUNT else float(text)


def best_epoch(history: list[dict[str, float]]) -> dict[str, float]:
    """The row of the highest validation accuracy; of equal ones the last, which trained longest.

    A small validation part has few accuracies to tell apart, and where the learning rate falls the
    later weights are the settled ones.
    """
    return max(reversed(history), key=lambda row: row["validation_accuracy"])


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _remove_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
