"""The page's part on later measurements: what `evaluate` left in the run folder."""

from __future__ import annotations

from typing import Any

from keras_inception.evaluation import results
from keras_inception.report.table import BLANK, Cell, Table, share, text
from keras_inception.runs import RunFolder


def describe(run: RunFolder) -> Table | None:
    """A row for each network in evaluations/*/evaluation.json; None if there is none.

    Raises:
        ValueError: a file is damaged.
    """
    rows = []
    for folder in sorted(run.evaluations_path.glob("*")):
        result = results.read(folder)
        rows += [_row(result, one) for one in result["results"]] if result else []
    if not rows:
        return None
    head = [
        "images",
        "part",
        "network",
        "crops",
        "top-1",
        "mean AP",
        "95 % interval",
        "top-5",
        "ECE",
    ]
    kept = [i for i in range(len(head)) if any(row[i].text for row in rows)]
    hints = {"ECE": "expected calibration error", "crops": "views of an image, averaged"}
    hints["mean AP"] = "mean average precision of the classes"
    numbers = frozenset(at for at, i in enumerate(kept) if head[i] in _SHARES)
    return Table([head[i] for i in kept], [[row[i] for i in kept] for row in rows], numbers, hints)


_SHARES = ("top-1", "mean AP", "top-5", "ECE")


def _row(result: dict[str, Any], one: dict[str, Any]) -> list[Cell]:
    several = one.get("output") == "sigmoid"
    measured = "mean_average_precision" if several else "accuracy"
    low, high = one[f"{measured}_interval"]
    return [
        text(f"{result['dataset']} ({result['images']:,})"),
        text(result["part"]),
        text(one["name"]),
        text(" ".join(filter(None, (result["crops"], result["restriction"])))),
        BLANK if several else share(one["accuracy"], 2),
        share(one["mean_average_precision"], 2) if several else BLANK,
        text(f"{low:.2%} to {high:.2%}"),
        share(one["top5_accuracy"], 2) if "top5_accuracy" in one else BLANK,
        share(one["calibration"]["expected_calibration_error"], 2),
    ]
