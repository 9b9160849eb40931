"""Writes the pages of the documentation site, which `make docs` then builds.

    python tools/site.py build/pages

The pages are docs/, README, CHANGELOG, CONTRIBUTING and SECURITY as they are, the notebooks with
their stored outputs, and pages that are generated: one for each variant, drawn and counted on the
built model, one of the recipes, and the API reference, whose texts mkdocstrings reads statically.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import os
import re
import shutil
import sys
from pathlib import Path

import keras_inception
from keras_inception import recipes

ROOT = Path(__file__).parents[1]

# Where files of the repository are on the site; other files cannot be linked to.
PLACES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "docs/diagrams": "variants/index.md",
}

# Variant -> key, authors, title, venue and year, arXiv number.
_GOING = (
    "szegedy2015going",
    "Szegedy, Christian and Liu, Wei and Jia, Yangqing and Sermanet, Pierre and Reed, Scott and "
    "Anguelov, Dragomir and Erhan, Dumitru and Vanhoucke, Vincent and Rabinovich, Andrew",
    "Going deeper with convolutions",
    "CVPR",
    2015,
    "1409.4842",
)
_RETHINKING = (
    "szegedy2016rethinking",
    "Szegedy, Christian and Vanhoucke, Vincent and Ioffe, Sergey and Shlens, Jonathon and "
    "Wojna, Zbigniew",
    "Rethinking the {I}nception architecture for computer vision",
    "CVPR",
    2016,
    "1512.00567",
)
_RESIDUAL = (
    "szegedy2017inception",
    "Szegedy, Christian and Ioffe, Sergey and Vanhoucke, Vincent and Alemi, Alexander A.",
    "Inception-v4, {I}nception-{R}es{N}et and the impact of residual connections on learning",
    "AAAI",
    2017,
    "1602.07261",
)
PAPERS = {
    "InceptionV1": _GOING,
    "BNInception": (
        "ioffe2015batch",
        "Ioffe, Sergey and Szegedy, Christian",
        "Batch normalization: accelerating deep network training by reducing internal covariate "
        "shift",
        "ICML",
        2015,
        "1502.03167",
    ),
    "InceptionV2": _RETHINKING,
    "InceptionV3": _RETHINKING,
    "InceptionV4": _RESIDUAL,
    "InceptionResNetV1": _RESIDUAL,
    "InceptionResNetV2": _RESIDUAL,
}

# Heading of the API reference -> the modules of the public names under it.
SECTIONS = {
    "Models": ("models.registry", "models.bn_inception", "models.inception"),
    "A network's contract": ("preprocessing", "identity"),
    "Weights": ("weights",),
    "Measuring and drawing": ("models.measure", "drawing", "models.imagenet"),
    "Changing and saving": ("models.",),
    "Data and training": ("data", "curation", "recipes", "complete_run"),
    "Running": ("runtime",),
    "Evaluating": ("evaluation",),
    "Exporting": ("exporting",),
    "Explaining": ("explaining",),
    "Keras' own loop": ("fitting",),
    "Other names": ("",),
}
# Modules of which every name in `__all__` is public, too.
MODULES = ("explaining", "curation", "data", "training", "evaluation", "exporting")


def main(target: Path) -> None:
    if target.exists():
        shutil.rmtree(target)
    shutil.copytree(ROOT / "docs", target, ignore=shutil.ignore_patterns("*.md"))
    for source in [*sorted((ROOT / "docs").glob("*.md")), *map(ROOT.joinpath, PLACES)]:
        if source.is_file():
            put(target, place(source), source.read_text(encoding="utf-8"), source.parent)
    for name in keras_inception.list_models():
        write_variant(target, name)
    write_overview(target)
    write_recipes(target)
    write_reference(target)
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        write_notebook(target, path)


def place(source: Path) -> str:
    """A repository file's place on the site.

    Raises:
        ValueError: it is not on the site.
    """
    path = source.resolve().relative_to(ROOT).as_posix()
    if path in PLACES:
        return PLACES[path]
    if path.startswith("notebooks/"):
        return path.replace(".ipynb", ".md")
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    raise ValueError(f"{path} has no place on the site; tools/site.py lists them in PLACES.")


def put(target: Path, name: str, text: str, folder: Path) -> None:
    """Writes a page, its links turned from the repository's files to the site's.

    Args:
        target: The site's pages.
        name: The page's own place there.
        text: Markdown, with links relative to `folder`.
        folder: A folder of the repository.
    """

    def turned(match: re.Match) -> str:
        link, _, anchor = match[1].partition("#")
        if re.match(r"\w+:", match[1]) or not link:
            return match[0]
        new = os.path.relpath(place(folder / link), Path(name).parent.as_posix() or ".")
        return f"]({new}#{anchor})" if anchor else f"]({new})"

    parts = re.split(r"(^```.*?^```|`[^`\n]+`)", text, flags=re.M | re.S)
    parts[::2] = [re.sub(r"\]\(([^)\s]+)\)", turned, part) for part in parts[::2]]
    path = target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(parts), encoding="utf-8")


def page_of(variant: str) -> str:
    """A variant's page without its ending, such as "inception_resnet_v1"."""
    default = inspect.signature(getattr(keras_inception, variant)).parameters["name"].default
    return str(default)


def write_variant(target: Path, name: str) -> None:
    """A variant's page: measured and drawn on the built model."""
    model = keras_inception.get_model(name, weights=None)
    (target / "diagrams" / f"{page_of(name)}.svg").write_text(keras_inception.diagram(model))
    head, arguments, reference = documentation(name)
    rows = keras_inception.summary_by_block(model)
    height, width = keras_inception.smallest_input(model)
    million = sum(row["multiply_adds"] for row in rows) / 1e6
    parameters = sum(row["parameters"] for row in rows)
    size = " x ".join(map(str, model.input_shape[1:3]))
    weights = keras_inception.list_weights(name)
    load = "" if weights else "weights=None"
    lines = [
        f"# {name}",
        "",
        head,
        "",
        "```python",
        "import keras_inception",
        "",
        f"model = keras_inception.{name}({load})"
        + ("  # the pinned ImageNet weights" if weights else "  # no weights were ever published"),
        "```",
        "",
        "| parameters | multiply-adds of an image | image | smallest image |",
        "| ---: | ---: | ---: | ---: |",
        f"| {parameters:,} | {million:,.0f} million | {size} | {height} x {width} |",
        "",
        "## Figure",
        "",
        "Drawn from the built model. Blocks that are equal in every number are drawn once.",
        "",
        f"[![{name}](../diagrams/{page_of(name)}.svg)](../diagrams/{page_of(name)}.svg)",
        "",
        "## Blocks",
        "",
        "Trainable parameters and multiply-adds of one image, at 1000 classes without auxiliary "
        "heads. The names are those of `keras_inception.endpoints(model)`.",
        "",
        "| block | output | parameters | million multiply-adds |",
        "| --- | --- | ---: | ---: |",
    ]
    for row in rows:
        shape = " x ".join(map(str, row["output"]))
        cost = f"{row['multiply_adds'] / 1e6:,.1f}"
        lines.append(f"| `{row['block']}` | {shape} | {row['parameters']:,} | {cost} |")
    lines += ["", "## Weights", "", *weights_table(name, weights)]
    departures = departures_of(name)
    lines += ["", "## Where the released network departs from the paper", ""]
    if departures:
        lines += [
            "| the paper | as released (the default) | the paper's by |",
            "| --- | --- | --- |",
        ]
        lines += departures
    elif name == "InceptionV2":
        lines += [
            "No network was released. [How its Table 1 is read](../models.md"
            "#the-rethinking-v2s-table-1) says where the paper leaves a choice."
        ]
    lines += ["", "## Arguments", "", *arguments, "", "## Citation", "", reference, ""]
    lines += [bibtex(name), ""]
    path = target / "variants" / f"{page_of(name)}.md"
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines), encoding="utf-8")


def documentation(name: str) -> tuple[str, list[str], str]:
    """A builder's description, its arguments as a list, and its reference."""
    builder = getattr(keras_inception, name)
    text = inspect.getdoc(builder) or ""
    head, _, rest = text.partition("\nArgs:\n")
    described, _, rest = rest.partition("\nReturns:\n")
    _, _, reference = rest.partition("\nReference:\n")
    defaults = inspect.signature(builder).parameters
    found = []
    for entry in re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", described, re.M):
        value = defaults[entry[0]].default
        found.append(f"- **`{entry[0]}`** (`{value!r}`): {' '.join(entry[1].split())}")
    return head.strip(), found, " ".join(reference.split())


def weights_table(name: str, weights: list[str]) -> list[str]:
    if not weights:
        return ["No weights of this network were published."]
    pinned = keras_inception.get_weights("imagenet", name).name
    lines = [
        "As published by their authors, for a single crop of ImageNet's validation set; "
        f'"imagenet" stands for `{pinned}`. [Weights](../weights.md) says how they load.',
        "",
        "| weights | top-1 | top-5 | classes | license | origin |",
        "| --- | ---: | ---: | ---: | --- | --- |",
    ]
    for tag in weights:
        record = keras_inception.get_weights(tag)
        figures = [f"{v:.1f}" if v else "" for v in (record.top1, record.top5)]
        lines.append(
            f"| `{record.name}` | {figures[0]} | {figures[1]} | {record.classes or 'no top'} "
            f"| {record.license} | {record.origin} |"
        )
    return lines


def departures_of(name: str) -> list[str]:
    """The rows of docs/models.md' table that belong to a builder, without its name."""
    text = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    _, _, section = text.partition("## Where released networks and figures part")
    rows, current = [], ""
    for line in section.partition("\n#")[0].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and not cells[1].startswith("---"):
            current = cells[0].strip("`") or current
            if current == name:
                rows.append("| " + " | ".join(cells[1:]) + " |")
    return rows


def bibtex(name: str) -> str:
    key, authors, title, venue, year, arxiv = PAPERS[name]
    return (
        f"```bibtex\n@inproceedings{{{key},\n  title = {{{title}}},\n  author = {{{authors}}},\n"
        f"  booktitle = {{{venue}}},\n  year = {{{year}}},\n  eprint = {{{arxiv}}},\n"
        f"  archivePrefix = {{arXiv}}\n}}\n```"
    )


def write_overview(target: Path) -> None:
    """The page that lists the variants with their figures."""
    lines = ["# Variants", "", "Each page is made from the built model.", ""]
    for name in keras_inception.list_models():
        page = page_of(name)
        lines += [f"## [{name}]({page}.md)", "", documentation(name)[0].partition("\n\n")[0], ""]
        lines += [f"[![{name}](../diagrams/{page}.svg)]({page}.md)", ""]
    (target / "variants" / "index.md").write_text("\n".join(lines), encoding="utf-8")


def write_recipes(target: Path) -> None:
    """Every recipe: its source, its command, and the fields that differ from the defaults."""
    lines = [
        "# Recipes",
        "",
        "A recipe holds everything that decides what a training computes, and each of its fields "
        "is a flag of `keras-inception train`. This page is made from "
        "`keras_inception/recipes`; [Training](training.md) says what the fields mean and which "
        "recipes were run.",
        "",
    ]
    plain = recipes.Recipe()
    for name, (recipe, source) in recipes.RECIPES.items():
        lines += [f"## {name}", "", f"Source: {source}.", ""]
        lines += ["```", f"keras-inception train --recipe={name}", "```", ""]
        lines += ["| field | value | what it is |", "| --- | --- | --- |"]
        for field in dataclasses.fields(recipe):
            value = getattr(recipe, field.name)
            if value != getattr(plain, field.name) or field.name in ("model", "epochs"):
                lines.append(f"| `{field.name}` | `{value}` | {field.metadata['help']} |")
        lines.append("")
    lines += ["## All fields", "", "With the defaults of a recipe that names nothing.", ""]
    lines += ["| field | default | what it is |", "| --- | --- | --- |"]
    for field in dataclasses.fields(plain):
        value = getattr(plain, field.name)
        shown = f"`{value}`" if value != "" else "empty"
        lines.append(f"| `{field.name}` | {shown} | {field.metadata['help']} |")
    (target / "recipes.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_reference(target: Path) -> None:
    """The API reference: directives that mkdocstrings fills from the source."""
    lines = [
        "# API reference",
        "",
        "Public are the names of `keras_inception` and those of its modules `explaining`, `data`, "
        "`training`, `evaluation` and `recipes` on this page. Names of other modules may change "
        "without a line in the changelog.",
        "",
    ]
    left = dict(sorted(keras_inception._PUBLIC.items(), key=lambda item: item[0].lower()))
    variants = keras_inception.list_models()
    for heading, modules in SECTIONS.items():
        chosen = [
            name
            for name, module in left.items()
            if module.removeprefix("keras_inception").lstrip(".").startswith(modules)
        ]
        if not chosen:
            continue
        lines += [f"## {heading}", ""]
        for name in chosen:
            module = left.pop(name)
            if name in variants:
                lines += [f"### {name}", ""]
                lines += [documentation(name)[0].partition("\n\n")[0], ""]
                lines += [f"All arguments: [{name}](variants/{page_of(name)}.md#arguments).", ""]
            else:
                lines += directive(f"keras_inception.{name}", defined(name, module))
    for module in MODULES:
        package = importlib.import_module(f"keras_inception.{module}")
        lines += [f"## keras_inception.{module}", "", (package.__doc__ or "").strip(), ""]
        for name in sorted(package.__all__, key=str.lower):
            origin = getattr(package, name).__module__
            lines += directive(f"keras_inception.{module}.{name}", f"{origin}.{name}")
    lines += ["## keras_inception.recipes", ""]
    for name in ("Recipe", "named", "load"):
        lines += directive(
            f"keras_inception.recipes.{name}", f"{getattr(recipes, name).__module__}.{name}"
        )
    lines += [
        "`RECIPES` holds the [recipes](recipes.md) by name, each with its source.",
        "",
    ]
    (target / "api.md").write_text("\n".join(lines), encoding="utf-8")


def defined(name: str, module: str) -> str:
    """The path of a public name that static analysis finds."""
    origin = getattr(getattr(keras_inception, name), "__module__", module)
    return f"{origin}.{name}"


def directive(shown: str, path: str) -> list[str]:
    label = shown.rpartition(".")[2]
    options = [f"      heading: {label}", f"      toc_label: {label}"]
    return [f"::: {path}", "    options:", *options, ""]


def write_notebook(target: Path, path: Path) -> None:
    """A notebook with its stored outputs as a page, its plots as files beside it."""
    import nbconvert
    import nbformat

    exporter = nbconvert.MarkdownExporter()
    exporter.exclude_input_prompt = exporter.exclude_output_prompt = True
    notebook = nbformat.read(path, as_version=4)
    text, resources = exporter.from_notebook_node(
        notebook, {"output_files_dir": f"{path.stem}_files", "unique_key": path.stem}
    )
    for name, content in resources["outputs"].items():
        file = target / "notebooks" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    # Notebooks keep the case of a heading in its anchor, pages do not.
    text = re.sub(r"\]\(#([^)]+)\)", lambda match: f"](#{match[1].lower()})", text)
    images = {f"]({name})": f"](site:{name})" for name in resources["outputs"]}
    for old, new in images.items():
        text = text.replace(old, new)
    put(target, f"notebooks/{path.stem}.md", text, path.parent)
    page = target / "notebooks" / f"{path.stem}.md"
    page.write_text(page.read_text(encoding="utf-8").replace("](site:", "]("), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
