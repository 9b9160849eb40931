"""The package's face: names that exist, and an import that costs nothing."""

from __future__ import annotations

import ast
import inspect
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import keras_inception


def run_python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout


def test_import_loads_no_heavy_module():
    """Milliseconds, because neither Keras nor TensorFlow nor even numpy is loaded."""
    code = "import sys, keras_inception; keras_inception.__version__; print(*sys.modules)"
    loaded = set(run_python(code).split())
    assert "keras_inception" in loaded
    assert not loaded & {"keras", "tensorflow", "numpy", "matplotlib", "absl"}


@pytest.mark.parametrize("name", [n for n in keras_inception.__all__ if n != "__version__"])
def test_every_public_name_is_documented(name):
    public = getattr(keras_inception, name)
    assert name in dir(keras_inception)
    if callable(public):
        assert inspect.getdoc(public), f"keras_inception.{name} has no docstring"


@pytest.mark.parametrize("name", sorted(keras_inception._PUBLIC))
def test_every_argument_is_typed_and_described(name):
    """What `help()`, editors and type checkers show of a function, which the stub passes on."""
    public = getattr(keras_inception, name)
    if inspect.isclass(public):
        return
    documented = inspect.getdoc(public)
    signature = inspect.signature(public)
    assert signature.return_annotation is not inspect.Signature.empty
    for parameter in signature.parameters.values():
        assert parameter.annotation is not inspect.Parameter.empty, parameter.name
        assert re.search(rf"\b{parameter.name}\b", documented), parameter.name


def test_the_stub_names_what_the_package_has():
    """Type checkers read `__init__.pyi`; Python reads the table of `__init__.py`."""
    stub = Path(keras_inception.__file__).with_name("__init__.pyi")
    named = {
        alias.asname: node.module
        for node in ast.parse(stub.read_text()).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname == alias.name
    }
    assert named == keras_inception._PUBLIC


TYPED = Path(__file__).with_name("user_program.py")


def test_the_typed_program_calls_every_public_name():
    called = {
        node.attr
        for node in ast.walk(ast.parse(TYPED.read_text()))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "ki"
    }
    assert called == set(keras_inception.__all__)


def test_the_page_of_names_is_that_of_their_docstrings():
    root = Path(__file__).parents[1]
    tool = runpy.run_path(str(root / "tools" / "names.py"))
    page = (root / "docs" / "python.md").read_text(encoding="utf-8")
    assert page.endswith(tool["MARK"] + tool["table"]()), "run: python tools/names.py"


USER_PROGRAM = """
import keras_inception
reveal_type(keras_inception.InceptionV4)
reveal_type(keras_inception.list_models())
keras_inception.InceptionV4(weights=None, classes=5)
keras_inception.InceptionV4(classes="five")
keras_inception.InceptionV4(klasses=5)
"""


def test_type_checkers_see_the_signatures(tmp_path):
    pytest.importorskip("mypy", reason="comes with the lint extra")
    program = tmp_path / "program.py"
    program.write_text(USER_PROGRAM)
    command = [sys.executable, "-m", "mypy", "--config-file=", "--ignore-missing-imports"]
    command += ["--strict"]
    command += ["--follow-imports=silent", f"--cache-dir={tmp_path}", "--no-error-summary"]
    found = subprocess.run(
        [*command, str(program), str(TYPED)],
        capture_output=True,
        text=True,
        cwd=Path(keras_inception.__file__).parents[1],
        check=False,
    )
    assert not found.stderr
    assert TYPED.name not in found.stdout
    lines = [line.split(":", 1)[1] for line in found.stdout.splitlines()]
    signature = r"def \(include_top: (builtins\.)?bool =, weights: .*, classes: (builtins\.)?int ="
    assert re.search(signature, lines[0]), lines[0]
    assert "avg_pool_counts_padding: " in lines[0]
    assert "list[" in lines[1] and "str]" in lines[1]
    assert [line.partition(":")[0] for line in lines[2:] if " error: " in line] == ["6", "7"]
    assert 'argument "classes"' in found.stdout.lower() and "klasses" in found.stdout


@pytest.mark.slow
def test_pyright_sees_the_signatures():
    pytest.importorskip("pyright", reason="pip install pyright")
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, str(TYPED)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="InceptionV5"):
        keras_inception.InceptionV5  # noqa: B018
