"""The solar cells of elpv-dataset, an optional package."""

from __future__ import annotations

import numpy as np

from keras_inception.data.sources.opening import Opening
from keras_inception.data.splits import Source, array_split, stratified

# Deitsch et al. label a cell's probability of a defect 0, 1/3, 2/3 or 1; their classifiers'
# question is functional or defective, the border between 1/3 and 2/3.
ELPV_CLASSES = ("functional", "defective")


def open_elpv(opening: Opening) -> Source:
    """2,624 electroluminescence images of solar cells, 300 x 300 gray (CC BY-NC-SA 4.0).

    A quarter of each class and kind of cell is the test part, a share as large as the paper's; the
    paper's own draw is not published.
    """
    try:
        from elpv_dataset.utils import load_dataset
    except ImportError as error:
        raise ValueError(
            "The data set elpv needs the package elpv-dataset (CC BY-NC-SA 4.0, non-commercial): "
            "pip install 'keras-inception[elpv]'"
        ) from error
    images, probability, kinds = load_dataset()
    labels = (probability > 0.5).astype(np.int64)
    # Defects differ between mono- and polycrystalline cells: both kinds in the same shares.
    strata = labels * 2 + (np.asarray(kinds) == "poly")
    rest, test = stratified(strata, 0.25, opening.seed)
    kept, validation = stratified(strata[rest], opening.validation_fraction, opening.seed)
    whole = array_split(images[..., None], labels, "elpv cell")
    return Source(
        name="elpv",
        class_names=ELPV_CLASSES,
        splits={
            "train": whole.subset(rest[kept]),
            "validation": whole.subset(rest[validation]),
            "test": whole.subset(test),
        },
        drawn=("validation", "test"),
        provenance={
            "elpv": "defective: probability 2/3 or 1",
            "seed": opening.seed,
            "held_out": {"test": test.tolist(), "validation": rest[validation].tolist()},
        },
    )
