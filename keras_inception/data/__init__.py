"""Images -> batches."""

from keras_inception.data.fingerprint import Changes, Fingerprint
from keras_inception.data.inspected import inspect
from keras_inception.data.iteration import Batches
from keras_inception.data.order import Order
from keras_inception.data.pipeline import Augmentation, evaluation_batches, train_batches
from keras_inception.data.sources import ChangedData, decoding_of, open_for, open_run, open_source
from keras_inception.data.sources.memory import Held
from keras_inception.data.splits import Source

__all__ = [
    "Augmentation",
    "Batches",
    "ChangedData",
    "Changes",
    "Fingerprint",
    "Held",
    "Order",
    "Source",
    "decoding_of",
    "evaluation_batches",
    "inspect",
    "open_for",
    "open_run",
    "open_source",
    "train_batches",
]
