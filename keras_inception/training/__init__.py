"""The training loop. Importing it loads TensorFlow: flags and recipes are elsewhere."""

from keras_inception.training.endings import (
    Ending,
    Interrupted,
    LostImage,
    LostWorker,
    NonFinite,
    stop_at_once,
)
from keras_inception.training.lost import naming_lost_images
from keras_inception.training.stages import open_bound, train
from keras_inception.training.strategy import is_chief, make_strategy, repeat_bit_for_bit

__all__ = [
    "Ending",
    "Interrupted",
    "LostImage",
    "LostWorker",
    "NonFinite",
    "is_chief",
    "make_strategy",
    "naming_lost_images",
    "open_bound",
    "repeat_bit_for_bit",
    "stop_at_once",
    "train",
]
