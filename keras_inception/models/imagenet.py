"""ImageNet's classes by name. The names come with the package: imagenet_classes.txt."""

from __future__ import annotations

import collections
import functools
import os
import re
from collections.abc import Callable
from importlib import resources
from typing import Any, NamedTuple

import keras

from keras_inception import files
from keras_inception.preprocessing import Preprocessing
from keras_inception.weights.adapt import ORDER_OF_2015


class ImageNetClass(NamedTuple):
    """One of the 1,000 classes of ImageNet's challenge of 2012.

    Attributes:
        wordnet_id: Such as "n02123045"; it names the class folders of the data set.
        names: WordNet's English names, the usual one first: ("tabby", "tabby cat").
    """

    wordnet_id: str
    names: tuple[str, ...]


@functools.cache
def imagenet_classes() -> tuple[ImageNetClass, ...]:
    """The 1,000 classes in the order of the outputs of every published network but one.

    The exception is Google's graph of 2015 ("inception_v3.fid"), which has an order of its own.
    """
    file = resources.files("keras_inception.models") / "imagenet_classes.txt"
    lines = file.read_text(encoding="utf-8").splitlines()
    pairs = (line.partition(" ")[::2] for line in lines)
    return tuple(ImageNetClass(i, tuple(names.split(", "))) for i, names in pairs)


def preprocess_input_by(contract: Preprocessing) -> Callable[..., Any]:
    """keras.applications' function of the same name for a variant with this contract."""

    def preprocess_input(x: Any, data_format: str | None = None) -> Any:
        """Scales images for the variant's own contract; `model.preprocessing.scale` for any other.

        Args:
            x: Images in 0..255, as `Preprocessing.scale` takes them.
            data_format: "channels_last" or "channels_first"; None is Keras' own
                `keras.config.image_data_format()`.

        Returns:
            float32, of the same shape and kind.
        """
        return contract.scale(x, data_format or keras.config.image_data_format())

    return preprocess_input


def class_names() -> tuple[str, ...]:
    """A name for each of the 1,000 classes; where two share one, with the WordNet id behind it."""
    classes = imagenet_classes()
    shared = collections.Counter(c.names[0] for c in classes)
    return tuple(
        f"{c.names[0]} ({c.wordnet_id})" if shared[c.names[0]] > 1 else c.names[0] for c in classes
    )


def decode_predictions(
    preds: Any, top: int = 5, *, label_map: str | os.PathLike | None = None
) -> list[list[tuple[str, str, float]]]:
    """Names the best of ImageNet's classes, as keras.applications' function of the same name does.

    Args:
        preds: Float array (batch, 1000); (batch, 1001) with the background first, as TF-Slim's
            networks have it; or (batch, 1008), Google's graph of 2015. The background is left out.
        top: How many classes an image.
        label_map: With 1008 outputs, the path of imagenet_2012_challenge_label_map_proto.pbtxt,
            which Google's archive inception-2015-12-05.tgz holds: that graph has an order of its
            own.

    Returns:
        For every image `top` tuples (WordNet id, English name, score), best first.

    Raises:
        ValueError: `preds` has another shape, or 1008 outputs come without their label map.
    """
    preds = keras.ops.convert_to_numpy(preds)
    if preds.ndim != 2 or preds.shape[1] not in (1000, 1001, ORDER_OF_2015):
        raise ValueError(
            "`decode_predictions` names ImageNet's classes: it takes (batch, 1000), or (batch, "
            "1001) with the background first. For classes of your own use your list of names. "
            f"Received: an array of shape {preds.shape}"
        )
    classes = imagenet_classes()
    if preds.shape[1] == ORDER_OF_2015:
        columns = _columns_of_2015(label_map)
    else:
        columns = list(range(preds.shape[1] - 1000, preds.shape[1]))
    preds = preds[:, columns]
    return [
        [
            (classes[i].wordnet_id, classes[i].names[0].replace(" ", "_"), float(row[i]))
            for i in (-row).argsort(kind="stable")[:top]
        ]
        for row in preds
    ]


def _columns_of_2015(label_map: str | os.PathLike | None) -> list[int]:
    """Which of the 1008 outputs is each of the 1,000 classes."""
    if label_map is None:
        raise ValueError(
            "The 1008 outputs of Google's graph of 2015 stand in an order of their own. Give "
            "`label_map`, the path of imagenet_2012_challenge_label_map_proto.pbtxt, which the "
            "archive inception-2015-12-05.tgz holds. Received: label_map=None"
        )
    entry = r'target_class:\s*(\d+)\s+target_class_string:\s*"(n\d{8})"'
    found = re.findall(entry, files.read_text(label_map))
    columns = {wordnet_id: int(column) for column, wordnet_id in found}
    wanted = [c.wordnet_id for c in imagenet_classes()]
    if set(columns) != set(wanted) or not all(0 < c < ORDER_OF_2015 for c in columns.values()):
        raise ValueError(
            "`label_map` should give each of ImageNet's 1,000 WordNet ids an output from 1 to "
            f"1007. Received: {os.fspath(label_map)} with {len(columns)} entries"
        )
    return [columns[wordnet_id] for wordnet_id in wanted]
