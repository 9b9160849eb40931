"""The contract: scaling, cropping and its own rules."""

from __future__ import annotations

import numpy as np
import pytest

from keras_inception import Preprocessing


def test_scale_is_subtract_then_divide():
    contract = Preprocessing(size=(2, 2), mean=(10.0, 20.0, 30.0), std=(1.0, 2.0, 4.0))
    image = np.full((2, 2, 3), 40, np.uint8)
    np.testing.assert_allclose(contract.scale(image)[0, 0], [30.0, 10.0, 2.5])


def test_scale_is_the_same_for_tensors_and_both_data_formats():
    import keras

    contract = Preprocessing(size=(4, 5), mean=(120.0, 110.0, 100.0), std=(50.0, 60.0, 70.0))
    image = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3)).astype(np.uint8)
    want = contract.scale(image)
    got = keras.ops.convert_to_numpy(contract.scale(keras.ops.convert_to_tensor(image)))
    np.testing.assert_allclose(got, want, atol=1e-6)
    first = contract.scale(image.transpose(0, 3, 1, 2), data_format="channels_first")
    np.testing.assert_allclose(first.transpose(0, 2, 3, 1), want, atol=1e-6)


def test_preprocess_input_follows_keras_data_format():
    import keras

    from keras_inception.models import imagenet

    contract = Preprocessing(size=(4, 5), mean=(120.0, 110.0, 100.0), std=60.0)
    preprocess_input = imagenet.preprocess_input_by(contract)
    image = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3)).astype(np.uint8)
    want = contract.scale(image)
    np.testing.assert_array_equal(preprocess_input(image.tolist()), want)
    first = image.transpose(0, 3, 1, 2)
    usual = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_first")
    try:
        got = preprocess_input(first)
    finally:
        keras.config.set_image_data_format(usual)
    np.testing.assert_array_equal(got, want.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(preprocess_input(first, "channels_first"), got)


def test_scaling_twice_is_refused():
    contract = Preprocessing(size=(2, 2))
    once = contract.scale(np.arange(12, dtype=np.uint8).reshape(2, 2, 3))
    with pytest.raises(ValueError, match="scaled already"):
        contract.scale(once)
    for wrong in (np.full((1, 1, 3), -1, np.int32), np.full((1, 1, 3), 256.0), once * np.nan):
        with pytest.raises(ValueError, match="values in"):
            contract.scale(wrong)


def test_a_model_that_scales_by_itself_gets_the_values_unchanged():
    contract = Preprocessing(size=(2, 2), mean=(10.0, 20.0, 30.0), inside_model=True)
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    np.testing.assert_array_equal(contract.scale(image), image)
    with pytest.raises(ValueError, match="scaled already"):
        contract.scale(image - 5.0)


@pytest.mark.parametrize(
    ("contract", "box"),
    [
        # A square out of the middle of a wide image, then 7/8 of it.
        (Preprocessing(size=(8, 8)), (5, 55, 70, 70)),
        (Preprocessing(size=(8, 8), crop_fraction=1.0), (0, 50, 80, 80)),
        # TF-Slim: 7/8 of each side, whatever the aspect becomes.
        (Preprocessing(size=(8, 8), aspect="stretch"), (5, 11, 70, 158)),
        (Preprocessing(size=(8, 8), crop_fraction=1.0, aspect="stretch"), (0, 0, 80, 180)),
        # The whole image; or 7/8 of the square of 180 around it, which is as high as it is.
        (Preprocessing(size=(8, 8), crop_fraction=1.0, aspect="pad"), (0, 0, 80, 180)),
        (Preprocessing(size=(8, 8), aspect="pad"), (0, 11, 80, 158)),
        (Preprocessing(size=(8, 8), crop_fraction=0.4, aspect="pad"), (4, 54, 72, 72)),
        # The target's own shape, not a square.
        (Preprocessing(size=(8, 16), crop_fraction=1.0), (0, 10, 80, 160)),
    ],
)
def test_crop_box(contract, box):
    assert contract.crop_box(80, 180) == box


def test_fit_keeps_a_constant_image_and_gives_the_size():
    contract = Preprocessing(size=(9, 7), interpolation="bicubic")
    fitted = contract.crop_and_resize(np.full((31, 50, 1), 200, np.uint8))
    assert fitted.shape == (9, 7, 1)
    np.testing.assert_allclose(fitted, 200, atol=1e-3)


def test_wide_images_that_differ_at_their_ends_differ_unless_they_are_cropped():
    image = np.random.default_rng(0).integers(0, 256, (50, 400, 3)).astype(np.uint8)
    other = 255 - image
    other[:, 175:225] = image[:, 175:225]
    for aspect in ("crop", "pad", "stretch"):
        contract = Preprocessing(size=(40, 40), crop_fraction=1.0, aspect=aspect)
        one, two = (contract.crop_and_resize(x) for x in (image, other))
        assert one.shape == two.shape == (40, 40, 3)
        assert (one == two).all() == (aspect == "crop")


def test_padding_is_the_mean_and_keeps_the_images_shape():
    contract = Preprocessing((40, 40), crop_fraction=1.0, aspect="pad", mean=(9.0, 99.0, 199.0))
    for height, width in ((50, 400), (400, 50)):
        fitted = contract.crop_and_resize(np.full((height, width, 3), 250, np.uint8))
        fitted = fitted if height < width else fitted.swapaxes(0, 1)
        np.testing.assert_allclose(fitted[17:22], 250, atol=1e-3)
        border = fitted[[0, 16, 22, 39]]
        np.testing.assert_allclose(border, np.broadcast_to((9, 99, 199), border.shape), atol=1e-3)
    # 350 of 400 columns are kept, and all 50 rows: 40 x 50 / 350 = 5.7.
    contract = contract.replace(crop_fraction=0.875)
    fitted = contract.crop_and_resize(np.full((50, 400, 3), 250, np.uint8))
    assert (fitted[:, 0, 0] > 249).sum() == 6


def test_earlier_contracts_are_read():
    old = {"size": [8, 8], "keep_aspect": False}
    assert Preprocessing.from_dict(old) == Preprocessing((8, 8), aspect="stretch")
    assert Preprocessing.from_dict(old | {"keep_aspect": True}) == Preprocessing((8, 8))
    assert Preprocessing.from_dict({"size": [8, 8]}).aspect == "crop"


def test_json_round_trip_and_unknown_fields():
    contract = Preprocessing(size=(224, 224), mean=(1.0, 2.0, 3.0))
    import json

    assert Preprocessing.from_dict(json.loads(json.dumps(contract.to_dict()))) == contract
    with pytest.raises(ValueError, match="gamma"):
        Preprocessing.from_dict({"size": [1, 1], "gamma": 2})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size": (0, 3)}, "size"),
        ({"size": (3, 3), "crop_fraction": 1.5}, "crop_fraction=1.5"),
        ({"size": (3, 3), "interpolation": "cubic"}, "'cubic'"),
        ({"size": (3, 3), "aspect": "fit"}, "crop, pad, stretch. Received: aspect='fit'"),
        ({"size": (3, 3), "std": 0.0}, "std"),
    ],
)
def test_bad_fields_are_named(fields, message):
    with pytest.raises(ValueError, match=message):
        Preprocessing(**fields)


def test_channels_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match="3 values.*1 channels"):
        Preprocessing(size=(2, 2), mean=(1.0, 2.0, 3.0)).scale(np.zeros((2, 2, 1), np.uint8))


@pytest.mark.parametrize("aspect", ["crop", "pad", "stretch"])
def test_arrays_are_fitted_as_in_graphs_of_any_size(aspect):
    import tensorflow as tf

    contract = Preprocessing((24, 31), aspect=aspect, crop_fraction=0.8, mean=(9.0, 99.0, 199.0))
    fit = tf.function(
        contract.crop_and_resize, input_signature=[tf.TensorSpec((None, None, 3), tf.uint8)]
    )
    for height, width in ((50, 83), (19, 200), (200, 3), (24, 31)):
        image = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
        np.testing.assert_allclose(fit(image), contract.crop_and_resize(image), atol=0.01)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("antialias", [True, False])
def test_arrays_are_fitted_as_tensors_are(interpolation, antialias):
    """Runtimes without Keras and the graphs of training and serving see the same pixels."""
    import keras

    image = np.random.default_rng(0).integers(0, 256, (50, 83, 3)).astype(np.uint8)
    for size in ((24, 31), (70, 90)):  # smaller and larger than the image
        contract = Preprocessing(size, interpolation=interpolation, antialias=antialias)
        tensor = contract.crop_and_resize(keras.ops.convert_to_tensor(image))
        # TensorFlow looks this one kernel up in a table of 1024 steps.
        limit = 0.3 if (interpolation, antialias) == ("bicubic", False) else 0.01
        np.testing.assert_allclose(contract.crop_and_resize(image), tensor, atol=limit)
