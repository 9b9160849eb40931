"""How a recipe is run: where, on which devices. None of it changes what is computed."""

from __future__ import annotations

import dataclasses
import re

from keras_inception import settings
from keras_inception.settings import setting


@dataclasses.dataclass(frozen=True)
class Options:
    """How a recipe is run. TensorFlow is not needed to check it."""

    run_dir: str = setting("", "Run", "folder of the run [runs/<dataset>-<model>]")
    fresh: bool = setting(
        False, "Run", "delete an earlier run's files in that folder, once the new run can begin"
    )
    keep_parts: bool = setting(
        False,
        "Run",
        "go on with the images that the run has, though others were added to the data set",
    )
    download: bool = setting(False, "Run", "let TFDS fetch a data set that is not prepared")
    strategy: str = setting(
        "auto",
        "Devices",
        "tf.distribute strategy; auto takes what the machine has",
        choices=("auto", "one_device", "mirrored", "multi_worker", "tpu"),
    )
    tpu: str = setting("", "Devices", "local on a TPU VM, or a name [$TPU_NAME]")
    num_virtual_devices: int = setting(
        0, "Devices", "split the CPU into N devices, to try N replicas", least=0, most=64
    )
    workers: str = setting(
        "",
        "Devices",
        "HOST:PORT,HOST:PORT: all workers of multi_worker, the same on each; or set TF_CONFIG",
    )
    worker_index: int = setting(0, "Devices", "which of them this is", least=0, most=10_000)
    steps_per_loop: int = setting(
        10, "Devices", "steps that the devices take before they answer", least=1, most=1_000_000
    )
    xla: bool = setting(False, "Devices", "compile each replica's forward and backward pass")
    deterministic: bool = setting(False, "Devices", "repeat bit for bit, on one thread")

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
