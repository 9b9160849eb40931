"""keras-inception evaluate: measure networks on a data set."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from pathlib import Path

from keras_inception.cli import codes, contract

HELP = "measure networks on a data set: one protocol for every kind of file, alone and together"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument(
        "models",
        nargs="+",
        metavar="MODEL",
        help="run folders, .keras, .tflite or weights files, SavedModels, published names",
    )
    contract.add_arguments(parser)
    parser.add_argument(
        "--dataset",
        help="as of train; or imagenet:PATH, ImageNet's validation images in folders named by "
        "WordNet ids or in one folder [a run's own test part, in the views of its recipe, as "
        "training's last stage measures it]",
    )
    parser.add_argument(
        "--part", default="test", choices=("test", "validation", "train"), help="[test]"
    )
    parser.add_argument(
        "--ground_truth", metavar="FILE", help="the images' classes, for imagenet:PATH"
    )
    parser.add_argument(
        "--keys", default="", help="of records or a TFDS set, as train's --keys: IMAGE,LABEL"
    )
    parser.add_argument("--data_dir", default="", help="where prepared TFDS data lies")
    parser.add_argument(
        "--crops",
        default="",
        choices=("1", "mirror", "10", "12", "144"),
        help="views of an image that are averaged; 144 are GoogLeNet's [1]",
    )
    parser.add_argument("--ensemble", action="store_true", help="measure the models' average, too")
    parser.add_argument("--limit", type=int, default=0, metavar="N", help="only N images")
    parser.add_argument(
        "--restrict",
        default="",
        choices=("data",),
        help="leave out what the model answers and the data lack, as is usual for ImageNet-A "
        "[all outputs compete]",
    )
    parser.add_argument("--batch_size", type=int, default=64, help="views computed at once [64]")
    parser.add_argument(
        "--output",
        metavar="DIR",
        help="folder of the results; a stopped evaluation goes on there "
        "[a folder in evaluations/ for each command, in the run folder if MODEL is one]",
    )
    parser.add_argument("--fresh", action="store_true", help="start anew")


def run(arguments: argparse.Namespace) -> int:
    """Measures, prints and writes."""
    from keras_inception.cli.report import renew
    from keras_inception.evaluation import evaluate

    output = arguments.output or (_folder(arguments) if arguments.dataset else None)
    options = {name: getattr(arguments, name) for name in _OPTIONS}
    if not arguments.dataset and (arguments.preprocessing or arguments.class_names):
        raise ValueError(
            "--preprocessing and --class_names go with --dataset: without it a run is measured as "
            "its recipe says."
        )
    models = [contract.opened(model, arguments) for model in arguments.models]
    result = evaluate(models, arguments.dataset, **options, output=output)
    print(result)
    where = output or arguments.models[0]
    print(f"{where}: evaluation.json, predictions.npz, confusion matrices, reliability plots")
    if _run(arguments) and not arguments.output:
        renew(_run(arguments))
    return codes.SOME_UNREADABLE if result["unreadable"] else 0


# Arguments that `evaluate` takes by the same names.
_OPTIONS = (
    "crops",
    "ensemble",
    "part",
    "ground_truth",
    "keys",
    "data_dir",
    "limit",
    "restrict",
    "batch_size",
    "fresh",
)


def _run(arguments: argparse.Namespace) -> str:
    """The run folder that is the only model, or ""."""
    first, *others = arguments.models
    return first if not others and (Path(first) / "config.json").exists() else ""


def _folder(arguments: argparse.Namespace) -> str:
    """A folder's name that the same command finds again, and no other."""
    kind, _, rest = arguments.dataset.partition(":")
    names = [Path(rest or kind).name, arguments.crops or "1"]
    names += [arguments.part] if arguments.part != "test" else []
    run = _run(arguments)
    names += [] if run else [Path(model).name for model in arguments.models[:3]]
    paths = [os.path.abspath(m) if os.path.exists(m) else m for m in arguments.models]
    # Neither `batch_size` nor `fresh` makes another evaluation.
    asked = [paths, *(str(getattr(arguments, n)) for n in ("dataset", *_OPTIONS[:-2]))]
    asked += [arguments.preprocessing] if arguments.preprocessing else []
    digest = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:8]
    return os.path.join(run, "evaluations", f"{'-'.join(names)[:60]}-{digest}")
