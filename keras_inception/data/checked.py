"""What follows from the first pass over a data set: unreadable images go, 16 bits get a white."""

from __future__ import annotations

import dataclasses
import logging

import numpy as np

from keras_inception.data.decode import SIXTEEN_BITS, Decoding
from keras_inception.data.plain import PROBLEMS
from keras_inception.data.splits import Split
from keras_inception.messages import some

# Share of unreadable images above which a data set is refused rather than used without them.
UNREADABLE_LIMIT = 0.01


@dataclasses.dataclass(frozen=True, eq=False)
class Checked:
    """Parts after the first pass.

    Attributes:
        splits: The parts without unreadable images.
        decoding: How their images are decoded.
        unreadable: What was left out, with the reason.
    """

    splits: dict[str, Split]
    decoding: Decoding
    unreadable: tuple[str, ...]


def check_images(splits: dict[str, Split], decoding: Decoding, where: str) -> Checked:
    """Takes out the images that cannot be read, or refuses the data set.

    Args:
        splits: Parts whose images are encoded bytes, with their facts.
        decoding: How images are decoded; `white` is found here.
        where: Names the data set in messages.

    Raises:
        ValueError: over 1 % of the images cannot be read.
    """
    bad = {part: np.flatnonzero(split.facts["problem"]) for part, split in splits.items()}
    names = tuple(
        f"{splits[part].describe(int(i))} ({PROBLEMS[splits[part].facts['problem'][i]]})"
        for part, numbers in bad.items()
        for i in numbers
    )
    if names:
        everything = sum(map(len, splits.values()))
        shown = some(names, 5)
        if len(names) > UNREADABLE_LIMIT * everything:
            raise ValueError(
                f"{len(names)} of {everything} images in {where} cannot be read (the limit is "
                f"{UNREADABLE_LIMIT:.0%}); mend or remove them: {shown}"
            )
        logging.warning("Left out %d unreadable images: %s", len(names), shown)
    decoding = _with_white(decoding, splits, where)
    splits = {
        part: dataclasses.replace(
            split.subset(np.setdiff1d(np.arange(len(split)), bad[part])), decoding=decoding
        )
        for part, split in splits.items()
    }
    return Checked(splits, decoding, names)


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
