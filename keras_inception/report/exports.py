"""The page's part on the exports: how they compare, and programs that use them."""

from __future__ import annotations

from typing import Any

from keras_inception.preprocessing import Preprocessing
from keras_inception.report.table import BLANK, Cell, Table, number, share, text

_SIDES = ("width", "height")
_UNFINISHED = (
    "This export was ended while its files replaced those of an earlier one: some may still be "
    "those. Export again. "
)


def describe(exports: dict[str, Any], contract: Preprocessing) -> dict[str, Any]:
    """What export.json holds.

    Args:
        exports: Its content.
        contract: Of the network's input.

    Returns:
        "sentence" (what the files were compared on), "files" (a table, a row a file), "checks"
        ((file, its checks, how many failed) each) and "programs" ((where it runs, code) each).
    """
    return {
        "sentence": _UNFINISHED
        * exports.get("unfinished", False)
        + f"Compared with the Keras model on {exports['images']} {exports['origin']}, "
        "each file in a process of its own.",
        "files": _files(exports),
        "checks": [(name, *_checks(file["checks"])) for name, file in exports["files"].items()],
        "programs": _programs(exports["files"], contract, exports.get("thresholds", [])),
    }


_HINTS = {
    "largest difference": "of one probability, on one image",
    "mean moved": "share of the probability that another class got, on average",
    "same answers": "images with the same best class",
    "ms, 1 thread": "time of one image",
    "ms, 2 threads": "time of one image",
}


def _files(exports: dict[str, Any]) -> Table:
    head = ["file", "MB", *_HINTS, "accuracy"]
    rows = [[text("Keras model"), *[BLANK] * 6, _accuracy(exports["keras"])]]
    for name, file in exports["files"].items():
        times = file.get("latency_ms", {})
        row = [text(name, "code"), number(file["bytes"] / 1e6, f"{file['bytes'] / 1e6:.1f}")]
        row += [number(file["largest_difference"], f"{file['largest_difference']:.2g}")]
        row += [number(file["mean_moved"], f"{file['mean_moved']:.2g}")]
        row += [share(file["same_answers"])]
        row += [number(times[n], f"{times[n]:.1f}") if n in times else BLANK for n in ("1", "2")]
        rows.append([*row, _accuracy(file)])
    used = [i for i in range(len(head)) if any(row[i].text for row in rows)]
    return Table(
        [head[i] for i in used],
        [[row[i] for i in used] for row in rows],
        frozenset(range(1, len(used))),
        _HINTS,
    )


def _accuracy(row: dict[str, Any]) -> Cell:
    if "accuracy" not in row:
        return BLANK
    low, high = row["accuracy_interval"]
    return Cell(f"{row['accuracy']:.1%} ({low:.1%} to {high:.1%})", row["accuracy"])


def _checks(checks: list[dict[str, Any]]) -> tuple[Table, int]:
    rows = []
    for check in checks:
        passed = check["passed"]
        measured, limit = check["measured"], check["limit"]
        rows.append(
            [
                text("ok" if passed else "failed", "good" if passed else "bad"),
                text(check["name"]),
                text(_short(measured)),
                text("" if limit is None or limit == measured else _short(limit)),
            ]
        )
    head = ("", "check", "measured", "limit")
    return Table(head, rows), sum(not check["passed"] for check in checks)


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _programs(
    files: dict[str, Any], contract: Preprocessing, thresholds: list[float]
) -> list[tuple[str, str]]:
    """Programs that use what was exported."""
    programs = []
    if "saved_model" in files:
        programs.append(("On a server, with TensorFlow:", _SERVER))
    phones = [name for name in files if name.endswith(".tflite")]
    if phones:
        smallest = min(phones, key=lambda name: files[name]["bytes"])
        fitted = fitted_by_pillow(contract)
        ending = _NAMED.format(thresholds=thresholds) if thresholds else _BEST
        phone = _PHONE.format(fitted=fitted, file=smallest) + ending
        programs.append(("With LiteRT, as on a phone:", phone))
    return programs


_SERVER = """\
import tensorflow as tf

model = tf.saved_model.load("saved_model")
image = open("image.jpg", "rb").read()
answer = model.signatures["classify_bytes"](image_bytes=tf.constant([image]))
print(answer["classes"].numpy(), answer["scores"].numpy())"""

_PHONE = """\
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image, ImageOps

labels = open("labels.txt", encoding="utf-8").read().split("\\n")[:-1]
image = ImageOps.exif_transpose(Image.open("image.jpg")).convert("RGB")
image = {fitted}
classify = Interpreter("{file}").get_signature_runner("serving_default")
probabilities = classify(image=np.float32(image)[None])["probabilities"][0]
"""
_BEST = "print(labels[probabilities.argmax()], probabilities.max())"
_NAMED = """\
thresholds = {thresholds}
print([name for name, p, least in zip(labels, probabilities, thresholds) if p >= least])"""


def fitted_by_pillow(contract: Preprocessing) -> str:
    """`Preprocessing.crop_and_resize` as an expression of Pillow's, of an `image`."""
    height, width = contract.size
    how = f"({width}, {height}), Image.{contract.interpolation.upper()}"
    margin = (1 - contract.crop_fraction) / 2
    if contract.aspect == "pad":
        return _padded_by_pillow(contract)
    if contract.aspect == "crop":
        return f"ImageOps.fit(image, {how}" + (f", bleed={margin:g})" if margin else ")")
    if not margin:
        return f"image.resize({how})"
    sides = [f"{share:g} * image.{side}" for share in (margin, 1 - margin) for side in _SIDES]
    return f"image.resize({how}, ({', '.join(sides)}))"


def _padded_by_pillow(contract: Preprocessing) -> str:
    """The image padded to the size of which the central crop is the network's, then that crop."""
    sides = contract.size[::-1]
    whole = tuple(round(side / contract.crop_fraction) for side in sides)
    mean = contract.mean if isinstance(contract.mean, tuple) else (contract.mean,) * 3
    color = tuple(int(value + 0.5) for value in mean)
    # Of an odd rest the smaller half comes first, as in the contract; Pillow rounds 9.5 to 10.
    how = f"Image.{contract.interpolation.upper()}, {color}, (0.4999, 0.4999)"
    expression = f"ImageOps.pad(image, {whole}, {how})"
    if whole == sides:
        return expression
    before = [(w - side) // 2 for w, side in zip(whole, sides, strict=True)]
    after = [b + side for b, side in zip(before, sides, strict=True)]
    return f"{expression}.crop(({', '.join(map(str, before + after))}))"
