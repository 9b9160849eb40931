"""The run folder: what a run leaves behind, and the only thing that later stages read.

config.json          the resolved recipe and the versions it ran with
split.json           how the data was divided
labels.txt           class names in the order of the outputs
preprocessing.json   the contract of the model's input
checkpoints/         to go on from; model, optimizer, average, step, dropout's state
history.csv          a row an epoch
curves.png           the same, drawn
model.keras          the trained network, without auxiliary heads; takes scaled images
evaluation.json, predictions.npz, confusion_matrix.png     written by evaluation
saved_model/, model.tflite, model_int8.tflite, export.json written by export
report.html          written by report
"""

from __future__ import annotations

import csv
import json
import platform
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

from keras_inception.files import write
from keras_inception.preprocessing import Preprocessing
from keras_inception.recipes import Recipe

_PACKAGES = ("tensorflow", "tensorflow-cpu", "keras", "tensorflow-datasets", "numpy")


class RunFolder:
    """A run's folder by its path; properties are its files.

    Args:
        path: The folder, whether it exists yet or not.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    config_path = property(lambda self: self.path / "config.json")
    model_path = property(lambda self: self.path / "model.keras")
    history_path = property(lambda self: self.path / "history.csv")
    checkpoints_path = property(lambda self: self.path / "checkpoints")
    evaluation_path = property(lambda self: self.path / "evaluation.json")
    predictions_path = property(lambda self: self.path / "predictions.npz")
    export_path = property(lambda self: self.path / "export.json")

    @property
    def recipe(self) -> Recipe:
        """The recipe that the run resolved its flags to."""
        return Recipe.from_dict(self.config["recipe"])

    @property
    def config(self) -> dict[str, Any]:
        """config.json: "recipe" and "versions"."""
        return self._json("config.json")

    @property
    def labels(self) -> list[str]:
        """Class names in the order of the model's outputs."""
        return (self.path / "labels.txt").read_text().splitlines()

    @property
    def preprocessing(self) -> Preprocessing:
        """The contract of the model's input."""
        return Preprocessing.from_dict(self._json("preprocessing.json"))

    @property
    def history(self) -> list[dict[str, float]]:
        """The rows of history.csv, an epoch each; empty before the first."""
        if not self.history_path.exists():
            return []
        with self.history_path.open(newline="") as file:
            return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]

    def begin(
        self, recipe: Recipe, labels: tuple[str, ...], contract: Preprocessing, split: dict
    ) -> None:
        """Writes what is known before training.

        Raises:
            ValueError: the folder holds a run of another recipe; the message names the fields.
        """
        if self.config_path.exists():
            before, now = self.recipe.to_dict(), recipe.to_dict()
            changed = [k for k in now if now[k] != before[k]]
            if changed:
                what = ", ".join(f"{k} was {before[k]!r}, is {now[k]!r}" for k in changed)
                raise ValueError(
                    f"{self.path} holds a run of another recipe ({what}). Give another --run_dir, "
                    "or --fresh to start that run anew."
                )
        versions = {"python": platform.python_version()}
        for package in _PACKAGES:
            try:
                versions[package] = metadata.version(package)
            except metadata.PackageNotFoundError:
                continue  # one of the TensorFlow wheels is there, not all
        self.write_json("config.json", {"recipe": recipe.to_dict(), "versions": versions})
        self.write_json("split.json", split)
        self.write_json("preprocessing.json", contract.to_dict())
        write(self.path / "labels.txt", "".join(f"{name}\n" for name in labels))

    def delete(self) -> None:
        """Deletes the run.

        Raises:
            ValueError: the folder has something in it that no run wrote.
        """
        if not self.path.exists():
            return
        if not self.config_path.exists() and any(self.path.iterdir()):
            raise ValueError(
                f"--fresh deletes only the folder of an earlier run; {self.path} has no "
                "config.json."
            )
        shutil.rmtree(self.path)

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        write(self.path / name, json.dumps(content, indent=2) + "\n")

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
        import keras

        return keras.models.load_model(self.model_path)

    def read_json(self, name: str) -> dict[str, Any] | None:
        """A stage's file, such as evaluation.json; None before that stage."""
        return self._json(name) if (self.path / name).exists() else None

    def _json(self, name: str) -> dict[str, Any]:
        path = self.path / name
        if not path.exists():
            raise ValueError(f"{self.path} is no run folder: it has no {name}.")
        return json.loads(path.read_text())
