"""The page's part on the data: what the run recorded of it, and some of its images."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_inception import files
from keras_inception.curation.tables import sentence_in
from keras_inception.data import Fingerprint, Source, inspection
from keras_inception.data.splits import SPLITS
from keras_inception.messages import printable, some
from keras_inception.report import images
from keras_inception.report.table import Table, number, share, text
from keras_inception.runs import RunFolder

CLASSES, SAMPLES = 12, 5  # classes that samples are shown of, and samples of each
_SIDE = 112  # pixels of a sample's longer side
_NAMED = 8  # names that a list shows before it says how many more there are


def describe(run: RunFolder, source: Source | None) -> dict[str, Any]:
    """What a run recorded of its data, and what an open data set shows.

    Args:
        run: The run folder.
        source: The data set in the run's parts; None leaves its images, formats and sizes out.

    Returns:
        "parts" (a table, or None), "counts" (part -> images of each class; empty if the run did not
        record its images), "findings" (sentences on formats, sizes and unequal classes), "problems"
        ((what was found, examples) each), "samples" ((class name, training images) each) and
        "provenance" ((what, how) of the parts).
    """
    record = run.data_path
    labels, counts, images = run.class_names, {}, {}
    if record.exists():
        known = Fingerprint.read(record)
        counts = _counts(known, labels)
        images = {part: len(examples) for part, examples in known.parts.items()}
    elif source is not None:
        counts = {part: split.counts(len(labels)) for part, split in source.splits.items()}
        images = {part: len(split) for part, split in source.splits.items()}
    split = run.read_json("split.json") or {}
    return {
        "parts": _parts(counts, images),
        "counts": counts,
        "findings": _findings(counts, labels, source, run),
        "problems": _problems(run, split),
        "samples": _samples(source) if source else [],
        "provenance": [(key, _shown(value)) for key, value in split.items() if key not in _TOLD],
    }


# What `_problems` tells of split.json.
_TOLD = ("duplicates", "left_out", "shared_groups")


def _counts(record: Fingerprint, labels: list[str]) -> dict[str, np.ndarray]:
    """Part -> images of each class."""
    order = {name: i for i, name in enumerate(labels)}
    counts = {}
    for part, examples in record.parts.items():
        # Of several labels there is a | between two.
        names = [[name] if name in order else name.split("|") for _, name, _ in examples]
        numbers = [order[one] for own in names for one in own if one in order]
        counts[part] = np.bincount(np.array(numbers, np.int64), minlength=len(labels))
    return counts


def _parts(counts: dict[str, np.ndarray], images: dict[str, int]) -> Table | None:
    if not counts:
        return None
    total = sum(images.values())
    rows = []
    for part in SPLITS:
        column = counts.get(part, np.zeros(1, np.int64))
        here, smallest, largest = images.get(part, 0), int(column.min()), int(column.max())
        row = [text(inspection.PART_WORDS[part]), number(here)]
        row += [share(here / total if total else 0.0), number(smallest), number(largest)]
        rows.append(row)
    head = ("part", "images", "share", "smallest class", "largest class")
    return Table(head, rows, frozenset({1, 2, 3, 4}))


def _findings(
    counts: dict[str, np.ndarray], labels: list[str], source: Source | None, run: RunFolder
) -> list[str]:
    found = inspection.formats_and_sizes(source) if source else []
    if "train" in counts:
        found += inspection.imbalance(labels, counts["train"])
    found += filter(None, [sentence_in(run.inspection_path)])
    return found


def _problems(run: RunFolder, split: dict[str, Any]) -> list[tuple[str, list[str]]]:
    unreadable = run.unreadable_path
    listed = [(_equals(where), found) for where, found in split.get("duplicates", {}).items()]
    shared = split.get("shared_groups", {})
    listed += [(f"Groups in two parts, {where}", found) for where, found in shared.items()]
    if unreadable.exists():
        lines = files.read(unreadable).decode(errors="replace").splitlines()
        found = {"count": len(lines), "examples": lines[:_NAMED]}
        listed.append(("Left out, since they cannot be read", found))
    listed += [(f"Left out, {kind}", found) for kind, found in split.get("left_out", {}).items()]
    return [
        (f"{what}: {found['count']:,}", [_joined(example) for example in found["examples"]])
        for what, found in listed
    ]


def _equals(where: str) -> str:
    """What equal images in "PART in PART" or "with two classes" are called."""
    if where == "with two classes":
        return "Equal images with two classes"
    parts = (inspection.PART_WORDS.get(part, part) for part in where.split(" in "))
    return f"Equal images, {' in '.join(parts)}"


def _joined(example: str | list[str]) -> str:
    """A file's name, or the names of equal files."""
    names = example if isinstance(example, list) else [example]
    return " = ".join(printable(str(name)) for name in names)


def _samples(source: Source) -> list[tuple[str, list[dict[str, Any]]]]:
    """Images of the training part, of classes and within a class at even distances."""
    train, names = source.splits["train"], source.class_names
    found = []
    for label in _spread(len(names), CLASSES):
        members = train.of_class(label)
        shown = []
        for i in members[_spread(len(members), SAMPLES)]:
            pixels = images.read(train, int(i))
            if pixels is not None:
                shown.append(images.picture(pixels, printable(train.name(int(i))), _SIDE))
        found.append((names[label], shown))
    return found


def _spread(length: int, count: int) -> np.ndarray:
    """At most `count` numbers below `length`, at even distances."""
    return np.unique(np.linspace(0, length - 1, count).astype(int)) if length else np.zeros(0, int)


def _shown(value: Any) -> str:
    """A value of split.json as a line: long lists are cut."""
    if isinstance(value, dict):
        return "; ".join(f"{key}: {_shown(one)}" for key, one in value.items())
    if isinstance(value, list):
        return some(map(_shown, value), _NAMED)
    return printable(str(value))
