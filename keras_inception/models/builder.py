"""keras.applications' contract, once for every variant: arguments, input, heads, top, weights."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import keras
from keras import layers

from keras_inception import weights as weights_floor
from keras_inception.identity import BUILDER_ARGUMENTS, Identity, attach
from keras_inception.models.layers import Tensor, channel_axis, named
from keras_inception.models.measure import smallest_input
from keras_inception.preprocessing import Preprocessing
from keras_inception.weights import Loaded

# endpoint that a head hangs on, and the function that draws it: (x, classes, name) -> logits
Auxiliary = dict[str, tuple[str, Callable[[Tensor, int, str], Tensor]]]

# Variants without ImageNet weights -> the published network that their users mean most often.
_NEVER_PUBLISHED = {"InceptionV2": "BNInception"}


def published(function: Callable[..., keras.Model]) -> Callable[..., keras.Model]:
    """Lets a builder take `weights`: builds what the checkpoint needs, then loads it.

    The checkpoint's builder arguments (its BatchNorm's epsilon, its padding, ...) and its number of
    classes hold unless the caller gave the argument explicitly.
    """
    signature = inspect.signature(function)
    recorded = BUILDER_ARGUMENTS[function.__name__]

    @functools.wraps(function)
    def build(*args: Any, **kwargs: Any) -> keras.Model:
        given = signature.bind(*args, **kwargs).arguments
        wanted = given.pop("weights", signature.parameters["weights"].default)
        variant = function.__name__
        if wanted == "imagenet" and variant in _NEVER_PUBLISHED:
            raise ValueError(
                f"No ImageNet weights were ever published for {variant}. Train it, or use "
                f"{_NEVER_PUBLISHED[variant]}, the network that TF-Slim calls inception_v2. "
                f"Received: weights={wanted!r}"
            )
        loaded = weights_floor.resolve(wanted, variant=variant)
        arguments = {**loaded.builder_arguments, **given} if loaded else given
        if loaded and loaded.classes and arguments.get("include_top", True):
            arguments.setdefault("classes", loaded.classes)
        contract = loaded.preprocessing if loaded else None
        if contract and arguments.get("include_preprocessing") is True:
            arguments["include_preprocessing"] = contract
        model = function(weights=None, **arguments)
        if loaded:
            weights_floor.load_into(model, loaded)
        if contract and not arguments.get("include_preprocessing"):
            model.preprocessing = with_size_of(model, contract)
        bound = signature.bind(**arguments)
        bound.apply_defaults()
        return attach(
            model,
            Identity.create(
                variant,
                _recorded(bound.arguments, recorded),
                model.preprocessing,
                _class_names(loaded, bound.arguments),
            ),
        )

    return build


def _recorded(arguments: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """The arguments that an identity holds, of all that a builder was called with."""
    chosen = {name: arguments[name] for name in names if name != "classifier_activation"}
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
    if loaded is None or not arguments["include_top"]:
        return ()
    return loaded.class_names if len(loaded.class_names) == arguments["classes"] else ()


def with_size_of(model: keras.Model, contract: Preprocessing) -> Preprocessing:
    """The contract with the size of a model's own input, where that is known."""
    shape = tuple(model.inputs[0].shape[1:])
    height, width = shape[:2] if channel_axis() == -1 else shape[1:3]
    if len(shape) != 3 or height is None or width is None:
        return contract
    return contract.replace(size=(height, width))


def assemble(
    features: Callable[[Tensor], Tensor],
    preprocessing: Preprocessing,
    *,
    include_top: bool,
    input_tensor: Tensor | None,
    input_shape: tuple[int | None, ...] | None,
    pooling: str | None,
    classes: int,
    classifier_activation: str | Callable | None,
    name: str,
    dropout: float,
    include_preprocessing: bool | Preprocessing,
    auxiliary: Auxiliary | None = None,
    head: Callable[[Tensor], Tensor] | None = None,
) -> keras.Model:
    """A model from its convolutional features.

    Args:
        features: Draws the network from the input to the last feature map.
        preprocessing: The variant's default contract: the default input size, and the scaling of
            `include_preprocessing`.
        auxiliary: Output name -> (endpoint, head); the model then returns a dict.
        head: Draws what stands between the pooled features and the classifier, if anything does.

    The other arguments are the builders' own. The model carries the contract of its input as
    `model.preprocessing`.

    Raises:
        ValueError: an argument is out of range, or the input is smaller than the unpadded layers
            need.
    """
    _check_arguments(pooling, classes, dropout, include_top, auxiliary)
    if isinstance(include_preprocessing, Preprocessing):
        preprocessing = include_preprocessing
    inputs = _input(input_tensor, input_shape, preprocessing, include_top)
    try:
        x = features(_scaled(inputs, preprocessing) if include_preprocessing else inputs)
        outputs = _heads(keras.Model(inputs, x), auxiliary, classes)
    except ValueError:
        _check_size(inputs, features, auxiliary, name)
        raise  # the size was not what is wrong
    built = keras.Model(inputs, [x, *outputs.values()])
    # On another layer's output Keras makes a copy of the graph, which cannot be asked.
    asked = built if built.inputs[0] is inputs else None
    _check_size(inputs, features, auxiliary, name, asked)

    if include_top:
        x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
        if dropout:
            x = layers.Dropout(dropout, name="dropout")(x)
        if head is not None:
            x = head(x)
        # float32 under every dtype policy: the loss needs it.
        predictions = layers.Dense(
            classes, activation=classifier_activation, dtype="float32", name="predictions"
        )(x)
        outputs = {"predictions": predictions, **outputs}
    elif pooling == "avg":
        x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
    elif pooling == "max":
        x = layers.GlobalMaxPooling2D(name="max_pool")(x)
    if not include_top and pooling is not None and head is not None:
        x = head(x)

    sources = inputs
    if input_tensor is not None:
        sources = keras.utils.get_source_inputs(input_tensor)
        sources = sources[0] if len(sources) == 1 else sources
    if include_top:
        model = keras.Model(sources, outputs if auxiliary else predictions, name=name)
    else:
        model = keras.Model(sources, x, name=name)
    contract = preprocessing.replace(inside_model=bool(include_preprocessing))
    model.preprocessing = with_size_of(model, contract)
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
    """The contract's scaling, drawn with what Keras has: images in 0..255 in, uint8 or float.

    An image that comes in scaled passes as it is, so that `preprocess_input` in front of the model
    changes nothing. It is told by its range: dark pixels far below zero and none above what white
    becomes. In 0..255 no pixel is below zero but for a bicubic resize's overshoot, which is much
    less than a quarter of the image's own range. What cannot be told is a scaled image whose
    every pixel is brighter than 3/8 of white: it looks like an almost black one.
    """
    scale, offset = preprocessing.scale_and_offset(x.shape[channel_axis()])
    # float32 under every dtype policy, as outside: bfloat16 would round twice.
    scaled = layers.Rescaling(scale, offset, dtype="float32", name="preprocessing")(x)
    black, white = min(offset), max(255 * s + o for s, o in zip(scale, offset, strict=True))
    if black >= 0 or not keras.backend.is_float_dtype(x.dtype):
        return scaled
    lowest, highest = (
        named(extreme(x, axis=(1, 2, 3), keepdims=True), f"preprocessing_{name}")
        for extreme, name in [(keras.ops.amin, "lowest"), (keras.ops.amax, "highest")]
    )
    below = named(keras.ops.less(lowest, black / 4), "preprocessing_below_black")
    within = named(keras.ops.less_equal(highest, white * 1.001), "preprocessing_within_white")
    done = named(keras.ops.logical_and(below, within), "preprocessing_done")
    return named(keras.ops.where(done, x, scaled), "preprocessing_once")


def _check_size(
    inputs: Tensor,
    features: Callable[[Tensor], Tensor],
    auxiliary: Auxiliary | None,
    name: str,
    built: keras.Model | None = None,
) -> None:
    """Raises ValueError with the smallest size, computed, if the input is smaller.

    Without `built`, the network with its heads, it is drawn at an ample size to be asked. (Keras
    3.12 builds such networks without a word; later ones say "output size would be negative".)
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
    without = ", or leave it out (`aux_logits=False`; in training --aux_weight=0)"
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
