"""keras-inception predict: name what is on images."""

from __future__ import annotations

import argparse
import csv
import functools
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from keras_inception.cli import codes, contract
from keras_inception.cli.output import for_spreadsheet, json_line
from keras_inception.files import LARGEST_IMAGE
from keras_inception.messages import printable

HELP = "name what is on an image, on the images of a folder or of a pattern"

# How encoded images begin: JPEG, PNG, GIF, BMP and, by its container, WebP.
_BEGINNINGS = (b"\xff\xd8", b"\x89PNG", b"GIF8", b"BM", b"RIFF")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument(
        "images",
        nargs="+",
        help="images, folders or patterns; - reads one image, or a path a line, from standard "
        "input",
    )
    parser.add_argument(
        "--model",
        required=True,
        help="a run folder, a .keras, .tflite or weights file, a SavedModel, a folder of optimize, "
        "or a published name as in `weights`",
    )
    contract.add_arguments(parser)
    parser.add_argument(
        "--top",
        type=int,
        help="classes an image at most [5; of a network with thresholds all that reach theirs]",
    )
    parser.add_argument(
        "--crops",
        default="1",
        choices=("1", "mirror", "10", "12", "144"),
        help="views of an image that are averaged [1]",
    )
    parser.add_argument("--format", default="table", choices=("table", "json", "csv"))
    parser.add_argument(
        "--spreadsheet",
        action="store_true",
        help="with --format csv: names that begin with = + - or @ get an apostrophe before them, "
        "so that spreadsheets do not take them for formulas",
    )
    parser.add_argument("--batch_size", type=int, default=64, help="views computed at once [64]")
    parser.add_argument(
        "--bands",
        default="",
        help="of TIFFs, as train's --bands: 4,3,2 [those of the model's run, if it has one]",
    )
    parser.add_argument(
        "--max_pixels", type=int, help="larger images are not decoded [150 million]"
    )


def run(arguments: argparse.Namespace) -> int:
    """Prints a line a class, and at the end which images could not be read."""
    from keras_inception.runtime.predict import image_list, predict

    with tempfile.TemporaryDirectory() as folder:
        listed: list[Any] = []
        for one in arguments.images:
            listed += _standard_input(Path(folder)) if one == "-" else image_list(one)
        records = predict(
            contract.opened(arguments.model, arguments),
            listed,
            top=arguments.top,
            crops=arguments.crops,
            batch_size=arguments.batch_size,
            max_pixels=arguments.max_pixels,
            bands=arguments.bands,
        )
        if arguments.format == "csv":
            csv.writer(sys.stdout).writerow(["image", "rank", "label", "probability", "error"])
        as_csv = functools.partial(_csv, cell=for_spreadsheet if arguments.spreadsheet else str)
        shown: dict[str, Callable[[Any], None]]
        shown = {"table": _table, "json": _json, "csv": as_csv}
        unreadable = []
        for record in records:
            shown[arguments.format](record)
            unreadable += [record] if record.error else []
    for record in unreadable:
        print(f"cannot be read: {printable(record.image)}: {record.error}", file=sys.stderr)
    return codes.SOME_UNREADABLE if unreadable else 0


def _standard_input(folder: Path) -> list[Path | str]:
    given = sys.stdin.buffer.read(LARGEST_IMAGE + 1)
    if len(given) > LARGEST_IMAGE:
        raise ValueError(f"Of standard input at most {LARGEST_IMAGE:,} bytes are read.")
    if given.startswith(_BEGINNINGS):
        image = folder / "standard input"
        image.write_bytes(given)
        return [image]
    paths = [line for line in given.decode(errors="surrogateescape").splitlines() if line.strip()]
    if not paths:
        raise ValueError("Standard input holds neither an image nor paths.")
    return list(paths)


def _table(record: Any) -> None:
    if record.error:
        return
    print(printable(record.image))
    for label, probability in record.top:
        print(f"  {probability:7.2%}  {label}")
    if not record.top:
        print("  no class reaches its threshold")


def _json(record: Any) -> None:
    """A JSON object a line, so that 10,000 images stream."""
    print(json_line(record.to_dict()))


def _csv(record: Any, cell: Callable[[str], str]) -> None:
    writer = csv.writer(sys.stdout)
    if record.error:
        writer.writerow([cell(record.image), "", "", "", cell(record.error)])
    elif not record.top:
        writer.writerow([cell(record.image), "", "", "", ""])
    for rank, (label, probability) in enumerate(record.top, start=1):
        writer.writerow([cell(record.image), rank, cell(label), f"{probability:.6f}", ""])
