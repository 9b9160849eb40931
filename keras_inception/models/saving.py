"""Whole models in `.keras` files, with the network's identity; weights into a built model."""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from pathlib import Path

import keras

from keras_inception import files
from keras_inception.budget import LARGEST_FILE, Budget, refusing
from keras_inception.identity import Identity, attach, identity_of
from keras_inception.models import recognition, registry
from keras_inception.models.builder import WeightsLike, resolved, say_differences
from keras_inception.weights import load_into
from keras_inception.weights.readers import keras_h5
from keras_inception.weights.readers.keras_h5 import IDENTITY_MEMBER


def save_model(model: keras.Model, path: str | Path) -> Path:
    """Writes a model as a `.keras` file that also holds its identity.

    Keras loads the file as any other. `load_model` and a builder's `weights` argument get back the
    builder's arguments, the preprocessing contract and the names of the classes, too.

    Args:
        model: A model. If it has no identity (Keras' `clone_model` and `load_model` keep none), the
            file is an ordinary `.keras` file.
        path: The file to write; it ends in .keras.

    Returns:
        The path.

    Raises:
        ValueError: the path has another ending.
    """
    path = Path(path)
    if path.suffix != ".keras":
        raise ValueError(f"Whole models end in .keras. Received: {path}")
    identity = identity_of(model)

    def write(temporary: Path) -> None:
        model.save(temporary)
        if identity is not None:
            with zipfile.ZipFile(temporary, "a") as archive:
                archive.writestr(IDENTITY_MEMBER, json.dumps(identity.to_metadata()))

    files.write(path, write)
    return path


def load_model(path: str | os.PathLike[str]) -> keras.Model:
    """Loads a whole model with Keras, and attaches its identity.

    The identity is the one that `save_model` wrote. In any other file with one of this package's
    networks it is read from the graph, which shows the builder and its arguments but not how images
    are prepared: `model.preprocessing` is then None.

    HDF5's library was seen to crash and to loop on damaged files. So Keras is given a copy of the
    file, whose HDF5 part a process of its own wrote anew within limits of memory and time. A copy
    loses nothing that Keras reads, of any model and its optimizer; arrays that were read outside
    of Keras would have to be matched with its variables once more.

    Args:
        path: A `.keras` file, or a legacy whole-model `.h5` file.

    Returns:
        The model. A network of another kind has no `model.identity`.

    Raises:
        ValueError: Keras cannot load the file, the identity in it is damaged, or it reads other
            files or takes more than a file of its size may.
    """
    if not Path(files.regular(path)).exists():
        return keras.models.load_model(path)  # Keras says what is wrong
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, Path(path).name)
        with refusing(path):
            content = files.read(path, LARGEST_FILE)
            written = keras_h5.copy_sound_model(content, copy, Budget.of(len(content)))
            model = keras.models.load_model(copy)
    if written is not None:
        with refusing(path, IDENTITY_MEMBER):
            said = Identity.from_metadata(written)
            recognition.check_arguments(said)
            return attach(model, said)
    identity = recognition.shown_by(model)
    return attach(model, identity) if identity.variant else model


def load_weights(model: keras.Model, weights: WeightsLike) -> list[str]:
    """Loads weights into a built model, as its builder's `weights` argument would.

    A classifier that the file does not give is an error here; only a builder makes a new one. The
    model takes over the contract of the weights (`model.preprocessing`) and the class names.

    Args:
        model: A network of this package, also one that Keras rebuilt (`clone_model`).
        weights: What a builder's `weights` takes, such as a file that `save_weights` wrote.

    Returns:
        What was adapted, a sentence each.

    Raises:
        ValueError: the weights do not fit, or they need images scaled in another way than the model
            scales them by itself. The model is unchanged.
        DownloadError: a published file cannot be downloaded.
    """
    known = identity_of(model) or recognition.shown_by(model)
    if not known.variant:
        raise ValueError(
            f"`model` should be a network of this package. Received: {model.name}, whose layers "
            "are those of no variant; load its file with Keras: `model.load_weights`."
        )
    loaded = resolved(weights, known.variant)
    if loaded is None:
        raise ValueError("`weights` should be a file or a published name. Received: None")
    contract = recognition.contract_in(loaded, registry.default_preprocessing(known.variant))
    ours = known.preprocessing or contract
    if ours.inside_model and ours.scaling != contract.scaling:
        raise ValueError(
            f"{model.name} scales its images by mean {ours.mean} and std {ours.std}, and "
            f"{loaded.source} needs mean {contract.mean} and std {contract.std}: build the model "
            "with `weights=` and `include_preprocessing=True`."
        )
    say_differences(loaded, known.arguments)
    if loaded.graph:
        recognition.check(loaded, model)
    notes = load_into(model, loaded, new_heads=False)
    contract = contract.replace(size=ours.size, inside_model=ours.inside_model)
    classifies = any(layer.name == "predictions" for layer in model.layers)
    names = (classifies and loaded.identity.class_names) or known.class_names
    attach(model, known.replace(preprocessing=contract, class_names=names))
    return notes
