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
        ValueError: a name is unknown, there is none, or no target takes an option.
    """
    forms = [f"{TFLite.format}:{form}" for form in quantization]
    each = [forms if kind == TFLite.format else [kind] for kind in formats]
    known = {*formats} <= {*KINDS} and {*quantization} <= {*tflite.QUANTIZATIONS}
    found = [target(name) for name in dict.fromkeys(sum(each, []))] if known else []
    if not found:
        raise ValueError(
            f"`formats` should name some of {', '.join(KINDS)}, and `quantization` some of "
            f"{', '.join(tflite.QUANTIZATIONS)}. Received: {[*formats]} and {[*quantization]}"
        )
    for name, value in options.items():
        takers = [one for one in found if name in _taken(one)]
        if value is not None and not takers:
            raise ValueError(f"None of the targets takes `{name}`. Received: {name}={value!r}")
        if value is not None:
            changed = [dataclasses.replace(one, **{name: value}) for one in takers]  # type: ignore
            found = [changed[takers.index(one)] if one in takers else one for one in found]
    return found


def names(text: str) -> list[str]:
    """The names in a text with commas between them."""
    return [name.strip() for name in text.split(",") if name.strip()]


def _taken(target: Any) -> set[str]:
    """Names of the options that a target takes."""
    names = {field.name for field in dataclasses.fields(target)}
    return names if target.quantization == "int8" else names - {"ends"}
