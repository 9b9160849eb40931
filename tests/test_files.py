"""Files are written whole or not at all, one or several together, and a kill leaves no rubbish."""

from __future__ import annotations

import subprocess
import sys

import pytest

from keras_inception.files import write, write_all

WRITE_FOR_EVER = """
import sys, time
from pathlib import Path
from keras_inception.files import write_all

def slow(path):
    path.write_text("half")
    print("half", flush=True)
    time.sleep(600)

write_all({Path(sys.argv[1]): "new", Path(sys.argv[2]): slow})
"""


def writing(folder):
    """A process that is in the middle of writing a.txt and model.keras."""
    command = [sys.executable, "-c", WRITE_FOR_EVER, folder / "a.txt", folder / "model.keras"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"half\n"
    return process


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_kill_leaves_the_earlier_files_and_the_next_writing_removes_the_rest(tmp_path):
    write_all({tmp_path / "a.txt": "old", tmp_path / "model.keras": b"old"})
    (tmp_path / ".model-unfinished-notes").write_text("another ending")
    killed, living = writing(tmp_path), writing(tmp_path)
    killed.kill()
    killed.communicate()
    assert (tmp_path / "a.txt").read_text() == (tmp_path / "model.keras").read_text() == "old"
    left = [name for name in names(tmp_path) if name.endswith(".keras") and "unfinished" in name]
    assert len(left) == 2

    write(tmp_path / "model.keras", lambda path: path.write_text("new"))
    assert (tmp_path / "model.keras").read_text() == "new"
    (still,) = [name for name in names(tmp_path) if name.endswith(".keras") and name in left]
    living.kill()
    living.communicate()
    assert (tmp_path / still).read_text() == "half"
    write(tmp_path / "model.keras", lambda path: path.write_text("newer"))
    write(tmp_path / "a.txt", lambda path: path.write_text("newer"))
    assert names(tmp_path) == [".model-unfinished-notes", "a.txt", "model.keras"]


def test_files_that_belong_together_are_exchanged_together_or_not_at_all(tmp_path):
    first, second = tmp_path / "evaluation.json", tmp_path / "predictions.npz"
    write_all({first: "old", second: b"old"})

    def broken(path):
        path.write_text("half")
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        write_all({first: "new", second: broken})
    assert first.read_text() == second.read_text() == "old"
    assert names(tmp_path) == ["evaluation.json", "predictions.npz"]
    write_all({first: "new", second: lambda path: path.write_text("new")})
    assert first.read_text() == second.read_text() == "new"
