"""What a builder's `weights` argument means: the arrays of a file, published or your own."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np

from keras_inception import budget, messages
from keras_inception.catalog import (
    CATALOG,
    Weights,
    get_weights,
    is_published,
    list_weights,
)
from keras_inception.contracts import Given, chosen
from keras_inception.identity import Identity
from keras_inception.preprocessing import Preprocessing
from keras_inception.weights import graph as network_graph
from keras_inception.weights import hub, layouts, readers
from keras_inception.weights.adapt import (
    WITH_BACKGROUND,
    Loaded,
    fold_input_scaling,
    in_rgb,
    outputs_of,
)
from keras_inception.weights.download import fetch

_ENDINGS = (
    *(".safetensors", ".keras", ".h5", ".pth", ".pt", ".ckpt", ".caffemodel", ".pb"),
    *(".gz", ".zip"),
)
# The scaling that weights with an unpadded stem are brought to: -1..1.
_USUAL = Preprocessing(size=(299, 299))


def resolve(weights: Any, variant: str) -> Loaded | None:
    """What a builder's `weights` argument means.

    Args:
        weights: None; "imagenet"; a name or tag of `list_weights`, which stays a name if a file is
            called so; a `Weights` record; the path of a weights file in any known format (for a
            TensorFlow checkpoint, its prefix); hf://owner/name[@revision]; or what this function
            returned.
        variant: The builder's name.

    Raises:
        ValueError: the value is none of these.
        DownloadError: a published file cannot be downloaded.
    """
    if weights is None:
        return None
    if is_published(weights, variant):
        if os.path.exists(weights):
            logging.warning("%s is a published name; the file is .%s%s.", weights, os.sep, weights)
        loaded = _load(get_weights(weights, variant))
    elif isinstance(weights, str | os.PathLike):
        if not _is_path(weights):
            get_weights(os.fspath(weights), variant)  # raises, and lists the names that there are
        loaded = read(weights)
    elif isinstance(weights, Weights):
        loaded = _load(weights)
    elif isinstance(weights, Loaded):
        loaded = weights
    else:
        raise ValueError(
            f'`weights` of {variant} should be None, "imagenet", the name of published weights '
            f"({', '.join(list_weights(variant))}), a Weights record or the path of a weights "
            "file. "
            f"Received: weights={messages.shown(weights)}"
        )
    return loaded


def read(
    path: str | os.PathLike, record: Weights | None = None, preprocessing: Given | None = None
) -> Loaded:
    """Reads a weights file: its arrays under our names, and what a model needs for them.

    Args:
        path: A file in any known format, recognised by its content; or hf://owner/name[@revision],
            or a folder in the form of such a repository.
        record: The facts about the file. By default a native file's own header gives them; for a
            publisher's layout they are taken from the catalogue, and a warning says from which
            entry, unless the file has the name of a published one.
        preprocessing: The contract, for a file that does not hold it; see `contracts.chosen`.

    Raises:
        ValueError: there is no such file, or its layer names match no known layout.
        DownloadError: a repository cannot be brought here.
    """
    if hub.is_repository(path):
        return _from_repository(path, record, preprocessing)
    return _read(path, record, preprocessing)


@budget.refuses
def _read(path: str | os.PathLike, record: Weights | None, preprocessing: Given | None) -> Loaded:
    """`read` of a file."""
    contents = readers.read(path)
    with budget.refusing(path, contents.format):
        found = layouts.recognise(contents.layers)
        layout = found.layout
        arrays = _arrays(found.layers) if layout is None else layout.translate(found.layers)
        graph = network_graph.read(contents.metadata.get("graph", ""))
    shown = json.loads(contents.metadata.get("shown", "{}"))  # a frozen graph's operations
    is_said = bool(layout is None or record or shown)  # and not guessed
    if layout is None:
        identity, label_offset = _own_identity(path, contents.metadata, graph, arrays, record), 0
    else:
        if record is None:
            record = _guessed(path, layout, arrays)
        elif record.layout not in (None, layout.name):
            raise ValueError(f"{path} has the layout {layout.name}, not {record.layout}.")
        identity = Identity.create(
            layout.variant,
            _arguments(layout.variant, record.builder_arguments, arrays)
            | shown.get("arguments", {}),
            _contract(path, record, shown.get("preprocessing", {})),
            readers.graphdef.labels_beside(Path(path), outputs_of(arrays)) if shown else (),
        )
        label_offset = record.label_offset
        if outputs_of(arrays) not in (record.classes, *WITH_BACKGROUND):
            label_offset = 0  # the file's own classes: a background class is a fact of ImageNet's
    if preprocessing is not None:
        known = identity.preprocessing
        size = network_graph.image_size(graph) or (known.size if known else None)
        said = known if is_said else None
        identity = identity.replace(
            preprocessing=chosen(preprocessing, said, size, os.fspath(path))
        )
    loaded = Loaded(
        os.fspath(path),
        arrays,
        identity,
        label_offset,
        layout=f"{contents.format}, {layout.name if layout else 'our own'} layer names",
        layers={
            theirs: layout.names[name] if layout else name for name, theirs in found.origin.items()
        },
        foreign=found.foreign,
        graph=graph,
    )
    if identity.preprocessing is not None and loaded.channels == 3:
        identity.preprocessing.scale_and_offset(3)  # refuses another number of means
    loaded = in_rgb(loaded)
    # Where the first convolution is padded, another scaling cannot be folded into it exactly.
    if layout and "stem_0_0_conv/kernel" in arrays and loaded.identity.preprocessing is not None:
        loaded = fold_input_scaling(loaded, _USUAL)
    return loaded


def _from_repository(
    source: str | os.PathLike, record: Weights | None, preprocessing: Given | None
) -> Loaded:
    """The weights of a repository, with what its config.json says of them."""
    repository = hub.opened(source)
    loaded = read(repository.weights, record or repository.record, preprocessing)
    names = repository.class_names or loaded.identity.class_names
    if len(names) not in (0, loaded.outputs):
        logging.warning(
            "%s names %d classes of %d outputs: the names are not used.",
            source,
            len(names),
            loaded.outputs,
        )
        names = ()
    return dataclasses.replace(
        loaded, source=os.fspath(source), identity=loaded.identity.replace(class_names=names)
    )


def _arrays(layers: readers.Layers) -> dict[str, np.ndarray]:
    """Layers with our own names as "layer/variable" arrays."""
    return {
        f"{layer}/{v}": array for layer, values in layers.items() for v, array in values.items()
    }


def _load(record: Weights) -> Loaded:
    """A record's arrays, downloaded if need be."""
    path = fetch(record) if record.url else Path(record.filename)
    loaded = read(path, record)
    name = f"{record.name} ({path})" if record.name else os.fspath(path)
    return dataclasses.replace(loaded, source=name)


def _is_path(value: str | os.PathLike) -> bool:
    """Whether an unknown name is a path: there is a file, or it is written as one."""
    name = os.fspath(value)
    written = not isinstance(value, str) or os.sep in name or name.endswith(_ENDINGS)
    return written or os.path.exists(name) or readers.tf_checkpoint.is_prefix(name)


def _guessed(
    path: str | os.PathLike, layout: layouts.Layout, arrays: dict[str, np.ndarray]
) -> Weights:
    """The catalogue's entry whose facts a file of some layout most likely needs.

    A file with the name of a published one is taken for it. Any other is taken for the first entry
    of its layout with as many outputs, or for the first at all; a warning says for which.
    """
    records, outputs = records_for(layout), outputs_of(arrays)
    for record in records:
        if record.filename == Path(path).name:
            logging.info("%s has the name of %s and is taken for it.", path, record.name)
            return record
    record = min(records, key=lambda r: r.classes != outputs)
    others: dict[str, str] = {}
    for other in records:
        others.setdefault(_facts(other), other.name)
    del others[_facts(record)]
    logging.warning(
        "%s does not say how it was trained. By its layer names (%s, %s) it is taken for "
        "%s: %s. If that is wrong, %s",
        path,
        layout.name,
        f"{outputs} outputs" if outputs else "without the publisher's classifier",
        record.name,
        _facts(record),
        f"name the weights that it comes from ({', '.join(others.values())}), for example with "
        f"weights=get_weights({next(iter(others.values()))!r}).with_file({os.fspath(path)!r})."
        if others
        else "describe it with weights=Weights(filename=..., variant=..., builder_arguments=..., "
        "preprocessing=...).",
    )
    return record


def _contract(
    path: str | os.PathLike, record: Weights, shown: dict[str, Any]
) -> Preprocessing | None:
    """A record's contract, or what a graph's own operations do to its images, which is said."""
    contract = record.preprocessing
    if contract is None or not shown:
        return contract
    seen = Preprocessing.from_dict(contract.to_dict() | shown)
    if seen != contract:
        logging.warning("%s prepares its images otherwise: %s, which is taken.", path, seen)
    return seen


def records_for(layout: layouts.Layout) -> list[Weights]:
    """The entries whose files have a layout, or at least its publisher and variant."""
    publisher = layout.name.partition("/")[0] + "/"
    return [r for r in CATALOG if r.layout == layout.name] or [
        r for r in CATALOG if r.variant == layout.variant and (r.layout or "").startswith(publisher)
    ]


def _facts(record: Weights) -> str:
    """What a record says about the network and its images, for people."""
    built = ", ".join(f"{name}={value!r}" for name, value in record.builder_arguments.items())
    contract = record.preprocessing
    assert contract is not None, "every entry of the catalogue has a contract"
    return (
        f"built with {built or 'the default arguments'}, on {contract.interpolation} images of "
        f"{contract.size[0]} x {contract.size[1]} with central crop {contract.crop_fraction:.4g} "
        f"(aspect={contract.aspect}), "
        f"scaled as (image - {contract.mean}) / {contract.std}"
    )


def _own_identity(
    path: str | os.PathLike,
    metadata: dict[str, str],
    graph: network_graph.Graph,
    arrays: dict[str, np.ndarray],
    record: Weights | None,
) -> Identity:
    """What a file with our own layer names says of its network, or the caller's record does.

    Of a file that Keras wrote the graph shows it, which `models.recognition` reads.
    """
    said = Identity.from_metadata(metadata)
    if record is None and not said.variant and not graph:
        logging.warning(
            "%s does not say how its network was built. Its arrays show %s, and the builder's "
            "defaults are taken for everything else; give the builder's arguments if they were "
            "others.",
            path,
            ", ".join(f"{k}={v!r}" for k, v in _seen_in(arrays).items()) or "no other arguments",
        )
    record = record or Weights()
    found = Identity.create(
        said.variant or ("" if graph else record.variant),
        {**_seen_in(arrays), **said.arguments, **record.builder_arguments},
        record.preprocessing or said.preprocessing,
        said.class_names,
    )
    if said.thresholds:
        return found.replace(output=said.output, thresholds=said.thresholds)
    return found


def _arguments(
    variant: str, arguments: dict[str, Any], arrays: dict[str, np.ndarray]
) -> dict[str, Any]:
    """A record's builder arguments, as far as the arrays do not show others."""
    arguments = {**_seen_in(arrays), **arguments}
    if variant == "BNInception":
        arguments["separable_stem"] = "stem_0_conv/depthwise_kernel" in arrays
    if variant == "InceptionResNetV1":
        kernel = arrays.get("bottleneck/kernel")
        arguments["embedding"] = None if kernel is None else kernel.shape[-1]
    return arguments


def _seen_in(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Builder arguments that the arrays themselves show."""
    if not any(name.endswith("moving_mean") for name in arrays):
        return {"batch_norm": False}
    if not any(name.endswith("gamma") for name in arrays):
        return {}
    return {"bn_scale": True}
