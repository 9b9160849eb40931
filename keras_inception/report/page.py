"""One self-contained HTML page out of a run folder."""

from __future__ import annotations

import base64
import html
import io
from pathlib import Path
from typing import Any

import numpy as np

from keras_inception.data import Source, open_run
from keras_inception.files import write
from keras_inception.preprocessing import Preprocessing
from keras_inception.runs import RunFolder

EXAMPLES = 24  # test images that are shown
_SIDES = ("width", "height")

_STYLE = """
:root { --ink:#1c2330; --soft:#5c6675; --line:#dfe3ea; --page:#f6f7f9; --card:#fff; --mark:#2458c5;
  --good:#1b7f4b; --bad:#b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink:#e6e9ef; --soft:#9aa4b2; --line:#2c3340;
  --page:#12161d; --card:#1a202a; --mark:#8ab0ff; --good:#5fd39a; --bad:#ff8f86; }
  img.plot { filter: invert(.9) hue-rotate(180deg); } }
* { box-sizing: border-box; }
body { margin:0; background:var(--page); color:var(--ink);
  font:16px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size:1.6rem; margin:.2rem 0; } h2 { font-size:1.15rem; margin:0 0 .8rem; }
section { background:var(--card); border:1px solid var(--line); border-radius:12px;
  padding:1.1rem 1.2rem; margin:1rem 0; overflow-x:auto; }
.lead { color:var(--soft); margin:0 0 1rem; }
.tiles { display:grid; grid-template-columns:repeat(auto-fit,minmax(11rem,1fr)); gap:.8rem; }
.tile { background:var(--card); border:1px solid var(--line); border-radius:12px;
  padding:.8rem 1rem; }
.tile b { display:block; font-size:1.7rem; line-height:1.2; } .tile span { color:var(--soft); }
table { border-collapse:collapse; width:100%; font-variant-numeric:tabular-nums; }
th { text-align:left; color:var(--soft); font-weight:500; } td,th { padding:.28rem .7rem .28rem 0;
  border-bottom:1px solid var(--line); } td.n, th.n { text-align:right; }
img.plot { max-width:100%; height:auto; border-radius:6px; }
.images { display:grid; grid-template-columns:repeat(auto-fill,minmax(7rem,1fr)); gap:.7rem; }
figure { margin:0; font-size:.82rem; line-height:1.35; }
figure img { width:100%; image-rendering:pixelated; border-radius:6px;
  border:1px solid var(--line); }
details { margin:.8rem 0 0; } summary { cursor:pointer; color:var(--mark); }
.good { color:var(--good); } .bad { color:var(--bad); }
pre { background:var(--page); border-radius:8px; padding:.8rem; overflow-x:auto; font-size:.85rem; }
"""


def write_report(run_dir: str | Path, source: Source | None = None) -> Path:
    """Writes report.html: what was trained, how well, on which images it errs, what was exported.

    Args:
        run_dir: A run folder; parts that are not there yet are said to be missing.
        source: The run's data set, if it is open already.

    Returns:
        The path of the page.

    Raises:
        ValueError: the folder is no run folder.
    """
    run = RunFolder(run_dir)
    recipe = run.recipe
    evaluation = run.read_json("evaluation.json")
    exports = run.read_json("export.json")
    title = f"{recipe.model} on {recipe.dataset}"
    parts = [
        f"<h1>{_text(title)}</h1>",
        f'<p class="lead">{len(run.labels)} classes, {recipe.image_size} &times; '
        f"{recipe.image_size} pixels, {recipe.epochs} epochs, seed {recipe.seed}</p>",
        _headline(evaluation),
        _section("Training", _image(run.path / "curves.png", "Loss and accuracy by epoch")),
        _section("Classes", _classes(evaluation)),
        _section("Confusion", _image(run.path / "confusion_matrix.png", "Confusion matrix")),
        _section("Where it errs, most certain first", _mistakes(run, source)),
        _section("Exports", _exports(exports)),
        _section("How to use them", _usage(run, exports)) if exports else "",
        _section("How it was made", _recipe(run)),
    ]
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(title)}</title><style>{_STYLE}</style></head>"
        f"<body><main>{''.join(parts)}</main></body></html>\n"
    )
    write(run.path / "report.html", page)
    run.publish()
    return run.at("report.html")


def _text(value: Any) -> str:
    return html.escape(str(value))


def _name(label: str) -> str:
    """A class name that keeps its own direction of writing between other text."""
    return f"<bdi>{_text(label)}</bdi>"


def _section(title: str, content: str) -> str:
    return f"<section><h2>{title}</h2>{content}</section>"


def _headline(evaluation: dict[str, Any] | None) -> str:
    if evaluation is None:
        return _section("Test accuracy", "<p>Not evaluated yet.</p>")
    low, high = evaluation["accuracy_interval"]
    tiles = [
        (f"{evaluation['accuracy']:.1%}", f"test accuracy ({low:.1%} to {high:.1%})"),
        (f"{evaluation['majority_baseline']:.1%}", "always the most frequent class"),
        (f"{evaluation['balanced_accuracy']:.1%}", "balanced accuracy"),
        (f"{evaluation['examples']:,}", "held-out images"),
    ]
    if evaluation["views"] == "mirror":
        alone = f"{evaluation['single_view_accuracy']:.1%}"
        tiles.insert(1, (alone, "from an image alone; the first also from its mirror image"))
    shown = "".join(f'<div class="tile"><b>{v}</b><span>{t}</span></div>' for v, t in tiles)
    comparison = evaluation.get("comparison")
    note = _section("In comparison", f"<p>{_text(comparison)}</p>") if comparison else ""
    return f'<div class="tiles">{shown}</div>{note}'


def _image(path: Path, alternative: str) -> str:
    if not path.exists():
        return f"<p>{alternative}: not drawn yet.</p>"
    return f'<img class="plot" alt="{alternative}" src="{_data(path.read_bytes())}">'


def _data(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _table(head: list[str], rows: list[list[str]], numbers: int) -> str:
    """A table whose last `numbers` columns hold numbers; cells are HTML."""

    def line(cells: list[str], tag: str) -> str:
        first = len(cells) - numbers
        return "".join(
            f"<{tag}{' class=n' if i >= first else ''}>{cell}</{tag}>"
            for i, cell in enumerate(cells)
        )

    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
    return f"<table><tr>{line(head, 'th')}</tr>{body}</table>"


def _classes(evaluation: dict[str, Any] | None) -> str:
    if evaluation is None:
        return "<p>Not evaluated yet.</p>"
    rows = [
        [_name(c["name"]), f"{number}", f"{c['images']}", f"{c['precision']:.1%}"]
        + [f"{c['recall']:.1%}", f"{c['f1']:.1%}"]
        for number, c in enumerate(evaluation["per_class"])
    ]
    return _table(["class", "number", "images", "precision", "recall", "F1"], rows, numbers=5)


def _mistakes(run: RunFolder, source: Source | None) -> str:
    """The test images that were called wrong with the highest probability."""
    if not run.predictions_path.exists():
        return "<p>Not evaluated yet.</p>"
    with np.load(run.predictions_path) as answers:
        probabilities, labels = answers["probabilities"], answers["labels"]
        index = answers["index"]
    called, names = probabilities.argmax(1), run.labels
    wrong = np.flatnonzero(called != labels)
    if not len(wrong):
        return "<p>Every test image was called right.</p>"
    worst = wrong[np.argsort(-probabilities[wrong, called[wrong]])][:EXAMPLES]
    split = (source or open_run(run)).splits["test"]
    figures = "".join(
        f'<figure><img alt="{_text(names[labels[i]])}" src="{_data(_png(split, index[i]))}">'
        f'<figcaption><span class="bad">{_name(names[called[i]])}</span> '
        f"{probabilities[i, called[i]]:.0%}<br>is {_name(names[labels[i]])}</figcaption></figure>"
        for i in worst
    )
    return f'<div class="images">{figures}</div>'


def _png(split: Any, index: int) -> bytes:
    """A small PNG of an example."""
    from PIL import Image

    image = Image.fromarray(split.pixels(index).numpy())
    image.thumbnail((160, 160))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _exports(exports: dict[str, Any] | None) -> str:
    if exports is None:
        return "<p>Not exported yet.</p>"
    if "files" not in exports:
        return "<p>Exported by an earlier version; export again to see the comparison.</p>"
    head = ["file", "MB", "largest difference", "mean moved", "same answers", "accuracy", "ms"]
    rows = [["Keras", "", "", "", "", _accuracy(exports["keras"]), ""]]
    details = []
    for name, file in exports["files"].items():
        measured = [f"{file['bytes'] / 1e6:.1f}", f"{file['largest_difference']:.2g}"]
        measured += [f"{file['mean_moved']:.2g}", f"{file['same_answers']:.1%}"]
        times = " / ".join(f"{ms:.1f}" for ms in file.get("latency_ms", {}).values())
        rows.append([f"<b>{_text(name)}</b>", *measured, _accuracy(file), times])
        details.append(_checks(name, file["checks"]))
    return (
        f"<p>Compared with the Keras model on {exports['images']} {_text(exports['origin'])}, in "
        "processes of their own; times of one image, with 1 / 2 threads, where they were measured."
        f"</p>{_table(head, rows, numbers=6)}{''.join(details)}"
    )


def _accuracy(row: dict[str, Any]) -> str:
    if "accuracy" not in row:
        return ""
    low, high = row["accuracy_interval"]
    return f"{row['accuracy']:.1%} ({low:.1%} to {high:.1%})"


def _checks(name: str, checks: list[dict[str, Any]]) -> str:
    """All checks of one exported file, folded away."""
    rows = []
    for check in checks:
        passed = check["passed"]
        mark = f'<span class="{"good" if passed else "bad"}">{"ok" if passed else "failed"}</span>'
        measured, limit = _short(check["measured"]), check["limit"]
        shown = "" if limit is None or limit == check["measured"] else _short(limit)
        rows.append([mark, _text(check["name"]), measured, shown])
    table = _table(["", "check", "measured", "limit"], rows, numbers=2)
    return f"<details><summary>{len(checks)} checks of {_text(name)}</summary>{table}</details>"


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else _text(value)


def _usage(run: RunFolder, exports: dict[str, Any]) -> str:
    """Programs that use what was exported."""
    shown = ""
    if "saved_model" in exports.get("files", ()):
        server = """import tensorflow as tf

model = tf.saved_model.load('saved_model')
image = open('image.jpg', 'rb').read()
answer = model.signatures['classify_bytes'](image_bytes=tf.constant([image]))
print(answer['classes'].numpy(), answer['scores'].numpy())"""
        shown += f"<p>On a server:</p><pre>{_text(server)}</pre>"
    phones = [name for name in exports.get("files", ()) if name.endswith(".tflite")]
    if phones:
        smallest = min(phones, key=lambda name: exports["files"][name]["bytes"])
        phone = f"""import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image, ImageOps

labels = open('labels.txt', encoding='utf-8').read().split('\\n')[:-1]
image = ImageOps.exif_transpose(Image.open('image.jpg')).convert('RGB')
image = {_fitted_by_pillow(run.preprocessing)}
classify = Interpreter('{smallest}').get_signature_runner('serving_default')
probabilities = classify(image=np.float32(image)[None])['probabilities'][0]
print(labels[probabilities.argmax()], probabilities.max())"""
        shown += f"<p>LiteRT, as on a phone:</p><pre>{_text(phone)}</pre>"
    return shown


def _fitted_by_pillow(contract: Preprocessing) -> str:
    """`Preprocessing.fit` as an expression of Pillow's, of a `image`."""
    height, width = contract.size
    how = f"({width}, {height}), Image.{contract.interpolation.upper()}"
    margin = (1 - contract.crop_fraction) / 2
    if contract.keep_aspect:
        return f"ImageOps.fit(image, {how}" + (f", bleed={margin:g})" if margin else ")")
    if not margin:
        return f"image.resize({how})"
    sides = [f"{share:g} * image.{side}" for share in (margin, 1 - margin) for side in _SIDES]
    return f"image.resize({how}, ({', '.join(sides)}))"


def _recipe(run: RunFolder) -> str:
    config = run.config
    rows = [[_text(k), _text(v)] for k, v in (config["recipe"] | config["versions"]).items()]
    return _table(["setting", "value"], rows, numbers=1)
