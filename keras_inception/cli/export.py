"""keras-inception export: write a network for servers and phones, and check what was written."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from keras_inception.cli import codes

HELP = "write a trained network for servers and phones, and compare each file with it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument(
        "source",
        help="a run folder, a .keras file, a weights file, or a published name as in `weights`",
    )
    parser.add_argument(
        "--format",
        default="saved_model,tflite",
        metavar="NAMES",
        help="saved_model, tflite, web, onnx, openvino, with commas between them "
        "[saved_model,tflite]",
    )
    parser.add_argument(
        "--quantize",
        default="float32,dynamic",
        metavar="NAMES",
        help="of the .tflite files: float32, float16, dynamic (int8 weights), int8 (weights and "
        "activations; needs training images) [float32,dynamic]",
    )
    parser.add_argument(
        "--output", metavar="DIR", help="folder to write into [the run folder, if SOURCE is one]"
    )
    parser.add_argument(
        "--dataset",
        metavar="NAME",
        help="as in `train`: what to compare on, and to calibrate int8 with [the run's]",
    )
    parser.add_argument(
        "--labels", metavar="FILE", help="class names, one a line [those that SOURCE holds]"
    )
    parser.add_argument("--images", type=int, metavar="N", help="images to compare on [128]")
    parser.add_argument(
        "--calibration", type=int, metavar="N", help="training images to calibrate int8 with [100]"
    )
    parser.add_argument(
        "--ends", default="float32", metavar="DTYPE", help="of int8: float32, uint8, int8 [float32]"
    )
    parser.add_argument(
        "--outputs",
        default="probabilities",
        metavar="KIND",
        help="of .tflite files: probabilities or logits [probabilities]",
    )
    parser.add_argument(
        "--max_pixels",
        type=int,
        metavar="N",
        help="larger images are refused by the SavedModel before it decodes them [50000000]",
    )
    parser.add_argument(
        "--runtime",
        metavar="DIR",
        help="of web: the folder node_modules to copy LiteRT.js from [loaded from a CDN]",
    )
    parser.add_argument(
        "--diagnose",
        action="store_true",
        help="compare every layer, too, and name the first one that departs from the network",
    )
    parser.add_argument("--author", default="", metavar="NAME", help="for the .tflite metadata")
    parser.add_argument("--license", default="", metavar="NAME", help="for the .tflite metadata")


def run(arguments: argparse.Namespace) -> int:
    """Exports; returns 0, or 4 if a file differs from the network and was removed."""
    from keras_inception.cli.report import renew
    from keras_inception.exporting.checks import ExportCheckError
    from keras_inception.exporting.run import export
    from keras_inception.exporting.targets import names

    options = {
        k: getattr(arguments, k)
        for k in ("dataset", "ends", "outputs", "author", "license", "diagnose")
    }
    for name in ("images", "calibration", "max_pixels", "runtime"):
        if getattr(arguments, name) is not None:
            options[name] = getattr(arguments, name)
    if arguments.labels:
        options["labels"] = _lines(Path(arguments.labels))
    into_run = not arguments.output and (Path(arguments.source) / "config.json").exists()
    try:
        export(
            arguments.source,
            names(arguments.format),
            names(arguments.quantize),
            arguments.output,
            **options,
        )
    except ExportCheckError as error:
        print(f"keras-inception: {error}", file=sys.stderr)
        return codes.FAILED_CHECK
    if into_run:
        renew(arguments.source)
    return 0


def _lines(path: Path) -> list[str]:
    """The class names in a file."""
    try:
        return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"--labels: {path} is no text in UTF-8.") from error
