"""What a function found, as a dict that prints as a text and that pandas takes."""

from __future__ import annotations

from typing import Any


class Result(dict[str, Any]):
    """What a function found, as JSON holds it; each kind has a text and rows of its own."""

    def __repr__(self) -> str:
        raise NotImplementedError

    def rows(self) -> list[dict[str, Any]]:
        """The rows of its table."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """The same as an ordinary dict."""
        return dict(self)

    def to_pandas(self) -> Any:
        """`rows` as a `pandas.DataFrame`. Raises ImportError without pandas."""
        return frame(self.rows())


def frame(rows: list[dict[str, Any]]) -> Any:
    """Rows as a `pandas.DataFrame`. Raises ImportError without pandas."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError("`to_pandas` needs pandas: pip install pandas") from error
    return pandas.DataFrame(rows)


def scalars(row: dict[str, Any]) -> dict[str, Any]:
    """What one cell each holds of a row: texts and numbers."""
    return {name: value for name, value in row.items() if isinstance(value, str | int | float)}
