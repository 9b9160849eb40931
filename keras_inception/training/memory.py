"""What a step needs at least, against the memory of the machine: refused before it fails.

A system that runs out of memory ends the process without a word; GPUs and TPUs say so themselves.
"""

from __future__ import annotations

import math

import keras
import tensorflow as tf

from keras_inception.budget import machine_memory
from keras_inception.recipes import Recipe
from keras_inception.training.strategy import is_multi_worker

# Bytes of a weight in training: itself and its gradient, and the optimizer's and average's copies.
_BYTES_A_WEIGHT = 8
# Layers whose outputs the backward pass needs: what BatchNorm and ReLU were given and gave.
_KEPT = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Activation)


def check_step(recipe: Recipe, model: keras.Model, strategy: tf.distribute.Strategy) -> None:
    """Raises ValueError if a step on the CPU needs more memory than the machine has.

    What is needed is a lower bound: what passes can still be too large, what is refused is.

    Args:
        recipe: The batch, its parts and the precision.
        model: The network that trains.
        strategy: Whose replicas share a step.
    """
    have = machine_memory()
    if have is None or any(tf.config.list_logical_devices(kind) for kind in ("GPU", "TPU")):
        return
    replicas = here = strategy.num_replicas_in_sync
    if is_multi_worker(strategy):
        here //= strategy.cluster_resolver.cluster_spec().num_tasks("worker")
    images = recipe.batch_size // (replicas * recipe.accumulation_steps)
    need = here * step_memory(model, images, 4 if recipe.precision == "float32" else 2)
    if need > have:
        raise ValueError(
            f"{recipe.model} at {recipe.image_size} px needs at least {need / 1e9:,.1f} GB of "
            f"memory for a step, and the machine has {have / 1e9:,.1f} GB. Lower `image_size`, "
            "`batch_size` or `width_multiplier`, or raise `accumulation_steps`, which computes a "
            "batch in parts. "
            f"Received: image_size={recipe.image_size}, batch_size={recipe.batch_size}"
        )


def step_memory(model: keras.Model, images: int, bytes_a_number: int) -> int:
    """Bytes that a step on so many images needs at least.

    Args:
        model: A network with a known input size.
        images: Images that are computed at once.
        bytes_a_number: 4 in float32, 2 in half precision.
    """
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    trains = any(layer.trainable for layer in convolutions)
    kept, largest = 0, 0
    for layer in model.layers:
        output = getattr(layer, "output", None)
        if not isinstance(output, keras.KerasTensor):
            continue
        numbers = math.prod(length or 1 for length in output.shape[1:])
        largest = max(largest, numbers)
        # A frozen layer's output is thrown away once the next layer has used it.
        kept += numbers * (isinstance(layer, _KEPT) and trains)
    return images * max(kept, largest) * bytes_a_number + model.count_params() * _BYTES_A_WEIGHT
