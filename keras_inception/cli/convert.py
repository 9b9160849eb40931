"""keras-inception convert: make a native .safetensors or a .keras file of any weights file."""

from __future__ import annotations

import argparse
from pathlib import Path

import keras_inception

HELP = "make a native .safetensors or a .keras file of any weights file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument("source", help="a weights file, or a published name as in `weights`")
    parser.add_argument("--model", required=True, help="the variant, such as InceptionV4")
    parser.add_argument("--output", required=True, help="the .safetensors or .keras file to write")
    parser.add_argument(
        "--classes",
        type=int,
        help="outputs; by default the file's real classes, or the features alone if the file has "
        "no classifier of this network",
    )
    parser.add_argument(
        "--origin",
        help="the published weights, as in `weights`, that the file was made from; they say what "
        "the file does not: padding, epsilon and preprocessing",
    )
    parser.add_argument(
        "--show_mapping", action="store_true", help="list which layer of the file went into which"
    )


def run(arguments: argparse.Namespace) -> None:
    """Loads weights of any known format and writes them as a native or a .keras file."""
    output = Path(arguments.output)
    if output.suffix not in (".safetensors", ".keras"):
        raise ValueError(f"--output should end in .safetensors or .keras. Received: {output}")
    if not output.parent.is_dir():
        raise ValueError(f"--output names a folder that does not exist: {output.parent}")
    from keras_inception.models.builder import resolved
    from keras_inception.models.registry import check_name
    from keras_inception.weights import get_weights, save_weights

    check_name(arguments.model)
    source = arguments.source
    if arguments.origin:
        source = get_weights(arguments.origin, arguments.model).with_file(source)
    loaded = resolved(source, arguments.model)
    if loaded is None:
        raise ValueError("There is nothing to convert in None.")
    # A file whose own answers cannot be computed gives its features, or a new classifier.
    top = bool(arguments.classes or (loaded.outputs and not loaded.foreign))
    model = keras_inception.get_model(
        arguments.model,
        weights=loaded,
        include_top=top,
        pooling="avg" if loaded.identity.arguments.get("embedding") else None,
        aux_logits=top and loaded.has_auxiliary_heads,
        classes=arguments.classes or (loaded.default_classes() if top else 1000),
    )
    print(f"{loaded.source}: {loaded.layout}; {len(loaded.arrays)} arrays for {arguments.model}")
    if arguments.show_mapping:
        print("\n".join(f"  {theirs} -> {ours}" for theirs, ours in loaded.layers.items()))
    print(f"built with {model.identity.arguments}")
    print(f"input: {model.preprocessing}")
    if output.suffix == ".keras":
        keras_inception.save_model(model, output)
    else:
        save_weights(model, output)
    print(f"{output}: {len(model.weights)} arrays, {output.stat().st_size / 2**20:.1f} MiB")
