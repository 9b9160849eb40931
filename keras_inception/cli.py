"""keras-inception: facts about the models, on the command line."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from absl.flags import argparse_flags

import keras_inception


def _models() -> None:
    """Prints the comparison table of the variants, as Markdown."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    print("| variant | parameters | multiply-adds | input |\n| --- | ---: | ---: | ---: |")
    for row in keras_inception.comparison_table():
        height, width = row["size"]
        billions = row["multiply_adds"] / 1e9
        print(
            f"| {row['variant']} | {row['parameters']:,} | {billions:.2f} billion "
            f"| {height} x {width} |"
        )


_COMMANDS = {"models": (_models, "table of the variants: parameters, multiply-adds, input size")}


class _Parser(argparse_flags.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"keras-inception: {message}\n")


def run(argv: list[str] | None = None) -> None:
    """The console script; TensorFlow is loaded by the commands that need it."""
    parser = _Parser(prog="keras-inception", description=__doc__, inherited_absl_flags=None)
    parser.add_argument("--version", action="version", version=keras_inception.__version__)
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", required=True, parser_class=_Parser
    )
    for name, (_, text) in _COMMANDS.items():
        commands.add_parser(name, help=text, description=text)
    arguments = parser.parse_args(sys.argv[1:] if argv is None else argv)
    _COMMANDS[arguments.command][0]()


if __name__ == "__main__":
    run()
