"""What a run's data set was: which examples were in which part, of which class and content.

A run folder keeps it, so that the next start tells a changed data set from the same one.
"""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
from collections import Counter, defaultdict
from pathlib import Path

from keras_inception import archives, files
from keras_inception.budget import LARGEST_FILE, Budget
from keras_inception.files import write
from keras_inception.messages import some

Example = tuple[str, str, str]


@dataclasses.dataclass(frozen=True)
class Changes:
    """How a data set differs from what it was. Names are those of examples.

    Attributes:
        added, removed: Examples that are new, or gone.
        changed: Examples of the same name with another content.
        moved: Examples that are in another part, "name (train -> test)".
        renamed: Examples of the same content under another name, "old -> new".
        relabelled: Examples whose class is another one, "name (old -> new)".
        classes: One sentence if the classes or their order differ, else "".
    """

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    moved: tuple[str, ...] = ()
    renamed: tuple[str, ...] = ()
    relabelled: tuple[str, ...] = ()
    classes: str = ""

    def __bool__(self) -> bool:
        return any(getattr(self, field.name) for field in dataclasses.fields(self))

    @property
    def only_added(self) -> bool:
        """Whether every example of before is there as it was, and the classes are the same."""
        return bool(self.added) and not dataclasses.replace(self, added=())

    def lines(self) -> list[str]:
        """A line a kind of change: how many, and three examples."""
        lines = [self.classes] if self.classes else []
        for field in dataclasses.fields(self):
            names = getattr(self, field.name)
            if field.name != "classes" and names:
                noun = "image" if len(names) == 1 else "images"
                lines.append(f"{len(names)} {noun} {field.name}: {some(names)}")
        return lines

    def __str__(self) -> str:
        return "; ".join(self.lines()) or "no change"


@dataclasses.dataclass(frozen=True)
class Fingerprint:
    """The examples of a data set.

    Attributes:
        class_names: In the order of the labels.
        parts: Part -> (name, class name, content's digest in hexadecimal) of each example, in
            order.
        white: The value of 16-bit images that becomes 255; see `data.decode.Decoding`.
    """

    class_names: tuple[str, ...]
    parts: dict[str, list[Example]]
    white: int = 65535

    @property
    def digest(self) -> str:
        """64 hexadecimal digits, the same on every machine for the same data in the same parts."""
        return hashlib.sha256(self._json().encode()).hexdigest()

    def _json(self) -> str:
        content = {"classes": self.class_names, "white": self.white, "parts": self.parts}
        return json.dumps(content, separators=(",", ":"))

    def write(self, path: Path) -> None:
        """Writes the record; the bytes depend on nothing else."""
        write(path, gzip.compress(self._json().encode(), mtime=0))

    @classmethod
    def read(cls, path: Path) -> Fingerprint:
        """The record back.

        Raises:
            ValueError: the file is no such record.
        """
        try:
            packed = files.read(path, LARGEST_FILE)
            text = archives.gunzip(packed, Budget.of(len(packed)))
            content = Budget.of(len(text)).json(text, "its list of examples")
            parts = {
                part: [(str(n), str(c), str(d)) for n, c, d in examples]
                for part, examples in content["parts"].items()
            }
            return cls(tuple(content["classes"]), parts, int(content["white"]))
        except Exception as error:  # gzip, JSON and what is in it
            raise ValueError(f"{path} is no record of a run's data: {error}") from error

    def changes_since(self, before: Fingerprint, drawn: tuple[str, ...] = ()) -> Changes:
        """How this data set differs from an earlier one.

        Args:
            before: The earlier one.
            drawn: Parts that are drawn out of the training part anew each time: between these
                and the training part, examples do not count as moved.
        """
        own = {part: "train" if part in drawn else part for part in (*before.parts, *self.parts)}
        was = {n: (own[p], c, d) for p, rows in before.parts.items() for n, c, d in rows}
        now = {n: (own[p], c, d) for p, rows in self.parts.items() for n, c, d in rows}
        gone: dict[str, list[str]] = defaultdict(list)
        for name, (_, _, content) in was.items():
            if name not in now:
                gone[content].append(name)
        lists: dict[str, list[str]] = defaultdict(list)
        for name, (part, label, content) in now.items():
            if name not in was:
                if content and gone.get(content):
                    old = gone[content].pop(0)
                    if was[old][0] != part:
                        lists["moved"].append(f"{old} ({was[old][0]} -> {part})")
                    else:
                        lists["renamed"].append(f"{old} -> {name}")
                else:
                    lists["added"].append(name)
                continue
            old_part, old_label, old_content = was[name]
            if content != old_content:
                lists["changed"].append(name)
            if label != old_label:
                lists["relabelled"].append(f"{name} ({old_label} -> {label})")
            if part != old_part:
                lists["moved"].append(f"{name} ({old_part} -> {part})")
        lists["removed"] = [name for names in gone.values() for name in names]
        kinds = {kind: tuple(names) for kind, names in lists.items()}
        return Changes(**kinds, classes=_classes(before.class_names, self.class_names))


def _classes(before: tuple[str, ...], now: tuple[str, ...]) -> str:
    if before == now:
        return ""
    lost, new = Counter(before) - Counter(now), Counter(now) - Counter(before)
    if not lost and not new:
        return (
            f"the classes are in another order: they were {some(before, 5)}, and are {some(now, 5)}"
        )
    said = [f"classes that are gone: {some(lost, 5)}"] if lost else []
    return "; ".join(said + ([f"new classes: {some(new, 5)}"] if new else []))
