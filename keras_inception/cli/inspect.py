"""keras-inception inspect: what a data set holds, before any training."""

from __future__ import annotations

import argparse
from dataclasses import fields

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
        "--near", action="store_true", help="search for images that look alike across the parts"
    )
    parser.add_argument("--output", metavar="FILE", help="a page of images, .html")


def run(arguments: argparse.Namespace) -> None:
    """Prints what a data set holds; what training would refuse ends with code 2."""
    from keras_inception.data import inspect
    from keras_inception.recipes import Recipe

    given = {field.name: getattr(arguments, field.name, None) for field in fields(Recipe)}
    given = {name: value for name, value in given.items() if value is not None}
    found = inspect(
        given.pop("dataset"),
        near=arguments.near,
        output=arguments.output,
        download=arguments.download,
        **given,
    )
    print(found)
    if arguments.output:
        print(f"Images: {arguments.output}")
