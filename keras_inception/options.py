"""How a recipe is run: where, on which devices. None of it changes what is computed."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from keras_inception import settings
from keras_inception.recipes import Recipe
from keras_inception.settings import group

_run, _devices = group("Run"), group("Devices")


def run_dir_of(recipe: Recipe) -> str:
    """The folder of a run for which none was named: runs/<dataset>-<model>."""
    data = Path(recipe.dataset.partition(":")[2] or recipe.dataset).name or "data"
    return f"runs/{data}-{recipe.model}"


@dataclasses.dataclass(frozen=True)
class Options:
    """How a recipe is run. TensorFlow is not needed to check it."""

    run_dir: str = _run("", "folder of the run [runs/<dataset>-<model>]")
    fresh: bool = _run(
        False, "delete an earlier run's files in that folder, once the new run can begin"
    )
    keep_parts: bool = _run(
        False, "go on with the images that the run has, though others were added to the data set"
    )
    download: bool = _run(False, "let TFDS fetch a data set that is not prepared")
    strategy: str = _devices(
        "auto",
        "tf.distribute strategy; auto takes what the machine has",
        choices=("auto", "one_device", "mirrored", "multi_worker", "tpu"),
    )
    tpu: str = _devices("", "local on a TPU VM, or a name [$TPU_NAME]")
    num_virtual_devices: int = _devices(
        0, "split the CPU into N devices, to try N replicas", least=0, most=64
    )
    workers: str = _devices(
        "", "HOST:PORT,HOST:PORT: all workers of multi_worker, the same on each; or set TF_CONFIG"
    )
    worker_index: int = _devices(0, "which of them this is", least=0, most=10_000)
    steps_per_loop: int = _devices(
        10, "steps that the devices take before they answer", least=1, most=1_000_000
    )
    xla: bool = _devices(False, "compile each replica's forward and backward pass")
    deterministic: bool = _devices(False, "repeat bit for bit, on one thread")

    def check(self) -> None:
        """Raises ValueError for the first option that has a wrong type or is out of range."""
        settings.check(self)
        if not self.workers:
            return
        addresses = self.workers.split(",")
        for address in addresses:
            found = re.fullmatch(r"(?:[\w.-]+|\[[0-9a-fA-F:.]+\]):(\d{1,5})", address)
            if not found or not 0 < int(found[1]) < 65536:
                raise ValueError(
                    "`workers` should be the addresses of all workers, such as "
                    f"10.0.0.1:12345,10.0.0.2:12345. Received: workers={self.workers!r}"
                )
        if self.worker_index >= len(addresses):
            raise ValueError(
                f"`worker_index` should be 0 to {len(addresses) - 1} with these `workers`. "
                f"Received: worker_index={self.worker_index}"
            )
