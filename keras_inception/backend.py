"""Which backend Keras runs on, for what needs TensorFlow."""

from __future__ import annotations

import keras


def need_tensorflow(what: str) -> None:
    """Raises ValueError if Keras runs on another backend; `what` names the function."""
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise ValueError(
            f"`{what}` needs TensorFlow as Keras' backend: set KERAS_BACKEND=tensorflow before "
            f"Keras is imported. Received: KERAS_BACKEND={backend}"
        )
