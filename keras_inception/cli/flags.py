"""Flags of training: one for each field of a recipe and of the options, without TensorFlow."""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from absl.flags import argparse_flags

from keras_inception import recipes
from keras_inception.cli import codes
from keras_inception.options import Options, run_dir_of
from keras_inception.recipes import Recipe

_DESCRIPTION = """\
Trains an Inception, evaluates it on held-out images, exports it for servers (SavedModel) and
phones (.tflite), checks the exports against the trained model and writes a report. Without a flag:
the demo, minutes on a laptop. The same command goes on after Ctrl-C, SIGTERM or a crash.
"""


class _Parser(argparse_flags.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line; argparse's own would print the usage of all flags before it."""
        self.exit(codes.BAD_INPUT, f"{self.prog}: {message} (--help lists the flags)\n")


def parser(program: str) -> argparse.ArgumentParser:
    """The parser of train_tpu.py and of keras-inception train."""
    parser = _Parser(
        prog=program,
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        inherited_absl_flags=None,
    )
    run = parser.add_argument_group("Run")
    run.add_argument(
        "--recipe",
        default="demo",
        metavar="NAME",
        help=f"where the other flags' defaults come from: {', '.join(recipes.RECIPES)} [demo]",
    )
    run.add_argument("--config", metavar="FILE", help="or from the config.json of an earlier run")
    groups: dict[str, Any] = {"Run": run}
    for settings, defaults in ((Options, Options()), (Recipe, recipes.named("demo"))):
        for field in dataclasses.fields(settings):
            group = field.metadata["group"]
            if group not in groups:
                groups[group] = parser.add_argument_group(group)
            _add_flag(groups[group], field, getattr(defaults, field.name), settings is Options)
    return parser


def _add_flag(group: Any, field: dataclasses.Field, default: Any, is_option: bool) -> None:
    kind, meta = type(default), field.metadata
    help = meta["help"] if default in ("", False) and is_option else f"{meta['help']} [{default}]"
    arguments: dict[str, Any] = {"help": help.replace("%", "%%")}
    if kind is bool and is_option:
        arguments["action"] = "store_true"
    else:
        arguments["type"] = _boolean if kind is bool else kind
        arguments["choices"] = meta["choices"] or None
        arguments["metavar"] = None if meta["choices"] else kind.__name__.upper()
    if is_option:
        arguments["default"] = default
    group.add_argument(f"--{field.name}", **arguments)


def parse(argv: list[str]) -> tuple[Recipe, Options]:
    """The recipe and the options of a command line.

    Args:
        argv: As sys.argv, with the program's name first.

    Raises:
        SystemExit: --help (0), or a flag that is wrong (2, after one line on stderr).
    """
    command = parser(Path(argv[0]).name)
    flags = vars(command.parse_args(argv[1:]))
    try:
        recipe = (
            recipes.load(flags["config"]) if flags["config"] else recipes.named(flags["recipe"])
        )
        given = {
            field.name: flags[field.name]
            for field in dataclasses.fields(Recipe)
            if flags[field.name] is not None
        }
        recipe = recipe.replace(**given)
        recipe.check()
        options = Options(**{f.name: flags[f.name] for f in dataclasses.fields(Options)})
        options.check()
    except ValueError as error:
        command.error(with_flags(str(error)))
    return recipe, dataclasses.replace(options, run_dir=options.run_dir or run_dir_of(recipe))


_NAMES = [field.name for kind in (Recipe, Options) for field in dataclasses.fields(kind)]


def with_flags(message: str, names: Iterable[str] = tuple(_NAMES)) -> str:
    """An error of a library function in the command line's words: its arguments as flags.

    Library functions name arguments as `name` or `name=value`, and what they were given as
    "Received: name=value, other=value". Of these, the names that are flags become --name and
    --name=value.

    Args:
        message: The error.
        names: The command's flags, without the dashes; by default those of training.
    """
    named = "|".join(map(re.escape, names)) or "(?!)"
    message = re.sub(rf"`({named})(?:=([^`]*))?`", _as_flag, message)
    told, received, values = message.partition("Received: ")
    return told + received + re.sub(rf"(^|, |Received: )({named})=", r"\1--\2=", values)


def _as_flag(match: re.Match) -> str:
    name, value = match.groups()
    return f"--{name}" if value in (None, "True") else f"--{name}={value}"


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"should be true or false, not {text!r}")
    return text.lower() == "true"
