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
from keras_inception.identity import BUILDER_ARGUMENTS, Identity, attach
from keras_inception.models.documentation import documented
from keras_inception.models.layers import (
    Conventions,
    Given,
    Tensor,
    channel_axis,
    conventions,
    given_kernels,
)
from keras_inception.models.measure import smallest_input
from keras_inception.preprocessing import Preprocessing
from keras_inception.weights import Loaded, Weights
from keras_inception.weights import graph as network_graph

# What a builder's `weights` takes.
WeightsLike = str | os.PathLike[str] | Weights | Loaded | None

# Endpoint that a head stands on, and the function that draws it: (x, classes, name) -> logits.
Auxiliary = Mapping[str, tuple[str, Callable[[Tensor, int, str], Tensor]]]

# Variants without ImageNet weights -> the published network that their users mean most often.
_NEVER_PUBLISHED = {"InceptionV2": "BNInception"}

P = ParamSpec("P")


@dataclasses.dataclass(frozen=True)
class Network:
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
    preprocessing: Preprocessing,
) -> Callable[[Callable[P, Network]], Callable[P, keras.Model]]:
    """Makes a builder of a function that describes a variant.

    The function declares all arguments and gives the variant's own part. The builder loads the
    weights, draws the network by the layers' conventions, adds the heads and the top, attaches the
    identity and completes the docstring.

    What the weights need (BatchNorm's epsilon, the padding, ...) and their number of classes hold
    unless the caller gives the argument.

    Args:
        preprocessing: The variant's default contract, with its default input size.
    """

    def decorate(function: Callable[P, Network]) -> Callable[P, keras.Model]:
        variant = function.__name__
        signature = inspect.signature(function)

        @functools.wraps(function)
        def build(*args: P.args, **kwargs: P.kwargs) -> keras.Model:
            given = signature.bind(*args, **kwargs).arguments
            loaded = _resolved(
                given.pop("weights", signature.parameters["weights"].default), variant
            )
            arguments, contract = dict(given), preprocessing
            if loaded:
                arguments = _with_the_files(loaded, given)
                contract = _contract_of(loaded, preprocessing)
            bound = signature.bind(**arguments)
            bound.apply_defaults()
            given_by_file = Given(loaded.arrays if loaded else ())
            with given_kernels(given_by_file):
                model = _build(function, bound.arguments, contract)
            if loaded:
                weights_floor.load_into(model, loaded)
                given_by_file.restore(model)
                if loaded.graph:
                    network_graph.check(loaded.graph, model, loaded.source)
            identity = Identity.create(
                variant,
                _recorded(variant, bound.arguments),
                model.preprocessing,
                _class_names(loaded, bound.arguments),
            )
            return attach(model, identity)

        build.__doc__ = documented(function, preprocessing.size)
        build.__annotations__ = {**function.__annotations__, "return": keras.Model}
        vars(build)["__signature__"] = signature.replace(return_annotation=keras.Model)
        return build

    return decorate


def _resolved(wanted: WeightsLike, variant: str) -> Loaded | None:
    """The weights that a builder's argument means."""
    if isinstance(wanted, str) and wanted == "imagenet" and variant in _NEVER_PUBLISHED:
        raise ValueError(
            f"No ImageNet weights were ever published for {variant}. Train it, or use "
            f"{_NEVER_PUBLISHED[variant]}, the network that TF-Slim calls inception_v2. "
            f"Received: weights={wanted!r}"
        )
    return weights_floor.resolve(wanted, variant=variant)


def _with_the_files(loaded: Loaded, given: Mapping[str, Any]) -> dict[str, Any]:
    """The caller's arguments, completed by those of the weights; says where they disagree."""
    arguments = {**loaded.identity.arguments, **given}
    if arguments.get("include_top", True) and "classes" not in arguments:
        arguments["classes"] = loaded.default_classes()
    for name, value in loaded.identity.arguments.items():
        other = arguments[name]
        if other != value and name not in ("classifier_activation", "width_multiplier"):
            logging.warning(
                "%s was trained with %s=%r and is used with %s=%r, which computes something else.",
                loaded.source,
                name,
                value,
                name,
                other,
            )
    return arguments


def _contract_of(loaded: Loaded, default: Preprocessing) -> Preprocessing:
    """The contract of a file's network; says what is assumed where the file does not."""
    if loaded.identity.preprocessing is not None:
        return loaded.identity.preprocessing
    size = network_graph.image_size(loaded.graph)
    contract = default.replace(size=size) if size else default
    scaling = network_graph.scaling_in(loaded.graph)
    if scaling:
        contract = contract.replace(mean=scaling[0], std=scaling[1])
    unknown = network_graph.unknown_in_front(loaded.graph)
    if unknown:
        logging.warning(
            "%s has layers between the image and the network that the model does not have: %s.",
            loaded.source,
            ", ".join(unknown),
        )
    logging.warning(
        "%s does not say how its images were prepared. Assumed is %s; if that is wrong, set "
        "`model.preprocessing`.",
        loaded.source,
        contract,
    )
    return contract


def _build(
    function: Callable[..., Network], arguments: Mapping[str, Any], contract: Preprocessing
) -> keras.Model:
    """The model that a builder's arguments describe, by the layers' conventions among them."""
    names = {field.name for field in dataclasses.fields(Conventions)}
    with conventions(Conventions(**{k: v for k, v in arguments.items() if k in names})):
        network = function(**arguments)
        return assemble(
            network,
            contract,
            include_top=arguments["include_top"],
            input_tensor=arguments["input_tensor"],
            input_shape=arguments["input_shape"],
            pooling=arguments["pooling"],
            classes=arguments["classes"],
            classifier_activation=arguments["classifier_activation"],
            name=arguments["name"],
            aux_logits=arguments["aux_logits"],
            dropout=arguments["dropout"],
            include_preprocessing=arguments["include_preprocessing"],
        )


def _recorded(variant: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that an identity holds, of all that a builder was called with."""
    names = set(BUILDER_ARGUMENTS[variant]) - {"classifier_activation"}
    chosen = {name: arguments[name] for name in names}
    if arguments["include_top"]:
        chosen |= recorded_activation(arguments["classifier_activation"])
    return chosen


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
    names = loaded.identity.class_names
    return names if len(names) == arguments["classes"] else ()


def assemble(
    network: Network,
    preprocessing: Preprocessing,
    *,
    include_top: bool,
    input_tensor: Tensor | None,
    input_shape: tuple[int | None, ...] | None,
    pooling: str | None,
    classes: int,
    classifier_activation: str | Callable | None,
    name: str,
    aux_logits: bool,
    dropout: float,
    include_preprocessing: bool | Preprocessing,
) -> keras.Model:
    """A model from its convolutional features, with `model.preprocessing`.

    Args:
        network: The variant's own part.
        preprocessing: The contract: the default input size, and the scaling that
            `include_preprocessing=True` draws.

    The other arguments are the builders' own.

    Raises:
        ValueError: an argument is out of range, or the input is smaller than the unpadded layers
            need.
    """
    auxiliary = network.auxiliary if aux_logits else None
    _check_arguments(pooling, classes, dropout, include_top, auxiliary)
    if isinstance(include_preprocessing, Preprocessing):
        preprocessing = include_preprocessing
    inputs = _input(input_tensor, input_shape, preprocessing, include_top)
    features = network.features
    try:
        x = features(_scaled(inputs, preprocessing) if include_preprocessing else inputs)
        outputs = _heads(keras.Model(inputs, x), auxiliary, classes)
    except ValueError:
        _check_size(inputs, features, auxiliary, name)
        raise  # the size was not what is wrong
    built = keras.Model(inputs, [x, *outputs.values()])
    # If `input_tensor` is another layer's output, Keras clones the graph, and the clone cannot be
    # measured.
    measured = built if built.inputs[0] is inputs else None
    _check_size(inputs, features, auxiliary, name, measured)

    if include_top:
        x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
        if dropout:
            x = layers.Dropout(dropout, name="dropout")(x)
        if network.neck is not None:
            x = network.neck(x)
        # float32 under every dtype policy: the loss needs it.
        predictions = layers.Dense(
            classes, activation=classifier_activation, dtype="float32", name="predictions"
        )(x)
        outputs = {"predictions": predictions, **outputs}
    elif pooling == "avg":
        x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
    elif pooling == "max":
        x = layers.GlobalMaxPooling2D(name="max_pool")(x)
    if not include_top and pooling is not None and network.neck is not None:
        x = network.neck(x)

    sources = inputs
    if input_tensor is not None:
        sources = keras.utils.get_source_inputs(input_tensor)
        sources = sources[0] if len(sources) == 1 else sources
    if include_top:
        model = keras.Model(sources, outputs if auxiliary else predictions, name=name)
    else:
        model = keras.Model(sources, x, name=name)
    height, width = inputs.shape[1:3] if channel_axis() == -1 else inputs.shape[2:4]
    if height and width:
        preprocessing = preprocessing.replace(size=(height, width))
    model.preprocessing = preprocessing.replace(inside_model=bool(include_preprocessing))
    return model


def _check_arguments(
    pooling: str | None,
    classes: int,
    dropout: float,
    include_top: bool,
    auxiliary: Auxiliary | None,
) -> None:
    if pooling not in (None, "avg", "max"):
        raise ValueError(
            '`pooling` should be None, "avg" or "max" (it is used with `include_top=False`). '
            f"Received: pooling={pooling!r}"
        )
    if not isinstance(classes, int) or classes < 1:
        raise ValueError(f"`classes` should be a whole number above 0. Received: classes={classes}")
    if not 0 <= dropout < 1:
        raise ValueError(
            "`dropout` is the share of features that training drops, at least 0 and below 1. "
            f"Received: dropout={dropout}"
        )
    if auxiliary and not include_top:
        raise ValueError(
            "`aux_logits=True` adds classifiers and needs `include_top=True`. "
            "Received: include_top=False"
        )


def _input(
    input_tensor: Tensor | None,
    input_shape: tuple[int | None, ...] | None,
    preprocessing: Preprocessing,
    include_top: bool,
) -> Tensor:
    """The tensor that the features start from, by keras.applications' rules."""
    if input_tensor is not None:
        if not isinstance(input_tensor, keras.KerasTensor):
            raise ValueError(
                "`input_tensor` should be a Keras tensor, such as `keras.Input((299, 299, 3))`. "
                f"Received: input_tensor={input_tensor!r}"
            )
        return input_tensor
    if input_shape is None:
        size = preprocessing.size if include_top else (None, None)
        last = channel_axis() == -1
        input_shape = (*size, 3) if last else (3, *size)
    if len(input_shape) != 3 or input_shape[channel_axis() if channel_axis() == -1 else 0] is None:
        layout = (
            "(height, width, channels)" if channel_axis() == -1 else "(channels, height, width)"
        )
        raise ValueError(
            f"`input_shape` should be {layout}, without the batch and with the channels known. "
            f"Received: input_shape={input_shape}"
        )
    return keras.Input(input_shape, name="image")


def _scaled(x: Tensor, preprocessing: Preprocessing) -> Tensor:
    """The contract's scaling as a layer: raw images (0-255) in, uint8 or float."""
    scale, offset = preprocessing.scale_and_offset(x.shape[channel_axis()])
    # float32 under every dtype policy, as outside of the model: bfloat16 would round twice.
    return layers.Rescaling(scale, offset, dtype="float32", name="preprocessing")(x)


def _check_size(
    inputs: Tensor,
    features: Callable[[Tensor], Tensor],
    auxiliary: Auxiliary | None,
    name: str,
    built: keras.Model | None = None,
) -> None:
    """Raises ValueError, with the smallest possible size, if the input is smaller than that.

    `built` is the network with its heads; without it, they are drawn on a large input and measured.
    (Keras 3.12 builds networks on inputs that are too small without an error; later versions say
    "output size would be negative".)
    """
    shape = list(inputs.shape[1:])
    spatial = slice(0, 2) if channel_axis() == -1 else slice(1, 3)
    if shape[spatial] == [None, None]:
        return
    if built is None:
        ample = list(shape)
        ample[spatial] = [512, 512]
        trial = keras.Input(tuple(ample))
        backbone = keras.Model(trial, features(trial))
        outputs = _heads(backbone, auxiliary, classes=1)
        built = keras.Model(trial, [backbone.output, *outputs.values()])
    least = smallest_input(built)
    if all(side is None or side >= need for side, need in zip(shape[spatial], least, strict=True)):
        return
    heads = " and its auxiliary head" if auxiliary else ""
    without = ", or build it without (`aux_logits=False`)"
    raise ValueError(
        f"The input is too small for {name}: its unpadded layers{heads} need at least "
        f"{least[0]} x {least[1]} pixels. Enlarge the images{without if auxiliary else ''}. "
        f"Received: {shape[spatial][0]} x {shape[spatial][1]}"
    )


def _heads(backbone: keras.Model, auxiliary: Auxiliary | None, classes: int) -> dict[str, Tensor]:
    """The auxiliary logits by name, drawn on a backbone."""
    return {
        output: draw(backbone.get_layer(endpoint).output, classes, output)
        for output, (endpoint, draw) in (auxiliary or {}).items()
    }
