"""Back to the publishers: a network's weights under the names that another library gives them."""

from __future__ import annotations

import dataclasses
import inspect
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_inception import catalog, messages
from keras_inception.catalog import Weights
from keras_inception.identity import Identity, identity_of
from keras_inception.models import recognition, registry
from keras_inception.models.arguments import recorded
from keras_inception.weights import layouts, native, writers
from keras_inception.weights.readers import Layers


@dataclasses.dataclass(frozen=True)
class _Publisher:
    """A library whose own code loads what is written for it.

    Attributes:
        tag: Of the records in the catalogue that say what its networks compute.
        endings: Those of its files.
        holds: Builder's arguments that its code takes besides those of the record.
        channels: Of the images; None for any number.
    """

    tag: str
    endings: tuple[str, ...]
    holds: frozenset[str] = frozenset()
    channels: int | None = None


PUBLISHERS = {
    "timm": _Publisher("timm_tf", (".safetensors",)),
    "torchvision": _Publisher("torchvision", (".safetensors",), channels=3),
    "keras": _Publisher("keras", (".weights.h5", ".h5", ".keras")),
    "slim": _Publisher("slim", (".ckpt",), frozenset({"batch_norm", "separable_stem"})),
}
# What every publisher's file holds, or leaves to the code that loads it.
_FREE = {"bn_scale", "classifier_activation"}


def convert_weights(model: keras.Model, path: str | Path, to: str) -> Path:
    """Writes a network's weights for another library: under its names, in its shapes and format.

    The library's own code then computes what the model computes, up to its last activation: torch's
    networks and TF-Slim's give logits. How images are prepared and the names of the classes are in
    none of these files, and a warning says so. Layouts without a gamma in BatchNorm get it in the
    kernels, which computes the same.

    Args:
        model: A network of this package, also one that Keras rebuilt.
        path: The file: .safetensors for timm and torchvision (`load_state_dict` takes it by
            `safetensors.torch.load_file`); .weights.h5, or .h5 and .keras with the whole model, for
            keras.applications; .ckpt, the prefix of a checkpoint, for TF-Slim.
        to: "timm", "torchvision", "keras" (keras.applications) or "slim".

    Returns:
        The path.

    Raises:
        ValueError: the library does not have this network, or its network cannot hold it; the
            message names what it cannot hold.
    """
    path, known = written(model, checked(path, to), to)
    logging.warning(
        "%s holds weights only. The images of %s are prepared by %s%s.",
        path,
        model.name,
        known.preprocessing or "a contract that is not known",
        f", and its classes are {messages.some(known.class_names)}" if known.class_names else "",
    )
    return path


def written(model: keras.Model, path: Path, to: str) -> tuple[Path, Identity]:
    """`convert_weights` without its warning; also returns what the network is."""
    known = identity_of(model) or recognition.shown_by(model)
    record = _record(known, to)
    arrays = {n: keras.ops.convert_to_numpy(v) for n, v in native.variables(model).items()}
    arrays = _without_heads(arrays, _layout(record, known.arguments), to)
    _check(known, record, to, arrays)
    restored = layers_for(arrays, known.arguments, record)
    if to == "keras":
        _write_keras(path, restored, model, known)
    elif to == "slim":
        writers.checkpoint(path, restored)
    else:
        writers.torch_safetensors(path, restored)
    return path, known


def checked(path: str | Path, to: str) -> Path:
    """The path. Raises ValueError if there is no such library, or its files end otherwise."""
    if to not in PUBLISHERS:
        raise ValueError(f"`to` should be one of {', '.join(PUBLISHERS)}. Received: to={to!r}")
    endings = PUBLISHERS[to].endings
    if not Path(path).name.endswith(endings):
        raise ValueError(f"A file for {to} ends in {' or '.join(endings)}. Received: {path}")
    return Path(path)


def layers_for(
    arrays: Mapping[str, np.ndarray], arguments: Mapping[str, Any], record: Weights
) -> Layers:
    """Arrays under our names as the layers of a record's publisher."""
    gammas = bool(record.builder_arguments.get("bn_scale"))
    return _layout(record, arguments).restored(arrays, gammas)


def _record(known: Identity, to: str) -> Weights:
    """The catalogue's entry that says what a publisher's network computes."""
    own = [r for r in catalog.CATALOG if r.tag == PUBLISHERS[to].tag]
    for record in own:
        if record.variant == known.variant:
            return record
    raise ValueError(
        f"{to} has {', '.join(r.variant for r in own)}. "
        f"Received: {known.variant or 'a network of no variant'}"
    )


def _layout(record: Weights, arguments: Mapping[str, Any]) -> layouts.Layout:
    name = record.layout or ""
    if record.variant == "BNInception" and not arguments["separable_stem"]:
        name = "slim/inception_v2_plain_stem"
    return layouts.LAYOUTS[name]


def _without_heads(
    arrays: dict[str, np.ndarray], layout: layouts.Layout, to: str
) -> dict[str, np.ndarray]:
    """The arrays without the auxiliary heads of which a publisher has none, which is said."""
    known = set(layout.names.values())
    heads = {n.partition("/")[0] for n in arrays if n.startswith("aux")} - known
    if heads:
        logging.warning("%s has no %s: left out.", to, ", ".join(sorted(heads)))
    return {name: array for name, array in arrays.items() if name.partition("/")[0] not in heads}


def _check(known: Identity, record: Weights, to: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Raises ValueError that names what a publisher's network cannot hold of a model."""
    builder = registry.builder_of(known.variant)
    free = _FREE | PUBLISHERS[to].holds
    if not any(name.startswith("aux") for name in arrays):
        free |= {"adaptive_aux_pool"}
    theirs = {
        name: record.builder_arguments.get(name, parameter.default)
        for name, parameter in inspect.signature(builder).parameters.items()
        if name in recorded(builder) and name not in free
    }
    problems = [
        f"{name}={known.arguments[name]!r} (it computes {name}={value!r})"
        for name, value in theirs.items()
        if known.arguments.get(name, value) != value
    ]
    layout = _layout(record, known.arguments)
    ours, layers = set(layout.names.values()), {name.partition("/")[0] for name in arrays}
    if layers - ours:
        problems.append(f"the layers {messages.some(sorted(layers - ours), 6)}")
    missing = {layout.names[name] for name in layout.convolutions} - layers
    if missing:
        problems.append(f"a network without the layers {messages.some(sorted(missing), 6)}")
    first = next((a for n, a in arrays.items() if n.endswith("kernel")), np.empty((1, 1, 3)))
    if PUBLISHERS[to].channels not in (None, first.shape[2]):
        problems.append(f"images of {first.shape[2]} channels")
    if known.preprocessing and known.preprocessing.channel_order != "RGB":
        problems.append(f"images in the order {known.preprocessing.channel_order}")
    if problems:
        raise ValueError(f"{to}'s {known.variant} cannot hold {'; '.join(problems)}.")


def _write_keras(path: Path, restored: Layers, model: keras.Model, known: Identity) -> None:
    """Lets keras.applications' own network write the file: the order of its layers matters."""
    top = "predictions" in restored
    channels_first = keras.config.image_data_format() == "channels_first"
    channels = model.input_shape[1 if channels_first else -1]
    sides = registry.default_preprocessing(known.variant).size
    build: Callable[..., keras.Model] = getattr(keras.applications, known.variant)
    options: dict[str, Any] = {}
    if top:
        options = {
            "classes": restored["predictions"]["kernel"].shape[-1],
            "classifier_activation": known.arguments.get("classifier_activation", "softmax"),
        }
    peer = build(
        weights=None,
        include_top=top,
        input_shape=(channels, *sides) if channels_first else (*sides, channels),
        **options,
    )
    found = layouts.recognise({layer.name: {} for layer in peer.layers if layer.weights})
    for name, values in restored.items():
        for variable in peer.get_layer(found.origin[name]).weights:
            variable.assign(values[variable.name])
    save = peer.save_weights if path.name.endswith(".weights.h5") else peer.save
    writers.by_ending(path, save)
