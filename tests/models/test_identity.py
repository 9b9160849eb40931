"""What a network is: the record that every model carries, and what it refuses."""

from __future__ import annotations

import inspect
import json

import pytest

import keras_inception
from keras_inception import get_model, list_models
from keras_inception.identity import BUILDER_ARGUMENTS, Identity, identity_of

# Arguments that are asked for with each model: its ends, its training, and how it is built.
ASKED_EACH_TIME = {
    "include_top",
    "weights",
    "input_tensor",
    "input_shape",
    "pooling",
    "classes",
    "name",
    "aux_logits",
    "dropout",
    "include_preprocessing",
    "bn_momentum",
}


@pytest.fixture(params=list_models())
def variant(request):
    return request.param


def test_the_table_of_recorded_arguments_is_the_signatures(variant):
    parameters = inspect.signature(getattr(keras_inception, variant)).parameters
    assert set(BUILDER_ARGUMENTS[variant]) == set(parameters) - ASKED_EACH_TIME
    defaults = {name: parameters[name].default for name in BUILDER_ARGUMENTS[variant]}
    assert Identity.create(variant, defaults).arguments == defaults


def test_a_builder_attaches_the_whole_record(variant):
    model = get_model(variant, weights=None, input_shape=(96, 97, 3), bn_epsilon=0.01, classes=3)
    identity = identity_of(model)
    assert identity.variant == variant and identity.class_names == ()
    assert set(identity.arguments) == set(BUILDER_ARGUMENTS[variant])
    assert identity.arguments["bn_epsilon"] == 0.01
    assert identity.preprocessing.size == (96, 97) == model.preprocessing.size
    assert {identity: 1}[Identity.from_metadata(identity.to_metadata())] == 1


def test_an_open_size_keeps_the_variants(variant):
    model = get_model(variant, weights=None, include_top=False, width_multiplier=0.25)
    assert model.preprocessing == keras_inception.default_preprocessing(variant)


@pytest.mark.parametrize(
    ("variant", "arguments", "message"),
    [
        ("InceptionV9", {}, "InceptionV1.*'InceptionV9'"),
        ("InceptionV3", {"last_pool": 3}, "last_pool=3"),
        ("InceptionV1", {"last_pool": "avg"}, "last_pool='avg'"),
        ("InceptionV1", {"lrn": 1}, "lrn=1"),
        ("InceptionV1", {"branch5x5": True}, "branch5x5=True"),
        ("InceptionV4", {"weights": "imagenet"}, "weights='imagenet'"),
        ("InceptionResNetV1", {"blocks": ["x", 1, 2]}, "blocks="),
        ("InceptionResNetV1", {"blocks": {"a": 1}}, "blocks="),
        ("", {"name": "x"}, "name='x'"),
    ],
)
def test_what_no_builder_takes_is_refused(variant, arguments, message):
    text = {"variant": variant, "builder_arguments": json.dumps(arguments)}
    with pytest.raises(ValueError, match=message):
        Identity.from_metadata(text)
