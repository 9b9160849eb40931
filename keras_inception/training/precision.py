"""Which precision a machine trains fast in: what `precision=auto` stands for."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from keras_inception.recipes import Recipe
from keras_inception.runs import RunFolder
from keras_inception.training.strategy import is_multi_worker


def decided(
    recipe: Recipe, folder: RunFolder, strategy: tf.distribute.Strategy, fresh: bool
) -> tuple[Recipe, list[str]]:
    """The recipe with a precision in place of "auto", and what is to be said of that.

    A run that goes on keeps the precision that it began with, on whatever machine.

    Args:
        recipe: What is to be trained.
        folder: Where its run is, or will be.
        strategy: Which devices compute.
        fresh: Whether a run that is in the folder is started anew.

    Raises:
        ValueError: there are several workers, which could decide differently.
    """
    if recipe.precision != "auto":
        return recipe, []
    if is_multi_worker(strategy):
        raise ValueError(
            "`precision=auto` is decided by the machine, and several workers could decide "
            "differently; give one of float32, mixed_bfloat16 and mixed_float16. Received: "
            "precision='auto'"
        )
    if folder.config_path.exists() and not fresh:
        kept = folder.recipe.precision
        return recipe.replace(precision=kept), [f"Precision: {kept}, with which this run began"]
    found, why = fast_precision(strategy)
    return recipe.replace(precision=found), [f"Precision: {found} ({why})"]


def fast_precision(
    strategy: tf.distribute.Strategy, processors: Path = Path("/proc/cpuinfo")
) -> tuple[str, str]:
    """The precision that the strategy's devices compute fast, and why.

    bfloat16 has float32's range and needs no scaling of the loss. TPUs have it, GPUs of NVIDIA
    since compute capability 8.0, and x86 processors with AMX; AVX-512's bfloat16 instructions
    were not measured, so that they do not count.
    """
    kind = strategy.extended.worker_devices[0].rpartition("device:")[2].split(":")[0]
    if kind == "TPU":
        return "mixed_bfloat16", "a TPU"
    if kind == "GPU":
        details = map(
            tf.config.experimental.get_device_details, tf.config.list_physical_devices(kind)
        )
        weakest = min(tuple(found.get("compute_capability", (0, 0))) for found in details)
        number = ".".join(map(str, weakest))
        fast = weakest >= (8, 0)
        return "mixed_bfloat16" if fast else "float32", f"a GPU of compute capability {number}"
    amx = processors.is_file() and "amx_bf16" in processors.read_text(errors="replace").split()
    return (
        ("mixed_bfloat16", "a processor with AMX")
        if amx
        else ("float32", "a processor without AMX")
    )
