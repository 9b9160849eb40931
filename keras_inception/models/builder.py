"""keras.applications' contract, once for every variant: arguments, input, heads, top, weights."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec

import keras
from keras import layers

from keras_inception import weights as weights_floor
from keras_inception.catalog import Weights
from keras_inception.identity import Identity, attach
from keras_inception.models import recognition
from keras_inception.models.arguments import Asked, check_choices, recorded
from keras_inception.models.documentation import documented
from keras_inception.models.layers import (
    Conventions,
    Tensor,
    channel_axis,
    conventions,
    restore_initializers,
)
from keras_inception.models.measure import smallest_input
from keras_inception.preprocessing import Preprocessing
from keras_inception.weights import Loaded
from keras_inception.weights.graph import Graph

# What a builder's `weights` takes.
WeightsLike = str | os.PathLike[str] | Weights | Loaded | None

# Endpoint that a head stands on, and the function that draws it: (x, classes, name) -> logits.
Auxiliary = Mapping[str, tuple[str, Callable[[Tensor, int, str], Tensor]]]

P = ParamSpec("P")


@dataclasses.dataclass(frozen=True)
class Parts:
    """What a variant has for itself; the rest of a model is the same for all.

    Attributes:
        features: Draws the network from the image to the last feature map.
        auxiliary: The auxiliary heads: output name -> (endpoint, what draws the head).
        neck: Draws what stands between the pooled features and the classifier, if anything does.
    """

    features: Callable[[Tensor], Tensor]
    auxiliary: Auxiliary
    neck: Callable[[Tensor], Tensor] | None = None


def builder(
    preprocessing: Preprocessing, arguments_in: Callable[[Graph], dict[str, Any] | None]
) -> Callable[[Callable[P, Parts]], Callable[P, keras.Model]]:
    """Makes a builder of a function that describes a variant.

    The function declares all arguments and gives the variant's own part. The builder loads the
    weights, draws the network by the layers' conventions, adds the heads and the top, attaches the
    identity and completes the docstring.

    What the weights need (BatchNorm's epsilon, the padding, ...) and their number of classes hold
    unless the caller gives the argument.

    Args:
        preprocessing: The variant's default contract, with its default input size.
        arguments_in: Reads the variant's own arguments off a graph; None if the graph is another's.
    """

    def decorate(function: Callable[P, Parts]) -> Callable[P, keras.Model]:
        variant = function.__name__
        signature = inspect.signature(function)

        @functools.wraps(function)
        def build(*args: P.args, **kwargs: P.kwargs) -> keras.Model:
            given = signature.bind(*args, **kwargs).arguments
            wanted = given.pop("weights", signature.parameters["weights"].default)
            loaded = resolved(wanted, variant)
            arguments = _with_the_files(loaded, given) if loaded else given
            bound = signature.bind(**arguments)
            bound.apply_defaults()
            check_choices(build, bound.arguments)
            model = _build(function, bound.arguments, loaded, preprocessing)
            if loaded:
                weights_floor.load_into(model, loaded)
                restore_initializers(model, loaded.arrays.keys())
                if loaded.graph:
                    recognition.check(loaded, model)
            chosen = {name: bound.arguments[name] for name in recorded(build)}
            activation = chosen.pop("classifier_activation")
            if bound.arguments["include_top"]:
                chosen |= recorded_activation(activation)
            names = _class_names(loaded, bound.arguments)
            identity = Identity.create(variant, chosen, model.preprocessing, names)
            if (
                names
                and loaded
                and identity.arguments.get("classifier_activation", "softmax") != "softmax"
            ):
                said = loaded.identity
                identity = identity.replace(output=said.output, thresholds=said.thresholds)
            return attach(model, identity)

        build.__doc__ = documented(function, preprocessing.size)
        build.__annotations__ = {**function.__annotations__, "return": keras.Model}
        vars(build)["__signature__"] = signature.replace(return_annotation=keras.Model)
        vars(build)["arguments_in"] = arguments_in
        return build

    return decorate


def resolved(wanted: WeightsLike, variant: str) -> Loaded | None:
    """What `weights` of a variant's builder means, recognised and held against the builder.

    Raises:
        ValueError: it means nothing, or does not belong to the variant.
        DownloadError: a published file cannot be downloaded.
    """
    loaded = weights_floor.resolve(wanted, variant)
    return recognition.identified(loaded, variant) if loaded else None


def _with_the_files(loaded: Loaded, given: Mapping[str, Any]) -> dict[str, Any]:
    """The caller's arguments, completed by those of the weights; says where they disagree."""
    arguments = {**loaded.identity.arguments, **given}
    if arguments.get("include_top", True) and "classes" not in arguments:
        arguments["classes"] = loaded.default_classes()
    # A neck stands on pooled features: plain `include_top=False` gives the map in front of it.
    pooled = arguments.get("include_top", True) or arguments.get("pooling")
    if not pooled and "embedding" not in given:
        arguments.pop("embedding", None)
    say_differences(loaded, given)
    return arguments


def say_differences(loaded: Loaded, arguments: Mapping[str, Any]) -> None:
    """Warns of a network's arguments that are others than those of its weights."""
    for name, value in loaded.identity.arguments.items():
        other = arguments.get(name, value)
        if other != value and name not in ("classifier_activation", "width_multiplier"):
            logging.warning(
                "%s was trained with %s=%r and is used with %s=%r, which computes something else.",
                loaded.source,
                name,
                value,
                name,
                other,
            )


def recorded_activation(activation: str | Callable | None) -> dict[str, str | None]:
    """A classifier's activation as an identity holds it: by Keras' name, None for logits.

    Empty for a function of the user's own, which has no name that a file could hold.
    """
    name = keras.activations.serialize(keras.activations.get(activation))
    if not isinstance(name, str):
        return {}
    return {"classifier_activation": None if name == "linear" else name}


def _class_names(loaded: Loaded | None, arguments: Mapping[str, Any]) -> Sequence[str]:
    """The names of the classes in a file, if the model predicts those classes."""
    if loaded is None or loaded.foreign or not (loaded.outputs and arguments["include_top"]):
        return ()
    names = loaded.identity.class_names or loaded.order_of_2015(arguments["classes"])
    return names if len(names) == arguments["classes"] else ()


def _build(
    function: Callable[..., Parts],
    arguments: Mapping[str, Any],
    loaded: Loaded | None,
    preprocessing: Preprocessing,
) -> keras.Model:
    """The model that a builder's arguments describe, by the layers' conventions among them."""
    asked = Asked(**{f.name: arguments[f.name] for f in dataclasses.fields(Asked)})
    names = {field.name for field in dataclasses.fields(Conventions)}
    how = {name: value for name, value in arguments.items() if name in names}
    if loaded:
        preprocessing = recognition.contract_in(loaded, preprocessing)
        how["loaded"] = loaded.arrays.keys()
    if isinstance(asked.include_preprocessing, Preprocessing):
        preprocessing = asked.include_preprocessing
    with conventions(**how):
        channels = loaded.channels if loaded else 3
        return _assembled(function(**arguments), asked, preprocessing, channels)


def _assembled(
    parts: Parts, asked: Asked, preprocessing: Preprocessing, channels: int
) -> keras.Model:
    """A model of a variant's parts, with `model.preprocessing`.

    Args:
        parts: The variant's own.
        asked: What every variant is asked for.
        preprocessing: The contract: the default input size, and the scaling in front.
        channels: Those of the images, unless an input is asked for.

    Raises:
        ValueError: the input is smaller than the unpadded layers need.
    """
    inputs = asked.input_tensor
    if inputs is None:
        inputs = keras.Input(_input_shape(asked, preprocessing, channels), name="image")
    x, outputs = _body(inputs, parts, asked, preprocessing)
    pooling = "avg" if asked.include_top else asked.pooling
    if pooling == "avg":
        x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
    elif pooling == "max":
        x = layers.GlobalMaxPooling2D(name="max_pool")(x)
    if asked.include_top and asked.dropout:
        x = layers.Dropout(asked.dropout, name="dropout")(x)
    if parts.neck is not None and pooling:
        x = parts.neck(x)
    if asked.include_top:
        # float32 under every dtype policy: the loss needs it.
        x = layers.Dense(
            asked.classes, asked.classifier_activation, dtype="float32", name="predictions"
        )(x)
    sources = inputs
    if asked.input_tensor is not None:
        sources = keras.utils.get_source_inputs(inputs)
        sources = sources[0] if len(sources) == 1 else sources
    outputs = {"predictions": x, **outputs} if outputs else x
    model = keras.Model(sources, outputs, name=asked.name)
    height, width = inputs.shape[_spatial()]
    if height and width:
        preprocessing = preprocessing.replace(size=(height, width))
    inside = bool(asked.include_preprocessing)
    model.preprocessing = preprocessing.replace(inside_model=inside)
    return model


def _body(
    inputs: Tensor, parts: Parts, asked: Asked, preprocessing: Preprocessing
) -> tuple[Tensor, dict[str, Tensor]]:
    """The features of the images and the auxiliary logits by name, scaled in front if asked for.

    Raises:
        ValueError: the images are too small, or the variant refuses something else.
    """
    failed: ValueError | None = None
    try:
        x = _scaled(inputs, preprocessing) if asked.include_preprocessing else inputs
        drawn, x, logits = _drawn(inputs, x, parts, asked)
    except ValueError as error:
        failed = error
    sides = inputs.shape[_spatial()]
    if any(sides):
        # If `input_tensor` is another layer's output, Keras clones the graph, and the clone cannot
        # be measured.
        if failed or drawn.inputs[0] is not inputs:
            ample = list(inputs.shape)
            ample[_spatial()] = [512, 512]
            image = keras.Input(tuple(ample[1:]))
            drawn, _, _ = _drawn(image, image, parts, asked)
        # Keras 3.12 builds networks on inputs that are too small without an error.
        _check_size(sides, smallest_input(drawn), asked)
    if failed:
        raise failed  # the size was not what is wrong
    return x, logits


def _drawn(
    inputs: Tensor, x: Tensor, parts: Parts, asked: Asked
) -> tuple[keras.Model, Tensor, dict[str, Tensor]]:
    """The network with the heads asked for: as a model, its features and its auxiliary logits."""
    x = parts.features(x)
    backbone = keras.Model(inputs, x)
    logits = {
        output: draw(backbone.get_layer(endpoint).output, asked.classes, output)
        for output, (endpoint, draw) in (parts.auxiliary if asked.aux_logits else {}).items()
    }
    return keras.Model(inputs, [x, *logits.values()]), x, logits


def _check_size(sides: Sequence[int | None], least: tuple[int, int], asked: Asked) -> None:
    """Raises ValueError, with the smallest possible size, if the input is smaller than that."""
    if all(side is None or side >= need for side, need in zip(sides, least, strict=True)):
        return
    heads = " and its auxiliary head" if asked.aux_logits else ""
    without = ", or build it without (`aux_logits=False`)" if asked.aux_logits else ""
    raise ValueError(
        f"The input is too small for {asked.name}: its unpadded layers{heads} need at least "
        f"{least[0]} x {least[1]} pixels. Enlarge the images{without}. "
        f"Received: {sides[0]} x {sides[1]}"
    )


def _spatial() -> slice:
    """Where height and width stand in a batch's shape."""
    return slice(1, 3) if channel_axis() == -1 else slice(2, 4)


def _input_shape(
    asked: Asked, preprocessing: Preprocessing, channels: int
) -> tuple[int | None, ...]:
    """The shape of the images, by keras.applications' rules."""
    last = channel_axis() == -1
    shape = asked.input_shape
    if shape is None:
        size = preprocessing.size if asked.include_top else (None, None)
        shape = (*size, channels) if last else (channels, *size)
    if len(shape) != 3 or shape[-1 if last else 0] is None:
        layout = "(height, width, channels)" if last else "(channels, height, width)"
        raise ValueError(
            f"`input_shape` should be {layout}, without the batch and with the channels known. "
            f"Received: input_shape={shape}"
        )
    return shape


def _scaled(x: Tensor, preprocessing: Preprocessing) -> Tensor:
    """The contract's scaling as a layer: raw images (0-255) in, uint8 or float.

    Raises:
        ValueError: the contract reverses the channels, which that layer does not.
    """
    if preprocessing.channel_order != "RGB":
        raise ValueError(
            "`include_preprocessing` should be a contract whose channel_order is RGB, which the "
            f"builders' networks take. Received: {preprocessing}"
        )
    scale, offset = preprocessing.scale_and_offset(x.shape[channel_axis()])
    # float32 under every dtype policy, as outside of the model: bfloat16 would round twice.
    return layers.Rescaling(scale, offset, dtype="float32", name="preprocessing")(x)
