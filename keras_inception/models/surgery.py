"""Changes to a built model: its heads, and what trains.

Everything here works on any flat functional model of Keras' own layers, and refuses others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import layers

from keras_inception.identity import Identity, attach, identity_of
from keras_inception.models.builder import recorded_activation
from keras_inception.models.measure import check_flat, endpoints, last_endpoint


def to_inference(model: keras.Model) -> keras.Model:
    """The model without auxiliary heads: predictions only. Shares the weights.

    A model without auxiliary heads is returned unchanged.
    """
    check_flat(model)
    if not isinstance(model.output, dict):
        return model
    stripped = keras.Model(model.input, model.output["predictions"], name=model.name)
    identity = identity_of(model)
    return attach(stripped, identity) if identity else stripped


def freeze_backbone(model: keras.Model, up_to: str | None = None) -> keras.Model:
    """Stops the training of the features, in place. The layers behind them continue to learn.

    Frozen BatchNorm uses its moving statistics and does not change them, even inside `fit`.
    Otherwise a frozen network that is fine-tuned on other images would be trained with the batch's
    statistics and evaluated with ImageNet's (keras-team/keras#9214). Compile after freezing.

    Args:
        model: Any variant.
        up_to: The last endpoint, or layer, to freeze, together with everything that it is computed
            from. None freezes up to the last endpoint.

    Returns:
        The model itself.

    Raises:
        ValueError: there is no layer of that name.
    """
    check_flat(model)
    if up_to is None:
        up_to = last_endpoint(model)
    elif up_to not in {layer.name for layer in model.layers}:
        raise ValueError(
            "`up_to` should name an endpoint or a layer of the model; the endpoints are "
            f"{', '.join(endpoints(model))}. Received: up_to={up_to!r}"
        )
    for layer in keras.Model(model.input, model.get_layer(up_to).output).layers:
        layer.trainable = False
    return model


def replace_head(
    model: keras.Model,
    classes: int,
    *,
    classifier_activation: str | Callable | None = "softmax",
) -> keras.Model:
    """The model with new, randomly initialised classifiers for other classes.

    Args:
        model: Any variant with top; auxiliary classifiers are replaced too. The features' weights
            are shared with it.
        classes: The number of new classes.
        classifier_activation: Activation of the classifier; None gives logits.

    Raises:
        ValueError: the model has no classifier, or `classes` is below 1.
    """
    if classes < 1:
        raise ValueError(f"`classes` should be at least 1. Received: classes={classes}")
    check_flat(model)
    given = model.output if isinstance(model.output, dict) else {"predictions": model.output}
    if "predictions" not in {layer.name for layer in model.layers}:
        raise ValueError(
            "The model has no classifier to replace; build it with `include_top=True` and the new "
            f"`classes`. Received: {model.name} with the output {model.output_shape}"
        )
    outputs = {}
    for name in given:
        activation = classifier_activation if name == "predictions" else None
        dense = layers.Dense(classes, activation, dtype="float32", name=name)
        outputs[name] = dense(model.get_layer(name).input)
    output: Any = outputs if isinstance(model.output, dict) else outputs["predictions"]
    new = keras.Model(model.input, output, name=model.name)
    identity = identity_of(model)
    if identity is None:
        return new
    body = {k: v for k, v in identity.arguments.items() if k != "classifier_activation"}
    arguments = {**body, **recorded_activation(classifier_activation)}
    return attach(
        new, Identity.create(identity.variant, arguments, identity.preprocessing, class_names=())
    )
