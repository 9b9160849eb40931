"""What follows from the first pass over a data set: unreadable images go, 16 bits get a white."""

from __future__ import annotations

import dataclasses
import logging

import numpy as np

from keras_inception.data.decode import SIXTEEN_BITS, Decoding
from keras_inception.data.plain import PROBLEMS
from keras_inception.data.splits import Source, Split
from keras_inception.messages import some

# Share of unreadable images above which a data set is refused rather than used without them.
UNREADABLE_LIMIT = 0.01


def check_images(source: Source) -> Source:
    """Takes out the images that cannot be read, or refuses the data set.

    Args:
        source: Parts whose images are encoded bytes, with their facts; `white` is found here.

    Raises:
        ValueError: over 1 % of the images cannot be read.
    """
    bad = {part: np.flatnonzero(split.facts["problem"]) for part, split in source.splits.items()}
    names = tuple(
        f"{source.describe(part, int(i))} ({PROBLEMS[source.splits[part].facts['problem'][i]]})"
        for part, numbers in bad.items()
        for i in numbers
    )
    if names:
        everything = sum(map(len, source.splits.values()))
        shown = some(names, 5)
        if len(names) > UNREADABLE_LIMIT * everything:
            raise ValueError(
                f"{len(names)} of {everything} images in {source.name} cannot be read (the limit "
                f"is {UNREADABLE_LIMIT:.0%}); mend or remove them: {shown}"
            )
        logging.warning("Left out %d unreadable images: %s", len(names), shown)
    decoding = _with_white(source.decoding, source.splits, source.name)
    splits = {
        part: dataclasses.replace(
            split.subset(np.setdiff1d(np.arange(len(split)), bad[part])), decoding=decoding
        )
        for part, split in source.splits.items()
    }
    return dataclasses.replace(source, splits=splits, decoding=decoding, unreadable=names)


def _with_white(decoding: Decoding, splits: dict[str, Split], where: str) -> Decoding:
    """`white` for the 16-bit images of a data set: the largest value of so many bits."""
    if decoding.white != SIXTEEN_BITS:
        return decoding
    largest = max((int(s.facts["maximum"].max(initial=0)) for s in splits.values()), default=0)
    white = max(2 ** largest.bit_length() - 1, 255)
    if not largest or white == SIXTEEN_BITS:
        return decoding
    logging.warning(
        "The values of the 16-bit images in %s reach only %d of 65535: they are taken for %d bits, "
        "and %d becomes white.",
        where,
        largest,
        white.bit_length(),
        white,
    )
    return dataclasses.replace(decoding, white=white)
