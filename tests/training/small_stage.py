"""A stage of gradient descent on a network of a few layers, which is traced in a moment."""

from __future__ import annotations

import keras
import tensorflow as tf

from keras_inception import Preprocessing
from keras_inception.data import open_source
from keras_inception.identity import Identity, attach
from keras_inception.optimizers import make_optimizer, make_schedule
from keras_inception.runs import RunFolder
from keras_inception.training.averages import MovingAverage
from keras_inception.training.loop import Descent
from keras_inception.training.stage import Place
from keras_inception.training.step import Step

KNOWN = Identity("InceptionV1")  # files are written of variants only


def descent(recipe, path, source=None):
    """The stage on a data set, by default the recipe's, in a run folder at `path`."""
    source = source or open_source(recipe.dataset, validation_fraction=recipe.validation_fraction)
    keras.utils.set_random_seed(recipe.seed)
    x = inputs = keras.Input((recipe.image_size, recipe.image_size, 3))
    x = keras.layers.Rescaling(10.0, 50.0)(x)  # far from the statistics that BatchNorm begins with
    x = keras.layers.Conv2D(8, 3, strides=2, use_bias=False)(x)
    x = keras.layers.BatchNormalization(momentum=recipe.bn_momentum)(x)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(x))
    outputs = keras.layers.Dense(len(source.class_names), name="predictions")(x)
    model = attach(keras.Model(inputs, outputs), KNOWN)
    schedule = make_schedule(recipe, source.num_examples("train") // recipe.batch_size)
    optimizer = make_optimizer(recipe, schedule)
    optimizer.build(model.trainable_variables)
    average = MovingAverage(model, recipe.ema) if recipe.ema else None
    size, devices = (recipe.image_size, recipe.image_size), tf.distribute.OneDeviceStrategy("CPU:0")
    return Descent(
        Step(model, optimizer, batch_size=recipe.batch_size, average=average),
        schedule,
        lambda: attach(keras.Model(inputs, keras.layers.Softmax()(outputs)), KNOWN),
        Place(recipe, RunFolder(path), source, Preprocessing(size=size), devices),
    )
