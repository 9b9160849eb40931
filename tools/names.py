"""Writes the table of public names into docs/python.md, of their docstrings' first sentences.

python tools/names.py
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import keras_inception

PAGE = Path(__file__).parents[1] / "docs" / "python.md"
MARK = "<!-- python tools/names.py writes this -->\n"


def table() -> str:
    """A row a name: itself and what it is or does."""
    rows = ["| name | |", "| --- | --- |"]
    for name in sorted(keras_inception._PUBLIC, key=str.lower):
        text = " ".join((inspect.getdoc(getattr(keras_inception, name)) or "").split())
        sentence = re.split(r"(?<=[a-z0-9`)])[.;:] ", text)[0].removesuffix(".")
        rows.append(f"| `{name}` | {sentence} |")
    return "\n".join(rows) + "\n"


def main() -> None:
    before, _, _ = PAGE.read_text(encoding="utf-8").partition(MARK)
    PAGE.write_text(before + MARK + table(), encoding="utf-8")


if __name__ == "__main__":
    main()
