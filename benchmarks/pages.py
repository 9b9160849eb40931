"""The tables and pictures of docs/fine_tuning.md and docs/benchmarks.md, out of their JSON files.

python benchmarks/pages.py    # writes both tables into their pages, and both pictures
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

DOCS = Path(__file__).parents[1] / "docs"
MARK = "<!-- python benchmarks/pages.py writes this table -->\n"
TABLE = re.compile(f"(?<={re.escape(MARK)}).*?\n(?=\n)", re.S)
STARTS = "<!-- python benchmarks/pages.py writes the table of starts -->\n"

# Way of fine-tuning -> its name in the picture, and its color.
WAYS = {
    "probe": ("--recipe=probe", "#e08a2e"),
    "finetune": ("--recipe=finetune", "#2f6da8"),
    "random": ("--recipe=demo, 72 px, from random weights", "#8a8a8a"),
}


class Shown(NamedTuple):
    """A line of benchmarks.md: names of what was measured, in docs/benchmarks.json."""

    group: str
    case: str
    ours: str
    peer: str = ""


V3 = "InceptionV3 at 299 px"
TRAINED = "GPU: InceptionV3 training at 299 px, mixed_bfloat16, 10 steps of 128 images"
ANSWERED = "GPU: InceptionV3 at 299 px, mixed_bfloat16, 10 times 128 images"
COMPILED = "timm, channels last, torch.compile"
SHOWN = (
    Shown("inference", f"{V3}, 1 image a call", "optimize", "timm"),
    Shown("inference", f"{V3}, 16 images a call", "optimize", "timm"),
    Shown("inference_amx", f"{V3}, 1 image a call", "optimize"),
    Shown("inference_amx", f"{V3}, 16 images a call", "optimize"),
    Shown(
        "exports", "LiteRT, InceptionV3 at 299 px, 1 thread", "keras_inception model_int8.tflite"
    ),
    Shown(
        "exports", "LiteRT, InceptionV3 at 299 px, 2 threads", "keras_inception model_int8.tflite"
    ),
    Shown("training", "InceptionV3 training at 299 px, batch 16, float32", "our loop"),
    Shown("input_pipeline", "input at 299 px, 2 cores", "crop"),
    Shown("gpu_jax", TRAINED, "keras_inception, a jitted step", COMPILED),
    Shown("gpu_jax", ANSWERED, "keras_inception, jitted", COMPILED),
)


def write() -> None:
    """Writes both tables into their pages, and both pictures."""
    for name, table, draw in (
        ("fine_tuning", fine_tuning_table, draw_fine_tuning),
        ("benchmarks", benchmarks_table, draw_benchmarks),
    ):
        page = DOCS / f"{name}.md"
        text, count = TABLE.subn(lambda found, table=table: table(), page.read_text())
        assert count == 1, f"{page} lacks the comment before its table: {MARK}"
        page.write_text(text)
        draw(DOCS / f"{name}.png")
    page = DOCS / "benchmarks.md"
    before, mark, after = page.read_text().partition(STARTS)
    assert mark, f"{page} lacks the comment before its table of starts: {STARTS}"
    page.write_text(before + mark + starts_table() + after[after.index("\n\n") + 1 :])


def plotting() -> Any:
    """matplotlib.pyplot, which writes files and opens no window."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def rounds() -> dict[str, dict[str, Any]]:
    """Name -> what was measured together."""
    record = json.loads((DOCS / "fine_tuning.json").read_text())
    return {one["name"]: one for one in record["rounds"]}


def fine_tuning_table() -> str:
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


def draw_fine_tuning(path: Path) -> None:
    """Accuracies of the recipes, and of a small network from random weights, set by set."""
    pyplot = plotting()
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


def measured() -> list[tuple[Shown, dict[str, Any], dict[str, Any], dict[str, Any] | None]]:
    """For each line of benchmarks.md: what is shown, the base, our row, and the peer's."""
    groups = json.loads((DOCS / "benchmarks.json").read_text())["groups"]
    found = []
    for shown in SHOWN:
        rows = [row for row in groups[shown.group]["rows"] if row["case"] == shown.case]
        named = {row["name"]: row for row in rows}
        found.append((shown, rows[0], named[shown.ours], named.get(shown.peer)))
    return found


def machine(group: str) -> str:
    """What a group was measured on, in a few words."""
    facts = json.loads((DOCS / "benchmarks.json").read_text())["groups"][group]["circumstances"]
    if "gpu" in facts:
        return facts["gpu"].partition(",")[0]
    known = facts["model"].replace("(R)", "").removesuffix(" Processor")
    kind = "AMX" if "amx_bf16" in facts["flags"] else "AVX2"
    return f"{facts['processors']} cores of {known} with {kind}"


def benchmarks_table() -> str:
    """A line for each of `SHOWN`."""
    lines = [
        "| what | machine | base | ours | times as fast (range of the rounds) |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    for shown, base, ours, _ in measured():
        lines.append(
            f"| {shown.case.removeprefix('GPU: ')}: {ours['name']} | {machine(shown.group)} "
            f"| {base['name']}: {base['milliseconds']:,.1f} ms | {ours['milliseconds']:,.1f} ms "
            f"| {ours['ratio']:.2f} ({ours['ratio_low']:.2f} to {ours['ratio_high']:.2f}) |"
        )
    return "\n".join(lines) + "\n"


def starts_table() -> str:
    """A line for each process that group startup started, beside the first of its case."""
    lines = [
        f"| from start to end, on {machine('startup')} | milliseconds (range) | beside |",
        "| --- | ---: | ---: |",
    ]
    base = {}
    for row in json.loads((DOCS / "benchmarks.json").read_text())["groups"]["startup"]["rows"]:
        if not row["case"].startswith("start"):
            continue
        first = base.setdefault(row["case"], row)
        beside = "" if row is first else f"{1 / row['ratio']:.2f} x `{first['name']}`"
        lines.append(
            f"| `{row['name']}` | {row['milliseconds']:,.0f} ({row['low']:,.0f} to "
            f"{row['high']:,.0f}) | {beside} |"
        )
    return "\n".join(lines) + "\n"


def draw_benchmarks(path: Path) -> None:
    """How many times as fast as the base each line is, with its range; a peer's beside it."""
    pyplot = plotting()
    figure, axes = pyplot.subplots(figsize=(9, 5), layout="constrained")
    for place, (_, _, ours, peer) in enumerate(measured()):
        for row, offset, color, label in (
            (ours, 0.0, "#2f6da8", "keras_inception"),
            (peer, 0.34, "#e08a2e", "timm"),
        ):
            if row is None:
                continue
            at = place + offset
            axes.plot([row["ratio_low"], row["ratio_high"]], [at, at], color=color, lw=2)
            axes.plot(row["ratio"], at, "o", color=color, ms=7, label=label)
            beside = (row["ratio_high"], at)
            text = f"{row['ratio']:.2f}"
            axes.annotate(
                text, beside, xytext=(5, 0), textcoords="offset points", va="center", fontsize=8
            )
    cases = [
        f"{shown.case.removeprefix('GPU: ')}\n{machine(shown.group)}; base: {base['name']}"
        for shown, base, _, _ in measured()
    ]
    axes.axvline(1.0, color="black", lw=0.8)
    axes.set_xscale("log")
    ticks = [0.5, 1, 2, 5, 10, 20]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xlim(0.55, 30)
    axes.minorticks_off()
    axes.set_yticks(range(len(cases)), cases, fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("times as fast as the base; lines: range of the rounds")
    axes.grid(axis="x", alpha=0.3)
    handles, labels = axes.get_legend_handles_labels()
    known = dict(zip(labels, handles, strict=True))
    axes.legend(known.values(), known.keys(), loc="lower right", fontsize=8)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


if __name__ == "__main__":
    write()
