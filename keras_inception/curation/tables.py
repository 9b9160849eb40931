"""What a check found, as files to look at, to correct and to train with."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_inception import files
from keras_inception.buckets import is_remote
from keras_inception.budget import refusing
from keras_inception.curation.choosing import choose_next
from keras_inception.curation.labels import LabelCheck
from keras_inception.curation.network import Network
from keras_inception.data.checked import check_images
from keras_inception.data.groups import ALONE
from keras_inception.data.kept import state_of
from keras_inception.data.parts import what_stays_together
from keras_inception.data.sheet import Row, Shown, thumbnail, write_sheet_of
from keras_inception.data.sources.files import ImageFile, split_of_files
from keras_inception.data.splits import SPLITS, Source, Split
from keras_inception.explaining.features import nearest
from keras_inception.messages import printable
from keras_inception.runtime.predict import image_list

RESULT = "inspection.json"
MOST_SHOWN = 100  # suspects on the sheet
_NEIGHBORS = 4
# Data sets whose images are files, which a table can name.
_OF_FILES = ("folder:", "csv:")


def lines_about(found: LabelCheck, source: Source, network: str) -> list[str]:
    """What is said of the labels: how many seem to be wrong, and between which classes."""
    names, images = source.class_names, len(found.order)
    lines = [
        f"Labels: about {found.wrong:,} of {images:,} training images ({found.wrong / images:.1%}) "
        f"seem to have a wrong label, by the features of {network}"
    ]
    pairs = [
        f"{printable(names[i])} should be {printable(names[j])} ({count:,})"
        for i, j, count in found.pairs()
    ]
    return lines + ([f"  {', '.join(pairs)}"] if pairs else [])


def suspects(found: LabelCheck, source: Source, most: int = 0) -> list[dict[str, Any]]:
    """A row an image whose label seems wrong, the most suspicious first.

    Args:
        found: What `check_labels` found.
        source: The data set that it looked at.
        most: How many rows; 0 for all.

    Returns:
        Rows with "path", "label", "probability" (of the label, by a classifier that has not seen
        the image), "suggestion" and "suggestion_probability".
    """
    train, names = source.splits["train"], source.class_names
    return [
        {
            "path": train.describe(i),
            "label": names[train.labels[i]],
            "probability": own,
            "suggestion": names[found.suggestions[i]],
            "suggestion_probability": other,
        }
        for i, own, other in _rows(found, most or found.wrong)
    ]


def line_about(row: dict[str, Any]) -> str:
    """A row of `suspects` as text."""
    path, label, suggestion = (printable(row[key]) for key in ("path", "label", "suggestion"))
    return (
        f"  {path}: {label} ({row['probability']:.1%}), likelier {suggestion} "
        f"({row['suggestion_probability']:.1%})"
    )


def _rows(found: LabelCheck, most: int) -> list[tuple[int, float, float]]:
    chosen = found.suspects[:most].tolist()
    return [(i, float(found.own[i]), float(found.other[i])) for i in chosen]


def write_labels(
    found: LabelCheck, features: np.ndarray, source: Source, folder: str | Path, network: str
) -> list[Path]:
    """Writes labels.html, labels.csv and inspection.json.

    Args:
        found: See `check_labels`.
        features: float (n, channels), of the training images.
        source: The data set.
        folder: Where they are written; in a run folder's `inspection` the report finds them.
        network: What the network is called.

    Returns:
        The sheet and the table.
    """
    sheet, table = Path(folder) / "labels.html", Path(folder) / "labels.csv"
    findings = lines_about(found, source, network)
    write_sheet_of(sheet, source.name, findings, _sheet_rows(found, features, source))
    files.write(table, _table(found, source))
    names = source.class_names
    content: dict[str, Any] = {
        "dataset": source.name,
        "network": network,
        "images": len(found.order),
        "wrong": found.wrong,
        "pairs": [[names[i], names[j], count] for i, j, count in found.pairs()],
        "suspects": [source.splits["train"].name(int(i)) for i in found.suspects[:MOST_SHOWN]],
    }
    files.write(Path(folder) / RESULT, json.dumps(content, indent=1) + "\n")
    return [sheet, table]


def _sheet_rows(found: LabelCheck, features: np.ndarray, source: Source) -> list[Row]:
    """A row a suspect: the image, then the nearest training images with their labels."""
    train, names = source.splits["train"], source.class_names
    rows = _rows(found, MOST_SHOWN)
    if not rows:
        return []
    number = np.array([i for i, _, _ in rows])
    near, _ = nearest(features[number], features, _NEIGHBORS + 1)
    sheet: list[Row] = []
    for (i, own, other), neighbors in zip(rows, near.tolist(), strict=True):
        label, suggestion = names[train.labels[i]], names[found.suggestions[i]]
        caption = f"{label} ({own:.0%}), likelier {suggestion} ({other:.0%})"
        shown = [Shown(thumbnail(train, i), caption, mark=True)]
        shown += [
            Shown(thumbnail(train, j), names[train.labels[j]])
            for j in [j for j in neighbors if j != i][:_NEIGHBORS]
        ]
        sheet.append((printable(train.name(i)), shown))
    return sheet


def _table(found: LabelCheck, source: Source) -> str:
    """All images of the data set, the suspicious ones first, as `csv:` reads them."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    has_groups = any(split.groups is not None for split in source.splits.values())
    head = ["path", "label", "split", "suggestion", "probability"]
    writer.writerow(head + ["group"] * has_groups)
    names, is_of_files = source.class_names, source.name.startswith(_OF_FILES)
    suspicious = set(found.suspects.tolist())
    for part in SPLITS:
        split = source.splits[part]
        for i in found.order.tolist() if part == "train" else range(len(split)):
            path = split.describe(i)
            if is_of_files and not is_remote(path):
                path = os.path.abspath(path)
            row = [path, names[split.labels[i]], part]
            if part == "train":
                row += [names[found.suggestions[i]] if i in suspicious else ""]
                row += [f"{found.own[i]:.4f}"]
            else:
                row += ["", ""]
            if has_groups:
                row += [ALONE if split.groups is None else split.groups[i]]
            writer.writerow(row)
    return text.getvalue()


class NextImage(NamedTuple):
    """An unlabelled image, and the two classes between which the classifier is unsure."""

    path: str
    first: tuple[str, float]
    second: tuple[str, float]

    def describe(self) -> str:
        """The image and what it may be."""
        (one, p), (other, q) = self.first, self.second
        return f"{printable(self.path)}: {printable(one)} ({p:.0%}) or {printable(other)} ({q:.0%})"


@dataclasses.dataclass(frozen=True)
class Next:
    """The images to label next.

    Attributes:
        rows: In the order in which they help.
        split: The unlabelled images.
        numbers: int64 (rows,), which of them.
    """

    rows: list[NextImage]
    split: Split
    numbers: np.ndarray

    def write(self, folder: str | Path) -> list[Path]:
        """Writes next.html and next.csv, whose column label is to be filled in."""
        sheet, table = Path(folder) / "next.html", Path(folder) / "next.csv"
        shown = [
            Shown(thumbnail(self.split, int(i)), f"{row.first[0]} or {row.second[0]}")
            for i, row in zip(self.numbers, self.rows, strict=True)
        ]
        write_sheet_of(sheet, "To label next", ["To label next, the first first"], [("", shown)])
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["path", "label", "likeliest", "second"])
        for row in self.rows:
            writer.writerow([os.path.abspath(row.path), "", row.first[0], row.second[0]])
        files.write(table, text.getvalue())
        return [sheet, table]


def next_images(source: Source, path: str, network: Network, count: int) -> Next:
    """The images of a folder that help most once they are labelled.

    Args:
        source: Labelled images; the training part is learned from.
        path: The folder of unlabelled ones; those that cannot be read are left out, which is said.
        network: Whose features are used.
        count: How many.

    Raises:
        ValueError: there are no images.
    """
    listed = [str(one) for one in image_list(path)]
    split = split_of_files([ImageFile(one, one, 0) for one in listed])
    part = {"train": dataclasses.replace(split, decoding=source.decoding)}
    unlabelled = Source(path, source.class_names, part, {}, decoding=source.decoding)
    split = check_images(unlabelled, {"train": state_of(listed)}).splits["train"]
    train = source.splits["train"]
    numbers, probabilities = choose_next(
        network.of_split(train),
        train.labels,
        network.of_split(split),
        len(source.class_names),
        count,
        what_stays_together(train),
    )
    rows = []
    for i in numbers.tolist():
        two = np.argsort(-probabilities[i], kind="stable")[:2].tolist()
        first, second = ((source.class_names[j], float(probabilities[i, j])) for j in two)
        rows.append(NextImage(split.name(i), first, second))
    return Next(rows, split, numbers)


def sentence_in(folder: Path) -> str:
    """What the report says of labels that were checked; "" if none were.

    Raises:
        ValueError: the file is damaged.
    """
    path = folder / RESULT
    if not path.exists():
        return ""
    with refusing(path):
        content = json.loads(files.read_text(path))
        wrong, images = int(content["wrong"]), int(content["images"])
        pairs = [(str(a), str(b), int(n)) for a, b, n in content["pairs"][:3]]
        share, network = wrong / images, str(content["network"])
    shown = "; ".join(f"{a} should be {b}: {n:,}" for a, b, n in pairs)
    return (
        f"About {wrong:,} of {images:,} training labels seem to be wrong ({share:.1%}), "
        f"by the features of {network}{f': {shown}' if shown else ''}."
    )
