"""keras-inception inspect: what a data set holds, before any training."""

from __future__ import annotations

import argparse
import os
from dataclasses import fields
from typing import TYPE_CHECKING

from keras_inception.buckets import is_remote
from keras_inception.cli import contract

if TYPE_CHECKING:
    from keras_inception.data import Source

HELP = "what a data set holds: parts, classes, sizes, and what is wrong with it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument(
        "dataset", help="as train's --dataset: folder:PATH, csv:FILE, tfds:NAME, tfrecord:PATH, ..."
    )
    parser.add_argument("--data_dir", default="", help="where prepared TFDS data lies")
    parser.add_argument("--split", default="", help="TFDS splits, as train's --split")
    parser.add_argument("--keys", default="", metavar="IMAGE,LABEL", help="as train's --keys")
    parser.add_argument("--groups", default="", help="as train's --groups: what belongs together")
    parser.add_argument("--validation_fraction", type=float, default=0.05, metavar="SHARE")
    parser.add_argument("--seed", type=int, default=0, help="draws the parts that are missing [0]")
    parser.add_argument("--max_pixels", type=int, help="a limit for images' sizes")
    parser.add_argument("--bands", default="", help="of TIFFs, as train's --bands: 4,3,2")
    parser.add_argument("--download", action="store_true", help="let TFDS fetch a data set")
    parser.add_argument(
        "--near",
        action="store_true",
        help="search for images that look alike: cropped, mirrored, ...",
    )
    parser.add_argument(
        "--odd",
        action="store_true",
        help="name blank, dark, blurred and tiny images, odd aspects; with --model images that are "
        "unlike all others, too",
    )
    parser.add_argument(
        "--labels", action="store_true", help="search for wrong labels in the training part"
    )
    parser.add_argument(
        "--unlabelled",
        metavar="folder:PATH",
        help="choose the images of a folder that help most once they are labelled",
    )
    parser.add_argument("--count", type=int, default=100, help="how many of these [100]")
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help="whose features are used: as explain's --model, or a weights file without a "
        "classifier [InceptionV3 with ImageNet's weights]",
    )
    contract.add_arguments(parser, names=False)
    parser.add_argument(
        "--output",
        metavar="PATH",
        help="a page of images (.html); with --labels a folder for its sheet and table, such as "
        "RUN/inspection, where the report of a run finds it",
    )


def run(arguments: argparse.Namespace) -> None:
    """Prints what a data set holds; what training would refuse ends with code 2."""
    output, is_page = arguments.output, str(arguments.output).endswith(".html")
    by_network = bool(arguments.labels or arguments.unlabelled)
    if output and is_page == by_network:
        expected = "a folder with" if by_network else "a file .html without"
        raise ValueError(
            f"--output should be {expected} --labels or --unlabelled. Received: {output}"
        )
    if is_remote(output):
        raise ValueError(f"--output should be on this machine only. Received: {output}")
    if arguments.model and not (by_network or arguments.odd):
        raise ValueError(
            "--model goes with --labels, --unlabelled or --odd. "
            f"Received: --model={arguments.model}"
        )
    if arguments.preprocessing and not arguments.model:
        raise ValueError(
            "--preprocessing is the contract of --model, which is missing. "
            f"Received: --preprocessing={arguments.preprocessing}"
        )
    if arguments.count < 1:
        raise ValueError(f"--count should be at least 1. Received: --count={arguments.count}")
    from keras_inception.data import inspect, open_for
    from keras_inception.recipes import Recipe

    names = {field.name for field in fields(Recipe)} - {"model"}  # here that is what looks
    given = {name: value for name, value in vars(arguments).items() if name in names}
    given = {name: value for name, value in given.items() if value is not None}
    page = output
    if output and by_network:  # a folder
        page = os.path.join(output, "images.html") if arguments.near or arguments.odd else None
    how = {"near": arguments.near, "odd": arguments.odd, "download": arguments.download}
    if arguments.odd and arguments.model:
        from keras_inception.curation import Network

        how["features"] = Network.open(arguments.model, arguments.preprocessing).of_split
    dataset = given.pop("dataset")
    print(inspect(dataset, output=page, **how, **given))
    if page:
        print(f"Images: {page}")
    if not by_network:
        return
    source = open_for(Recipe(dataset=dataset, **given))
    if source.several:
        raise ValueError(
            "--labels and --unlabelled need one class an image. "
            f"Received: {dataset}, whose images may have several"
        )
    if arguments.labels:
        _check_labels(source, arguments, output)
    if arguments.unlabelled:
        _choose_next(source, arguments, output)


def _check_labels(source: Source, arguments: argparse.Namespace, output: str | None) -> None:
    """Prints what contradicts labels, and writes the sheet and the table."""
    from keras_inception.curation import Network, check_labels, tables

    network = Network.open(arguments.model, arguments.preprocessing)
    found, features = check_labels(source, network)
    rows = tables.suspects(found, source, most=10)
    lines = tables.lines_about(found, source, network.name)
    print("\n".join([*lines, *map(tables.line_about, rows)]))
    if output:
        sheet, table = tables.write_labels(found, features, source, output, network.name)
        print(f"To look at: {sheet}")
        print(f"To correct, then train with --dataset=csv:{table}")


def _choose_next(source: Source, arguments: argparse.Namespace, output: str | None) -> None:
    """Prints the unlabelled images that help most, and writes their sheet and their list."""
    from keras_inception.curation import Network, tables

    network = Network.open(arguments.model, arguments.preprocessing)
    path = arguments.unlabelled.removeprefix("folder:")
    found = tables.next_images(source, path, network, arguments.count)
    print(f"To label next, by the features of {network.name}:")
    for row in found.rows[:10]:
        print(f"  {row.describe()}")
    if output:
        for written in found.write(output):
            print(f"The {len(found.rows)} images: {written}")
