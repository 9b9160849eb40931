"""A builder's arguments, by its signature: those of every builder, and those that are recorded."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

import keras

from keras_inception import messages
from keras_inception.preprocessing import Preprocessing


@dataclasses.dataclass(frozen=True)
class Asked:
    """What is asked for with each model of any variant: its input, its ends and its training.

    The fields are the arguments of the same names that all builders have.

    Raises:
        ValueError: an argument is out of range.
    """

    include_top: bool
    input_tensor: Any
    input_shape: tuple[int | None, ...] | None
    pooling: str | None
    classes: int
    classifier_activation: str | Callable | None
    name: str
    aux_logits: bool
    dropout: float
    include_preprocessing: bool | Preprocessing

    def __post_init__(self) -> None:
        if self.pooling not in (None, "avg", "max"):
            raise ValueError(
                '`pooling` should be None, "avg" or "max" (it is used with `include_top=False`). '
                f"Received: pooling={messages.shown(self.pooling)}"
            )
        if not isinstance(self.classes, int) or self.classes < 1:
            raise ValueError(
                "`classes` should be a whole number above 0. "
                f"Received: classes={messages.shown(self.classes)}"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(
                "`dropout` is the share of features that training drops, at least 0 and below 1. "
                f"Received: dropout={self.dropout}"
            )
        if self.aux_logits and not self.include_top:
            raise ValueError(
                "`aux_logits=True` adds classifiers and needs `include_top=True`. "
                "Received: include_top=False"
            )
        if self.input_tensor is not None and not isinstance(self.input_tensor, keras.KerasTensor):
            raise ValueError(
                "`input_tensor` should be a Keras tensor, such as `keras.Input((299, 299, 3))`. "
                f"Received: input_tensor={messages.shown(self.input_tensor)}"
            )


# What decides no answer of a network with given weights: an identity does not record it.
_NOT_RECORDED = {field.name for field in dataclasses.fields(Asked)} - {"classifier_activation"} | {
    "weights",
    "bn_momentum",
}


@functools.cache
def recorded(builder: Callable) -> dict[str, Any]:
    """The arguments that decide what a network computes with given weights: name -> annotation."""
    hints = typing.get_type_hints(builder)
    names = inspect.signature(builder).parameters
    return {name: hints[name] for name in names if name not in _NOT_RECORDED}


def check_choices(builder: Callable, arguments: Mapping[str, Any]) -> None:
    """Raises ValueError if an argument annotated with the values it may have has another."""
    for name, hint in recorded(builder).items():
        choices = typing.get_args(hint)
        if typing.get_origin(hint) is typing.Literal and arguments[name] not in choices:
            raise ValueError(
                f"`{name}` should be {' or '.join(map(repr, choices))}. "
                f"Received: {name}={messages.shown(arguments[name])}"
            )


def check_recorded(builder: Callable, arguments: Mapping[str, Any]) -> None:
    """Holds arguments that a file claims against what the builder takes; nothing is built.

    Raises:
        ValueError: the builder does not take an argument of that name, or of that type, from a
            file; the message names it.
    """
    hints = recorded(builder)
    for name, value in arguments.items():
        if name not in hints or not _is_a(value, hints[name]):
            raise ValueError(
                f"{builder.__name__} takes the arguments {', '.join(sorted(hints))} from a file, "
                f"each with a value of its own type. Received: {name}={messages.shown(value)}"
            )


def _is_a(value: Any, hint: Any) -> bool:
    """Whether a value from a file has an annotation's type; a file can hold no function."""
    inside = typing.get_args(hint)
    match typing.get_origin(hint):
        case typing.Literal:
            return any(value == choice and type(value) is type(choice) for choice in inside)
        case typing.Union | types.UnionType:
            return any(_is_a(value, one) for one in inside)
        case origin if origin is tuple:
            fits = type(value) is tuple and len(value) == len(inside)
            return fits and all(map(_is_a, value, inside))
    # bool is an int to isinstance
    return type(value) in ((float, int) if hint is float else (hint,))
