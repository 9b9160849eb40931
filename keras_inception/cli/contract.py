"""Flags of every command that takes a model: the contract and the names that its file may lack."""

from __future__ import annotations

import argparse
from typing import Any

from keras_inception import files
from keras_inception.contracts import KNOWN


def add_arguments(parser: argparse.ArgumentParser, names: bool = True) -> None:
    """Adds the flags, for models of other tools; without `names` that of the contract alone."""
    parser.add_argument(
        "--preprocessing",
        metavar="CONTRACT",
        help=f"how images are prepared for a model that does not say it: {', '.join(KNOWN)}, or a "
        "JSON file of a contract's fields [the model's own]",
    )
    if names:
        parser.add_argument(
            "--class_names", metavar="FILE", help="class names, one a line [the model's own]"
        )


def class_names(arguments: argparse.Namespace) -> list[str] | None:
    """The names in the file of --class_names; None without one.

    Raises:
        ValueError: the file is no text.
        OSError: it cannot be read.
    """
    if not arguments.class_names:
        return None
    try:
        return files.read_text(arguments.class_names).removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"--class_names: {arguments.class_names} is no text in UTF-8.") from error


def opened(model: Any, arguments: argparse.Namespace) -> Any:
    """What a command was given as its model: as a classifier if the flags say more about it."""
    names = class_names(arguments)
    if not model or (arguments.preprocessing is None and names is None):
        return model
    from keras_inception.runtime import load_classifier

    return load_classifier(model, preprocessing=arguments.preprocessing, class_names=names)
