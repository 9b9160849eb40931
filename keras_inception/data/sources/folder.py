"""Class folders: a folder a class, with or without folders for the parts above them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from keras_inception.buckets import as_path
from keras_inception.data.listing import (
    FOLLOWED,
    LEFTOVER,
    Listing,
    folders_in,
    is_folder,
    list_images,
)
from keras_inception.data.sources.files import (
    ImageFile,
    check_class_names,
    check_training_images,
    open_files,
    say_left_out,
)
from keras_inception.data.sources.opening import PART_OF, Opening, part_named
from keras_inception.data.splits import Source, draw_missing_parts
from keras_inception.messages import printable, some


def open_folder(root: Path, opening: Opening) -> Source:
    """Class folders as a data set.

    Args:
        root: The folder that holds class folders, or folders of parts that hold class folders.
        opening: How the data set is opened.

    Raises:
        ValueError: the folder does not hold what it should; the message says what was found.
    """
    if not is_folder(root):
        raise ValueError(f"There is no folder {root}; folder:PATH names a folder of class folders.")
    left_out: dict[str, list[str]] = {}
    parts = _parts(root, left_out)
    names = {part: folders_in(folder) for part, folder in parts.items()}
    listings = {
        part: {name: list_images(folder / name) for name in names[part]}
        for part, folder in parts.items()
    }
    for folder in dict.fromkeys((root, *parts.values())):
        for path in list_images(folder, deep=False).images:
            left_out.setdefault("images beside the class folders", []).append(_name(path, root))
    of_class: dict[str, list[Listing]] = {}
    for part in parts:
        for name, listing in listings[part].items():
            _note(listing, root, left_out)
            of_class.setdefault(name, []).append(listing)
    empty = {name for name, found in of_class.items() if not any(map(_has_files, found))}
    if empty:
        left_out["class folders without a file"] = sorted(empty)
    classes = [name for name in names["train"] if name not in empty]
    _check_classes(root, parts, names, classes, empty)
    label = {name: i for i, name in enumerate(classes)}
    files = {
        part: [
            ImageFile(path, _name(path, root), label[name])
            for name in classes
            if name in listings[part]
            for path in listings[part][name].images
        ]
        for part in parts
    }
    if not any(files.values()):
        raise ValueError(f"{root} has class folders but no images in them.")
    checked, converted = open_files(files, opening.decoding, str(root), left_out, f"{root}{os.sep}")
    check_training_images(checked.splits, classes, str(parts["train"]))
    splits, drawn = draw_missing_parts(checked.splits, opening.validation_fraction, opening.seed)
    provenance: dict[str, Any] = {"folder": str(root), "seed": opening.seed, "held_out": drawn}
    said = say_left_out(left_out, str(root))
    provenance |= {k: v for k, v in (said | converted).items() if v}
    return Source(
        name=str(root),
        class_names=tuple(classes),
        splits=splits,
        provenance=provenance,
        unreadable=checked.unreadable,
        left_out=left_out,
        drawn=tuple(drawn),
        decoding=checked.decoding,
    )


def _parts(root: Path, left_out: dict[str, list[str]]) -> dict[str, Path]:
    """Which folders hold the parts: {"train": root} where there is none.

    A folder with images directly in it is a class, whatever its name; one that holds folders with
    images is a part, if its name says which.
    """
    folders = folders_in(root)
    direct = {name for name in folders if list_images(root / name, deep=False).images}
    holding = [name for name in folders if name not in direct and list_images(root / name).images]
    if not holding:
        exact = sorted(name for name in direct if name.lower() in PART_OF)
        if len(exact) > 1 and len(exact) == len(direct):
            raise ValueError(
                f"{root} has images directly in {', '.join(exact)}, which are names of parts, and "
                "no class folders: a folder a class is needed, such as train/cat and train/dog. "
                "If they are classes, rename them."
            )
        return {"train": root}
    parts: dict[str, Path] = {}
    for name in holding:
        part = part_named(name)
        if not part:
            inside = folders_in(root / name)
            raise ValueError(
                f"{root}{os.sep}{printable(name)} has no image directly in it, but folders "
                f"({some(inside)}), and its name is not one of a part (train, validation, test). "
                "Put the images of a class directly into its folder, or give folder:"
                f"{root / name} if it holds the class folders."
            )
        if part in parts:
            raise ValueError(
                f"{root} has two folders for the {part} part: {parts[part].name} and {name}. "
                "Merge them, or move one away."
            )
        parts[part] = root / name
    if "train" not in parts:
        raise ValueError(
            f"{root} has no training part, only {', '.join(sorted(holding))}: a folder called "
            "train with class folders in it is needed."
        )
    for name in sorted(direct):
        if not part_named(name):
            raise ValueError(
                f"{root} has parts ({', '.join(p.name for p in parts.values())}) and beside them a "
                f"folder with images, {printable(name)}. Move it into a part, or away."
            )
        images = list_images(root / name, deep=False).images
        kind = f"images without labels, directly in {name}{os.sep}"
        left_out[kind] = [_name(path, root) for path in images]
    return parts


def _check_classes(
    root: Path,
    parts: dict[str, Path],
    names: dict[str, list[str]],
    classes: list[str],
    empty: set[str],
) -> None:
    for part, folder in parts.items():
        unknown = set(names[part]) - set(classes) - empty
        if unknown:
            raise ValueError(
                f"{folder} has class folders that {parts['train']} lacks: "
                f"{some([printable(name) for name in sorted(unknown)], 5)}."
            )
    if len(classes) < 2:
        alone = f": {printable(classes[0])}" if classes else ""
        more = f" (and without a file: {some(sorted(empty))})" if empty else ""
        raise ValueError(
            f"A classifier needs at least two class folders with images; {parts['train']} has "
            f"{len(classes)}{alone}{more}."
        )
    check_class_names(classes, str(root))


def _has_files(listing: Listing) -> bool:
    """Whether there is anything else in a folder than leftovers."""
    return bool(listing.images) or any(kind != LEFTOVER for kind in listing.left_out)


def _name(path: str, root: Path) -> str:
    """A file's name within the data set, the same on every system."""
    return as_path(path).relative_to(root).as_posix()


def _note(listing: Listing, root: Path, left_out: dict[str, list[str]]) -> None:
    for kind, paths in listing.left_out.items():
        left_out.setdefault(kind, []).extend(_name(path, root) for path in paths)
    for path in listing.links:
        left_out.setdefault(FOLLOWED, []).append(_name(path, root))
