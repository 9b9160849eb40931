"""How good a model is on images that it has not seen."""

from keras_inception.evaluation.metrics import compare, summarize, wilson_interval
from keras_inception.evaluation.protocol import evaluate
from keras_inception.evaluation.results import table

__all__ = ["compare", "evaluate", "summarize", "table", "wilson_interval"]
