"""ImageNet's classes by name."""

from __future__ import annotations

from typing import Any

import keras
from keras.applications import imagenet_utils


def decode_predictions(preds: Any, top: int = 5) -> list[list[tuple[str, str, float]]]:
    """Names the best of ImageNet's classes, as keras.applications' function of the same name does.

    Args:
        preds: Float array (batch, 1000), or (batch, 1001) with the background first, as TF-Slim's
            networks have it; the background is left out.
        top: How many classes an image.

    Returns:
        For every image `top` tuples (WordNet id, English name, score), best first. Keras
        downloads the names once.

    Raises:
        ValueError: `preds` has another shape.
    """
    preds = keras.ops.convert_to_numpy(preds)
    if preds.ndim != 2 or preds.shape[1] not in (1000, 1001):
        raise ValueError(
            "`decode_predictions` names ImageNet's classes: it takes (batch, 1000), or (batch, "
            "1001) with the background first. For classes of your own use your list of names. "
            f"Received: an array of shape {preds.shape}"
        )
    return imagenet_utils.decode_predictions(preds[:, -1000:], top=top)
