"""Tables and charts of the page as plain data; the template draws them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

# A chart's own units; the page scales it to the width at hand, text included, so that this is
# about the width of a phone.
WIDTH, HEIGHT = 360, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 18, 10, 26


@dataclasses.dataclass(frozen=True)
class Cell:
    """A table's cell.

    Attributes:
        text: What it shows.
        sort: What it is sorted by: a number, or the text itself.
        kind: "name" (a class's name), "code", "good", "bad" or "".
    """

    text: str
    sort: float | str = ""
    kind: str = ""


BLANK = Cell("", -1e308)  # where there is no number: last, from the largest


@dataclasses.dataclass(frozen=True)
class Table:
    """A table that sorts by a click on the head of a column.

    Attributes:
        head: Titles of the columns.
        rows: Cells, a row each.
        numbers: Which columns hold numbers: they stand on the right, and sort from the largest.
        hints: What a column's title means, by title.
        sorted_by: The column that the rows are sorted by, as (number, "ascending" or "descending").
    """

    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    numbers: frozenset[int] = frozenset()
    hints: dict[str, str] = dataclasses.field(default_factory=dict)
    sorted_by: tuple[int, str] | None = None


def share(value: float, digits: int = 1) -> Cell:
    """A share as percent."""
    return Cell(f"{value:.{digits}%}", float(value))


def number(value: float | int, shown: str = "") -> Cell:
    """A number; counts have commas, others three digits."""
    text = shown or (f"{value:,}" if isinstance(value, int) else f"{value:.3g}")
    return Cell(text, float(value))


def text(value: Any, kind: str = "") -> Cell:
    return Cell(str(value), str(value), kind)


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of a chart.

    Attributes:
        name: What it is called.
        meaning: What it holds, as a sentence.
        look: Names its color and dashes in the page's style.
        points: "x,y x,y ..." in the chart's units.
        dots: x, y and what the point says.
    """

    name: str
    meaning: str
    look: str
    points: str
    dots: list[tuple[float, float, str]]


@dataclasses.dataclass(frozen=True)
class Chart:
    """A line chart.

    Attributes:
        title, below: Its name, and that of the horizontal axis.
        lines: What it draws.
        across, up: (position, label) of the ticks of both axes.
        left, right, top, bottom: The ends of the axes.
    """

    title: str
    below: str
    lines: list[Line]
    across: list[tuple[float, str]]
    up: list[tuple[float, str]]
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    top: int = _TOP
    bottom: int = HEIGHT - _BOTTOM


def line_chart(
    title: str,
    series: Sequence[tuple[str, str, str, Sequence[tuple[float, float]]]],
    *,
    percent: bool = False,
) -> Chart | None:
    """A chart of values against the epoch.

    Args:
        title: Its name.
        series: (name, meaning, look, [(epoch, value)]) each; values that are not finite are left
            out.
        percent: Whether the values are shares.

    Returns:
        The chart, or None if no line has two points.
    """
    kept = [
        (name, meaning, look, [(x, y) for x, y in points if math.isfinite(y)])
        for name, meaning, look, points in series
    ]
    kept = [one for one in kept if one[3]]
    if not any(len(points) > 1 for *_, points in kept):
        return None
    xs = [x for *_, points in kept for x, _ in points]
    ys = [y for *_, points in kept for _, y in points]
    ticks = _ticks(min(ys), max(ys))
    low, high = ticks[0], ticks[-1]
    first, last = min(xs), max(xs)

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - first) / (last - first)
        up = (y - low) / (high - low)
        return (
            round(_LEFT + across * (WIDTH - _LEFT - _RIGHT), 1),
            round(HEIGHT - _BOTTOM - up * (HEIGHT - _TOP - _BOTTOM), 1),
        )

    def shown(y: float) -> str:
        return f"{y:.1%}" if percent else f"{y:.3f}"

    lines = []
    for name, meaning, look, points in kept:
        placed = [place(x, y) for x, y in points]
        dots = [
            (*at, f"epoch {x:g}: {name} {shown(y)}")
            for at, (x, y) in zip(placed, points, strict=True)
        ]
        joined = " ".join(f"{x},{y}" for x, y in placed)
        lines.append(Line(name, meaning, look, joined, dots))
    step = max(1, math.ceil((last - first) / 6))
    epochs = list(range(int(first), int(last) + 1, step))
    return Chart(
        title,
        "epoch",
        lines,
        [(place(x, low)[0], str(x)) for x in epochs],
        [(place(first, y)[1], f"{y:.0%}" if percent else f"{y:g}") for y in ticks],
    )


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers around a range, at most seven."""
    if high - low < 1e-9:
        margin = abs(high) * 0.05 or 0.05
        low, high = low - margin, high + margin
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= rough * 0.999)
    begin, end = math.floor(low / step + 1e-6), math.ceil(high / step - 1e-6)
    return [round(i * step, 10) for i in range(begin, end + 1)]


@dataclasses.dataclass(frozen=True)
class Reliability:
    """How often answers are right by their confidence, as bars.

    Attributes:
        bars: (left, top, width, height) of the accuracy and what it says.
        marks: (x, y) of the mean confidence of each bar.
        counts: (left, top, width, height) of the number of images.
        across, up: Ticks.
        left, right, top, bottom, floor: The ends of both plots; the counts stand on `floor`.
    """

    bars: list[tuple[float, float, float, float, str]]
    marks: list[tuple[float, float]]
    counts: list[tuple[float, float, float, float]]
    across: list[tuple[float, str]]
    up: list[tuple[float, str]]
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    top: int = _TOP
    bottom: int = 220
    floor: int = 270


def reliability(bins: Sequence[dict[str, Any]]) -> Reliability:
    """The chart of `metrics.calibration`'s bins."""
    width, height = WIDTH - _LEFT - _RIGHT, 220 - _TOP
    most = max(b["images"] for b in bins)

    def x(value: float) -> float:
        return round(_LEFT + value * width, 1)

    def y(value: float) -> float:
        return round(220 - value * height, 1)

    bars, counts = [], []
    for b in bins:
        left, wide = x(b["low"]) + 1, round((b["high"] - b["low"]) * width - 2, 1)
        said = (
            f"confidence {b['low']:.0%} to {b['high']:.0%}: {b['accuracy']:.1%} of "
            f"{b['images']:,} answers are right, mean confidence {b['confidence']:.1%}"
        )
        bars.append((left, y(b["accuracy"]), wide, round(220 - y(b["accuracy"]), 1), said))
        tall = max(1.0, round(40 * b["images"] / most, 1))
        counts.append((left, 270 - tall, wide, tall))
    return Reliability(
        bars,
        [(x(b["confidence"]), y(b["accuracy"])) for b in bins],
        counts,
        [(x(v / 4), f"{v / 4:.0%}") for v in range(5)],
        [(y(v / 4), f"{v / 4:.0%}") for v in range(5)],
    )
