"""Class folders: a folder a class, with or without folders for the parts above them."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from keras_inception.buckets import as_path
from keras_inception.data.listing import FOLLOWED, LEFTOVER, is_folder, list_images
from keras_inception.data.sources.files import Files, ImageFile, check_class_names
from keras_inception.data.sources.opening import PART_OF, Opening, part_named
from keras_inception.data.splits import Source
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

    def name(path: str) -> str:
        """A file's name within the data set, the same on every system."""
        return as_path(path).relative_to(root).as_posix()

    listing = list_images(root)
    images = {name(path): path for path in listing.images}
    folders = [name(path) for path in listing.folders]
    left_out: dict[str, list[str]] = {}
    found = _Classes(_parts(root, list(images), folders, left_out), folders)
    for image in images:
        part, of_class = found.place(image)
        if of_class:
            found.held.add(of_class)
        elif part or "/" not in image:
            left_out.setdefault("images beside the class folders", []).append(image)
        elif image.count("/") > 1:
            left_out.setdefault("images outside the parts", []).append(image)
    for kind, paths in [*listing.left_out.items(), (FOLLOWED, listing.links)]:
        for other in map(name, paths):
            _, of_class = found.place(other)
            if of_class and kind not in (LEFTOVER, FOLLOWED):
                found.held.add(of_class)
            if of_class or kind != LEFTOVER:
                left_out.setdefault(kind, []).append(other)
    if found.empty:
        left_out["class folders without a file"] = found.empty
    classes = found.checked(root)
    label = {of_class: i for i, of_class in enumerate(classes)}
    files: dict[str, list[ImageFile]] = {part: [] for part in found.parts}
    for image, path in images.items():
        part, of_class = found.place(image)
        if of_class:
            files[part].append(ImageFile(path, image, label[of_class]))
    if not any(files.values()):
        raise ValueError(f"{root} has class folders but no images in them.")
    return Files("folder", str(root), f"{root}{os.sep}", classes, files, left_out).open(opening)


@dataclasses.dataclass
class _Classes:
    """The class folders of each part.

    Attributes:
        parts: Part -> the name of its folder, "" for the root.
        folders: Names of all folders below the root, sorted.
        held: Class folders of any part that hold a file.
    """

    parts: dict[str, str]
    folders: list[str]
    held: set[str] = dataclasses.field(default_factory=set)

    def __post_init__(self) -> None:
        self._of_part = {  # dictionaries, in which a class of a thousand is found at once
            part: dict.fromkeys(_folders_in(folder, self.folders))
            for part, folder in self.parts.items()
        }

    def place(self, name: str) -> tuple[str, str]:
        """The part and the class folder that a name lies in, or is; "" for none."""
        for part, folder in self.parts.items():
            prefix = f"{folder}/" if folder else ""
            if name.startswith(prefix):
                first = name[len(prefix) :].partition("/")[0]
                return part, first if first in self._of_part[part] else ""
        return "", ""

    @property
    def empty(self) -> list[str]:
        """Class folders without a file in any part, sorted."""
        return sorted({name for names in self._of_part.values() for name in names} - self.held)

    def checked(self, root: Path) -> list[str]:
        """The classes in their order.

        Raises:
            ValueError: there are too few, the training part lacks one, or a name cannot be one.
        """
        classes = [name for name in self._of_part["train"] if name in self.held]
        where = {part: root / folder if folder else root for part, folder in self.parts.items()}
        for part, names in self._of_part.items():
            unknown = sorted(self.held.intersection(names) - set(classes))
            if unknown:
                raise ValueError(
                    f"{where[part]} has class folders that {where['train']} lacks: "
                    f"{some(map(printable, unknown), 5)}."
                )
        if len(classes) < 2:
            alone = f": {printable(classes[0])}" if classes else ""
            more = f" (and without a file: {some(self.empty)})" if self.empty else ""
            raise ValueError(
                f"A classifier needs at least two class folders with images; {where['train']} has "
                f"{len(classes)}{alone}{more}."
            )
        check_class_names(classes, str(root))
        return classes


def _folders_in(folder: str, folders: list[str]) -> list[str]:
    """Names of the folders directly in a folder."""
    prefix = f"{folder}/" if folder else ""
    below = [name[len(prefix) :] for name in folders if name.startswith(prefix)]
    return sorted(name for name in below if "/" not in name)


def _parts(
    root: Path, images: list[str], folders: list[str], left_out: dict[str, list[str]]
) -> dict[str, str]:
    """Which folders hold the parts: {"train": ""}, the root, where there is none.

    A folder with images directly in it is a class, whatever its name; one that holds folders with
    images is a part, if its name says which.
    """
    direct = {image.partition("/")[0] for image in images if image.count("/") == 1}
    deeper = {image.partition("/")[0] for image in images if image.count("/") > 1}
    holding = sorted(deeper - direct)
    if not holding:
        exact = sorted(name for name in direct if name.lower() in PART_OF)
        if len(exact) > 1 and len(exact) == len(direct):
            raise ValueError(
                f"{root} has images directly in {', '.join(exact)}, which are names of parts, and "
                "no class folders: a folder a class is needed, such as train/cat and train/dog. "
                "If they are classes, rename them."
            )
        return {"train": ""}
    parts: dict[str, str] = {}
    for name in holding:
        part = part_named(name)
        if not part:
            raise ValueError(
                f"{root}{os.sep}{printable(name)} has no image directly in it, but folders "
                f"({some(_folders_in(name, folders))}), and its name is not one of a part (train, "
                "validation, test). Put the images of a class directly into its folder, or give "
                f"folder:{root / name} if it holds the class folders."
            )
        if part in parts:
            raise ValueError(
                f"{root} has two folders for the {part} part: {parts[part]} and {name}. "
                "Merge them, or move one away."
            )
        parts[part] = name
    if "train" not in parts:
        raise ValueError(
            f"{root} has no training part, only {', '.join(holding)}: a folder called "
            "train with class folders in it is needed."
        )
    for name in sorted(direct):
        if not part_named(name):
            raise ValueError(
                f"{root} has parts ({', '.join(parts.values())}) and beside them a "
                f"folder with images, {printable(name)}. Move it into a part, or away."
            )
        kind = f"images without labels, directly in {name}{os.sep}"
        left_out[kind] = [i for i in images if i.startswith(f"{name}/") and i.count("/") == 1]
    return parts
