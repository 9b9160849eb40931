"""The two readings of 1512.00567's Table 1 (Inception v2): how deep each is and what it costs."""

from __future__ import annotations

import keras

import keras_inception
from keras_inception.models import inception_v2


def reductions_counted_in_the_rows() -> keras.Model:
    """2 x figure 5 and figure 10, 4 x figure 6 and figure 10, 2 x figure 7."""
    image = keras.Input((299, 299, 3))
    x = inception_v2.stem(image)
    for i in range(2):
        x = inception_v2.figure_5(x, f"mixed{i}")
    x = inception_v2.reduction(x, "mixed2", n3x3=(64, 384), double=(64, 96))
    for i, n in enumerate((128, 160, 160, 192), start=3):
        x = inception_v2.figure_6(x, f"mixed{i}", n)
    x = inception_v2.reduction(x, "mixed7", n3x3=(192, 320), double=(192, 192))
    for i in (8, 9):
        x = inception_v2.figure_7(x, f"mixed{i}")
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(1000)(x))


def depth(model: keras.Model) -> int:
    """Layers with a kernel on the longest way from the image to the classifier."""
    longest: dict[int, int] = {}
    for layer in model.layers:
        before = [longest.get(id(tensor), 0) for tensor in keras.tree.flatten(layer.input)]
        longest[id(layer.output)] = max(before, default=0) + hasattr(layer, "kernel")
    return max(longest.values())


if __name__ == "__main__":
    readings = {
        "reductions between the rows": keras_inception.InceptionV2(weights=None),
        "reductions counted in the rows": reductions_counted_in_the_rows(),
        "(InceptionV3)": keras_inception.InceptionV3(weights=None),
    }
    for reading, model in readings.items():
        cost = sum(keras_inception.multiply_adds(model).values()) / 1e9
        print(f"{reading}: {depth(model)} layers deep, {cost:.2f} billion multiply-adds")
