"""A data set's record: written, read, and held against another."""

from __future__ import annotations

import pytest

from keras_inception.data import Fingerprint


def record(classes=("a", "b"), **parts):
    return Fingerprint(classes, {part: list(rows) for part, rows in parts.items()})


BEFORE = record(
    train=[("a/1", "a", "01"), ("a/2", "a", "02"), ("b/1", "b", "03"), ("b/2", "b", "04")],
    test=[("a/3", "a", "05"), ("b/3", "b", "06")],
)


def test_a_record_is_the_same_after_writing_and_reading(tmp_path):
    names = record(("ä", "b\udce9"), train=[("ä/ \n1", "ä", "ff")], test=[])
    for one in (BEFORE, names):
        one.write(tmp_path / "data.json.gz")
        assert Fingerprint.read(tmp_path / "data.json.gz") == one
        first = (tmp_path / "data.json.gz").read_bytes()
        one.write(tmp_path / "data.json.gz")
        assert (tmp_path / "data.json.gz").read_bytes() == first
    assert len(BEFORE.digest) == 64 and BEFORE.digest != names.digest


@pytest.mark.parametrize("content", [b"", b"{}", b"\x1f\x8b\x08", b"\x1f\x8b" + bytes(30)])
def test_a_damaged_record_is_named(tmp_path, content):
    (tmp_path / "data.json.gz").write_bytes(content)
    with pytest.raises(ValueError, match=r"data\.json\.gz is no record of a run's data"):
        Fingerprint.read(tmp_path / "data.json.gz")


def changed(part, old, new):
    """BEFORE with a row replaced, or left out."""
    parts = {p: list(rows) for p, rows in BEFORE.parts.items()}
    parts[part] = [r for row in parts[part] for r in (new if row[0] == old else [row])]
    return record(**parts)


@pytest.mark.parametrize(
    ("now", "lines"),
    [
        (BEFORE, []),
        (changed("train", "a/1", []), ["1 image removed: a/1"]),
        (changed("train", "a/1", [("a/1", "a", "77")]), ["1 image changed: a/1"]),
        (changed("train", "a/1", [("a/9", "a", "01")]), ["1 image renamed: a/1 -> a/9"]),
        (
            changed("train", "a/1", [("a/1", "b", "01")]),
            ["1 image relabelled: a/1 (a -> b)"],
        ),
        (
            changed("test", "a/3", [("a/3", "a", "05"), ("a/4", "a", "07")]),
            ["1 image added: a/4"],
        ),
        (
            record(train=BEFORE.parts["train"][1:], test=[*BEFORE.parts["test"], ("x", "a", "01")]),
            ["1 image moved: a/1 (train -> test)"],
        ),
        (
            record(("b", "a"), **BEFORE.parts),
            ["the classes are in another order: they were a, b, and are b, a"],
        ),
        (
            record(("b", "z"), train=BEFORE.parts["train"][2:], test=BEFORE.parts["test"][1:]),
            ["classes that are gone: a; new classes: z", "3 images removed: a/1, a/2, a/3"],
        ),
    ],
)
def test_what_differs_is_counted_and_named(now, lines):
    changes = now.changes_since(BEFORE)
    assert changes.lines() == lines and bool(changes) == bool(lines)
    assert changes.only_added == (lines == ["1 image added: a/4"])


def test_examples_of_drawn_parts_do_not_count_as_moved():
    now = record(train=[*BEFORE.parts["train"][1:], ("a/3", "a", "05")], test=[("a/1", "a", "01")])
    now.parts["test"].append(("b/3", "b", "06"))
    assert not now.changes_since(BEFORE, drawn=("test",))
    assert len(now.changes_since(BEFORE).moved) == 2


def test_only_three_examples_are_named():
    now = record(train=[], test=BEFORE.parts["test"])
    assert now.changes_since(BEFORE).lines() == ["4 images removed: a/1, a/2, b/1 and 1 more"]
