"""Tables of the page as plain data; the template draws them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any


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
