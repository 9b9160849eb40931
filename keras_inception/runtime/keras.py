"""Keras as the engine: built models, run folders, `.keras` files, weights by file or name."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_inception import messages, weights
from keras_inception.catalog import IMAGENET, get_weights, is_published
from keras_inception.contracts import Given, chosen
from keras_inception.identity import Identity, attach, identity_of
from keras_inception.models import recognition
from keras_inception.models.imagenet import class_names
from keras_inception.models.registry import get_model
from keras_inception.models.saving import load_model
from keras_inception.models.surgery import to_inference
from keras_inception.runs import RunFolder
from keras_inception.runtime.engine import check_finite, prepared, probabilities
from keras_inception.weights.hub import catalogued


class KerasEngine:
    """Runs a Keras model with one input, an image, and one classifier.

    Args:
        model: Ends in a softmax, in sigmoids, or in logits, which become probabilities here.
            Auxiliary heads are left out.
        output: What logits become: an `Identity.output`.

    Attributes:
        model: A functional model with one input and one output.
        output: What the probabilities are: an `Identity.output`.

    Raises:
        ValueError: the model was not built, has other inputs or outputs, or weights that are not
            finite.
    """

    name = "Keras"

    def __init__(self, model: keras.Model, output: str = "softmax") -> None:
        self.model = single_headed(model)
        (image,), (answer,) = self.model.inputs, self.model.outputs
        if len(image.shape) != 4 or image.shape[-1] is None or len(answer.shape) != 2:
            raise ValueError(
                "A classifier takes images (batch, height, width, channels), channels last, and "
                f"returns (batch, classes). Received: {image.shape} -> {answer.shape}"
            )
        check_finite(
            ((weight.path, keras.ops.convert_to_numpy(weight)) for weight in self.model.weights),
            f"The model {self.model.name!r} cannot be used: ",
        )
        self.input_shape = tuple(image.shape[1:])
        self.classes = answer.shape[-1]
        activation = final_activation(self.model)
        self.gives_logits = activation == "linear"
        self.output = output if self.gives_logits else activation

    def __call__(self, images: np.ndarray) -> np.ndarray:
        answers = np.asarray(self.model.predict_on_batch(images), np.float32)
        return probabilities(answers, self.output) if self.gives_logits else answers


def of_model(model: Any) -> tuple[KerasEngine, Identity]:
    """The engine of a built model, and what the model says of itself."""
    if not isinstance(model, keras.Model):
        raise ValueError(
            "A classifier is made of a run folder, a model, or a file or published name of one. "
            f"Received: {messages.shown(model)}"
        )
    identity = identity_of(model) or Identity(
        "", preprocessing=getattr(model, "preprocessing", None)
    )
    engine = KerasEngine(model, identity.output)
    return engine, _with_output(identity, engine.output)


def _with_output(identity: Identity, output: str) -> Identity:
    """An identity with what its network's outputs are found to be."""
    if output == identity.output:
        return identity
    return identity.replace(output=output, thresholds=())


def of_run(path: Path) -> tuple[KerasEngine, Identity]:
    """The engine of a finished run, with the contract and the class names of its folder."""
    run = RunFolder(path)
    engine, identity = of_model(run.load_model())
    if not identity.variant:
        identity = identity.replace(variant=run.recipe.model)
    return engine, identity.replace(
        preprocessing=run.preprocessing, class_names=tuple(run.class_names)
    )


def of_file(path: Path) -> tuple[KerasEngine, Identity]:
    """The engine of a `.keras` file; one that lies in a run folder has that folder's contract."""
    if (path.parent / "config.json").exists() and (path.parent / "preprocessing.json").exists():
        return of_run(path.parent)
    try:
        model = load_model(path)
    except (ValueError, TypeError, OSError) as error:
        said = str(error).strip()
        foreign = re.search(r"Could not locate (?:class|function) '([^']*)'", said)
        if foreign:
            raise ValueError(
                f"{path} cannot be loaded as a Keras model: it holds {foreign[1]}, which Keras "
                "does not know. Load it with `keras.models.load_model(..., custom_objects=...)`, "
                "and give the model."
            ) from error
        reason = (said.splitlines() or ["no reason given"])[0]
        raise ValueError(f"{path} cannot be loaded as a Keras model: {reason}") from error
    return of_model(model)


def of_h5(path: Path, given: Given | None = None) -> tuple[KerasEngine, Identity]:
    """The engine of a Keras `.h5` file: weights of a network of ours, or else a whole model."""
    try:
        return of_weights(path, given)
    except ValueError as error:
        try:
            model = load_model(path)
        except (ValueError, TypeError, OSError) as second:
            if "No model config" in str(second):
                raise error from None
            reason = (str(second).strip().splitlines() or ["no reason given"])[0]
            raise ValueError(
                f"{error} As a whole model it cannot be loaded either: {reason}"
            ) from error
    engine, identity = of_model(model)
    return engine, prepared(identity, given, engine, os.fspath(path))


def of_weights(
    source: str | os.PathLike, given: Given | None = None
) -> tuple[KerasEngine, Identity]:
    """The engine of a weights file or of published weights, by their name.

    Args:
        source: The file or the name.
        given: The contract that a caller gives: weights may be changed so that they take another.
    """
    name = os.fspath(source)
    if is_published(source):
        record = get_weights(name)
        if given is not None:
            own = chosen(given, record.preprocessing, source=name)
            record = dataclasses.replace(record, preprocessing=own)
        engine, identity = of_model(get_model(record.variant, weights=record if given else name))
        if record.label_set == IMAGENET and not identity.class_names:
            identity = identity.replace(class_names=class_names())
        return engine, identity
    if not (weights.is_repository(name) or os.path.exists(name) or weights.is_checkpoint(name)):
        raise ValueError(
            "There is no run folder, model file or weights file of that name, and no published "
            f"weights either (`keras_inception.list_weights()` names them). Received: {name}"
        )
    loaded = recognition.identified(weights.read(name, preprocessing=given))
    variant, contract = loaded.identity.variant, loaded.identity.preprocessing
    if not variant:
        raise ValueError(
            f"{source} does not say which variant its weights belong to. Build the model with "
            "`keras_inception.get_model(..., weights=...)` and give that."
        )
    if not loaded.outputs or loaded.foreign:
        raise ValueError(f"{source} holds no classifier of {variant}, only its features.")
    size = contract.size if contract else (None, None)
    engine, identity = of_model(
        get_model(variant, weights=loaded, input_shape=(*size, loaded.channels))
    )
    published = catalogued(name)
    if published and published.label_set == IMAGENET and not identity.class_names:
        identity = identity.replace(class_names=class_names())
    return engine, identity


def single_headed(model: keras.Model) -> keras.Model:
    """The model as a functional one with a single input and output; it shares the layers.

    Raises:
        ValueError: the model was not built, is no graph of layers, or has several outputs that
            are not ours.
    """
    if not getattr(model, "inputs", None) or not getattr(model, "outputs", None):
        raise ValueError(
            f"The model {model.name!r} has no defined input and output. A Sequential gets them "
            "from a `keras.Input` as its first layer, or from its first call; a subclassed model "
            "has none: wrap it as `keras.Model(inputs, model(inputs))`."
        )
    if isinstance(model, keras.Sequential):
        graph = keras.Model(model.inputs[0], model.outputs[0], name=model.name)
        return _as(model, graph)
    if isinstance(model.output, dict) and "predictions" in model.output:
        model = to_inference(model)
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ValueError(
            "A classifier has one input and one output; `keras_inception.to_inference` removes "
            f"auxiliary heads. Received: {len(model.inputs)} inputs, {len(model.outputs)} outputs"
        )
    return model


def in_float32(model: keras.Model) -> keras.Model:
    """The model, rebuilt if it computes in 16 bits, models inside it included.

    A phone's runtime has no kernels for 16-bit layers. Identity and weights stay.

    Args:
        model: Functional, of layers that Keras knows.

    Raises:
        ValueError: the model holds layers that cannot be rebuilt from their configuration.
    """
    if {layer.compute_dtype for layer in _layers(model)} <= {"float32"}:
        return model
    try:
        rebuilt = type(model).from_config(_with_float32(model.get_config()))
    except (TypeError, ValueError, NotImplementedError) as error:
        reason = (str(error).strip().splitlines() or ["no reason given"])[0]
        raise ValueError(
            f"The model {model.name!r} computes in 16 bits and cannot be rebuilt in float32: "
            f"{reason}"
        ) from error
    rebuilt.set_weights(model.get_weights())
    return _as(model, rebuilt)


def final_activation(model: keras.Model) -> str:
    """What a classifier ends in: "softmax", "sigmoid", or "linear" for logits.

    Raises:
        ValueError: it ends in something else.
    """
    last: Any = model
    while isinstance(last, keras.Model):
        last = last.outputs[0]._keras_history.operation
    if isinstance(last, keras.layers.Softmax):
        return "softmax"
    if isinstance(last, keras.layers.Dropout | keras.layers.Flatten):
        return "linear"
    name = getattr(getattr(last, "activation", None), "__name__", "")
    if name not in ("softmax", "sigmoid", "linear"):
        raise ValueError(
            "A classifier ends in a softmax, in a sigmoid for each class, or in a layer without "
            "activation, which gives logits. "
            f"Received: the layer {last.name!r} with activation {name or 'unknown'}"
        )
    return name


def _layers(model: keras.Model) -> list[keras.layers.Layer]:
    """All layers, those of models inside the model included; not the input layers."""
    found = []
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            found += _layers(layer)
        elif not isinstance(layer, keras.layers.InputLayer):
            found.append(layer)
    return found


def _with_float32(config: Any) -> Any:
    """A model's configuration with float32 as the dtype policy of every layer, at any depth."""
    if isinstance(config, list | tuple):
        return [_with_float32(item) for item in config]
    if not isinstance(config, dict):
        return config
    changed = {key: _with_float32(value) for key, value in config.items()}
    policy = config.get("dtype")
    name = policy.get("config", {}).get("name", "") if isinstance(policy, dict) else policy
    if isinstance(name, str) and name.endswith("float16"):
        changed["dtype"] = "float32"
    return changed


def _as(model: keras.Model, other: keras.Model) -> keras.Model:
    """Other, with the identity of a model."""
    identity = identity_of(model)
    if identity:
        return attach(other, identity)
    if hasattr(model, "preprocessing"):
        other.preprocessing = model.preprocessing
    return other
