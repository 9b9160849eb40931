"""keras-inception evaluate: measure networks on a data set."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

from keras_inception.cli import codes

HELP = "measure networks on a data set: one protocol for every kind of file, alone and together"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument(
        "models",
        nargs="+",
        metavar="MODEL",
        help="run folders, .keras, .tflite or weights files, SavedModels, published names",
    )
    parser.add_argument(
        "--dataset",
        required=True,
        help="as of train; or imagenet:PATH, ImageNet's validation images in folders named by "
        "WordNet ids or in one folder",
    )
    parser.add_argument(
        "--part", default="test", choices=("test", "validation", "train"), help="[test]"
    )
    parser.add_argument(
        "--ground_truth", metavar="FILE", help="the images' classes, for imagenet:PATH"
    )
    parser.add_argument("--data_dir", default="", help="where prepared TFDS data lies")
    parser.add_argument(
        "--crops",
        default="1",
        choices=("1", "mirror", "10", "12", "144"),
        help="views of an image that are averaged; 144 are GoogLeNet's [1]",
    )
    parser.add_argument("--ensemble", action="store_true", help="measure the models' average, too")
    parser.add_argument("--limit", type=int, default=0, metavar="N", help="only N images")
    parser.add_argument("--batch_size", type=int, default=64, help="views computed at once [64]")
    parser.add_argument(
        "--output",
        metavar="DIR",
        help="folder of the results; a stopped evaluation goes on there "
        "[evaluations/<dataset>-<crops>-<models>, in the run folder if MODEL is one]",
    )
    parser.add_argument("--fresh", action="store_true", help="start anew")


def run(arguments: argparse.Namespace) -> int:
    """Measures, prints and writes."""
    from keras_inception.cli.bar import Bar
    from keras_inception.cli.report import renew
    from keras_inception.evaluation.protocol import evaluate
    from keras_inception.evaluation.results import table

    output = arguments.output or _folder(arguments)
    result = evaluate(
        arguments.models,
        arguments.dataset,
        crops=arguments.crops,
        ensemble=arguments.ensemble,
        part=arguments.part,
        ground_truth=arguments.ground_truth,
        data_dir=arguments.data_dir,
        limit=arguments.limit,
        batch_size=arguments.batch_size,
        output=output,
        fresh=arguments.fresh,
        progress=Bar(),
    )
    print(table(result))
    print(f"{output}: evaluation.json, answers.npz, confusion matrices, reliability plots")
    if _run(arguments) and not arguments.output:
        renew(_run(arguments))
    return codes.SOME_UNREADABLE if result["unreadable"] else 0


def _run(arguments: argparse.Namespace) -> str:
    """The run folder that is the only model, or ""."""
    first, *others = arguments.models
    return first if not others and (Path(first) / "config.json").exists() else ""


def _folder(arguments: argparse.Namespace) -> str:
    """A folder's name that the same command finds again."""
    kind, _, rest = arguments.dataset.partition(":")
    what = [Path(rest or kind).name, arguments.crops]
    what += [arguments.part] if arguments.part != "test" else []
    if _run(arguments):
        return str(Path(_run(arguments), "evaluations", "-".join(what)))
    models = "+".join(Path(model).name for model in arguments.models)
    if len(models) > 60:
        models = hashlib.sha256(models.encode()).hexdigest()[:12]
    return f"evaluations/{'-'.join([*what, models])}"
