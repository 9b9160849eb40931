"""The page's part on the training: curves whose legend says what each line holds."""

from __future__ import annotations

import math
from typing import Any

from keras_inception import pictures
from keras_inception.recipes import Recipe
from keras_inception.report import images
from keras_inception.report.table import BLANK, Cell, Table, number, share
from keras_inception.runs import RunFolder, best_epoch


def describe(run: RunFolder) -> list[dict[str, Any]]:
    """The stages of a run, in their order.

    Returns:
        Of each "title", "curves" (a picture, or None of less than two epochs), "legend" ((look,
        name, meaning) of each line), "notes" (what has to be known to read them), "epochs" (the
        rows of history.csv, or None) and "probe" (the regularizations that were tried, or None).
    """
    head = run.head
    stages = [_stage(head, "First stage: only the classifier")] if head.config_path.exists() else []
    return [*stages, _stage(run, "Second stage: the network" if stages else "")]


def _stage(run: RunFolder, title: str) -> dict[str, Any]:
    rows, recipe = run.history, run.recipe
    tried = run.read_json("probe.json") if recipe.probe and not recipe.epochs else None
    curves = None
    if tried and tried.get("path"):
        curves = images.drawn(
            lambda file: pictures.curves(tried["path"], file, "penalty", tried["penalty"])
        )
    elif len(rows) > 1:
        curves = images.drawn(lambda file: pictures.curves(rows, file))
    is_descent = curves is not None and not tried
    return {
        "title": title,
        "curves": curves,
        "legend": _legend(recipe, rows) if is_descent else [],
        "notes": _notes(recipe, len(run.class_names), rows) if is_descent else [],
        "epochs": _epochs(rows),
        "probe": _probe(tried) if tried and tried.get("path") else None,
    }


def _legend(recipe: Recipe, rows: list[dict[str, float]]) -> list[tuple[str, str, str]]:
    """The look, name and meaning of each line of the curves."""
    lines = []
    for name, (training, validation) in meanings(recipe).items():
        lines.append(("first", f"training {name}", training))
        if any(f"validation_{name}" in row for row in rows):
            lines.append(("second", f"validation {name}", validation))
    return lines


def meanings(recipe: Recipe) -> dict[str, tuple[str, str]]:
    """What the training's and the validation's line hold, by chart."""
    seen = "augmented" if recipe.augmentation != "none" else "plain"
    holds = [f"cross-entropy on {seen} images"]
    if recipe.mix != "none":
        mixed = {"either": "mixup or cutmix"}.get(recipe.mix, recipe.mix)
        holds[0] += f", mixed by {mixed}"
    if recipe.label_smoothing:
        holds.append(f"label smoothing {recipe.label_smoothing:g}")
    if recipe.class_weight == "balanced":
        holds.append("weights that make the classes count alike")
    if recipe.class_weight == "sampling":
        holds.append("images of small classes repeated")
    if recipe.aux_weight:
        holds.append(f"{recipe.aux_weight:g} times the loss of each auxiliary head")
    if recipe.weight_decay and not recipe.decays_weights_apart:
        holds.append(f"L2 of the kernels, {recipe.weight_decay:g} / 2 times their squares")
    moving = "mean over the epoch, while the weights change and dropout is on"
    weights = f"the moving average ({recipe.ema:g}) of the weights" if recipe.ema else "the weights"
    after = f"after the epoch, with {weights}, on the central crop"
    hits = "share of right answers"
    mixed_hits = "; of a mixed image, the class with the larger share counts as right"
    return {
        "loss": (
            f"{'; with '.join([holds[0], ' and '.join(holds[1:])] if holds[1:] else holds)}; "
            f"{moving}.",
            f"plain cross-entropy of the main classifier, {after}: nothing else is in it.",
        ),
        "accuracy": (
            f"{hits} on {seen} images{mixed_hits if recipe.mix != 'none' else ''}; {moving}.",
            f"{hits} {after}.",
        ),
    }


def _notes(recipe: Recipe, classes: int, rows: list[dict[str, float]]) -> list[str]:
    notes = []
    more = (
        recipe.label_smoothing
        or recipe.aux_weight
        or recipe.mix != "none"
        or recipe.class_weight != "none"
        or (recipe.weight_decay and not recipe.decays_weights_apart)
    )
    if more and any("validation_loss" in row for row in rows):
        notes.append(
            "The two losses are not on one scale: only the training's holds what its legend lists, "
            "so it can lie above the validation's, and the distance between them says nothing."
        )
    if recipe.label_smoothing:
        floor = _smoothing_floor(recipe.label_smoothing, classes)
        notes.append(
            f"With label smoothing {recipe.label_smoothing:g} and {classes:,} classes, no "
            f"classifier's cross-entropy can fall below {floor:.2f}."
        )
    if recipe.keep == "best" and rows and all("validation_accuracy" in row for row in rows):
        kept = best_epoch(rows)["epoch"]
        notes.append(f"Kept: epoch {kept:.0f}, the best by validation accuracy.")
    return notes


def _smoothing_floor(smoothing: float, classes: int) -> float:
    """The entropy of smoothed labels, which is the least that their cross-entropy can be."""
    other = smoothing / classes
    true = 1 - smoothing + other
    return -true * math.log(true) - (classes - 1) * other * math.log(other)


_EPOCHS = {
    "epoch": "epoch",
    "step": "step",
    "learning_rate": "rate",
    "loss": "loss",
    "accuracy": "accuracy",
    "validation_loss": "validation loss",
    "validation_accuracy": "validation accuracy",
    "images_per_second": "images/s",
}


def _epochs(rows: list[dict[str, float]]) -> Table | None:
    if not rows:
        return None
    columns = [key for key in _EPOCHS if any(key in row for row in rows)]
    cells = [[_cell(key, row.get(key)) for key in columns] for row in rows]
    return Table(
        [_EPOCHS[key] for key in columns],
        cells,
        frozenset(range(len(columns))),
        sorted_by=(0, "ascending"),
    )


def _cell(key: str, value: float | None) -> Cell:
    if value is None:
        return BLANK
    if key in ("epoch", "step", "images_per_second"):
        return number(round(value))
    return share(value) if "accuracy" in key else number(float(value))


def _probe(tried: dict[str, Any]) -> Table:
    """What probe.json holds."""
    columns = [key for key in tried["path"][0] if key != "penalty"]
    rows = []
    for row in tried["path"]:
        chosen = row["penalty"] == tried["penalty"]
        mark = Cell(f"{row['penalty']:.2g}{' (chosen)' if chosen else ''}", row["penalty"])
        rows.append([mark, *(_cell(key, row.get(key)) for key in columns)])
    head = ["regularization", *(_EPOCHS.get(key, key.replace("_", " ")) for key in columns)]
    return Table(head, rows, frozenset(range(len(head))), sorted_by=(0, "ascending"))
