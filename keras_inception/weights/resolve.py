"""What a builder's `weights` argument means: the arrays of a file, published or your own."""

from __future__ import annotations

import dataclasses
import logging
import os
from pathlib import Path
from typing import Any

from keras_inception.identity import Identity
from keras_inception.preprocessing import Preprocessing
from keras_inception.weights import graph as network_graph
from keras_inception.weights import layouts, readers
from keras_inception.weights.adapt import Loaded, fold_input_scaling
from keras_inception.weights.catalog import (
    PADDED_STEM,
    Weights,
    for_file,
    get_weights,
    list_weights,
)
from keras_inception.weights.download import fetch

# The scaling that every unpadded stem can be given: -1..1.
_USUAL = Preprocessing(size=(299, 299))

# Values of the smallest variant, InceptionV1, without its classifier: 5.6 million.
_FEWEST_VALUES = 4e6


def resolve(weights: Any, variant: str) -> Loaded | None:
    """What a builder's `weights` argument means.

    Args:
        weights: None; "imagenet"; a name or tag of `list_weights`; a `Weights` record; the path of
            a weights file in any known format (for a TensorFlow checkpoint, its prefix); or what
            this function returned.
        variant: The builder's name.

    Raises:
        ValueError: the value is none of these, or the file belongs to another variant.
        DownloadError: a published file cannot be brought here.
    """
    if weights is None:
        return None
    if isinstance(weights, str | os.PathLike):
        if os.path.exists(weights) or readers.tf_checkpoint.is_prefix(weights):
            loaded = read(weights)
        elif _looks_like_a_path(weights):
            raise ValueError(f"There is no weights file {os.fspath(weights)}.")
        else:
            loaded = _load(get_weights(os.fspath(weights), variant))
    elif isinstance(weights, Weights):
        loaded = _load(weights)
    elif isinstance(weights, Loaded):
        loaded = weights
    else:
        raise ValueError(
            f'`weights` of {variant} should be None, "imagenet", the name of published weights '
            f"({', '.join(list_weights(variant))}), a Weights record or the path of a weights "
            "file. "
            f"Received: weights={weights!r}"
        )
    _check_width(loaded)
    if loaded.variant and loaded.variant != variant:
        raise ValueError(
            f"{loaded.source} holds weights of {loaded.variant}. Received: variant {variant}"
        )
    return loaded


@readers.refuses
def read(path: str | os.PathLike, record: Weights | None = None) -> Loaded:
    """The weights in a file, under our names, with what a model needs for them.

    Args:
        path: A file in any known format, recognised by its content.
        record: What is known of it. By default that is read from a native file, and for other
            layouts taken from the catalogue: the entry of that file name, or else the first with
            that layout and as many classes.

    Raises:
        ValueError: there is no such file, or nobody's layers that we know are in it.
    """
    contents = readers.read(path)
    found = layouts.recognise(contents.layers)
    if found is None:
        return _native(path, contents)
    layout, layers = found
    if record is not None and record.layout not in (None, layout.name):
        raise ValueError(f"{path} looks like {layout.name}, not like {record.layout}.")
    try:
        arrays = layout.translate(layers)
    except ValueError as error:
        raise ValueError(f"{path} ({contents.format}) cannot be used: {error}.") from error
    if record is None:
        outputs = arrays.get("predictions/bias")
        record = for_file(
            layout.name, Path(path).name, 0 if outputs is None else len(outputs)
        ) or Weights(variant=layout.variant)
        logging.info("%s is taken for %s.", path, record.name or layout.name)
    loaded = Loaded(
        os.fspath(path),
        arrays,
        layout.variant,
        {**_seen_in(arrays), **record.builder_arguments},
        record.preprocessing,
        record.label_offset,
        layout=f"{contents.format}, names of {layout.name}",
        layers={theirs: layout.names[theirs] for theirs in layers if theirs in layout},
    )
    if layout.variant not in PADDED_STEM and record.preprocessing is not None:
        loaded = fold_input_scaling(loaded, _USUAL)
    return loaded


def _check_width(loaded: Loaded) -> None:
    """Raises ValueError where a file asks for a network far larger than the arrays in it."""
    width = loaded.builder_arguments.get("width_multiplier", 1)
    values = sum(array.size for array in loaded.arrays.values())
    if width > 1 and values < _FEWEST_VALUES * width**2:
        raise ValueError(
            f"{loaded.source} says width_multiplier={width}, and holds the {values:,} values of a "
            "narrower network."
        )


def _load(record: Weights) -> Loaded:
    """A record's arrays, downloaded if need be."""
    path = fetch(record) if record.url else Path(record.filename)
    loaded = read(path, record)
    name = f"{record.name} ({path})" if record.name else os.fspath(path)
    return dataclasses.replace(loaded, source=name)


def _looks_like_a_path(value: str | os.PathLike) -> bool:
    endings = (
        ".h5",
        ".keras",
        ".safetensors",
        ".pth",
        ".pt",
        ".ckpt",
        ".caffemodel",
        ".gz",
        ".zip",
    )
    return os.sep in os.fspath(value) or os.fspath(value).endswith(endings)


def _native(path: str | os.PathLike, contents: readers.Contents) -> Loaded:
    """A file with our own layer names."""
    arrays = {f"{layer}/{v}": a for layer, vs in contents.layers.items() for v, a in vs.items()}
    if not any(name.startswith("stem_0") for name in arrays):
        raise ValueError(
            f"{path} ({contents.format}) holds the layers of no Inception that is known here. "
            f"Received: {sorted(contents.layers)[:4]}"
        )
    said = Identity.from_metadata(contents.metadata)
    try:
        text = contents.metadata.get("graph", "")
        graph = network_graph.read(text)
        if not said.variant:
            said = network_graph.identity_in(text, said.preprocessing)
    except ValueError as error:
        raise ValueError(f"{path} ({contents.format}) cannot be used: {error}") from error
    return Loaded(
        os.fspath(path),
        arrays,
        said.variant,
        {**_seen_in(arrays), **said.arguments},
        said.preprocessing,
        class_names=said.class_names,
        layout=f"{contents.format}, our own names",
        layers=dict.fromkeys(contents.layers, "the same"),
        graph=graph,
    )


def _seen_in(arrays: dict[str, Any]) -> dict[str, Any]:
    """Builder arguments that the arrays themselves show."""
    if not any(name.endswith("moving_mean") for name in arrays):
        return {"batch_norm": False}
    if not any(name.endswith("gamma") for name in arrays):
        return {}
    return {"bn_scale": True}
