"""`explain`: why a network answers what it answers on an image."""

from __future__ import annotations

import os
from typing import Any, Literal

from keras_inception.explaining.cam import grad_cam
from keras_inception.explaining.heat import Heat
from keras_inception.explaining.occlude import occlusion


def explain(
    model: Any,
    image: Any,
    method: Literal["grad_cam", "occlusion"] = "grad_cam",
    *,
    target: int | str | None = None,
    layer: str | None = None,
    window: int | None = None,
    stride: int | None = None,
    output: str | os.PathLike | None = None,
) -> Heat:
    """Where in an image a network sees the evidence for a class.

    What else `keras-inception explain` does are functions of `keras_inception.explaining`.

    Args:
        model: What `load_classifier` takes; "grad_cam" asks for one that Keras runs.
        image: A path, or an array uint8 (height, width, channels).
        method: "grad_cam" differentiates the class's logit by a map, "occlusion" covers the image
            piece by piece.
        target: The class, by number or name; None for the one that the network answers.
        layer: With "grad_cam", the layer whose map is looked at; None finds the last with places.
        window, stride: With "occlusion", side and step of the cover in pixels of the network's
            input; by default a fifth of it, and half a window.
        output: An image file to write the image and the map into, side by side.

    Returns:
        The map, which shows itself in a notebook.

    Raises:
        ValueError: there is no such class, layer or method, an option belongs to the other method,
            or the network is not run by Keras.
    """
    own: dict[str, dict[str, Any]] = {
        "grad_cam": {"layer": layer},
        "occlusion": {"window": window, "stride": stride},
    }
    if method not in own:
        raise ValueError(f"`method` should be one of {', '.join(own)}. Received: method={method!r}")
    for other in own.keys() - {method}:
        for name, value in own[other].items():
            if value is not None:
                raise ValueError(
                    f"`{name}` goes with method={other!r}. Received: {name}={value!r} with "
                    f"method={method!r}"
                )
    function: Any = grad_cam if method == "grad_cam" else occlusion
    found = function(model, image, target=target, **own[method])
    if output:
        found.save(output)
    return found
