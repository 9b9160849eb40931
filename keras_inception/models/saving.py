"""Whole models in `.keras` files, with the network's identity."""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from pathlib import Path

import keras

from keras_inception import files
from keras_inception.identity import Identity, attach, identity_of
from keras_inception.models import recognition
from keras_inception.weights import graph, readers
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
    if not Path(path).is_file():
        return keras.models.load_model(path)  # Keras says what is wrong
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, Path(path).name)
        with readers.refusing(path):
            content = readers.whole(Path(path))
            written = keras_h5.copy_sound_model(content, copy, readers.Budget.of(len(content)))
        model = keras.models.load_model(copy)
    if written is not None:
        try:
            said = Identity.from_metadata(written)
            recognition.check_arguments(said)
            return attach(model, said)
        except (AttributeError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: its {IDENTITY_MEMBER} is damaged: {error}") from error
    identity = recognition.identity_in(graph.read(graph.text_of(model)), Identity(""))
    return attach(model, identity) if identity.variant else model
