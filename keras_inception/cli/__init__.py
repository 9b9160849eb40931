"""keras-inception: the models, their weights and their training, on the command line.

A module a command: HELP, run(arguments), which returns the exit code, or None for 0, and
add_arguments(parser) where it has some. `train` has more flags than all others together and parses
them itself.
"""

from __future__ import annotations

import argparse
import importlib
import re
import sys
from typing import Any, NoReturn

from absl.flags import argparse_flags

import keras_inception
from keras_inception.cli import codes, output
from keras_inception.cli.flags import with_flags
from keras_inception.cli.process import prepare_process

COMMANDS = (
    "train",
    "evaluate",
    "predict",
    "explain",
    "inspect",
    "export",
    "optimize",
    "report",
    "models",
    "info",
    "weights",
    "recipes",
    "convert",
    "publish",
)


class _Parser(argparse_flags.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(codes.BAD_INPUT, f"keras-inception: {message}\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Notes the flags of the innermost command, whose arguments are parsed first."""
        found, rest = super().parse_known_args(args, namespace)
        if not hasattr(found, "flags"):
            found.flags = re.findall(r"--(\w+)", self.format_help())
        return found, rest


def parser() -> argparse.ArgumentParser:
    """The parser of all commands but `train`, whose flags are in `flags`."""
    parser = _Parser(prog="keras-inception", description=_DESCRIPTION, inherited_absl_flags=None)
    parser.add_argument("--version", action="version", version=keras_inception.__version__)
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", required=True, parser_class=_Parser
    )
    for name in COMMANDS:
        module = _module(name)
        command = commands.add_parser(name, help=module.HELP, description=module.HELP)
        getattr(module, "add_arguments", lambda parser: None)(command)
    return parser


@output.escaped()
def run(argv: list[str] | None = None) -> None:
    """The console script; TensorFlow is loaded by the commands that need it.

    Args:
        argv: The arguments after the program's name; by default those of the process.

    Raises:
        SystemExit: always; its code is the command's.
    """
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["train"]:
        sys.exit(_module("train").main(["keras-inception train", *argv[1:]]))
    commands = parser()
    arguments = commands.parse_args(argv)
    prepare_process()
    try:
        code = _module(arguments.command).run(arguments)
    except (ValueError, OSError) as error:
        commands.error(with_flags(str(error), arguments.flags))
    sys.exit(code or 0)


def _module(command: str) -> Any:
    return importlib.import_module(f"{__name__}.{command}")


_DESCRIPTION = "Train, measure and convert the networks of the Inception family."
