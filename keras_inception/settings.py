"""Settings with a type and a range each: a recipe's fields, and how a recipe is run.

A flag, a line of config.json and a Python argument are the same setting, and `check` is the one
place that says whether its value can be used.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

from keras_inception import messages


def group(name: str) -> Callable[..., Any]:
    """`setting` for the flags under one heading of --help."""
    return functools.partial(setting, group=name)


def setting(
    default: Any,
    help: str,
    *,
    group: str,
    choices: Sequence[str] = (),
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
) -> Any:
    """A dataclass field that `check` checks and that the command line shows as a flag.

    Args:
        default: Its value by default; its type is the setting's.
        help: What it does, for --help.
        group: Heading of its flag in --help.
        choices: The values of a text, if only these are allowed.
        least, above, most, below: The range of a number: at least, above, at most, below.
    """
    limits = {"at least": least, "above": above, "at most": most, "below": below}
    metadata = {
        "group": group,
        "help": help,
        "choices": tuple(choices),
        "limits": {word: limit for word, limit in limits.items() if limit is not None},
    }
    return dataclasses.field(default=default, metadata=metadata)


def exact(settings: Any) -> None:
    """Turns whole numbers into floats where a setting is a float; for `__post_init__`."""
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if type(field.default) is float and type(value) is int and abs(value) < 2**53:
            object.__setattr__(settings, field.name, float(value))


def check(settings: Any) -> None:
    """Raises ValueError for the first setting of a dataclass that has a wrong type or value."""
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if not _is_good(value, field):
            shown = messages.printable(repr(value), 100)
            raise ValueError(
                f"`{field.name}` should be {_expected(field)}. Received: {field.name}={shown}"
            )


_HOLDS = {
    "at least": lambda value, limit: value >= limit,
    "above": lambda value, limit: value > limit,
    "at most": lambda value, limit: value <= limit,
    "below": lambda value, limit: value < limit,
}


def _is_good(value: Any, field: dataclasses.Field) -> bool:
    kind, meta = _kind(field), field.metadata
    if type(value) is not kind:
        return False
    if kind is str:
        # Control characters would break the lines of messages, logs and labels.
        return value in meta["choices"] if meta["choices"] else not _has_control(value)
    if kind is bool:
        return True
    finite = math.isfinite(value)
    return finite and all(_HOLDS[word](value, limit) for word, limit in meta["limits"].items())


def _kind(field: dataclasses.Field) -> Any:
    return type(field.default)


def _has_control(text: str) -> bool:
    return any(ord(character) < 32 or ord(character) == 127 for character in text)


def _expected(field: dataclasses.Field) -> str:
    """What a setting should be, in words."""
    kind, meta = _kind(field), field.metadata
    if meta["choices"]:
        return f"one of {', '.join(meta['choices'])}"
    if kind is bool:
        return "true or false"
    if kind is str:
        return "text without control characters"
    limits = [f"{word} {limit:,}" for word, limit in meta["limits"].items()]
    return " ".join(
        ["a whole number" if kind is int else "a finite number", " and ".join(limits)]
    ).strip()
