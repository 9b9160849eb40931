"""The page's part on later measurements: what `evaluate` left in the run folder."""

from __future__ import annotations

import json
from typing import Any

from keras_inception.report.table import BLANK, Cell, Table, share, text
from keras_inception.runs import RunFolder


def describe(run: RunFolder) -> Table | None:
    """A row for each network in evaluations/*/evaluation.json; None if there is none.

    Raises:
        ValueError: a file is damaged.
    """
    rows, top5 = [], False
    for path in sorted((run.path / "evaluations").glob("*/evaluation.json")):
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
            for one in result["results"]:
                top5 = top5 or "top5_accuracy" in one
                rows.append(_row(result, one))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is damaged: {error!r}") from error
    if not rows:
        return None
    head = ["images", "part", "network", "crops", "top-1", "95 % interval", "top-5", "ECE"]
    kept = [i for i in range(len(head)) if head[i] != "top-5" or top5]
    hints = {"ECE": "expected calibration error", "crops": "views of an image, averaged"}
    numbers = frozenset(at for at, i in enumerate(kept) if head[i] in ("top-1", "top-5", "ECE"))
    return Table([head[i] for i in kept], [[row[i] for i in kept] for row in rows], numbers, hints)


def _row(result: dict[str, Any], one: dict[str, Any]) -> list[Cell]:
    low, high = one["accuracy_interval"]
    return [
        text(f"{result['dataset']} ({result['images']:,})"),
        text(result["part"]),
        text(one["name"]),
        text(result["crops"]),
        share(one["accuracy"], 2),
        text(f"{low:.2%} to {high:.2%}"),
        share(one["top5_accuracy"], 2) if "top5_accuracy" in one else BLANK,
        share(one["calibration"]["expected_calibration_error"], 2),
    ]
