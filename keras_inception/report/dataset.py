"""The page's part on the data: what the run recorded of it, and some of its images."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import numpy as np

from keras_inception.data import Fingerprint, Source, inspection
from keras_inception.data.splits import SPLITS
from keras_inception.messages import printable
from keras_inception.report import images
from keras_inception.report.images import Picture
from keras_inception.report.table import Table, number, share, text
from keras_inception.runs import RunFolder

CLASSES, SAMPLES = 12, 5  # classes that samples are shown of, and samples of each
_SIDE = 112  # pixels of a sample's longer side
_NAMED = 8  # names that a list shows before it says how many more there are


@dataclasses.dataclass(frozen=True)
class Data:
    """What the page says of the data.

    Attributes:
        parts: Images of each part.
        counts: Part -> images of each class, in the order of the classes; empty if the run did not
            record its images.
        findings: Sentences on formats, sizes and unequal classes.
        problems: (what was found, examples) each: duplicates, unreadable images, files left out.
        samples: (class name, images of the training part) each.
        samples_of: How many classes there are.
        provenance: How the parts were made, as the run recorded it.
    """

    parts: Table | None
    counts: dict[str, np.ndarray]
    findings: list[str]
    problems: list[tuple[str, list[str]]]
    samples: list[tuple[str, list[Picture]]]
    samples_of: int
    provenance: list[tuple[str, str]]


def describe(run: RunFolder, source: Source | None) -> Data:
    """What a run recorded of its data, and what an open data set shows.

    Args:
        run: The run folder.
        source: The data set in the run's parts; None leaves its images, formats and sizes out.
    """
    record = run.data_path
    labels, counts = run.class_names, {}
    if record.exists():
        counts = _counts(Fingerprint.read(record), labels)
    elif source is not None:
        counts = {
            part: np.bincount(split.labels, minlength=len(labels))
            for part, split in source.splits.items()
        }
    split = run.read_json("split.json") or {}
    return Data(
        _parts(counts),
        counts,
        _findings(counts, labels, source),
        _problems(run, split),
        _samples(source) if source else [],
        len(labels),
        [(key, _shown(value)) for key, value in split.items() if key not in _TOLD],
    )


# What `_problems` tells of split.json.
_TOLD = ("duplicates", "left_out")


def _counts(record: Fingerprint, labels: list[str]) -> dict[str, np.ndarray]:
    order = {name: i for i, name in enumerate(labels)}
    counts = {}
    for part, examples in record.parts.items():
        column = np.zeros(len(labels), np.int64)
        for name, times in Counter(name for _, name, _ in examples).items():
            if name in order:
                column[order[name]] = times
        counts[part] = column
    return counts


def _parts(counts: dict[str, np.ndarray]) -> Table | None:
    if not counts:
        return None
    total = sum(int(column.sum()) for column in counts.values())
    rows = []
    for part in SPLITS:
        column = counts.get(part, np.zeros(1, np.int64))
        images = int(column.sum())
        smallest, largest = (int(v) for v in (column.min(), column.max()))
        rows.append(
            [
                text(inspection.PART_WORDS[part]),
                number(images),
                share(images / total if total else 0.0),
                number(smallest),
                number(largest),
            ]
        )
    return Table(
        ("part", "images", "share", "smallest class", "largest class"),
        rows,
        frozenset({1, 2, 3, 4}),
    )


def _findings(counts: dict[str, np.ndarray], labels: list[str], source: Source | None) -> list[str]:
    found = inspection.formats_and_sizes(source) if source else []
    if "train" in counts:
        found += inspection.imbalance(labels, counts["train"])
    return found


def _problems(run: RunFolder, split: dict[str, Any]) -> list[tuple[str, list[str]]]:
    found = []
    for where, pairs in split.get("duplicates", {}).items():
        shown = [" = ".join(printable(str(name)) for name in pair) for pair in pairs["examples"]]
        title = (
            "Equal images with two classes"
            if where == "with two classes"
            else (
                "Equal images, {} in {}".format(
                    *(inspection.PART_WORDS.get(part, part) for part in where.split(" in "))
                )
            )
        )
        found.append((f"{title}: {pairs['count']:,}", shown))
    unreadable = run.path / "unreadable.txt"
    if unreadable.exists():
        lines = unreadable.read_text(encoding="utf-8", errors="replace").splitlines()
        shown = [printable(line) for line in lines[:_NAMED]]
        found.append((f"Left out, since they cannot be read: {len(lines):,}", shown))
    for kind, names in split.get("left_out", {}).items():
        shown = [printable(str(name)) for name in names["examples"]]
        found.append((f"Left out, {kind}: {names['count']:,}", shown))
    return found


def _samples(source: Source) -> list[tuple[str, list[Picture]]]:
    """Images of the training part, of classes and within a class at even distances."""
    train, names = source.splits["train"], source.class_names
    found = []
    for label in _spread(len(names), CLASSES):
        members = np.flatnonzero(train.labels == label)
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
        more = f" and {len(value) - _NAMED:,} more" if len(value) > _NAMED else ""
        return ", ".join(_shown(one) for one in value[:_NAMED]) + more
    return printable(str(value))
