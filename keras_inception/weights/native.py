"""The native weights file: arrays named "layer/variable", and the network's identity.

It is a safetensors file, whose header holds the identity: the builder with its arguments, the
preprocessing contract and the names of the classes. Keras' own .weights.h5 is keyed by class and
order instead, and was seen to load an auxiliary head's kernel into another layer without a word.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_inception.identity import Identity, identity_of
from keras_inception.preprocessing import Preprocessing
from keras_inception.weights import graph as network_graph
from keras_inception.weights.readers import safetensors


def variables(model: keras.Model) -> dict[str, Any]:
    """A model's weights by "layer/variable", such as "stem_0_conv/kernel".

    Raises:
        ValueError: a layer has two weights of the same name, as a model inside the model has.
    """
    found: dict[str, Any] = {}
    for layer in model.layers:
        for weight in layer.weights:
            name = f"{layer.name}/{weight.name}"
            if name in found:
                inside = ", a model inside the model," * isinstance(layer, keras.Model)
                raise ValueError(
                    f"{model.name} cannot be named weight by weight: its layer "
                    f"{layer.name}{inside} has more than one weight called {weight.name}. Build "
                    "the head on the backbone's output instead: keras.Model(backbone.input, "
                    "head(backbone.output))."
                )
            found[name] = weight
    return found


def save_weights(
    model: keras.Model,
    path: str | Path,
    *,
    preprocessing: Preprocessing | None = None,
    class_names: Sequence[str] = (),
) -> Path:
    """Writes a model's weights as a native file, which a builder's `weights` argument takes.

    The file says which network it belongs to. A model that a builder of this package made knows
    that itself. Of a model that Keras rebuilt (`keras.Model(...)`, `clone_model`) the file holds
    the graph, which shows what was built; give the preprocessing contract, which is not in it.

    Args:
        model: A flat functional model; models inside the model are refused.
        path: The file to write, in a folder that is made if need be; it ends in .safetensors.
        preprocessing: The contract; by default the model's.
        class_names: Names of the classes, in the order of the outputs; by default the model's.

    Returns:
        The path.

    Raises:
        ValueError: the path has another ending, the model has the layers of no builder of this
            package, the number of names is not that of the outputs, or a model stands inside the
            model.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"Native weights end in .safetensors. Received: {path}")
    named = variables(model)
    known, graph = _known(model)
    contract = preprocessing or known.preprocessing
    _say_what_is_lost(model, path, known, contract)
    if contract:  # the file holds the features only
        contract = contract.replace(inside_model=False)
    identity = known.replace(
        preprocessing=contract, class_names=tuple(class_names or known.class_names)
    )
    arrays = {
        name: np.ascontiguousarray(keras.ops.convert_to_numpy(v), "<f4")
        for name, v in named.items()
    }
    outputs = len(arrays.get("predictions/bias", identity.class_names))
    if identity.class_names and len(identity.class_names) != outputs:
        raise ValueError(
            f"`class_names` should name each of the {outputs} outputs. "
            f"Received: {len(identity.class_names)} names"
        )
    metadata = {"format": safetensors.NATIVE, **identity.to_metadata()}
    safetensors.write(path, arrays, metadata | ({"graph": graph} if graph else {}))
    return path


def _known(model: keras.Model) -> tuple[Identity, str]:
    """A model's identity, and its graph where it has none.

    Keras' clone_model and load_model keep no attributes. Their graph goes into the file: it shows
    which variant that is, and a builder holds what it builds against it.

    Raises:
        ValueError: the model has the layers of no variant.
    """
    known, graph = identity_of(model), ""
    if known is None:
        graph = network_graph.text_of(model)
        known = Identity("", preprocessing=getattr(model, "preprocessing", None))
    if not (known.variant or graph):
        raise ValueError(
            f"{model.name} has the layers of no variant of this package, and a file that does not "
            "say what it is for cannot be loaded safely. Save it with Keras: model.save(...)."
        )
    return known, graph


def _say_what_is_lost(
    model: keras.Model, path: Path, known: Identity, contract: Preprocessing | None
) -> None:
    """Warns of what a model's file will not say."""
    if not contract:
        logging.warning(
            "%s does not say how its images are scaled, and neither will %s: give `preprocessing`.",
            model.name,
            path,
        )
    has_classifier = any(layer.name == "predictions" for layer in model.layers)
    if known.variant and has_classifier and "classifier_activation" not in known.arguments:
        logging.warning(
            "The classifier's activation of %s is a function of your own, which %s cannot hold: "
            "give it again as `classifier_activation` when you load the file.",
            model.name,
            path,
        )
