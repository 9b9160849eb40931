"""keras-inception export: write a network for servers and phones, and check what was written."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from keras_inception.cli import codes, contract

HELP = "write a trained network for servers and phones, and compare each file with it"
_OPTIONS = ("ends", "outputs", "max_pixels", "runtime", "author", "license")  # of targets


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument(
        "source",
        help="a run folder, a .keras file, a weights file, or a published name as in `weights`",
    )
    parser.add_argument(
        "--formats",
        default="saved_model,tflite",
        metavar="NAMES",
        help="saved_model, tflite, web, onnx, openvino, with commas between them "
        "[saved_model,tflite]",
    )
    parser.add_argument(
        "--quantization",
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
    contract.add_arguments(parser)
    parser.add_argument("--num_images", type=int, metavar="N", help="images to compare on [128]")
    parser.add_argument(
        "--num_calibration",
        type=int,
        metavar="N",
        help="training images for int8 [100]",
    )
    parser.add_argument("--ends", metavar="DTYPE", help="of int8: float32, uint8, int8 [float32]")
    parser.add_argument(
        "--outputs",
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
    parser.add_argument("--author", metavar="NAME", help="for the .tflite metadata")
    parser.add_argument("--license", metavar="NAME", help="for the .tflite metadata")


def run(arguments: argparse.Namespace) -> int:
    """Exports; returns 0, or 4 if a file differs from the network and nothing was kept."""
    from keras_inception.cli.report import renew
    from keras_inception.exporting import named
    from keras_inception.exporting.checks import ExportCheckError
    from keras_inception.exporting.run import export

    targets = named.of_names(
        named.names(arguments.formats),
        named.names(arguments.quantization),
        **{name: getattr(arguments, name) for name in _OPTIONS},
    )
    given = {
        name: getattr(arguments, name)
        for name in ("num_images", "num_calibration")
        if getattr(arguments, name) is not None
    }
    into_run = not arguments.output and (Path(arguments.source) / "config.json").exists()
    try:
        export(
            arguments.source,
            arguments.output,
            targets,
            dataset=arguments.dataset,
            preprocessing=arguments.preprocessing,
            class_names=contract.class_names(arguments),
            **given,
        )
    except ExportCheckError as error:
        print(f"keras-inception: {error}", file=sys.stderr)
        return codes.FAILED_CHECK
    if into_run:
        renew(arguments.source)
    return 0
