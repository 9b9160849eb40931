"""The two networks of a run: the one that trains, and the one that it leaves behind."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import keras

from keras_inception.models.layers import conventions
from keras_inception.models.measure import endpoints, last_endpoint, strides_of
from keras_inception.models.registry import get_model
from keras_inception.models.surgery import freeze_backbone
from keras_inception.recipes import Recipe
from keras_inception.training.fused import FusedBatchNormalization
from keras_inception.weights import Loaded


def training_network(recipe: Recipe, classes: int, loaded: Loaded | None) -> keras.Model:
    """The recipe's variant with logits and auxiliary heads, frozen as it says."""
    with (
        _precision(recipe.precision),
        conventions(batch_norm_layer=FusedBatchNormalization),
        _words_of_recipes(),
    ):
        model = get_model(
            recipe.model,
            weights=loaded,
            input_shape=(recipe.image_size, recipe.image_size, 3),
            classes=classes,
            classifier_activation=None,
            aux_logits=recipe.aux_weight > 0,
            dropout=recipe.dropout,
            bn_momentum=recipe.bn_momentum,
            width_multiplier=recipe.width_multiplier,
        )
    if recipe.freeze == "backbone":
        freeze_backbone(model)
    elif recipe.unfreeze_from:
        _freeze_before(model, first_block(model, recipe.unfreeze_from))
    norms = [n for n in model.layers if isinstance(n, keras.layers.BatchNormalization)]
    for norm in norms:
        norm.synchronized = recipe.sync_bn
    if recipe.freeze != "none":
        _freeze_norms(model, norms, loaded)
    return model


def _freeze_norms(
    model: keras.Model, norms: Sequence[keras.layers.Layer], loaded: Loaded | None
) -> None:
    """Freezes the features' norms, and those of heads whose statistics came with the weights."""
    features = keras.Model(model.input, model.get_layer(last_endpoint(model)).output)
    kept = {layer.name for layer in features.layers}
    kept |= {name.partition("/")[0] for name in loaded.arrays} if loaded else set()
    for norm in norms:
        if norm.name in kept:
            norm.trainable = False


def first_block(model: keras.Model, unfreeze_from: str) -> str:
    """The endpoint that a recipe's `unfreeze_from` means: its name, or the first one at a stride.

    Raises:
        ValueError: the network has no such endpoint.
    """
    blocks = list(endpoints(model))
    if unfreeze_from in blocks:
        return unfreeze_from
    strides = strides_of(model)
    for block in blocks:
        if unfreeze_from == f"stride{strides[block]}":
            return block
    raise ValueError(
        "`unfreeze_from` should be a stride such as stride16, or one of the endpoints "
        f"{', '.join(blocks)}. Received: unfreeze_from={unfreeze_from!r}"
    )


def _freeze_before(model: keras.Model, name: str) -> None:
    """Freezes what an endpoint's own layers are computed from."""
    for layer in keras.Model(model.input, model.get_layer(name).output).layers:
        if layer.name != name and not layer.name.startswith(f"{name}_"):
            layer.trainable = False


def inference_network(recipe: Recipe, trained: keras.Model, output: str = "softmax") -> keras.Model:
    """The same network with probabilities and without auxiliary heads, with the same weights.

    Args:
        recipe: What was trained.
        trained: It gives logits.
        output: What they become: an `Identity.output`.
    """
    network = get_model(
        recipe.model,
        weights=None,
        input_shape=trained.input_shape[1:],
        classes=trained.get_layer("predictions").units,
        dropout=recipe.dropout,
        **{**trained.identity.arguments, "classifier_activation": output},
    )
    for layer in network.layers:
        layer.set_weights(trained.get_layer(layer.name).get_weights())
    return network


@contextlib.contextmanager
def _words_of_recipes() -> Iterator[None]:
    """Errors of builders name the recipe's field, not the builder's argument."""
    try:
        yield
    except ValueError as error:
        argument, field = "`aux_logits=False`", "`aux_weight=0`"
        if argument not in str(error):
            raise
        raise ValueError(str(error).replace(argument, field)) from error


@contextlib.contextmanager
def _precision(policy: str) -> Iterator[None]:
    """Layers that are made inside compute by this dtype policy."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
