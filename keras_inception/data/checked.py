"""The first pass over a data set: unreadable images go, and 16 bits get a white."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_inception.data.decode import SIXTEEN_BITS, Decoding
from keras_inception.data.facts import find_facts
from keras_inception.data.headers import FORMATS
from keras_inception.data.listing import FOLLOWED, LEFTOVER
from keras_inception.data.plain import NEEDS
from keras_inception.data.splits import Source, Split
from keras_inception.messages import printable, some

# Share of unreadable images above which a data set is refused rather than used without them.
UNREADABLE_LIMIT = 0.01


def check_images(
    source: Source, states: Mapping[str, Sequence[object]], verbose: int = 1
) -> Source:
    """Looks at every image once, and takes out those that cannot be read.

    Args:
        source: Parts whose images are encoded bytes.
        states: Of each part's images, what changes when their content does, such as path, size and
            time.
        verbose: 1 shows the progress, 2 in lines, 0 nothing.

    Returns:
        The source with the facts of its images, with their `white`, and with what was left out.

    Raises:
        ValueError: over 1 % of the images cannot be read.
    """
    splits, left_out = {}, {kind: list(names) for kind, names in source.left_out.items()}
    converted = Counter[str]()
    for part, split in source.splits.items():
        where = f"{source.name} {part}"
        facts = find_facts(split.image, states[part], source.decoding, where, verbose)
        lacks_package = np.isin(facts["problem"], list(NEEDS.values()))
        for i in np.flatnonzero(lacks_package):
            kind = f"images of which {facts['problem'][i]}"
            left_out.setdefault(kind, []).append(split.name(int(i)))
        converted.update(FORMATS[code] for code in facts["format"][facts["odd"] == 1])
        splits[part] = dataclasses.replace(split, facts=facts).subset(
            np.flatnonzero(~lacks_package)
        )
    if converted:
        counts = ", ".join(f"{count} {kind}" for kind, count in sorted(converted.items()))
        logging.info("Pillow decoded %s once, into the cache.", counts)
    source = _without_unreadable(dataclasses.replace(source, splits=splits, left_out=left_out))
    decoding = _with_white(source.decoding, source.splits, source.name)
    said = {"left_out": _say_left_out(source), "converted": dict(converted)}
    return dataclasses.replace(
        source,
        splits={
            part: dataclasses.replace(split, decoding=decoding)
            for part, split in source.splits.items()
        },
        decoding=decoding,
        provenance=source.provenance | {key: value for key, value in said.items() if value},
    )


def _without_unreadable(source: Source) -> Source:
    bad = {
        part: np.flatnonzero(split.facts["problem"] != "") for part, split in source.splits.items()
    }
    names = tuple(
        f"{source.describe(part, int(i))} ({source.splits[part].facts['problem'][i]})"
        for part, numbers in bad.items()
        for i in numbers
    )
    if not names:
        return source
    everything = sum(map(len, source.splits.values()))
    shown = some(names, 5)
    if len(names) > UNREADABLE_LIMIT * everything:
        raise ValueError(
            f"{len(names)} of {everything} images in {source.name} cannot be read (the limit "
            f"is {UNREADABLE_LIMIT:.0%}); mend or remove them: {shown}"
        )
    logging.warning("Left out %d unreadable images: %s", len(names), shown)
    splits = {
        part: split.subset(np.setdiff1d(np.arange(len(split)), bad[part]))
        for part, split in source.splits.items()
    }
    return dataclasses.replace(source, splits=splits, unreadable=names)


def _say_left_out(source: Source) -> dict[str, Any]:
    """Warns of files that are not used; returns what provenance says of them."""
    said = {}
    for kind, names in sorted(source.left_out.items()):
        shown = [printable(name) for name in sorted(names)]
        # Leftovers were never meant as images, and the images behind links are used.
        level = logging.INFO if kind in (LEFTOVER, FOLLOWED) else logging.WARNING
        where, count = source.name, len(names)
        logging.log(level, "Left out of %s: %s (%d): %s", where, kind, count, some(shown))
        said[kind] = {"count": count, "examples": shown[:3]}
    return said


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
