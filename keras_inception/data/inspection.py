"""What a data set holds: in a few lines, in full, and as a sheet of its images."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from keras_inception.data.groups import numbers_of
from keras_inception.data.headers import FORMATS
from keras_inception.data.odd import Odd, find_odd
from keras_inception.data.sheet import Row, Shown, thumbnail, write_sheet_of
from keras_inception.data.splits import SPLITS, Source, Split
from keras_inception.data.twins import Place, twins_by_parts
from keras_inception.messages import printable, some
from keras_inception.preprocessing import Preprocessing

# From this ratio of the largest class to the smallest on, a sentence suggests weights.
_UNEQUAL = 10
# The share of an image above which what the central crop takes away is said.
_MUCH = 1 / 3
_COLUMNS = 8  # images of a class on the page
_MOST_SHOWN = 50  # odd images of a kind, and pairs that look alike, on the page
PART_WORDS = {"train": "training", "validation": "validation", "test": "test"}


def short_form(source: Source) -> list[str]:
    """What training says of a data set before it begins: a few lines."""
    parts = ", ".join(f"{len(source.splits[p]):,} {PART_WORDS[p]}" for p in SPLITS)
    total = sum(map(len, source.splits.values()))
    classes = len(source.class_names)
    lines = [f"{source.name}: {total:,} images of {classes} class{'es' * (classes > 1)} ({parts})"]
    lines[0] += "".join(f"; {text}" for text in formats_and_sizes(source))
    if source.several:
        each = np.concatenate([split.labels.sum(1) for split in source.splits.values()])
        lines.append(
            f"Each image has {each.min()} to {each.max()} labels, {each.mean():.2g} on average, so "
            "each class is a yes or no of its own: outputs are sigmoids with a threshold each."
            if classes > 1
            else "One class is a yes or no: the output is a sigmoid with a threshold."
        )
    if source.unreadable:
        lines.append(f"Left out: {len(source.unreadable)} images that cannot be read")
    if source.added:
        lines.append(f"Left out: {len(source.added)} images that the run did not have: ")
        lines[-1] += some([printable(name) for name in source.added])
    return lines


def inspect(
    source: Source,
    near: bool = False,
    odd: bool = False,
    features: Callable[[Split], np.ndarray] | None = None,
    page: str | os.PathLike | None = None,
) -> list[str]:
    """What a data set holds, a line a finding, besides what opening it warned of.

    Args:
        source: The data set.
        near: Whether images that look alike are searched for as well, across and within parts.
        odd: Whether odd images are searched for: blank, dark, blurred and so on.
        features: See `find_odd`.
        page: An .html file, into which images of every class, odd ones and pairs that look alike
            are written. It needs no other file; notebooks show it by `IPython.display.HTML`.
    """
    names = [printable(name) for name in source.class_names]
    width = max(5, *map(len, names))
    counts = {part: source.splits[part].counts(len(names)) for part in SPLITS}
    lines = short_form(source)
    lines += cropped_away(source, Preprocessing((1, 1), crop_fraction=1.0))
    lines += imbalance(source.class_names, counts["train"], source.several)
    lines.append(f"  {'class':{width}}  training  validation    test")
    for i, name in enumerate(names):
        train, validation, test = (int(counts[part][i]) for part in SPLITS)
        lines.append(f"  {name:{width}}  {train:8,}  {validation:10,}  {test:6,}")
    for kind, left in sorted(source.left_out.items()):
        shown = some([printable(name) for name in sorted(left)])
        lines.append(f"Left out: {kind} ({len(left)}): {shown}")
    for name in source.unreadable:
        lines.append(f"Cannot be used: {printable(name)}")
    lines += _groups(source)
    alone = find_odd(source, features) if odd else []
    for one in alone:
        name = printable(source.splits[one.part].name(one.number))
        lines.append(f"Odd: {name} is {one.kind} ({one.measured})")
    alike, threshold = twins_by_parts(source) if near else ({}, 1.0)
    for where, twins in alike.items():
        pairs = [
            f"{printable(source.splits[a].name(i))} = {printable(source.splits[b].name(j))}"
            for (a, i), (b, j), _ in twins
        ]
        what = f"Images that look alike (from {threshold:.2f} on), {where}"
        lines.append(f"{what} ({len(pairs)}): {some(pairs)}")
    if page:
        rows = [*_class_rows(source), *_odd_rows(source, alone), *_twin_rows(source, alike)]
        write_sheet_of(page, source.name, short_form(source), rows)
    return lines


def _groups(source: Source) -> list[str]:
    """How many groups each part has."""
    groups = {part: s.groups for part in SPLITS if (s := source.splits[part]).groups is not None}
    if not groups:
        return []
    counts = [f"{len(np.unique(numbers_of(g))):,} {PART_WORDS[p]}" for p, g in groups.items()]
    return [f"Groups: {', '.join(counts)}"]


def _class_rows(source: Source) -> list[Row]:
    """Some training images of every class, spread over it."""
    train = source.splits["train"]
    rows: list[Row] = []
    for label, name in enumerate(source.class_names):
        members = train.of_class(label)
        spread = np.unique(np.linspace(0, max(len(members) - 1, 0), _COLUMNS).astype(int))
        shown = [Shown(thumbnail(train, int(i))) for i in members[spread]] if len(members) else []
        rows.append((f"{name} ({len(members):,})", shown))
    return rows


def _odd_rows(source: Source, found: Sequence[Odd]) -> list[Row]:
    """A row a kind of odd images."""
    rows: list[Row] = []
    for kind in dict.fromkeys(one.kind for one in found):
        chosen = [one for one in found if one.kind == kind]
        shown = [
            Shown(thumbnail(split := source.splits[part], i), f"{split.name(i)}: {measured}")
            for part, i, _, measured in chosen[:_MOST_SHOWN]
        ]
        rows.append((f"Odd: {kind} ({len(chosen):,})", shown))
    return rows


def _twin_rows(source: Source, alike: dict[str, list[tuple[Place, Place, float]]]) -> list[Row]:
    """A row a pair of images that look alike, the likest first."""
    rows: list[Row] = []
    for where, pairs in alike.items():
        for number, (*pair, likeness) in enumerate(pairs[:_MOST_SHOWN], 1):
            shown = []
            for part, i in pair:
                split = source.splits[part]
                labels = np.atleast_1d(split.labels[i])
                chosen = np.flatnonzero(labels) if source.several else labels
                label = ", ".join(source.class_names[j] for j in chosen)
                shown.append(Shown(thumbnail(split, i), f"{label}: {printable(split.name(i))}"))
            head = f"Alike, {where}, {number:,} of {len(pairs):,} (likeness {likeness:.3f})"
            rows.append((head, shown))
    return rows


def formats_and_sizes(source: Source) -> list[str]:
    """The formats, sizes and orientations of a data set's image files; nothing of other sets."""
    splits = [s for s in source.splits.values() if len(s) and "format" in s.facts]
    if not splits:
        return []
    column = {
        name: np.concatenate([s.facts[name] for s in splits])
        for name in ("format", "height", "width", "orientation")
    }
    kinds = Counter(FORMATS[code] for code in column["format"].tolist())
    # What only Pillow reads has no format of TensorFlow's.
    formats = ", ".join(
        f"{count:,} {'other' if kind == FORMATS[0] else kind}"
        for kind, count in kinds.most_common()
    )
    area = column["height"].astype(np.int64) * column["width"]
    low, middle, high = (
        f"{column['width'][i]} x {column['height'][i]}"
        for i in np.argsort(area, kind="stable")[[0, len(area) // 2, -1]]
    )
    sizes = low if low == high else f"{low} to {high} pixels, the median {middle}"
    turned = int((column["orientation"] > 1).sum())
    return [formats, sizes] + ([f"{turned:,} turned upright by EXIF"] if turned else [])


def cropped_away(source: Source, contract: Preprocessing) -> list[str]:
    """A sentence if a contract's crop takes away more than a third of some images."""
    sizes = [
        np.stack([s.facts["width"], s.facts["height"]], 1)
        for s in source.splits.values()
        if len(s) and "height" in s.facts
    ]
    if not sizes:
        return []
    sides, counts = np.unique(np.concatenate(sizes), axis=0, return_counts=True)
    lost = []
    for width, height in sides.tolist():
        _, _, crop_h, crop_w = contract.crop_box(height, width)
        lost.append(1 - crop_h * crop_w / (height * width))
    much = np.array(lost) > _MUCH
    if not much.any():
        return []
    width, height = sides[np.argmax(lost)]
    return [
        f"The central crop takes away more than a third of {counts[much].sum():,} of "
        f"{counts.sum():,} images: {np.average(lost, weights=counts * much):.0%} of them on "
        f"average, {max(lost):.0%} of {width} x {height} pixels. Training with aspect=pad or "
        "aspect=stretch and crop_fraction=1 keeps whole images."
    ]


def imbalance(class_names: Sequence[str], counts: np.ndarray, several: bool = False) -> list[str]:
    """A sentence if the classes' numbers of training images are very unequal.

    Args:
        class_names: In the order of the labels.
        counts: int (classes,), training images of each.
        several: Whether images may have several labels.
    """
    names = [printable(name) for name in class_names]
    most, least = int(counts.argmax()), int(counts.argmin())
    if counts[most] <= _UNEQUAL * counts[least]:
        return []
    return [
        f"{names[most]} has {counts[most]:,} training images and {names[least]} {counts[least]:,}: "
        "class_weight=balanced would give every class the same weight in the loss"
        + ("." if several else ", class_weight=sampling would show every class equally often.")
    ]
