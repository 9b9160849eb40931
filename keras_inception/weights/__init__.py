"""Weights: what a builder's `weights` argument may be, and how it gets into a model."""

from keras_inception.weights.adapt import Loaded, load_into
from keras_inception.weights.download import DownloadError, fetch
from keras_inception.weights.hub import is_repository
from keras_inception.weights.native import save_weights
from keras_inception.weights.readers.tf_checkpoint import is_prefix as is_checkpoint
from keras_inception.weights.resolve import read, resolve

__all__ = [
    "DownloadError",
    "Loaded",
    "fetch",
    "is_checkpoint",
    "is_repository",
    "load_into",
    "read",
    "resolve",
    "save_weights",
]
