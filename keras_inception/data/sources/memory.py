"""What a program holds: arrays, paths, tables, data sets of tf.data and of Hugging Face."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from keras_inception.budget import machine_memory
from keras_inception.data.checked import check_images
from keras_inception.data.kept import state_of
from keras_inception.data.parts import draw_missing_parts
from keras_inception.data.sources import hugging_face
from keras_inception.data.sources.files import (
    ImageFile,
    check_class_names,
    grouped_by_name,
    split_of_files,
)
from keras_inception.data.sources.hugging_face import Encoded
from keras_inception.data.sources.labels import (
    check_names_of_several,
    indicators,
    mark_of,
    pieces,
)
from keras_inception.data.sources.opening import PART_OF, Opening
from keras_inception.data.splits import Source, Split, array_split
from keras_inception.data.twins import BY_TWINS, grouped_by_twins
from keras_inception.messages import printable, shown, some

KINDS = ("arrays", "paths", "table", "dataset", "hugging_face")
_NOTHING = ("None", "nan", "<NA>", "NaT")  # as Python, numpy and pandas write what is not there
# The share of the machine's memory that a `tf.data.Dataset` may take: it is copied twice.
_SHARE_OF_MEMORY = 1 / 4
_EXPECTED = (
    "Data should be a path, the name of a data set, (images, labels) or (images, labels, names) "
    "with arrays or lists of paths, a table with the columns path and label, a tf.data.Dataset of "
    "(image, label), or a data set of Hugging Face."
)


@dataclasses.dataclass(frozen=True, eq=False)
class Held:
    """A data set that a program holds.

    Attributes:
        train: The training part, or all images: (images, labels) or (images, labels, names), where
            images are an array (n, height, width, channels) or (n, height, width) in 0..255 or a
            list of paths, and labels whole numbers, class names, or 0 and 1 of shape (n, classes)
            where images may have several; a table with the columns path and label, and split and
            group if it has them; a finite `tf.data.Dataset` of (image, label), in batches or not;
            or a `Dataset` or `DatasetDict` of Hugging Face's package `datasets` with an Image and a
            ClassLabel column. None where networks are only measured.
        validation, test: These parts, in the same forms. None: drawn out of the training part.
        class_names: What whole numbers mean where the data does not say it; or a function that is
            asked when all else is found in order.
        groups: What belongs in one part, such as a patient, of each training image; None or "" for
            an image that is alone. A table has a column `group` instead.
    """

    train: Any = None
    validation: Any = None
    test: Any = None
    class_names: Sequence[str] | Callable[[], Sequence[str]] | None = None
    groups: Sequence[Any] | None = None

    @property
    def kind(self) -> str:
        """One of `KINDS`. Raises ValueError if the data is something else."""
        return kind_of(self.test if self.train is None else self.train)


class _Part(NamedTuple):
    """Images, uint8, paths or `Encoded`; the class name of each; and what else is known.

    That is all class names, and the group of each image. Of several labels the names have a |
    between them.
    """

    images: Any
    labels: list[str]
    class_names: tuple[str, ...]
    groups: np.ndarray | None = None


def kind_of(data: Any) -> str:
    """One of `KINDS`. Raises ValueError if the data is something else."""
    if isinstance(data, tf.data.Dataset):
        return "dataset"
    if hasattr(data, "columns"):
        return "table"
    if hugging_face.splits_of(data):
        return "hugging_face"
    if isinstance(data, tuple) and len(data) in (2, 3) and not isinstance(data[0], str):
        return "paths" if _are_paths(data[0]) else "arrays"
    raise ValueError(f"{_EXPECTED} Received: {type(data).__name__}")


def named_or_held(
    data: Any, validation: Any = None, test: Any = None, groups: Any = None
) -> tuple[dict[str, Any], Held | None]:
    """What a recipe says of the data set, without what is not given, and what a program holds.

    Raises:
        ValueError: the data is of another kind, or parts or groups are given beside a path.
    """
    given = {"groups": groups} if isinstance(groups, str) else {}
    listed = None if given else groups
    if data is not None and not isinstance(data, str | os.PathLike):
        held = Held(data, validation, test, groups=listed)
        return given | {"dataset": held.kind}, held
    if listed is not None:
        raise ValueError(
            "`groups` should be a text for data in files, which says how their names tell the "
            f"groups (docs/data.md). Received: {type(groups).__name__}"
        )
    if validation is not None or test is not None:
        raise ValueError(
            "`validation` and `test` go with arrays, tables and data sets of a program; folders "
            f"and files have their own parts. Received: data={data!r}"
        )
    return given if data is None else given | {"dataset": os.fspath(data)}, None


def images_of(data: Any) -> Any:
    """The images of what a program holds, without their labels: an array, paths or bytes."""
    kind = kind_of(data)
    if kind == "hugging_face":
        if isinstance(data, dict):
            raise ValueError(f"One split is asked for, such as data[{next(iter(data))!r}].")
        return hugging_face.images_of(data)
    if kind == "table":
        _check_columns(data, "path")
        return list(data["path"])
    if kind == "paths":
        return list(data[0])
    return _read_dataset(data)[0] if kind == "dataset" else _pixels(data[0])


def open_held(held: Held, opening: Opening) -> Source:
    """What a program holds as a data set.

    Raises:
        ValueError: images, labels or names are not as they should be.
    """
    kind, parts = held.kind, dict[str, _Part]()
    for part in ("train", "validation", "test"):
        data = getattr(held, part)
        for name, one in (_parts(data, part, held.class_names) if data is not None else {}).items():
            if name in parts:
                raise ValueError(f"The {name} part is given twice: in the table, and by itself.")
            parts[name] = one
        if not all(len(one.images) for one in parts.values()):
            raise ValueError(f"The {part} part should have at least one image. Received: none")
    if held.groups is not None:
        parts["train"] = _grouped(parts["train"], held.groups, kind)
    classes, numbers = _classes(parts, kind)
    if len({type(one.images) for one in parts.values()}) > 1:
        raise ValueError("The parts should all be of one kind: paths, arrays or Hugging Face's.")
    if kind in ("paths", "table"):
        paths = [path for one in parts.values() for path in one.images]
        twice = [path for path, count in Counter(paths).items() if count > 1]
        if twice:
            raise ValueError(f"Each path should be given once. Received twice: {some(twice)}")
    splits, states = dict[str, Split](), dict[str, Sequence[object]]()
    size = sum(len(one.images) for one in parts.values())
    for part, (images, labels, _, groups) in parts.items():
        if isinstance(images, np.ndarray):
            splits[part] = array_split(images, numbers[part], _noun(part))
        elif isinstance(images, Encoded):
            splits[part], states[part] = images.split(numbers[part], _noun(part)), images.states()
        else:
            files = [
                ImageFile(path, path, tuple(np.flatnonzero(i)) if i.ndim else int(i))
                for path, i in zip(images, numbers[part], strict=True)
            ]
            splits[part] = split_of_files(files, classes=len(classes))
            states[part] = state_of(images)
        if kind == "dataset":
            names = _names_by_content(splits[part].facts["digest"], labels, part)
            splits[part] = dataclasses.replace(splits[part], name=names.__getitem__)
        if groups is not None:
            splits[part] = dataclasses.replace(splits[part], groups=groups)
        if opening.group_key:
            splits[part] = grouped_by_name(splits[part], opening.group_key)
    source = Source(kind, classes, splits, {kind: f"{size:,} images"}, decoding=opening.decoding)
    if states:
        source = check_images(source, states, opening.verbose)
    if opening.groups == BY_TWINS:
        source = grouped_by_twins(source)
    return draw_missing_parts(source, opening.validation_fraction, opening.seed)


def _noun(part: str) -> str:
    return "image" if part == "train" else f"{part} image"


def _names_by_content(digests: np.ndarray, labels: Sequence[str], part: str) -> list[str]:
    """Names that stay the same where a data set gives its examples in another order each time."""
    seen, names = Counter[str](), []
    for digest, label in zip(digests, labels, strict=True):
        name = f"{_noun(part)} {label}/{digest.tobytes().hex()[:12]}"
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return names


def _classes(parts: dict[str, _Part], where: str) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """The class names, and int64 (n,) for each part; uint8 (n, classes) of several labels."""
    given = {one.class_names for one in parts.values() if one.class_names}
    if len(given) > 1:
        raise ValueError("All parts should have the same class names, in the same order.")
    # A name that is known is one label, whatever is in it.
    known = {name for names in given for name in names}
    loose = [label for one in parts.values() for label in one.labels if label not in known]
    mark = ("|" if any("|" in label for label in loose) else "") if known else mark_of(loose, where)
    sets = {
        part: [pieces(label, mark) if mark else [label] for label in one.labels]
        for part, one in parts.items()
    }
    found = {label for own in sets.values() for each in own for label in each}
    classes = given.pop() if given else tuple(sorted(found))
    check_class_names(classes, where)
    unknown = sorted(found - set(classes))
    if unknown:
        raise ValueError(f"Labels should be among the class names. Received: {some(unknown)}")
    number = {name: i for i, name in enumerate(classes)}
    numbers = {
        part: [[number[label] for label in each] for each in own] for part, own in sets.items()
    }
    if mark:
        return classes, {part: indicators(own, len(classes)) for part, own in numbers.items()}
    return classes, {
        part: np.array([each[0] for each in own], np.int64) for part, own in numbers.items()
    }


def _parts(data: Any, part: str, default: Any) -> dict[str, _Part]:
    """One part, or those of a table's column split."""
    kind = kind_of(data)
    if kind == "table":
        return _own_parts(_table_parts(data, part, default), part)
    if kind == "hugging_face":
        return _own_parts(_hugging_face_parts(data, part), part)
    images, labels, names = _read_dataset(data) if kind == "dataset" else (*data, None)[:3]
    if kind == "paths":
        images = [os.fspath(path) for path in images]
    elif kind == "arrays":
        if getattr(images, "dtype", np.uint8) != np.uint8:
            logging.warning("The images' values are kept as whole numbers of 0 to 255.")
        images = _pixels(images)
    return {part: _labelled(images, labels, default if names is None else names)}


def _table_parts(data: Any, part: str, default: Any) -> dict[str, _Part]:
    _check_columns(data, "path", "label")
    paths = [os.fspath(path) for path in data["path"]]
    whole = _labelled(paths, list(data["label"]), default)
    if "group" in data.columns:
        whole = _grouped(whole, data["group"], "table")
    if "split" not in data.columns:
        return {part: whole}
    own = [PART_OF.get(str(name).strip().lower(), "") for name in data["split"]]
    if "" in own:
        raise ValueError(
            "A table's column split should be train, validation or test in every row. "
            f"Received: {some(dict.fromkeys(map(str, data['split'])))}"
        )
    rows = {name: [i for i, its in enumerate(own) if its == name] for name in dict.fromkeys(own)}
    return {
        name: _Part(
            [paths[i] for i in mine],
            [whole.labels[i] for i in mine],
            whole.class_names,
            None if whole.groups is None else whole.groups[mine],
        )
        for name, mine in rows.items()
    }


def _check_columns(data: Any, *needed: str) -> None:
    if any(name not in data.columns for name in needed):
        raise ValueError(
            f"A table should have the columns {' and '.join(needed)}, and perhaps split and group. "
            f"Received: {some(map(str, data.columns), 8)}"
        )


def _grouped(part: _Part, groups: Any, kind: str) -> _Part:
    """A part with the group of each image; numbers are names, and NaN and None are no group."""
    if kind == "dataset":
        raise ValueError(
            "`groups` should go with arrays, paths or data sets of Hugging Face: a tf.data.Dataset "
            "may give its images in another order. Received: a tf.data.Dataset"
        )
    given = list(groups)
    if len(given) != len(part.images):
        raise ValueError(
            f"`groups` should have one entry for each of the {len(part.images)} training images. "
            f"Received: {len(given)}"
        )
    named = ["" if str(one) in _NOTHING else str(one) for one in given]
    return part._replace(groups=np.array(named, str))


def _hugging_face_parts(data: Any, part: str) -> dict[str, _Part]:
    """The splits of a data set by the parts that they are; `part` is that of a single one."""
    found: dict[str, _Part] = {}
    for name, split in (hugging_face.splits_of(data) or {}).items():
        own = PART_OF.get(name.lower(), "") if name else part
        images, labels, names = hugging_face.labelled_images(split)
        if not own or (own != "train" and len(labels) and (labels == -1).all()):
            why = "has no labels" if own else "is named as no part is"
            logging.warning("The split %s %s and is left out.", printable(name) or own, why)
        elif own in found:
            raise ValueError(f"Two splits are the {own} part. Received: {some(data)}")
        else:
            found[own] = _labelled(images, labels, names)
    return found


def _own_parts(found: dict[str, _Part], part: str) -> dict[str, _Part]:
    """All parts of data that has its own; as the test part of something, its test part."""
    if part not in found:
        raise ValueError(f"The data has no {part} part. Received: {some(found) or 'none'}")
    return found if part == "train" else {part: found[part]}


def _labelled(images: Any, labels: Any, names: Any) -> _Part:
    """Images with the class name of each; a whole number is a place among the names."""
    given = np.asarray(labels)
    if given.ndim == 2 and given.shape[1] == 1:  # as `keras.datasets.cifar10` has them
        given = given[:, 0]
    are_flags = given.ndim == 2 and len(given) == len(images) and np.isin(given, (0, 1)).all()
    if are_flags and (given.sum(1) != 1).any():
        return _of_flags(images, given, names)
    texts = [label for label in given.ravel().tolist() if isinstance(label, str)]
    are_numbers = given.dtype.kind in "iu"
    if given.shape != (len(images),) or not (are_numbers or len(texts) == given.size):
        raise ValueError(
            f"Labels should be a whole number or a class name for each of the {len(images)} "
            f"images. Received: {given.dtype.name} of shape {given.shape}"
            + ("; of one-hot labels give `labels.argmax(1)`" if are_flags else "")
        )
    known = tuple(map(str, (names() if callable(names) else names) or ()))
    if not are_numbers or not given.size:
        return _Part(images, texts, known)
    if known and not 0 <= given.min() <= given.max() < len(known):
        raise ValueError(
            f"Labels should be 0 to {len(known) - 1}, for {len(known)} class names. "
            f"Received: {given.min()} to {given.max()}"
        )
    return _Part(images, [known[i] if known else str(i) for i in given.tolist()], known)


def _of_flags(images: Any, given: np.ndarray, names: Any) -> _Part:
    """Images with 0 or 1 for each of several classes."""
    names = names() if callable(names) else names
    known = tuple(map(str, names or range(given.shape[1])))
    if len(known) != given.shape[1]:
        raise ValueError(
            f"There should be a class name for each of {given.shape[1]} columns of labels. "
            f"Received: {len(known)} names"
        )
    check_names_of_several(known, "the class names")
    # A | at the end says that these are lists, though no image may have two labels.
    labels = ["".join(f"{known[i]}|" for i in np.flatnonzero(row)) or "|" for row in given]
    return _Part(images, labels, known)


def _pixels(images: Any) -> np.ndarray:
    """uint8 (n, height, width, channels); other kinds of numbers are rounded."""
    try:
        given = np.asarray(images)
    except ValueError as error:  # of several sizes
        raise ValueError(
            "Images in an array should all have one size; give others as paths."
        ) from error
    if given.ndim == 3:
        given = given[..., None]
    if given.ndim != 4 or given.shape[3] not in (1, 3) or given.dtype.kind not in "fiu":
        raise ValueError(
            "Images should be numbers (n, height, width, 3 or 1) or (n, height, width). "
            f"Received: {given.dtype.name} of shape {given.shape}"
        )
    if given.dtype == np.uint8 or not given.size:
        return given.astype(np.uint8, copy=False)
    low, high = float(given.min()), float(given.max())
    is_scaled = given.dtype.kind == "f" and 0 < high <= 1
    if is_scaled or not (0 <= low and high <= 255):  # NaN fails both
        raise ValueError(
            "Images should have values in 0..255, not scaled: training scales them as the weights "
            f"ask for. Received: values in [{low:g}, {high:g}]"
        )
    return np.rint(given).astype(np.uint8)


def _read_dataset(dataset: Any) -> tuple[np.ndarray, np.ndarray, Sequence[str] | None]:
    """The images, labels and perhaps class names of a `tf.data.Dataset`, which is read once."""
    spec = dataset.element_spec
    if not isinstance(spec, tuple) or len(spec) != 2:
        raise ValueError(f"A tf.data.Dataset should give (image, label). Received: {shown(spec)}")
    if dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise ValueError("A tf.data.Dataset should end: give it without `repeat()`.")
    limit, taken = (machine_memory() or 2**63) * _SHARE_OF_MEMORY, 0
    images, labels = [], []
    for image, label in dataset.as_numpy_iterator():
        is_batch = np.ndim(image) == 4
        images.append(_pixels(image if is_batch else image[None]))
        labels.append(label if is_batch else np.asarray(label)[None])
        taken += images[-1].nbytes
        # The last batch may be smaller; a number of batches that is not known is negative.
        if max(taken, images[0].nbytes * (int(dataset.cardinality()) - 1)) > limit:
            raise ValueError(
                "A tf.data.Dataset is read into memory, and this one has more than "
                f"{limit / 1e9:.1f} GB of images, or does not end. Write its images into a folder, "
                "or give a part of it: `dataset.take(count)`."
            )
    if not images:
        raise ValueError("A tf.data.Dataset should give at least one image. Received: none")
    if len({batch.shape[1:] for batch in images}) > 1:
        raise ValueError("A tf.data.Dataset's images should all have one size.")
    whole = np.concatenate(images)
    logging.warning(
        "The tf.data.Dataset was read once, into memory, as whole numbers: %d images, %.0f MB.",
        len(whole),
        whole.nbytes / 1e6,
    )
    return whole, np.concatenate(labels), getattr(dataset, "class_names", None)


def _are_paths(images: Any) -> bool:
    if isinstance(images, np.ndarray) and images.dtype.kind not in "UO":
        return False
    return (
        isinstance(images, list | tuple | np.ndarray)
        and len(images) > 0
        and isinstance(images[0], str | os.PathLike)
    )
