"""keras-inception optimize: find the fastest engine of this machine, and keep what it runs."""

from __future__ import annotations

import argparse
from typing import Any

from keras_inception.cli import contract

HELP = "write a trained network in the form that runs fastest on this machine, with equal answers"

CHECKED = 64  # images that answers are compared on


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument(
        "source",
        help="a run folder, a .keras file, a weights file, or a published name as in `weights`",
    )
    contract.add_arguments(parser)
    parser.add_argument(
        "--output",
        required=True,
        metavar="DIR",
        help="folder to write, which every command takes as a model; a new one, or one of this "
        "command",
    )
    parser.add_argument(
        "--images",
        nargs="+",
        default=[],
        metavar="PATH",
        help="images, folders or patterns to compare answers on, like those that will be "
        "classified; without them only float32 is tried",
    )
    parser.add_argument(
        "--batch_size", type=int, default=1, help="images classified at once later on [1]"
    )


def run(arguments: argparse.Namespace) -> None:
    """Measures, checks, writes and prints."""
    from keras_inception.exporting.fastest import optimize
    from keras_inception.runtime import load_classifier

    classifier = load_classifier(contract.opened(arguments.source, arguments))
    images = _fitted(classifier, arguments.images)
    optimize(classifier, arguments.output, images, batch_size=arguments.batch_size)
    print(f"{arguments.output}: a model for every command, and optimize.json")


def _fitted(classifier: Any, paths: list[str]) -> Any:
    """The first readable images, cropped and resized for the network; None without paths.

    Raises:
        ValueError: none of them can be read.
    """
    import numpy as np

    from keras_inception.runtime.predict import image_list, pixels

    listed = [image for path in paths for image in image_list(path)]
    fitted: list[np.ndarray] = []
    for image in listed:
        if len(fitted) == CHECKED:
            break
        try:
            found = pixels(image, classifier.input_shape[2], decoding=classifier.decoding)
        except OSError as error:
            print(f"cannot be read: {image}: {error}")
            continue
        fitted.append(classifier.crop_and_resize(found))
    if listed and not fitted:
        raise ValueError("`images` should name images. None of those given can be read.")
    return np.stack(fitted) if fitted else None
