"""Imports point down the house's floors only; models and weights need no TensorFlow."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "keras_inception"

# Bottom floor first. A module may import its own floor and those before it.
FLOORS = [
    "messages",
    "result",
    "bar",
    "pictures",
    "files",
    "budget",
    "archives",
    "protobuf",
    "buckets",
    "settings",
    "locks",
    "preprocessing",
    "contracts",
    "catalog",
    "identity",
    "weights",
    "backend",
    "models",
    "drawing",
    "recipes",
    "optimizers",
    "fitting",
    "options",
    "runs",
    "data",
    "runtime",
    "training",
    "evaluation",
    "explaining",
    "curation",
    "exporting",
    "report",
    "complete_run",
    "cli",
]
# What the lower floors may import besides Python's own library, so that they run on every backend.
KERAS_ONLY = {
    "messages",
    "files",
    "budget",
    "archives",
    "protobuf",
    "preprocessing",
    "contracts",
    "catalog",
    "identity",
    "weights",
    "backend",
    "models",
    "drawing",
}
# huggingface_hub is an extra, imported where an address asks for it.
ALLOWED_THERE = {"keras", "numpy", "h5py", "safetensors", "filelock", "huggingface_hub"}

MODULES = sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


def imports(path: Path) -> set[str]:
    """Full names of the modules that a file imports, wherever the statement stands."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute in this package"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path):
    relative = path.relative_to(PACKAGE)
    floor = relative.parts[0].removesuffix(".py")
    assert floor in FLOORS, f"{relative} stands on no floor: add it to FLOORS"
    below = FLOORS[: FLOORS.index(floor) + 1]
    for name in imports(path):
        if name.startswith("keras_inception."):
            target = name.split(".")[1]
            assert target in [*below, "__version__"], f"{relative} imports {name}, which is above"


def test_models_and_weights_import_keras_and_numpy_only():
    import sys

    own = ALLOWED_THERE | {"keras_inception"} | set(sys.stdlib_module_names)
    for path in MODULES:
        relative = path.relative_to(PACKAGE)
        if relative.parts[0].removesuffix(".py") in KERAS_ONLY:
            foreign = {name.split(".")[0] for name in imports(path)} - own
            assert not foreign, f"{relative} imports {sorted(foreign)}"
