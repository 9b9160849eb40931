"""What a network is: the record that every model carries, and what it refuses."""

from __future__ import annotations

import inspect
import json

import pytest

import keras_inception
from keras_inception import get_model, list_models
from keras_inception.identity import Identity, identity_of
from keras_inception.models.arguments import recorded
from keras_inception.models.recognition import identified
from keras_inception.weights import Loaded

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


def test_what_decides_the_answers_is_recorded_and_comes_back(variant):
    builder = getattr(keras_inception, variant)
    parameters = inspect.signature(builder).parameters
    assert set(recorded(builder)) == set(parameters) - ASKED_EACH_TIME
    identity = Identity.create(
        variant, {name: parameters[name].default for name in recorded(builder)}
    )
    back = Identity.from_metadata(identity.to_metadata())
    assert identified(Loaded("a file", {}, back)).identity == identity


@pytest.mark.parametrize("variant", ["InceptionV1", "InceptionResNetV1"], indirect=True)
def test_a_builder_attaches_the_whole_record(variant):
    """The decorator does it, which is the same for all."""
    model = get_model(variant, weights=None, input_shape=(96, 97, 3), bn_epsilon=0.01, classes=3)
    identity = identity_of(model)
    assert identity.variant == variant and identity.class_names == ()
    assert set(identity.arguments) == set(recorded(getattr(keras_inception, variant)))
    assert identity.arguments["bn_epsilon"] == 0.01
    assert identity.preprocessing.size == (96, 97) == model.preprocessing.size
    assert {identity: 1}[Identity.from_metadata(identity.to_metadata())] == 1


@pytest.mark.parametrize("variant", ["InceptionV1", "InceptionResNetV1"], indirect=True)
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
        ("InceptionResNetV1", {"blocks": [5, 10]}, "blocks="),
        ("InceptionResNetV1", {"embedding": 1e300}, "embedding=1e"),
        ("BNInception", {"widths": "narrow"}, "widths='narrow'"),
        ("", {"name": "x"}, "name='x'"),
    ],
)
def test_what_no_builder_takes_is_refused(variant, arguments, message):
    """Also of a file that leaves its variant to the caller. Nothing was built until then."""
    text = {"variant": variant, "builder_arguments": json.dumps(arguments)}
    with pytest.raises(ValueError, match=message):
        identified(Loaded("a file", {}, Identity.from_metadata(text)), variant or "InceptionV3")
