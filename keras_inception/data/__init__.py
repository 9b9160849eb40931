"""Images -> batches. TensorFlow is loaded with the first name that needs it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keras_inception.data.decoding import decoding_of as decoding_of
    from keras_inception.data.fingerprint import Changes as Changes
    from keras_inception.data.fingerprint import Fingerprint as Fingerprint
    from keras_inception.data.inspected import inspect as inspect
    from keras_inception.data.iteration import Batches as Batches
    from keras_inception.data.order import Order as Order
    from keras_inception.data.pipeline import Augmentation as Augmentation
    from keras_inception.data.pipeline import evaluation_batches as evaluation_batches
    from keras_inception.data.pipeline import train_batches as train_batches
    from keras_inception.data.sources import ChangedData as ChangedData
    from keras_inception.data.sources import open_for as open_for
    from keras_inception.data.sources import open_run as open_run
    from keras_inception.data.sources import open_source as open_source
    from keras_inception.data.sources.memory import Held as Held
    from keras_inception.data.splits import Source as Source

_PUBLIC = {
    "Augmentation": "keras_inception.data.pipeline",
    "Batches": "keras_inception.data.iteration",
    "ChangedData": "keras_inception.data.sources",
    "Changes": "keras_inception.data.fingerprint",
    "Fingerprint": "keras_inception.data.fingerprint",
    "Held": "keras_inception.data.sources.memory",
    "Order": "keras_inception.data.order",
    "Source": "keras_inception.data.splits",
    "decoding_of": "keras_inception.data.decoding",
    "evaluation_batches": "keras_inception.data.pipeline",
    "inspect": "keras_inception.data.inspected",
    "open_for": "keras_inception.data.sources",
    "open_run": "keras_inception.data.sources",
    "open_source": "keras_inception.data.sources",
    "train_batches": "keras_inception.data.pipeline",
}

__all__ = [*_PUBLIC]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
