"""keras-inception publish: a folder for Hugging Face."""

from __future__ import annotations

import argparse

from keras_inception.cli import contract

HELP = "write a folder for Hugging Face: weights, config.json, labels, pictures, model card"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument("model", help="a run folder, a .keras file, weights, or a published name")
    contract.add_arguments(parser)
    parser.add_argument("--output", required=True, metavar="DIR", help="the folder to write")
    parser.add_argument(
        "--license", default="", help="SPDX identifier of the weights' license, for the model card"
    )


def run(arguments: argparse.Namespace) -> None:
    """Writes the folder, and says how it gets to the hub."""
    from keras_inception.report.publication import publish

    model = contract.opened(arguments.model, arguments)
    folder = publish(model, arguments.output, license=arguments.license)
    print(f"{folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")
    print(f"hf upload OWNER/{folder.name} {folder}")
