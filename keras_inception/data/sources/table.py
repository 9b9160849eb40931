"""A table of image files: a CSV file with the columns path, label and perhaps split and group."""

from __future__ import annotations

import csv
import io
import os
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf

from keras_inception import buckets
from keras_inception.buckets import is_remote
from keras_inception.data.kept import REQUESTS
from keras_inception.data.sources.files import Files, ImageFile, check_class_names
from keras_inception.data.sources.labels import NO_LABEL
from keras_inception.data.sources.opening import PART_OF, Opening
from keras_inception.data.splits import Source
from keras_inception.messages import some

_MANY_LABELS = "Only one class an image is supported, no multi-label classification."


class Row(NamedTuple):
    """A row of a table; `group` is None if the table has no such column."""

    path: str
    label: str
    part: str
    line: int
    group: str | None


def open_table(file: Path, opening: Opening) -> Source:
    """The images that a table names; relative paths begin at the table's folder.

    A table on this machine may name images of a bucket.

    Args:
        file: A CSV file in UTF-8 with commas, semicolons or tabs. The columns path and label are
            required; split names the part of an image (train, validation, test or their usual
            other names) in every row or is absent; group names what belongs in one part, such as
            a patient, and is empty for an image that is alone. A part other than the training part
            may be without labels, and is then left out.
        opening: How the data set is opened.

    Raises:
        ValueError: the table is not as it should be; the message names the line.
    """
    rows = _rows(file)
    labels = sorted({row.label for row in rows if row.label})
    check_class_names(labels, str(file))
    number = {label: i for i, label in enumerate(labels)} | {"": NO_LABEL}
    parts: dict[str, list[ImageFile]] = {}
    seen: dict[str, tuple[str, str, str | None]] = {}
    for path, label, part, line, group in rows:
        before = seen.get(path)
        if before == (label, part, group):
            continue  # the same row again
        if before:
            what = "labels" if before[0] != label else "parts" if before[1] != part else "groups"
            more = f" {_MANY_LABELS}" if what == "labels" else ""
            raise ValueError(f"{file}, line {line}: {path} has two {what}.{more}")
        seen[path] = (label, part, group)
        full = path if is_remote(path) else os.path.join(file.parent, path)
        parts.setdefault(part, []).append(ImageFile(full, path, number[label], group))
    missing = _missing([image for images in parts.values() for image in images])
    if missing:
        raise ValueError(
            f"{len(missing)} of the {len(rows)} images in {file} are not there (paths begin at "
            f"{file.parent}): {some(missing)}"
        )
    return Files("csv", str(file), f"{file.parent}{os.sep}", labels, parts).open(opening)


def _missing(images: list[ImageFile]) -> list[str]:
    """Names of the images that are no files."""

    def is_missing(image: ImageFile) -> bool:
        if not is_remote(image.path):
            return not os.path.isfile(image.path)
        return not tf.io.gfile.exists(image.path) or tf.io.gfile.isdir(image.path)

    with ThreadPoolExecutor(REQUESTS) as pool:
        gone = list(pool.map(is_missing, images))
    return [image.name for image, is_gone in zip(images, gone, strict=True) if is_gone]


def _rows(file: Path) -> list[Row]:
    """Every row; a label is "" where a part has none."""
    rows = _read(file)
    if all(_is_number(row.label) for row in rows if row.label):
        rows = _as_numbers(rows, file)
    known = {row.label for row in rows if row.label}
    for _, label, part, line, _ in rows:
        if not label and part == "train":
            raise ValueError(f"{file}, line {line}: a row needs a path and a label.")
        for mark in "|;,":
            pieces = [piece.strip() for piece in label.split(mark)]
            alone = sum(piece in known for piece in pieces)
            if len(pieces) > 1 and (alone or mark == "|"):
                raise ValueError(f"{file}, line {line}: the label is {label!r}. {_MANY_LABELS}")
    counts = Counter(row.part for row in rows)
    if "train" not in counts:
        raise ValueError(f"{file} has no row of the training part, only {', '.join(counts)}.")
    return rows


def _read(file: Path) -> list[Row]:
    if not file.exists() or file.is_dir():
        raise ValueError(f"There is no file {file}; csv:FILE names a table of images.")
    try:
        text = buckets.read(file).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} should be in UTF-8: {error}") from error
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows = []
    try:
        head = _checked_head([name.strip().lower() for name in next(reader, [])], file)
        for cells in reader:
            line, row = reader.line_num, dict(zip(head, map(str.strip, cells), strict=False))
            if not any(row.values()):
                continue
            if len(cells) != len(head):
                raise ValueError(f"{file}, line {line}: {len(cells)} cells, not {len(head)}.")
            if not row["path"]:
                raise ValueError(f"{file}, line {line}: a row needs a path and a label.")
            part = row.get("split", "train")
            if part.lower() not in PART_OF:
                raise ValueError(
                    f"{file}, line {line}: split should be train, validation or test. "
                    f"Received: {part!r}"
                )
            group = row.get("group")
            rows.append(Row(row["path"], row["label"], PART_OF[part.lower()], line, group))
    except csv.Error as error:
        raise ValueError(f"{file}, line {reader.line_num}: {error}") from error
    if not rows:
        raise ValueError(f"{file} has no rows.")
    return rows


def _checked_head(head: list[str], file: Path) -> list[str]:
    """The columns' names; raises ValueError if those that are needed are not there once."""
    if "path" not in head or "label" not in head:
        flags = "" if "path" not in head or len(head) < 3 else f" {_MANY_LABELS}"
        raise ValueError(
            f"{file} should have the columns path and label, and may have split and group. "
            f"Received: {', '.join(head) or 'no columns'}.{flags}"
        )
    if head.count("label") > 1 or head.count("path") > 1:
        raise ValueError(f"{file} has a column twice: {', '.join(head)}. {_MANY_LABELS}")
    return head


def _as_numbers(rows: list[Row], file: Path) -> list[Row]:
    """The rows, whose labels are numbers: "2.0" is 2, and what stands for no label is "".

    Raises:
        ValueError: a label is a fraction.
    """
    values = [float(row.label or NO_LABEL) for row in rows]
    least = min((v for v, row in zip(values, rows, strict=True) if row.part == "train"), default=0)
    found = []
    for value, row in zip(values, rows, strict=True):
        if not value.is_integer():
            raise ValueError(
                f"{file}, line {row.line}: the label is {row.label}. Labels are whole numbers or "
                "names; to classify a measurement, write the name of its range."
            )
        missing = value < 0 or (row.part != "train" and value == 0 < least)
        whole = row.label if row.label.isdecimal() else str(int(value))
        found.append(row._replace(label="" if missing else whole))
    return found


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?\d+(\.\d*)?", text) is not None
