"""What all sources share: the arguments of `open_source`, and the usual names of parts."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from keras_inception.data.decode import Decoding

# Words by which a folder is known to hold a part.
PART_NAMES = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "eval"),
}
PART_OF = {word: part for part, words in PART_NAMES.items() for word in words}


def part_named(name: str) -> str:
    """The part that a folder's name names, alone or as a word of it: "seg_train" -> "train"."""
    words = re.findall("[a-z]+", re.sub("([a-z])([A-Z])", r"\1 \2", name).lower())
    parts = {PART_OF[word] for word in words if word in PART_OF}
    return parts.pop() if len(parts) == 1 else ""


@dataclasses.dataclass(frozen=True)
class Opening:
    """Arguments of `open_source`; see there."""

    data_dir: str = ""
    split: str = ""
    validation_fraction: float = 0.1
    seed: int = 0
    download: bool = False
    decoding: Decoding = Decoding()
    ground_truth: Path | None = None
    keys: str = ""
    groups: str = ""
    verbose: int = 1

    @property
    def group_key(self) -> str:
        """What of the data itself says the groups; "" where twins are searched for instead."""
        return "" if self.groups == "twins" else self.groups
