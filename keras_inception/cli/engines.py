"""--engine: what runs the network, for the commands that ask one."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

KERAS = "keras"
ENGINES = (KERAS, "auto", "tensorflow", "litert", "onnx", "openvino")

CHECKED = 16  # images that engines are held against before the work begins


def add_argument(parser: argparse.ArgumentParser) -> None:
    """Adds --engine."""
    parser.add_argument(
        "--engine",
        default=KERAS,
        choices=ENGINES,
        help="what runs the network; auto measures once which is fastest on this machine and "
        "remembers it; engines whose answers differ are refused [keras]",
    )


def chooser(engine: str, batch_size: int) -> Callable[[Any, Any], Any] | None:
    """A function (classifier, images) -> classifier on that engine; None for Keras itself."""
    if engine == KERAS:
        return None

    def choose(classifier: Any, images: Any) -> Any:
        from keras_inception.exporting.fastest import optimize

        # Standard output is the command's answers.
        return optimize(
            classifier,
            images,
            engine=engine,
            batch_size=batch_size,
            say=lambda line: print(line, file=sys.stderr),
        )

    return choose


def of_images(model: Any, engine: str, listed: Sequence[Any], batch_size: int) -> Any:
    """The model, or its classifier on that engine, held against the first readable images."""
    choose = chooser(engine, min(batch_size, max(1, len(listed))))
    if choose is None:
        return model
    import numpy as np

    from keras_inception.runtime import load_classifier
    from keras_inception.runtime.predict import pixels

    classifier = load_classifier(model)
    fitted = []
    for image in listed[:CHECKED]:
        try:
            fitted.append(classifier.crop_and_resize(pixels(image, classifier.input_shape[2])))
        except OSError:
            continue  # the command itself names the images that cannot be read
    return choose(classifier, np.stack(fitted) if fitted else None)
