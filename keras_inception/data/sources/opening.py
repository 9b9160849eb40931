"""How a data set is opened: what `open_source` was asked for."""

from __future__ import annotations

import dataclasses

from keras_inception.data.decode import Decoding


@dataclasses.dataclass(frozen=True)
class Opening:
    """Arguments of `open_source`; see there."""

    data_dir: str = ""
    split: str = ""
    validation_fraction: float = 0.1
    seed: int = 0
    download: bool = False
    decoding: Decoding = Decoding()
