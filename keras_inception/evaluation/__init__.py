"""How good a model is on images that it has not seen."""

from keras_inception.evaluation.metrics import compare, summarize, wilson_interval
from keras_inception.evaluation.run import evaluate_run, predict_split

__all__ = ["compare", "evaluate_run", "predict_split", "summarize", "wilson_interval"]
