"""Draws the floors of the house into docs/architecture.md, from the table that a test holds.

    python tools/floors.py

The table is FLOORS in tests/test_import_rules.py; what stands on a floor is the first sentence of
its module's docstring.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"
MARK = "<!-- python tools/floors.py draws this -->\n"


def table(name: str) -> Any:
    """A constant of tests/test_import_rules.py."""
    for node in ast.parse((ROOT / "tests" / "test_import_rules.py").read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return ast.literal_eval(node.value)
    raise LookupError(f"tests/test_import_rules.py has no {name}")


def sentence(floor: str) -> str:
    """The first sentence of a floor's docstring."""
    path = ROOT / "keras_inception" / floor
    module = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    text = " ".join((ast.get_docstring(ast.parse(module.read_text())) or "").split())
    return re.split(r"(?<=[a-z`)])\. ", text)[0].removesuffix(".")


def drawing() -> str:
    """The floors, the top one first; a star marks those that need no TensorFlow."""
    floors, free = table("FLOORS"), table("KERAS_ONLY")
    width = max(map(len, floors))
    lines = [
        f"{'*' if floor in free else ' '} {floor:{width}}  {sentence(floor)}"
        for floor in reversed(floors)
    ]
    return "\n".join(["```text", *lines, "```"]) + "\n"


def main() -> None:
    before, mark, after = PAGE.read_text().partition(MARK)
    if not mark:
        raise SystemExit(f"{PAGE} lacks the line {MARK}")
    PAGE.write_text(before + mark + drawing() + after[after.index("\n```\n") + 5 :])


if __name__ == "__main__":
    main()
