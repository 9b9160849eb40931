"""Trained networks that answer, whatever engine runs them."""

from keras_inception.runtime.classifier import Classifier, load_classifier
from keras_inception.runtime.engine import Engine

__all__ = ["Classifier", "Engine", "load_classifier"]
