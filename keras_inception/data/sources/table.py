"""A table of image files: a CSV file with the columns path, label and perhaps split and group.

An image with several labels has them in one cell, `cat|dog`, or a column of 0 and 1 for each class.
"""

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
from keras_inception.data.sources.labels import NO_LABEL, check_names_of_several, mark_of, pieces
from keras_inception.data.sources.opening import PART_OF, Opening
from keras_inception.data.splits import Source
from keras_inception.messages import some

_COLUMNS = ("path", "label", "split", "group")
_FLAGS = {"0": False, "0.0": False, "1": True, "1.0": True}


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
            may be without labels, and is then left out. If a label has a | in it, all of them are
            lists of labels, and an empty one means none; without the column label, every other
            column is a class and holds 0 or 1.
        opening: How the data set is opened.

    Raises:
        ValueError: the table is not as it should be; the message names the line.
    """
    rows, mark, labels = _rows(file)
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
            way = " Write all labels of an image in one row, as a|b." * (what == "labels")
            raise ValueError(f"{file}, line {line}: {path} has two {what}.{way}")
        seen[path] = (label, part, group)
        full = path if is_remote(path) else os.path.join(file.parent, path)
        numbers = tuple(number[one] for one in pieces(label, mark)) if mark else number[label]
        parts.setdefault(part, []).append(ImageFile(full, path, numbers, group))
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


def _rows(file: Path) -> tuple[list[Row], str, list[str]]:
    """Every row, what stands between the labels of one image, and the names of all labels.

    A label is "" where a part has none; nothing stands between labels where an image has one.
    """
    rows, flags = _read(file)
    given = [row.label for row in rows if row.label]
    mark = "|" if flags else mark_of(given, str(file))
    if mark:
        names = flags or sorted({one for label in given for one in pieces(label, mark)})
        check_names_of_several(names if flags else (), str(file))
    else:
        if all(_is_number(label) for label in given):
            rows = _as_numbers(rows, file)
        names = sorted({row.label for row in rows if row.label})
        for row in rows:
            if not row.label and row.part == "train":
                raise ValueError(f"{file}, line {row.line}: a row needs a path and a label.")
    counts = Counter(row.part for row in rows)
    if "train" not in counts:
        raise ValueError(f"{file} has no row of the training part, only {', '.join(counts)}.")
    return rows, mark, names


def _read(file: Path) -> tuple[list[Row], list[str]]:
    """The rows as they stand there, and the names of columns of 0 and 1 where those are labels."""
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
        head, flags = _checked_head([name.strip() for name in next(reader, [])], file)
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
            label = _flagged(row, flags, f"{file}, line {line}") if flags else row["label"]
            rows.append(Row(row["path"], label, PART_OF[part.lower()], line, row.get("group")))
    except csv.Error as error:
        raise ValueError(f"{file}, line {reader.line_num}: {error}") from error
    if not rows:
        raise ValueError(f"{file} has no rows.")
    return rows, flags


def _checked_head(given: list[str], file: Path) -> tuple[list[str], list[str]]:
    """The columns' names, and which of them are classes: all others where there is no label.

    Raises:
        ValueError: those that are needed are not there once.
    """
    head = [name.lower() if name.lower() in _COLUMNS else name for name in given]
    flags = [] if "label" in head else [name for name in head if name not in _COLUMNS]
    if "path" not in head or not ("label" in head or flags):
        raise ValueError(
            f"{file} should have the columns path and label, or path and a column of 0 and 1 for "
            "each class, and may have split and group. "
            f"Received: {', '.join(head) or 'no columns'}."
        )
    if any(head.count(name) > 1 for name in ("path", "label", *flags)):
        raise ValueError(
            f"{file} has a column twice: {', '.join(head)}. Several labels of an image stand in "
            "one column, as a|b, or have a column of 0 and 1 each."
        )
    return head, flags


def _flagged(row: dict[str, str], flags: list[str], where: str) -> str:
    """The labels whose columns hold 1, with | between them."""
    for name in flags:
        if row[name] not in _FLAGS:
            raise ValueError(
                f"{where}: without a column label, each column but {', '.join(_COLUMNS)} is a "
                f"class and should hold 0 or 1. Received: {row[name]!r} as {name}"
            )
    return "|".join(name for name in flags if _FLAGS[row[name]])


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
