"""What a data set holds: in a few lines, in full, and as a sheet of its images."""

from __future__ import annotations

import base64
import html
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_inception.data.decoding import FORMATS
from keras_inception.data.duplicates import (
    equal_across_parts,
    equal_with_other_labels,
    near_across_parts,
)
from keras_inception.data.groups import numbers_of, shared_groups
from keras_inception.data.sources.labels import about_numbers
from keras_inception.data.splits import SPLITS, Source, Split
from keras_inception.files import write
from keras_inception.messages import printable, some
from keras_inception.preprocessing import Preprocessing

# From this ratio of the largest class to the smallest on, a sentence suggests weights.
_UNEQUAL = 10
# The share of an image above which what the central crop takes away is said.
_MUCH = 1 / 3
PART_WORDS = {"train": "training", "validation": "validation", "test": "test"}
_THUMBNAIL = 96  # the longer side of an image on the sheet, in pixels


def short_form(source: Source) -> list[str]:
    """What training says of a data set before it begins: a few lines."""
    parts = ", ".join(f"{len(source.splits[p]):,} {PART_WORDS[p]}" for p in SPLITS)
    total = sum(map(len, source.splits.values()))
    lines = [f"{source.name}: {total:,} images of {len(source.class_names)} classes ({parts})"]
    lines[0] += "".join(f"; {text}" for text in formats_and_sizes(source))
    if source.unreadable:
        lines.append(f"Left out: {len(source.unreadable)} images that cannot be read")
    if source.added:
        lines.append(f"Left out: {len(source.added)} images that the run did not have: ")
        lines[-1] += some([printable(name) for name in source.added])
    return lines


def inspect(source: Source, near: bool = False) -> list[str]:
    """What a data set holds, a line a finding.

    Args:
        source: The data set.
        near: Whether images that look alike are searched for across the parts as well.
    """
    names = [printable(name) for name in source.class_names]
    width = max(5, *map(len, names))
    counts = {
        part: np.bincount(source.splits[part].labels, minlength=len(names)) for part in SPLITS
    }
    lines = short_form(source) + about_numbers(source.class_names)
    lines += cropped_away(source, Preprocessing((1, 1), crop_fraction=1.0))
    lines += imbalance(source.class_names, counts["train"])
    lines.append(f"  {'class':{width}}  training  validation    test")
    for i, name in enumerate(names):
        train, validation, test = (int(counts[part][i]) for part in SPLITS)
        lines.append(f"  {name:{width}}  {train:8,}  {validation:10,}  {test:6,}")
    for kind, left in sorted(source.left_out.items()):
        shown = some([printable(name) for name in sorted(left)])
        lines.append(f"Left out: {kind} ({len(left)}): {shown}")
    for name in source.unreadable:
        lines.append(f"Cannot be used: {printable(name)}")
    found = {f"Equal images, {where}": pairs for where, pairs in equal_across_parts(source).items()}
    found["Equal images with two classes"] = equal_with_other_labels(source)
    lines += _groups(source)
    if near:
        for where, pairs in near_across_parts(source).items():
            found[f"Images that look alike, {where}"] = pairs
    for what, pairs in found.items():
        if pairs:
            shown = some([f"{printable(a)} = {printable(b)}" for a, b in pairs])
            lines.append(f"{what} ({len(pairs)}): {shown}")
    return lines


def _groups(source: Source) -> list[str]:
    """How many groups each part has, and which two parts share."""
    groups = {part: s.groups for part in SPLITS if (s := source.splits[part]).groups is not None}
    if not groups:
        return []
    counts = [f"{len(np.unique(numbers_of(g))):,} {PART_WORDS[p]}" for p, g in groups.items()]
    lines = [f"Groups: {', '.join(counts)}"]
    for where, shared in shared_groups(groups).items():
        lines.append(
            f"Groups in two parts, {where} ({len(shared)}): {some(map(printable, shared))}"
        )
    return lines


def write_sheet(source: Source, path: str | Path, columns: int = 8) -> None:
    """Writes a page with some training images of every class, which needs no other file.

    Browsers show it, with class names of every script, and notebooks by `IPython.display.HTML`.

    Args:
        source: The data set.
        path: The .html file.
        columns: How many images of a class are shown.
    """
    train = source.splits["train"]
    rows = []
    for label, name in enumerate(source.class_names):
        members = np.flatnonzero(train.labels == label)
        spread = np.unique(np.linspace(0, max(len(members) - 1, 0), columns).astype(int))
        shown = [_thumbnail(train, int(i)) for i in members[spread]] if len(members) else []
        rows.append((f"{name} ({len(members):,})", shown))
    write(Path(path), _page(source, rows))


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


def imbalance(class_names: Sequence[str], counts: np.ndarray) -> list[str]:
    """A sentence if the classes' numbers of training images are very unequal.

    Args:
        class_names: In the order of the labels.
        counts: int (classes,), training images of each.
    """
    names = [printable(name) for name in class_names]
    most, least = int(counts.argmax()), int(counts.argmin())
    if counts[most] <= _UNEQUAL * counts[least]:
        return []
    return [
        f"{names[most]} has {counts[most]:,} training images and {names[least]} {counts[least]:,}: "
        "class_weight=balanced would give every class the same weight in the loss, "
        "class_weight=sampling would show every class equally often."
    ]


def _thumbnail(split: Split, i: int) -> Any:
    from PIL import Image

    image = Image.fromarray(split.pixels(i).numpy())
    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
    return image


def _page(source: Source, rows: list[tuple[str, list[Any]]]) -> str:
    def figure(image: Any) -> str:
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        data = base64.b64encode(buffer.getvalue()).decode()
        return f'<img alt="" src="data:image/png;base64,{data}">'

    findings = "".join(f"<p>{html.escape(line)}</p>" for line in short_form(source))
    body = "".join(
        f"<h2>{html.escape(title)}</h2><div>{''.join(map(figure, images))}</div>"
        for title, images in rows
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{html.escape(source.name)}</title><style>"
        "body { font: 16px/1.5 system-ui, sans-serif; margin: 1rem auto; max-width: 62rem; }"
        "h2 { font-size: 1rem; margin: 1rem 0 .2rem; } img { margin: 0 .3rem .3rem 0; }"
        f"</style></head><body>{findings}{body}</body></html>\n"
    )
