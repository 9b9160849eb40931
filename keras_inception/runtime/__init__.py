"""Trained networks that answer, whatever engine runs them."""

from keras_inception.runtime.classifier import Classifier, Engine, load_classifier

__all__ = ["Classifier", "Engine", "load_classifier"]
