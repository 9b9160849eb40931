"""Groups of images that belong together, such as those of one patient: no two parts share one."""

from __future__ import annotations

import csv
import io
import logging
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_inception import files
from keras_inception.messages import printable, some

ALONE = ""  # the group of an image that belongs to none
TABLE = ".csv"


def groups_of_names(names: Sequence[str], how: str) -> np.ndarray:
    """The group of each image by its name.

    Args:
        names: Names within the data set, such as relative paths.
        how: A regular expression, whose first group in parentheses is found in each name, or a CSV
            file with the columns path and group; an image that is not in the file is alone.

    Returns:
        str (n,), "" for an image that is alone.

    Raises:
        ValueError: the expression or the file cannot be used, or does not match an image.
    """
    if how.endswith(TABLE):
        return _groups_in_table(names, Path(how).expanduser())
    try:
        pattern = re.compile(how)
    except re.error as error:
        raise ValueError(
            f"`groups` should be a regular expression ({error}). Received: groups={how!r}"
        ) from error
    if not pattern.groups:
        raise ValueError(
            "`groups` should have a pair of parentheses around what names the group, such as "
            rf"'(patient\d+)_'. Received: groups={how!r}"
        )
    found = [pattern.search(name) for name in names]
    missed = [printable(name) for name, match in zip(names, found, strict=True) if not match]
    if missed:
        raise ValueError(
            f"`groups={how}` should match every image, and does not match {len(missed)} of "
            f"{len(names)}: {some(missed)}"
        )
    return np.array([match[1] or ALONE for match in found if match], str)


def _groups_in_table(names: Sequence[str], path: Path) -> np.ndarray:
    try:
        text = files.read_text(path).removeprefix("\ufeff")
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
        group = {row["path"]: row["group"] or ALONE for row in rows}
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise ValueError(
            f"`groups={path}` should be a CSV file in UTF-8 with the columns path and group: "
            f"{printable(str(error), 200)}"
        ) from error
    if names and not any(name in group for name in names):
        raise ValueError(
            f"`groups={path}` names none of the {len(names)} images, such as "
            f"{printable(names[0])}; its paths should be as the data set calls its images. "
            f"Received: {some([printable(str(name)) for name in group])}"
        )
    return np.array([group.get(name, ALONE) for name in names], str)


def numbers_of(groups: np.ndarray) -> np.ndarray:
    """int64 (n,): a number for each group; every image that is alone has one of its own."""
    known, number = np.unique(groups, return_inverse=True)
    number = number.reshape(-1).astype(np.int64)
    alone = groups == ALONE
    number[alone] = len(known) + np.arange(int(alone.sum()))
    return number


def united(*numbers: np.ndarray) -> np.ndarray:
    """int64 (n,): groups that keep together what any of several groupings does.

    Args:
        numbers: int (n,) each, a number for each image; equal ones belong together.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    count = len(numbers[0])
    rows, columns, first = [], [], count
    for grouping in numbers:
        _, place = np.unique(grouping, return_inverse=True)
        rows.append(np.arange(count))
        columns.append(first + place.reshape(-1))
        first += int(place.max(initial=-1)) + 1
    edges = np.concatenate(rows), np.concatenate(columns)
    graph = coo_matrix((np.ones(len(edges[0]), np.int8), edges), (first, first))
    return connected_components(graph, directed=False)[1][:count].astype(np.int64)


def shared_groups(parts: dict[str, np.ndarray]) -> dict[str, list[str]]:
    """Groups that two parts have images of.

    Args:
        parts: Part -> str (n,), the groups of its images.

    Returns:
        "test in train" and so on -> the groups, sorted.
    """
    sets = {part: set(groups.tolist()) - {ALONE} for part, groups in parts.items()}
    found, names = {}, list(parts)
    for later, part in enumerate(names):
        for other in names[:later]:
            both = sorted(sets[part] & sets[other])
            if both:
                found[f"{part} in {other}"] = both
    return found


def say_shared(parts: dict[str, np.ndarray], where: str) -> dict[str, object]:
    """Warns of groups with images in several parts; returns what provenance says of them."""
    found = shared_groups(parts)
    for which, groups in found.items():
        logging.warning(
            "%s: groups of the %s part have images in the %s part as well (%d), so that what is "
            "measured on them says too much: %s",
            where,
            *which.split(" in "),
            len(groups),
            some(map(printable, groups)),
        )
    said = {which: {"count": len(g), "examples": g[:3]} for which, g in found.items()}
    return {"shared_groups": said} if said else {}
