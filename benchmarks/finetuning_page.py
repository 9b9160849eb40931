"""docs/fine_tuning.png, and the table of docs/fine_tuning.md, out of docs/fine_tuning.json."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1] / "docs"
TABLE = re.compile(
    r"(?<=<!-- benchmarks/finetuning\.py page wrote this table -->\n).*?\n(?=\n)", re.S
)


# Recipe -> its name in the picture, and its color.
WAYS = {
    "probe": ("--recipe=probe", "#e08a2e"),
    "finetune": ("--recipe=finetune", "#2f6da8"),
    "random": ("--recipe=demo, 72 px, from random weights", "#8a8a8a"),
}


def rounds() -> dict[str, dict[str, Any]]:
    """Name -> what was measured together."""
    record = json.loads((DOCS / "fine_tuning.json").read_text())
    return {one["name"]: one for one in record["rounds"]}


def table() -> str:
    """The recipes as they are: a line for each set, size and recipe."""
    lines = [
        "| images of | training images | pixels | recipe "
        "| accuracy (each seed's, or 95 % interval) | minutes |",
        "| --- | ---: | ---: | --- | --- | ---: |",
    ]
    for row in rounds()["recipes"]["rows"]:
        if row["way"] not in ("probe", "finetune"):
            continue
        spread = ", ".join(f"{value}" for value in row.get("of_seeds", ()))
        spread = spread or "{} to {}".format(*row["interval"])
        lines.append(
            f"| `{row['set']}` | {row['training_images']:,} | {pixels(row)} | `{row['way']}` "
            f"| {row['accuracy']} % ({spread}) | {row['minutes']} |"
        )
    return "\n".join(lines) + "\n"


def pixels(row: dict[str, Any]) -> int:
    """The side of the network's input."""
    found = re.search(r"(\d+) px", row["network"])
    assert found is not None, row
    return int(found[1])


def write_page() -> None:
    """Writes the table into the page, and the picture beside it."""
    page = DOCS / "fine_tuning.md"
    text, count = TABLE.subn(lambda found: table(), page.read_text())
    assert count == 1, "the page lacks the comment before its table"
    page.write_text(text)
    draw(DOCS / "fine_tuning.png")


def rows_of(name: str, way: str, side: int | None) -> list[dict[str, Any]]:
    """What a way reached on a set's test part, best first; also on the other processor."""
    measured = rounds()
    found = [
        row
        for row in (*measured["recipes"]["rows"], *measured["tutorials"]["rows"])
        if (row["set"], row["way"]) == (name, way) and side in (None, pixels(row))
    ]
    if way != "random":  # the other processor trained with other settings
        found = [row for row in found if row in measured["recipes"]["rows"]]
    return sorted(found, key=lambda row: -row["accuracy"])


def draw(path: Path) -> None:
    """Accuracies of the recipes, and of a small network from random weights, set by set."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    recipes = rounds()["recipes"]["rows"]
    groups = list(dict.fromkeys((r["set"], pixels(r)) for r in recipes if r["way"] == "finetune"))
    figure, axes = pyplot.subplots(figsize=(8, 4.2), layout="constrained")
    for place, (name, side) in enumerate(groups):
        first = (name, side) == next(group for group in groups if group[0] == name)
        for offset, way in zip((-0.22, 0.0, 0.22), WAYS, strict=True):
            # Of random weights once a set, since their size is the recipe's.
            own = rows_of(name, way, None if way == "random" else side)
            for row in own[: 1 if first or way != "random" else 0]:
                label, color = WAYS[way]
                spread = row.get("of_seeds") or row["interval"]
                axes.plot([min(spread), max(spread)], [place + offset] * 2, color=color, lw=2)
                axes.plot(row["accuracy"], place + offset, "o", color=color, ms=7, label=label)
                axes.annotate(
                    f"{row['accuracy']:.1f}",
                    (max(spread), place + offset),
                    xytext=(5, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize=8,
                )
    images = {r["set"]: r["training_images"] for r in recipes}
    names = [f"{name}, {side} px\n{images[name]:,} images" for name, side in groups]
    axes.set_yticks(range(len(groups)), names)
    axes.invert_yaxis()
    axes.set_xlabel("test accuracy in per cent; lines: range of the seeds, or 95 % interval of one")
    axes.grid(axis="x", alpha=0.3)
    axes.margins(x=0.07)
    handles, labels = axes.get_legend_handles_labels()
    known = dict(zip(labels, handles, strict=True))
    order = [label for label, _ in WAYS.values()]
    axes.legend([known[label] for label in order], order, loc="lower left", fontsize=8)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
