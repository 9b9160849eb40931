"""One self-contained page out of a run folder.

The template and its style and script lie in template/. It loads nothing: a policy within the page
forbids the browser to, and allows the one script by its hash.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2

import keras_inception
from keras_inception.budget import refusing
from keras_inception.data import Source, open_run
from keras_inception.evaluation import results
from keras_inception.files import write
from keras_inception.report import (
    answers,
    dataset,
    exports,
    measurements,
    repeat,
    training,
)
from keras_inception.runs import RunFolder

_TEMPLATE = Path(__file__).parent / "template"


def write_report(run_dir: str | Path, source: Source | None = None, *, images: bool = True) -> Path:
    """Writes report.html: the data, the training, the answers, the mistakes, the exports.

    Args:
        run_dir: A run folder; parts that are not there yet are said to be missing.
        source: The run's data set, if it is open already; by default it is opened.
        images: Whether the page shows images, for which the data set has to be there.

    Returns:
        The path of the page.

    Raises:
        ValueError: the folder is no run folder, one of its files is damaged, or its data set is
            not what it was.
    """
    run = RunFolder(run_dir)
    found = facts(run, (source or open_run(run)) if images else None)
    with refusing(run.path):
        content = render(found)
    write(run.path / "report.html", content.encode("utf-8", "backslashreplace"))
    run.publish()
    return run.at("report.html")


def facts(run: RunFolder, source: Source | None) -> dict[str, Any]:
    """What the page says, as the template takes it.

    Args:
        run: The run folder.
        source: The data set in the run's parts; None shows no images.
    """

    def of(file: str, describe: Callable[..., Any], *given: Any) -> Any:
        """A part of the page; what is odd in the file that it shows is an error with its name."""
        with refusing(run.path, file):
            return describe(*given)

    recipe, labels = run.recipe, run.class_names
    evaluation, exported = results.read(run.path), run.read_json("export.json")
    data = of("split.json", dataset.describe, run, source)
    tested = of("evaluation.json", answers.describe, evaluation) if evaluation else None
    contract = run.preprocessing
    return {
        "title": f"{recipe.model} on {recipe.dataset}",
        "recipe": recipe,
        "labels": labels,
        "data": data,
        "stages": of("history.csv", training.describe, run),
        "answers": tested,
        "classes": of("evaluation.json", answers.classes, labels, data["counts"], evaluation),
        "mistakes": of("predictions.npz", answers.mistakes, run, source),
        "has_images": source is not None,
        "measurements": of("evaluations", measurements.describe, run),
        "exports": of("export.json", exports.describe, exported, contract) if exported else None,
        "made": of("config.json", repeat.describe, run),
        "version": keras_inception.__version__,
    }


def render(content: dict[str, Any]) -> str:
    """The page with what `facts` returns; every text in it is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # The template takes both as they are: they are ours, and hold no text of others.
    style, script = ((_TEMPLATE / name).read_text("utf-8") for name in ("page.css", "page.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("page.html").render(
        content, style=style, script=script, script_digest=digest
    )
