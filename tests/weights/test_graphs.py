"""Frozen graphs: what TensorFlow computes with a file is what the network computes that we build.

The graphs are drawn here operation by operation, as Google's files are, with seeded constants.
"""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest
import tensorflow as tf

import keras_inception
from keras_inception import InceptionV1, Preprocessing
from keras_inception.identity import Identity
from keras_inception.models.recognition import identity_in
from keras_inception.weights import graph as network_graph
from keras_inception.weights import native, read

# Table 1, and the two rows that are others in the graph of 2015.
TABLE = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
TABLE_OF_2015 = TABLE | {"4a": (192, 96, 204, 16, 48, 64), "5a": (256, 160, 320, 48, 128, 128)}


class Drawing:
    """A graph, and a unit of one kind: convolution, BatchNorm or bias, ReLU."""

    def __init__(self, unit):
        self.graph = tf.Graph()
        self.rng = np.random.default_rng(0)
        self.unit = lambda *arguments, **options: unit(self, *arguments, **options)

    def kernel(self, height, width, channels, filters):
        shape = (height, width, channels, filters)
        std = (2 / (height * width * channels)) ** 0.5
        return (self.rng.standard_normal(shape, np.float32) * np.float32(std)).astype(np.float32)

    def near(self, center, filters):
        return (center + self.rng.uniform(-0.1, 0.1, filters)).astype(np.float32)

    def written(self, path):
        path.write_bytes(self.graph.as_graph_def().SerializeToString())
        return path


def conv(x, kernel, strides, padding, name):
    return tf.nn.conv2d(x, kernel, strides, padding, name=name)


def sides(size):
    return size if isinstance(size, tuple) else (size, size)


def biased(draw, x, name, size, filters, strides=1):
    """inception5h's."""
    kernel = draw.kernel(*sides(size), x.shape[-1], filters)
    y = conv(x, tf.constant(kernel, name=f"{name}_w"), strides, "SAME", f"{name}_pre_relu/conv")
    bias = tf.constant(draw.near(0, filters), name=f"{name}_b")
    return tf.nn.relu(tf.nn.bias_add(y, bias, name=f"{name}_pre_relu"), name=name)


def slim(draw, x, name, size, filters, strides=1, *, form="plain"):
    """TF-Slim's; as frozen, with BatchNorm folded into the kernels, or with these in 8 bits."""
    kernel = draw.kernel(*sides(size), x.shape[-1], filters)
    beta, mean, variance = (draw.near(center, filters) for center in (0, 0, 1))
    scale = 1 / np.sqrt(variance + np.float32(0.001))
    if form == "folded":
        kernel = (kernel * scale).astype(np.float32)
    if form == "8-bit":
        low, high = kernel.min(), kernel.max()
        values = np.round((kernel - low) / (high - low) * 255).astype(np.uint8)
        parts = [
            tf.constant(value, name=f"{name}/weights_quantized_{part}")
            for part, value in (
                ("const", values.view(tf.quint8.as_numpy_dtype)),
                ("min", low),
                ("max", high),
            )
        ]
        weights = tf.raw_ops.Dequantize(
            input=parts[0],
            min_range=parts[1],
            max_range=parts[2],
            mode="MIN_FIRST",
            name=f"{name}/weights",
        )
    else:
        weights = tf.constant(kernel, name=f"{name}/weights")
    weights = tf.identity(weights, name=f"{name}/weights/read")
    y = conv(x, weights, strides, "SAME", f"InceptionV1/{name}/Conv2D")
    if form == "folded":
        offset = tf.constant(beta - mean * scale, name=f"InceptionV1/{name}/Conv2D_bn_offset")
        y = tf.nn.bias_add(y, offset)
    else:
        named = {"beta": beta, "moving_mean": mean, "moving_variance": variance}
        b, m, v = (tf.constant(a, name=f"{name}/BatchNorm/{part}") for part, a in named.items())
        ones = tf.constant(np.ones(filters, np.float32), name=f"{name}/BatchNorm/Const")
        y = tf.raw_ops.FusedBatchNormV3(
            x=y, scale=ones, offset=b, mean=m, variance=v, epsilon=0.001, is_training=False
        )[0]
    return tf.nn.relu(y)


def of_2015(draw, x, name, size, filters, strides=1, padding="SAME"):
    """The tutorial's v3's; `deprecated` gives the norm its operation."""
    kernel = draw.kernel(*sides(size), x.shape[-1], filters)
    y = conv(x, tf.constant(kernel, name=f"{name}/conv2d_params"), strides, padding, f"{name}/Conv")
    named = {"gamma": 1, "beta": 0, "moving_mean": 0, "moving_variance": 1}
    gamma, beta, mean, variance = (
        tf.constant(draw.near(center, filters), name=f"{name}/batchnorm/{part}")
        for part, center in named.items()
    )
    y = tf.raw_ops.FusedBatchNorm(
        x=y,
        scale=gamma,
        offset=beta,
        mean=mean,
        variance=variance,
        epsilon=0.001,
        is_training=False,
        name=f"{name}/batchnorm",
    )[0]
    return tf.nn.relu(y, name=name)


def deprecated(graph_def):
    """The graph with the norm's operation of 2015, which does not use its gamma here."""
    graph_def.versions.producer = 8  # a later graph may not have it
    for node in graph_def.node:
        if node.op == "FusedBatchNorm":
            x, gamma, beta, mean, variance = node.input
            node.op = "BatchNormWithGlobalNormalization"
            node.ClearField("attr")
            node.attr["T"].type = tf.float32.as_datatype_enum
            node.attr["variance_epsilon"].f = 0.001
            node.attr["scale_after_normalization"].b = False
            node.ClearField("input")
            node.input.extend([x, mean, variance, beta, gamma])
    return graph_def


def googlenet(draw, x, stem, parts, table, true5x5, last_pool, norm=lambda x: x):
    """The paper's figure 3; `parts` gives the names of the six units of a row."""

    def pool(x, size=3):
        return tf.nn.max_pool2d(x, size, 2, "SAME")

    x = norm(pool(draw.unit(x, stem[0], 7, 64, 2)))
    x = pool(norm(draw.unit(draw.unit(x, stem[1], 1, 64), stem[2], 3, 192)))
    for row, (n1, reduce3, n3, reduce5, n5, projection) in table.items():
        if row in ("4a", "5a"):
            x = pool(x, 3 if row == "4a" else last_pool)
        names = parts(row)
        branches = [
            draw.unit(x, names[0], 1, n1),
            draw.unit(draw.unit(x, names[1], 1, reduce3), names[2], 3, n3),
            draw.unit(draw.unit(x, names[3], 1, reduce5), names[4], true5x5, n5),
            draw.unit(tf.nn.max_pool2d(x, 3, 1, "SAME"), names[5], 1, projection),
        ]
        x = tf.concat(branches, 3, name=f"mixed{row}")
    return tf.reduce_mean(x, (1, 2))


def answers(path, feeds, output):
    """What TensorFlow computes with a file."""
    graph_def = tf.compat.v1.GraphDef.FromString(path.read_bytes())
    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
        tf.import_graph_def(graph_def, name="")
        return session.run(output, feeds)


def pixels(side, batch=1):
    return np.random.default_rng(1).integers(0, 256, (batch, side, side, 3)).astype(np.uint8)


def slim_names(row):
    block = f"InceptionV1/Mixed_{row[0]}{chr(ord(row[1]) + 1)}/Branch_"
    slip = "0a" if row == "5a" else "0b"
    units = "0/Conv2d_0a_1x1 1/Conv2d_0a_1x1 1/Conv2d_0b_3x3 2/Conv2d_0a_1x1"
    return [block + unit for unit in f"{units} 2/Conv2d_{slip}_3x3 3/Conv2d_0b_1x1".split()]


def drawn_slim(form, scaled):
    draw = Drawing(lambda *a, **k: slim(*a, **k, form=form))
    with draw.graph.as_default():
        image = tf.compat.v1.placeholder(tf.float32, (None, 64, 64, 3), name="input")
        x = image
        if scaled:  # as TF-Hub's modules do: images in 0..1 come in
            x = tf.subtract(tf.multiply(x, 2.0), 1.0)
        stem = [f"InceptionV1/Conv2d_{n}" for n in ("1a_7x7", "2b_1x1", "2c_3x3")]
        x = googlenet(draw, x, stem, slim_names, TABLE, 3, 2)
        kernel = tf.constant(
            draw.kernel(1, 1, 1024, 9), name="InceptionV1/Logits/Conv2d_0c_1x1/weights"
        )
        bias = tf.constant(draw.near(0, 9), name="InceptionV1/Logits/Conv2d_0c_1x1/biases")
        x = tf.nn.bias_add(conv(x[:, None, None], kernel, 1, "SAME", "Logits/Conv2D"), bias)
        tf.nn.softmax(tf.squeeze(x, (1, 2), name="logits"), name="probabilities")
    return draw


@pytest.mark.parametrize("form", ["plain", "folded", "8-bit"])
def test_tf_slims_frozen_graph(form, tmp_path, caplog):
    path = drawn_slim(form, scaled=form == "8-bit").written(tmp_path / "frozen.pb")
    model = InceptionV1(weights=path, input_shape=(64, 64, 3), classifier_activation=None)
    assert model.identity.arguments["batch_norm"] == (form != "folded")
    assert (model.preprocessing.mean, model.preprocessing.std) == (127.5, 127.5)
    images = pixels(64, 2).astype(np.float32)
    given = images / 255 if form == "8-bit" else images / 127.5 - 1
    want = answers(path, {"input:0": given}, "logits:0")
    np.testing.assert_allclose(model(model.preprocessing.scale(images)), want, atol=2e-4)
    assert want.std() > 0.1
    assert "is taken for inception_v1.slim" in caplog.text


@pytest.fixture(scope="module")
def inception5h(tmp_path_factory):
    draw = Drawing(biased)
    parts = "1x1 3x3_bottleneck 3x3 5x5_bottleneck 5x5 pool_reduce".split()
    with draw.graph.as_default():
        x = tf.compat.v1.placeholder(tf.float32, (None, 224, 224, 3), name="input")
        x = googlenet(
            draw,
            x,
            ["conv2d0", "conv2d1", "conv2d2"],
            lambda row: [f"mixed{row}_{part}" for part in parts],
            TABLE_OF_2015,
            5,
            3,
            lambda x: tf.nn.lrn(x, depth_radius=5, bias=2.0, alpha=1e-4, beta=0.5),
        )
        weights = tf.constant(draw.kernel(1, 1, 1024, 1008)[0, 0], name="softmax2_w")
        bias = tf.constant(draw.near(0, 1008), name="softmax2_b")
        x = tf.add(tf.matmul(x, weights), bias, name="softmax2_pre_activation")
        tf.nn.softmax(x, name="output2")
    return draw.written(tmp_path_factory.mktemp("5h") / "tensorflow_inception_graph.pb")


def test_inception5h(inception5h):
    """Its normalisation is what the file says, not what the catalogue does."""
    model = InceptionV1(weights=inception5h, classifier_activation=None)
    assert model.output_shape == (None, 1008)
    assert model.identity.arguments["lrn"] == (11, 1.1e-3, 0.5, 2.0)
    assert model.preprocessing == Preprocessing(
        size=(224, 224), crop_fraction=1.0, mean=117.0, std=1.0
    )
    images = model.preprocessing.scale(pixels(224))
    want = answers(inception5h, {"input:0": images}, "softmax2_pre_activation:0")
    np.testing.assert_allclose(model(images), want, atol=2e-4 * np.abs(want).max())


def v3_features(draw, x):
    """The tutorial's network: the names of its scopes and the shapes of its kernels."""

    def unit(x, name, size, filters, *how):
        return draw.unit(x, name, size, filters, *how)

    def tower(x, name, *units):
        for i, arguments in enumerate(units):
            x = unit(x, f"{name}/conv" + (f"_{i}" if i else ""), *arguments)
        return x

    def pooled(x, name, filters, pool=tf.nn.avg_pool2d):
        return tower(pool(x, 3, 1, "SAME"), f"{name}/tower_2", (1, filters))

    def join(name, *branches):
        return tf.concat(branches, 3, name=f"{name}/join")

    down = (2, "VALID")
    x = unit(x, "conv", 3, 32, 2, "VALID")
    x = unit(unit(x, "conv_1", 3, 32, 1, "VALID"), "conv_2", 3, 64)
    x = tf.nn.max_pool2d(x, 3, 2, "VALID")
    x = unit(unit(x, "conv_3", 1, 80, 1, "VALID"), "conv_4", 3, 192, 1, "VALID")
    x = tf.nn.max_pool2d(x, 3, 2, "VALID")
    for name, projection in (("mixed", 32), ("mixed_1", 64), ("mixed_2", 64)):
        x = join(
            name,
            tower(x, name, (1, 64)),
            tower(x, f"{name}/tower", (1, 48), (5, 64)),
            tower(x, f"{name}/tower_1", (1, 64), (3, 96), (3, 96)),
            pooled(x, name, projection),
        )
    x = join(
        "mixed_3",
        tower(x, "mixed_3", (3, 384, *down)),
        tower(x, "mixed_3/tower", (1, 64), (3, 96), (3, 96, *down)),
        tf.nn.max_pool2d(x, 3, 2, "VALID"),
    )
    for name, n in (("mixed_4", 128), ("mixed_5", 160), ("mixed_6", 160), ("mixed_7", 192)):
        row, column = (1, 7), (7, 1)
        x = join(
            name,
            tower(x, name, (1, 192)),
            tower(x, f"{name}/tower", (1, n), (row, n), (column, 192)),
            tower(x, f"{name}/tower_1", (1, n), (column, n), (row, n), (column, n), (row, 192)),
            pooled(x, name, 192),
        )
    x = join(
        "mixed_8",
        tower(x, "mixed_8/tower", (1, 192), (3, 320, *down)),
        tower(x, "mixed_8/tower_1", (1, 192), ((1, 7), 192), ((7, 1), 192), (3, 192, *down)),
        tf.nn.max_pool2d(x, 3, 2, "VALID"),
    )
    for name, pool in (("mixed_9", tf.nn.avg_pool2d), ("mixed_10", tf.nn.max_pool2d)):
        forks = [
            tower(x, f"{name}/tower", (1, 384)),
            tower(x, f"{name}/tower_1", (1, 448), (3, 384)),
        ]
        ends = [
            unit(fork, f"{name}/{tower_name}/mixed/conv{number}", size, 384)
            for fork, tower_name in zip(forks, ("tower", "tower_1"), strict=True)
            for number, size in (("", (1, 3)), ("_1", (3, 1)))
        ]
        x = join(name, tower(x, name, (1, 320)), *ends, pooled(x, name, 192, pool))
    return x


@pytest.fixture(scope="module")
def retrained(tmp_path_factory):
    """What retrain.py writes: retrained_graph.pb with retrained_labels.txt."""
    draw = Drawing(of_2015)
    with draw.graph.as_default():
        image = tf.image.decode_jpeg(tf.constant(b""), channels=3, name="DecodeJpeg")
        x = tf.expand_dims(tf.cast(image, tf.float32, name="Cast"), 0, name="ExpandDims")
        x = tf.compat.v1.image.resize_bilinear(x, (299, 299), name="ResizeBilinear")
        x = tf.multiply(tf.subtract(x, 128.0, name="Sub"), 1 / 128, name="Mul")
        x = tf.reduce_mean(v3_features(draw, x), (1, 2), name="pool_3/_reshape")
        scope = "final_training_ops"
        weights = tf.constant(draw.kernel(1, 1, 2048, 3)[0, 0], name=f"{scope}/weights/final")
        bias = tf.constant(draw.near(0, 3), name=f"{scope}/biases/final_biases")
        product = tf.matmul(x, weights, name=f"{scope}/Wx_plus_b/MatMul")
        tf.nn.softmax(tf.add(product, bias, name=f"{scope}/Wx_plus_b/add"), name="final_result")
    path = tmp_path_factory.mktemp("poets") / "retrained_graph.pb"
    path.write_bytes(deprecated(draw.graph.as_graph_def()).SerializeToString())
    path.with_name("retrained_labels.txt").write_text("daisy\ndandelion\nroses\n")
    return path


def test_a_retrained_graph_of_2015(retrained, caplog):
    """Labels, contract and classifier; the network is that of the record `inception_v3.2015`."""
    with caplog.at_level(logging.INFO):
        classifier = keras_inception.load_classifier(retrained)
    assert classifier.class_names == ("daisy", "dandelion", "roses")
    identity = classifier.identity
    assert (identity.variant, identity.arguments["last_pool"]) == ("InceptionV3", "max")
    assert not identity.arguments["bn_scale"] and identity.arguments["bn_epsilon"] == 0.001
    contract = identity.preprocessing
    assert (contract.size, contract.crop_fraction) == ((299, 299), 1.0)
    assert contract.aspect == "stretch" and not contract.antialias
    assert "is taken for inception_v3.2015" in caplog.text
    images = pixels(299)
    scope = "final_training_ops/Wx_plus_b"
    want, logits = answers(
        retrained, {"DecodeJpeg:0": images[0]}, ["final_result:0", f"{scope}/add:0"]
    )
    got = classifier.predict(images)
    np.testing.assert_allclose(np.log(got[0] / got[0, 0]), logits[0] - logits[0, 0], atol=2e-4)
    np.testing.assert_allclose(got, want, atol=1e-4)


def test_labels_that_do_not_fit_are_said(retrained, caplog):
    labels = retrained.with_name("retrained_labels.txt")
    before = labels.read_text()
    labels.write_text("daisy\nroses\n")
    try:
        assert read(retrained).identity.class_names == ()
    finally:
        labels.write_text(before)
    assert "retrained_labels.txt has 2 names for 3 outputs" in caplog.text


def test_another_normalisation_is_seen_in_keras_own_graph():
    lrn = (11, 1.1e-3, 0.5, 2.0)
    how = {"batch_norm": False, "widths": "2015", "width_multiplier": 0.25, "classes": 3}
    model = InceptionV1(weights=None, input_shape=(64, 64, 3), lrn=lrn, **how)
    shown = identity_in(network_graph.read(model.to_json()), Identity("")).arguments
    assert (shown["lrn"], shown["widths"]) == (lrn, "2015")
    with pytest.raises(ValueError, match="an odd number of channels. Received: lrn=\\(4,"):
        InceptionV1(weights=None, lrn=(4, 1e-4, 0.75, 1.0))


def test_a_saved_model_of_keras_2_is_read_by_its_layers_names(tmp_path):
    """As `model.save("folder")` wrote it: keys by object, automatic layer names, a head on top."""
    model = InceptionV1(weights=None, input_shape=(64, 64, 3), width_multiplier=0.25, classes=3)
    module = tf.Module()
    module.layers = [
        tf.Variable(value.numpy(), name=name) for name, value in native.variables(model).items()
    ]
    module.optimizer = tf.Module()
    module.optimizer.slots = [tf.Variable(tf.zeros(3), name="Adam/m/predictions/bias")]
    tf.saved_model.save(module, tmp_path / "folder")
    again = InceptionV1(weights=tmp_path / "folder", input_shape=(64, 64, 3), width_multiplier=0.25)
    images = np.random.default_rng(0).normal(size=(1, 64, 64, 3)).astype(np.float32)
    np.testing.assert_array_equal(again(images), model(images))


# ------------------------------------------------------------------------------ small graphs


def small(tmp_path, make):
    """The layers of a graph of a few operations."""
    graph = tf.Graph()
    with graph.as_default():
        make(tf.compat.v1.placeholder(tf.float32, (None, 8, 8, 2), name="input"))
    path = tmp_path / "small.pb"
    path.write_bytes(graph.as_graph_def().SerializeToString())
    return keras_inception.weights.readers.read(path)


def test_constants_in_every_spelling(tmp_path):
    kernel = np.arange(24, dtype=np.float32).reshape(1, 3, 2, 4)

    def make(x):
        y = tf.nn.conv2d(x, tf.constant(kernel, name="bytes/weights"), 1, "SAME")
        zeros = tf.constant(0.25, shape=(1, 1, 4, 4), name="once/weights")
        y = tf.nn.conv2d(y, zeros, 1, "SAME")
        half = tf.constant(kernel[0, 0, :1].T.reshape(1, 1, 4, 1) / 7, tf.float16, name="half/w")
        y = tf.nn.conv2d(y, tf.cast(half, tf.float32), 1, "SAME")
        scale = tf.constant(np.float32([3.0]), name="half/mul")
        tf.nn.bias_add(y * scale, tf.constant(np.float32([5.0]), name="half/offset"))

    layers = small(tmp_path, make).layers
    np.testing.assert_array_equal(layers["bytes"]["kernel"], kernel)
    np.testing.assert_array_equal(layers["once"]["kernel"], np.full((1, 1, 4, 4), 0.25))
    want = 3 * (kernel[0, 0, :1].reshape(-1) / 7).astype(np.float16)
    np.testing.assert_allclose(layers["half"]["kernel"].reshape(-1), want, rtol=1e-3)
    np.testing.assert_array_equal(layers["half"]["bias"], [5.0])


def test_operations_show_arguments_and_the_contract(tmp_path):
    def make(x):
        x = tf.compat.v1.image.resize_bicubic(x, (16, 24))
        kernel = tf.constant(np.ones((1, 1, 2, 3), np.float32), name="Net/weights")
        tf.sigmoid(tf.nn.conv2d((x - 3.0) / 4.0, kernel, 1, "SAME"))

    shown = json.loads(small(tmp_path, make).metadata["shown"])
    assert shown["arguments"] == {"classifier_activation": "sigmoid"}
    contract = Preprocessing(
        size=(16, 24),
        crop_fraction=1.0,
        aspect="stretch",
        antialias=False,
        interpolation="bicubic",
        mean=3.0,
        std=4.0,
    )
    assert Preprocessing.from_dict(shown["preprocessing"]) == contract


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x: tf.nn.conv2d(x, x[:1, :1, :2], 1, "SAME"), "without weights: it was not frozen"),
        (
            lambda x: tf.nn.lrn(
                tf.nn.lrn(tf.nn.conv2d(x, np.ones((1, 1, 2, 4), np.float32), 1, "SAME"), 3), 2
            ),
            r"several lrn: \[\(5, 5\.0, 0\.5, 1\.0\), \(7, 7\.0",
        ),
    ],
)
def test_what_no_builder_draws_is_refused(make, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        small(tmp_path, make)
