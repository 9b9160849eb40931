"""ImageNet's validation images as people have them: class folders, or one folder and a list."""

from __future__ import annotations

import functools
import logging
import re
from importlib import resources
from pathlib import Path

import numpy as np

from keras_inception import files
from keras_inception.buckets import as_path
from keras_inception.data.listing import SUFFIXES, is_folder, list_images
from keras_inception.data.sources.files import ImageFile, split_of_files
from keras_inception.data.splits import Source
from keras_inception.messages import some
from keras_inception.models.imagenet import imagenet_classes

_NUMBERED = re.compile(r"ILSVRC2012_val_(\d{8})\.", re.IGNORECASE)
IMAGES = 50_000


def open_imagenet(root: Path, ground_truth: Path | None = None) -> Source:
    """The validation part of ImageNet's challenge of 2012, for evaluation only.

    Args:
        root: Class folders named by WordNet ids ("n01440764", all 1,000 or some of them) or by
            their numbers from 0 to 999 in the order of these (as ImageNetV2 is published), or a
            folder of images. Images called ILSVRC2012_val_00000001.JPEG and so on need no list:
            tensorflow-datasets ships their classes.
        ground_truth: A list of the images' classes: a line an image in the order of the names,
            or lines "NAME CLASS", a class being a WordNet id. A class may be a number (as in
            ILSVRC2012_validation_ground_truth.txt and Caffe's val.txt) where the images have
            their original names, since these tell which numbering it is.

    Returns:
        Its "test" part holds the images, labelled 0..999 in the order of
        `models.imagenet.imagenet_classes`; its class names are the WordNet ids.

    Raises:
        ValueError: there are no such folders or images, an image has no class, or the list
            contradicts the original names.
    """
    if not is_folder(root):
        raise ValueError(f"There is no folder {root}; imagenet:PATH names ImageNet's validation.")
    ids = [c.wordnet_id for c in imagenet_classes()]
    number = {wordnet_id: i for i, wordnet_id in enumerate(ids)}
    listing = list_images(root)
    names = {path: as_path(path).relative_to(root).parts for path in listing.images}
    first = {name[0] for name in names.values() if len(name) > 1}
    if not first & set(ids):
        number = {str(i): i for i in range(len(ids))}
    files = [(path, number[name[0]]) for path, name in names.items() if name[0] in number]
    if files:
        layout = f"{len({label for _, label in files})} of 1000 class folders"
        others = [path for path, name in names.items() if name[0] not in number]
        if others:
            shown = (len(others), root, some(others))
            logging.warning("Left out: %d images outside the class folders of %s: %s", *shown)
    else:
        paths = [path for path, name in names.items() if len(name) == 1]
        labels = _labels([Path(path).name for path in paths], ground_truth, ids)
        files = list(zip(paths, labels, strict=True))
        layout = "one folder" + (f" and {ground_truth.name}" if ground_truth else "")
    if not files:
        raise ValueError(
            f"{root} holds neither class folders named by WordNet ids, such as {ids[0]}, or by "
            f"numbers from 0 to 999, nor images ({', '.join(SUFFIXES)})."
        )
    return Source(
        name=f"imagenet:{root}",
        class_names=tuple(ids),
        splits={
            "train": split_of_files([]),
            "validation": split_of_files([]),
            "test": split_of_files([ImageFile(path, path, label) for path, label in files]),
        },
        provenance={"imagenet": str(root), "layout": layout, "images": len(files)},
    )


def _labels(names: list[str], ground_truth: Path | None, ids: list[str]) -> list[int]:
    """The classes of images by their names."""
    numbered = [_NUMBERED.match(name) for name in names]
    number = {wordnet_id: i for i, wordnet_id in enumerate(ids)}
    original = None
    if names and all(numbered):
        known = _classes_of_the_original()
        places = [int(match[1]) for match in numbered if match]
        if not all(0 < place <= IMAGES for place in places):
            raise ValueError(
                f"ImageNet's validation images are numbered from 1 to {IMAGES}. "
                f"Received: {names[int(np.argmax(places))]}"
            )
        original = [number[known[place - 1]] for place in places]
    if ground_truth is None:
        if original is None and names:
            raise ValueError(
                "Only images with their original names, such as ILSVRC2012_val_00000001.JPEG, "
                "have classes that are known here. Give `ground_truth`, a file with lines 'NAME "
                f"WORDNET_ID'. Received: {names[0]} without ground_truth"
            )
        return original or []
    given = _read(ground_truth, names)
    if original is None:
        foreign = [c for c in given if c not in number]
        if foreign:
            raise ValueError(
                f"{ground_truth} should give a WordNet id an image, since numbers count the "
                f"classes in one of several orders. Received: {foreign[0]!r}"
            )
        return [number[c] for c in given]
    # A numbering is right if it is a renaming of the classes that the names stand for.
    meant: dict[str, int] = {}
    for name, mine, theirs in zip(names, original, given, strict=True):
        if meant.setdefault(theirs, mine) != mine or number.get(theirs, mine) != mine:
            raise ValueError(
                f"{ground_truth} and the original names disagree about {name}: the names say "
                f"{ids[mine]}, the list {theirs}, which elsewhere means {ids[meant[theirs]]}. "
                "The list belongs to other images, or to another order of them."
            )
    if len(set(meant.values())) != len(meant):
        raise ValueError(f"{ground_truth} gives one class several numbers.")
    return original


def _read(ground_truth: Path, names: list[str]) -> list[str]:
    """The list's class of each image."""
    if not ground_truth.is_file():
        raise ValueError(f"There is no ground-truth file {ground_truth}.")
    rows = [line.split() for line in files.read_text(ground_truth).splitlines() if line.strip()]
    if all(len(row) == 1 for row in rows):
        numbered = [_NUMBERED.match(name) for name in names]
        if len(rows) == IMAGES and all(numbered):  # a part of the images, the whole list
            return [rows[int(match[1]) - 1][0] for match in numbered if match]
        if len(rows) != len(names):
            raise ValueError(
                f"{ground_truth} should have a line an image. "
                f"Received: {len(rows)} lines for {len(names)} images"
            )
        return [row[0] for row in rows]
    listed = {Path(row[0]).name: row[1] for row in rows if len(row) == 2}
    missing = [name for name in names if name not in listed]
    if missing:
        raise ValueError(f"{ground_truth} says nothing about {missing[0]}.")
    return [listed[name] for name in names]


@functools.cache
def _classes_of_the_original() -> list[str]:
    """WordNet ids of the 50,000 images by their numbers; a file of tensorflow-datasets."""
    folder = resources.files("tensorflow_datasets") / "datasets" / "imagenet2012"
    return (folder / "validation_labels.txt").read_text().split()
