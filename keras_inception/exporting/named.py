"""The targets by their names, as recipes and flags give them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from keras_inception.exporting import tflite
from keras_inception.exporting.onnx import Onnx, OpenVINO
from keras_inception.exporting.saved_model import SavedModel
from keras_inception.exporting.targets import Target
from keras_inception.exporting.tflite import TFLite
from keras_inception.exporting.web import Web

KINDS: dict[str, type[Target]] = {
    kind.format: kind for kind in (SavedModel, TFLite, Web, Onnx, OpenVINO)
}


def target(given: Target | str) -> Target:
    """A target, or the one that a name stands for: a format, or "tflite:int8" and the like.

    Raises:
        ValueError: the name is unknown.
    """
    if isinstance(given, Target):
        return given
    kind, _, quantization = str(given).partition(":")
    if kind not in KINDS or (quantization and kind != TFLite.format):
        forms = [f"{TFLite.format}:{name}" for name in tflite.QUANTIZATIONS]
        raise ValueError(
            f"`targets` should name some of {', '.join([*KINDS, *forms])}, or be targets. "
            f"Received: {given!r}"
        )
    return TFLite(quantization) if quantization else KINDS[kind]()


def of_names(formats: Sequence[str], quantization: Sequence[str], **options: Any) -> list[Target]:
    """The targets of a recipe or of a command line.

    Args:
        formats: Names of formats.
        quantization: Of the .tflite files, one each; of no meaning for the other formats.
        **options: By their names, for each target that takes it; None leaves an option alone.

    Raises:
        ValueError: a name is unknown, or no target takes an option.
    """
    for name, given, known in (
        ("formats", formats, tuple(KINDS)),
        ("quantization", quantization, tflite.QUANTIZATIONS),
    ):
        if not given or any(value not in known for value in given):
            raise ValueError(
                f"`{name}` should name some of {', '.join(known)}. Received: {list(given)}"
            )
    forms = [
        (KINDS[kind], form)
        for kind in dict.fromkeys(formats)
        for form in (dict.fromkeys(quantization) if kind == TFLite.format else [""])
    ]
    taken = [_taken(kind, form) for kind, form in forms]
    options = {name: value for name, value in options.items() if value is not None}
    for name, value in options.items():
        if not any(name in own for own in taken):
            raise ValueError(f"None of the targets takes `{name}`. Received: {name}={value!r}")
    found = []
    for (kind, form), own in zip(forms, taken, strict=True):
        chosen = {name: value for name, value in options.items() if name in own}
        found.append(TFLite(form, **chosen) if form else kind(**chosen))
    return found


def names(text: str) -> list[str]:
    """The names in a text with commas between them."""
    return [name.strip() for name in text.split(",") if name.strip()]


def _taken(kind: Any, quantization: str) -> set[str]:
    """Names of the options that a target takes."""
    names = {field.name for field in dataclasses.fields(kind)}
    return names if quantization == "int8" else names - {"ends"}
