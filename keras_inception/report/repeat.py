"""The page's part on how the run was made: recipe, versions, and commands that repeat it."""

from __future__ import annotations

import dataclasses
import shlex
from typing import Any

from keras_inception import recipes
from keras_inception.messages import printable
from keras_inception.recipes import Recipe
from keras_inception.report.table import Table, text
from keras_inception.runs import RunFolder


def describe(run: RunFolder) -> dict[str, Any]:
    """What config.json holds, and the commands that go from it.

    Returns:
        "like" (the named recipe that is nearest to the run's), "changed" (a table of the settings
        that differ, or None), "settings" ((group, table) each), "versions" ((package, version)
        each) and "commands" ((what it does, the command) each).
    """
    recipe = run.recipe
    name, changed = nearest(recipe)
    fields = {field.name: field for field in dataclasses.fields(Recipe)}
    groups: dict[str, list[str]] = {}
    for field in fields.values():
        groups.setdefault(field.metadata["group"], []).append(field.name)

    def table(names: list[str]) -> Table:
        rows = [
            [text(n, "code"), text(_shown(getattr(recipe, n))), text(fields[n].metadata["help"])]
            for n in names
        ]
        return Table(("setting", "value", "what it is"), rows)

    return {
        "like": name,
        "changed": table(changed) if changed else None,
        "settings": [(group, table(names)) for group, names in groups.items()],
        "versions": [(str(k), str(v)) for k, v in run.config.get("versions", {}).items()],
        "commands": _commands(run, recipe),
    }


def nearest(recipe: Recipe) -> tuple[str, list[str]]:
    """The named recipe with the fewest settings that differ, and their names."""
    mine = recipe.to_dict()
    changed = {
        name: [key for key, value in mine.items() if value != other.recipe.to_dict()[key]]
        for name, other in recipes.RECIPES.items()
    }
    name = min(changed, key=lambda name: len(changed[name]))
    return name, changed[name]


def train_command(recipe: Recipe, run_dir: str) -> str:
    """The shell command that trains a recipe.

    Args:
        recipe: What to compute.
        run_dir: Where to.
    """
    name, changed = nearest(recipe)
    flags = [f"--{key}={_shown(getattr(recipe, key))}" for key in changed]
    return _joined(["train", f"--recipe={name}", *flags, f"--run_dir={run_dir}"])


def _commands(run: RunFolder, recipe: Recipe) -> list[tuple[str, str]]:
    folder = printable(str(run.address))
    return [
        ("The same training into another folder", train_command(recipe, f"{folder}-again")),
        ("Measure it again", _joined(["evaluate", folder])),
        ("Name the images of a folder", _joined(["predict", "photos/", "--model", folder])),
        (
            "See why it names an image so",
            _joined(["explain", "grad_cam", "photo.jpg", "--model", folder]),
        ),
        ("Export it in other formats", _joined(["export", folder, "--formats", "tflite,web"])),
        ("Write this page anew", _joined(["report", folder])),
    ]


def _joined(words: list[str]) -> str:
    """A command as a shell takes it, the flags on lines of their own."""
    lines = [["keras-inception"]]
    for word in words:
        if word.startswith("--"):
            lines.append([])
        lines[-1].append(shlex.quote(word))
    joined = [" ".join(line) for line in lines]
    return (" " if sum(map(len, joined)) < 70 else " \\\n  ").join(joined)


def _shown(value: Any) -> str:
    """A setting's value as its flag takes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
