"""The notebooks hold the outputs of their code, call public names only, and open in Colab."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import keras_inception
from keras_inception import cli
from keras_inception.cli import flags

ROOT = Path(__file__).parents[1]
PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# Modules whose names are public besides keras_inception's own: the API reference lists them.
MODULES = ("data", "evaluation", "explaining", "exporting", "recipes", "training")

_spec = importlib.util.spec_from_file_location("notebooks", ROOT / "tools" / "notebooks.py")
assert _spec and _spec.loader
tool = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tool)

each = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def cells(path: Path, kind: str = "code") -> list[dict]:
    found = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in found if cell["cell_type"] == kind]


def source(path: Path) -> str:
    """A notebook's code that runs here."""
    code = [cell for cell in cells(path) if not tool.is_for_colab(cell)]
    return "\n".join("".join(cell["source"]) for cell in code)


def test_there_are_seven_notebooks_of_less_than_six_megabytes():
    assert [path.stem for path in PATHS] == [
        "clean_data",
        "deepdream",
        "export_mobile",
        "fine_tune",
        "inception_family",
        "quickstart",
        "train_tpu",
    ]
    assert sum(path.stat().st_size for path in PATHS) < 6e6


@each
def test_stored_outputs_are_those_of_the_code(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    if not tool.has_outputs(notebook):
        pytest.skip("the notebook was not run yet: `make notebooks` stores its outputs")
    assert tool.is_current(notebook), "run `make notebooks`"
    for cell in cells(path):
        assert bool(cell["execution_count"]) != tool.is_for_colab(cell)
        assert not any(output["output_type"] == "error" for output in cell["outputs"])


def test_other_code_or_other_outputs_are_noticed():
    path = next(path for path in PATHS if path.stem == "quickstart")
    notebook = json.loads(path.read_text(encoding="utf-8"))
    first = next(
        c for c in notebook["cells"] if c["cell_type"] == "code" and not tool.is_for_colab(c)
    )
    for key, value in (("source", "1 + 1"), ("outputs", [])):
        changed, first[key] = first[key], value
        assert not tool.is_current(notebook)
        first[key] = changed
    assert tool.is_current(notebook)


@each
def test_opens_in_colab_and_installs_by_one_line(path):
    first, second = json.loads(path.read_text(encoding="utf-8"))["cells"][:2]
    if second["cell_type"] == "markdown":
        second = json.loads(path.read_text(encoding="utf-8"))["cells"][2]
    (repository,) = re.findall(
        rf"\]\(https://colab.research.google.com/github/([^)]+)/blob/main/notebooks/{path.name}\)",
        "".join(first["source"]),
    )
    (line,) = "".join(second["source"]).splitlines()
    assert tool.is_for_colab(second)
    assert line.startswith("%pip install ") and f"git+https://github.com/{repository}" in line


@each
def test_only_public_names_are_used(path):
    code = re.sub(r"^(\s*)[!%].*$", r"\1pass", source(path), flags=re.M)
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
            assert not any(name.startswith("keras_inception.") for name in names), names
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("keras_inception"):
            inner = node.module.partition(".")[2]
            assert not inner or inner in MODULES, node.module
            public = dir(importlib.import_module(node.module)) if inner == "recipes" else None
            if public is None:
                public = importlib.import_module(node.module).__all__
            for alias in node.names:
                assert alias.name in public or (not inner and alias.name in MODULES), alias.name
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id == "keras_inception":
                assert node.attr in keras_inception.__all__, node.attr


@each
def test_commands_are_parsed(path):
    for line in re.findall(r"^\s*!(keras-inception .*)$", source(path), flags=re.M):
        words = [w for w in shlex.split(line.partition("||")[0]) if not w.startswith("$")]
        if words[1] == "train":
            flags.parse([words[0], *words[2:]])
        else:
            cli.parser().parse_args(words[1:])


@pytest.mark.slow
@each
def test_a_notebook_runs(path, tmp_path):
    pytest.importorskip("nbclient", reason="pip install 'keras-inception[notebooks]'")
    copy = tmp_path / path.name
    copy.write_bytes(path.read_bytes())
    code = f"import sys; sys.path.insert(0, {str(ROOT / 'tools')!r}); import notebooks, pathlib; "
    code += f"notebooks.run(pathlib.Path({str(copy)!r}))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-2000:]
