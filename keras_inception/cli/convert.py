"""keras-inception convert: any weights file as a native or a .keras file, or another library's."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import keras_inception
from keras_inception.cli import contract

HELP = "make a native, a .keras or another library's file of any weights file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument("source", help="a weights file, or a published name as in `weights`")
    parser.add_argument(
        "--model", help="the variant, such as InceptionV4; by default the one that the file names"
    )
    parser.add_argument(
        "--output", required=True, help="the file to write: .safetensors or .keras without --to"
    )
    parser.add_argument(
        "--to",
        metavar="LIBRARY",
        help="write the weights for timm or torchvision (.safetensors), keras.applications (keras: "
        ".weights.h5, .h5, .keras) or TF-Slim (slim: .ckpt), whose own code then computes the same",
    )
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
    contract.add_arguments(parser)
    parser.add_argument(
        "--show_mapping", action="store_true", help="list which layer of the file went into which"
    )


def run(arguments: argparse.Namespace) -> None:
    """Loads weights of any known format and writes them in the form that is asked for."""
    output = Path(arguments.output)
    if not arguments.to and output.suffix not in (".safetensors", ".keras"):
        raise ValueError(f"--output should end in .safetensors or .keras. Received: {output}")
    if not output.parent.is_dir():
        raise ValueError(f"--output names a folder that does not exist: {output.parent}")
    from keras_inception.models import publishers
    from keras_inception.weights import save_weights

    if arguments.to:
        publishers.checked(output, arguments.to)
    loaded = _loaded(arguments)
    variant = arguments.model or loaded.identity.variant
    # A file whose own answers cannot be computed gives its features, or a new classifier.
    top = bool(arguments.classes or (loaded.outputs and not loaded.foreign))
    model = keras_inception.get_model(
        variant,
        weights=loaded,
        include_top=top,
        pooling="avg" if loaded.identity.arguments.get("embedding") else None,
        aux_logits=top and loaded.has_auxiliary_heads,
        classes=arguments.classes or (loaded.default_classes() if top else 1000),
    )
    names = loaded.identity.class_names
    if arguments.class_names and model.identity.class_names != names:
        raise ValueError(f"--class_names names {len(names)} classes, and the network has others.")
    print(f"{loaded.source}: {loaded.layout}; {len(loaded.arrays)} arrays for {variant}")
    if arguments.show_mapping:
        print("\n".join(f"  {theirs} -> {ours}" for theirs, ours in loaded.layers.items()))
    print(f"built with {model.identity.arguments}")
    print(f"input: {model.preprocessing}")
    if arguments.to:
        publishers.convert_weights(model, output, arguments.to)
    elif output.suffix == ".keras":
        keras_inception.save_model(model, output)
    else:
        save_weights(model, output)
    written = [p for p in output.parent.iterdir() if p == output or p.stem == output.name]
    size = sum(path.stat().st_size for path in written)
    print(f"{output}: {len(model.weights)} arrays, {size / 2**20:.1f} MiB")


def _loaded(arguments: argparse.Namespace) -> Any:
    """What the source holds, for --model or else for the variant that it names."""
    from keras_inception import catalog, weights
    from keras_inception.contracts import chosen
    from keras_inception.models.builder import resolved
    from keras_inception.models.recognition import identified
    from keras_inception.models.registry import check_name

    source, variant = arguments.source, arguments.model
    if variant:
        check_name(variant)
    elif catalog.is_published(source):
        variant = catalog.get_weights(source).variant
    if arguments.origin:
        record = catalog.get_weights(arguments.origin, variant)
        source, variant = record.with_file(source), record.variant
    given = arguments.preprocessing
    if given and isinstance(source, str) and not catalog.is_published(source):
        source = weights.read(source, preprocessing=given)
    elif given:
        record = catalog.get_weights(source, variant) if isinstance(source, str) else source
        own = chosen(given, record.preprocessing, source=arguments.source)
        source = dataclasses.replace(record, preprocessing=own)
    elif not variant:
        source = weights.read(source)
    loaded = resolved(source, variant) if variant else identified(source)
    if loaded is None or not (variant or loaded.identity.variant):
        raise ValueError(f"{arguments.source} does not name its network: give it as `model`.")
    names = contract.class_names(arguments)
    if names is None:
        return loaded
    identity = loaded.identity.replace(class_names=tuple(names))
    return dataclasses.replace(loaded, identity=identity)
