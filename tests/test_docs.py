"""README and docs: links lead somewhere, commands are ones that the parsers take, code runs.

A Python block that cannot run here has a comment above it that says why:
`<!-- not run: it downloads published weights -->`. All others are run, a page in one namespace.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import keras_inception
from keras_inception import cli
from keras_inception.cli import flags

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(
    r"^(?:<!-- not run: (?P<reason>[^\n]+) -->\n)?```(?P<kind>\w*)\n(?P<text>.*?)^```", re.M | re.S
)
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def blocks(page: Path, *kinds: str) -> list[tuple[str, str, int]]:
    """(text, why it is not run, line) of a page's code blocks in one of the languages."""
    text = page.read_text(encoding="utf-8")
    return [
        (match["text"], match["reason"] or "", text[: match.start("text")].count("\n"))
        for match in BLOCK.finditer(text)
        if match["kind"] in kinds
    ]


def commands() -> list[str]:
    """The shell lines of README and docs that call a command of this package."""
    found = []
    for page in PAGES:
        for block, _, _ in blocks(page, "", "sh", "bash"):
            for line in block.replace("\\\n", " ").splitlines():
                parts = re.split(r" [|>&]+ ", line)
                found += [
                    part.strip()
                    for part in parts
                    if re.match(r"(keras-inception|\S*python3? train_tpu)", part.strip())
                ]
        prose = BLOCK.sub("", page.read_text(encoding="utf-8"))
        found += [  # in a sentence; "..." and [brackets] stand for something
            code
            for code in re.findall(r"`([^`]+)`", prose)
            if re.match(r"(keras-inception|python train_tpu\.py) \S+ ", code)
            and not re.search(r"\.\.\.|[\[\]]|\b[A-Z]\b", code)
        ]
    return sorted(set(found))


@pytest.mark.parametrize("line", commands())
def test_a_command_of_the_docs_is_parsed(line):
    words = shlex.split(line, comments=True)
    if words[0] == "keras-inception" and words[1] != "train":
        cli.parser().parse_args(words[1:])
    else:
        flags.parse([words[0], *words[2:]])


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@each_page
def test_links_lead_somewhere(page):
    prose = re.sub(r"^```.*?^```|`[^`\n]*`", "", page.read_text(), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in anchors(file), f"{page.name} links to {target}"


@each_page
def test_python_calls_public_names_with_their_arguments(page):
    """Also in blocks that are not run here."""
    for text, _, line in blocks(page, "python"):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("keras_inc"):
                module = importlib.import_module(node.module or "")
                for alias in node.names:
                    assert hasattr(module, alias.name), alias.name
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            owner = ast.unparse(node.func.value)
            if not owner.startswith("keras_inception"):
                continue
            module = importlib.import_module(owner) if owner != "keras_inception" else None
            called = getattr(module or keras_inception, node.func.attr)
            named = {k.arg: None for k in node.keywords if k.arg}
            try:
                inspect.signature(called).bind_partial(*[None] * len(node.args), **named)
            except TypeError as error:
                pytest.fail(f"{page.name}, line {line}: {ast.unparse(node)}: {error}")


@pytest.mark.parametrize("name", ("fine_tuning", "benchmarks"))
def test_a_table_of_measurements_is_that_of_its_json(name, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    pages = importlib.import_module("pages")
    table = getattr(pages, f"{name}_table")()
    page = (ROOT / f"docs/{name}.md").read_text()
    assert pages.MARK + table in page, pages.__doc__
    if name == "benchmarks":
        assert pages.STARTS + pages.starts_table() in page, pages.__doc__


def test_the_floors_are_those_of_the_import_table(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    floors = importlib.import_module("floors")
    page = (ROOT / "docs/architecture.md").read_text()
    assert floors.MARK + floors.drawing() in page, floors.__doc__


@pytest.fixture(scope="module")
def readers_folder(tmp_path_factory, module_monkeypatch) -> Path:
    """What the pages take for granted: images, a run, and files of a trained network."""
    from PIL import Image

    from keras_inception import recipes
    from keras_inception.training import train

    folder = tmp_path_factory.mktemp("reader")
    module_monkeypatch.chdir(folder)
    rng = np.random.default_rng(0)
    for name in ("daisy", "dandelion", "roses", "sunflowers", "tulips"):
        (folder / "PATH" / name).mkdir(parents=True)
        for i in range(8):
            pixels = rng.integers(0, 255, (40, 48, 3), np.uint8)
            Image.fromarray(pixels).save(folder / "PATH" / name / f"{i}.jpg")
    (folder / "photos").symlink_to("PATH/roses")
    (folder / "photo.jpg").symlink_to("PATH/roses/0.jpg")
    (folder / "image.jpg").symlink_to("PATH/roses/1.jpg")
    recipe = recipes.Recipe(
        dataset="folder:PATH", width_multiplier=0.125, image_size=64, epochs=1, batch_size=8
    )
    run = train(recipe, "runs/flowers-InceptionV3")
    (folder / "run").symlink_to(run.path)
    keras_inception.export(run.path, output="exports", num_images=8, latency=False)
    for name in ("model.tflite", "model_int8.tflite", "saved_model"):
        (folder / name).symlink_to(f"exports/{name}")
    return folder


@pytest.fixture(scope="module")
def module_monkeypatch():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


RUNNABLE = [page for page in PAGES if any(not reason for _, reason, _ in blocks(page, "python"))]


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: page.name)
def test_python_of_a_page_runs(page, readers_folder):
    rng = np.random.default_rng(0)
    namespace: dict[str, Any] = {
        "keras_inception": keras_inception,
        "model": keras_inception.load_model(readers_folder / "run" / "model.keras"),
        "image": rng.integers(0, 255, (80, 60, 3), np.uint8),
        "images": rng.integers(0, 255, (2, 64, 64, 3)).astype("float32"),
    }
    for text, reason, line in blocks(page, "python"):
        if not reason:
            code = compile("\n" * line + text, str(page), "exec")
            exec(code, namespace)
