"""What is in a run folder, whose it is, and who may write it."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

from keras_inception import locks
from keras_inception.files import write
from keras_inception.locks import FolderLock, InUse
from keras_inception.preprocessing import Preprocessing
from keras_inception.recipes import Recipe
from keras_inception.runs import RunFolder


def begun(path):
    run = RunFolder(path)
    run.begin(Recipe(), ("cat", "dog"), Preprocessing(size=(32, 32)), {"folder": "somewhere"})
    return run


def names(path):
    return sorted(p.relative_to(path).as_posix() for p in path.rglob("*"))


@pytest.mark.parametrize("config", [None, '{"name": "app"}', "{", '{"recipe": {"name": "app"}}'])
def test_only_a_runs_folder_is_cleared(config, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    (tmp_path / "labels.txt").write_text("mine")
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    before = names(tmp_path)
    with pytest.raises(ValueError, match="config.json"):
        RunFolder(tmp_path).clear()
    assert names(tmp_path) == before


def test_clearing_leaves_what_is_not_the_runs(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    write(elsewhere / "ckpt-1.index", "")
    write(elsewhere / "precious", "")
    run = begun(tmp_path / "run")
    begun(tmp_path / "run" / "head")
    exports = ("saved_model/saved_model.pb", "web/index.html", "openvino/model.xml", "model.onnx")
    more = ("model_float16.tflite", "model_full_int8.tflite")
    for name in ("tensorboard/events.out.tfevents.1", "model.keras", *exports, *more):
        write(run.path / name, "")
    write(run.path / "notes/config.json", "mine")
    (run.path / "checkpoints").symlink_to(elsewhere)
    with pytest.raises(ValueError, match="checkpoints is a link"):
        run.clear()
    assert (run.path / "model.keras").exists()
    (run.path / "checkpoints").unlink()
    (run.path / "notes" / "mine").symlink_to(elsewhere)
    run.clear()
    assert names(run.path) == ["notes", "notes/config.json", "notes/mine"]
    assert names(elsewhere) == ["ckpt-1.index", "precious"]


@pytest.mark.parametrize(
    "link",
    [
        "head",
        "checkpoints",
        "checkpoints/best",
        "tensorboard",
        "features",
        "features/head.npz",
        "saved_model",
        "evaluations",
        "history.csv",
        "data.json.gz",
        "head/model.keras",
    ],
)
def test_nothing_is_removed_or_read_through_a_link_in_a_run_folder(link, tmp_path):
    """An earlier version emptied the run that `head` pointed to, and lost its checkpoints."""
    elsewhere, run = begun(tmp_path / "elsewhere"), begun(tmp_path / "run")
    for name in ("ckpt-1.index", "best-1.index", "ckpt-1_temp/part", "key.json", "train.npy"):
        write(elsewhere.path / name, "")
    begun(run.path / "head")
    path = run.path / link
    if path.is_dir():
        shutil.rmtree(path)
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(elsewhere.path if "." not in link else elsewhere.path / "config.json")
    before = names(tmp_path)
    for use in (run.clear, run.remove_leftovers, run.check_clearable):
        with pytest.raises(ValueError, match=f"{link} is a link"):
            use()
    assert names(tmp_path) == before
    if link == "history.csv":
        with pytest.raises(ValueError, match="is a link"):
            _ = run.history


def test_the_lock_of_a_folder_is_no_link(tmp_path):
    """Taking it empties the file."""
    precious = tmp_path / "precious"
    precious.write_text("years of work")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(precious)
    with FolderLock(tmp_path / "run") as lock, pytest.raises(ValueError, match=".lock is a link"):
        lock.take()
    assert precious.read_text() == "years of work"


def test_what_a_kill_left_of_a_runs_beginning_can_be_cleared(tmp_path):
    write(tmp_path / ".config-unfinished-x1y2.json", "{")
    write(tmp_path / "owner.json", "{}")
    RunFolder(tmp_path).clear()
    begun(tmp_path)  # killed before data.json.gz
    write(tmp_path / ".data.json-unfinished-x1y2.gz", "")
    RunFolder(tmp_path).clear()
    assert names(tmp_path) == ["owner.json"]


def test_leftovers_of_a_killed_process_are_removed(tmp_path):
    run = begun(tmp_path)
    before = names(tmp_path)

    for name in (
        "checkpoints/ckpt-7_temp/part-0",
        "checkpoints/best/best-7_temp/part-0",
        ".export-1234/model.onnx",
        ".model-unfinished-x1y2.keras",
    ):
        write(tmp_path / name, "")
    run.remove_leftovers()
    assert [n for n in names(tmp_path) if n not in before] == ["checkpoints", "checkpoints/best"]


@pytest.mark.parametrize(
    ("name", "content", "read"),
    [
        ("config.json", b"{}", lambda run: run.recipe),
        ("config.json", b"\xff", lambda run: run.recipe),
        ("preprocessing.json", b"[]", lambda run: run.preprocessing),
        ("preprocessing.json", b'{"size": 3}', lambda run: run.preprocessing),
        ("preprocessing.json", b"{", lambda run: run.preprocessing),
        ("split.json", b"[" * 100_000, lambda run: run.read_json("split.json")),
        ("labels.txt", b"\xff\xfe", lambda run: run.class_names),
        ("history.csv", b"\x00\xff\xfe", lambda run: run.history),
        ("history.csv", b"epoch,step,loss,accuracy\n1,2,three,4\n", lambda run: run.history),
        ("history.csv", b"epoch,step,loss,accuracy\n1,2\n", lambda run: run.history),
        ("history.csv", b"epoch,step,loss,accuracy\n1,2,3,4,5,6\n", lambda run: run.history),
        ("history.csv", b"garbage\nmore\n", lambda run: run.history),
    ],
)
def test_a_damaged_file_is_named_in_one_line(name, content, read, tmp_path):
    run = begun(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError) as caught:
        read(run)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_process_writes_a_folder(tmp_path):
    with FolderLock(tmp_path) as mine:
        mine.take()
        mine.take()  # it has it
        with FolderLock(tmp_path) as other, pytest.raises(InUse, match="another `run_dir`") as why:
            other.take()
        assert f"process {os.getpid()} on " in str(why.value)
    with FolderLock(tmp_path) as other:
        other.take()
    assert names(tmp_path) == [".lock"]


HOLD = """
import sys, time
from keras_inception.locks import FolderLock
with FolderLock(sys.argv[1]) as lock:
    lock.take()
    print("taken", flush=True)
    time.sleep(600)
"""


def test_a_dead_owner_does_not_keep_the_lock(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"taken\n"
    with FolderLock(tmp_path) as lock, pytest.raises(InUse, match=f"process {holder.pid} on"):
        lock.take()
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    assert (tmp_path / "owner.json").exists()
    with FolderLock(tmp_path) as lock:
        lock.take()


def test_where_the_system_locks_nothing_an_owner_elsewhere_shows_that_it_lives(
    tmp_path, monkeypatch, caplog
):
    """Another machine on a file system without flock: its file is written anew, or stands still."""
    monkeypatch.setattr(locks, "SECONDS_BETWEEN_BEATS", 0.2)
    owner = {"host": "elsewhere", "process": 7, "machine": "another"}
    write(tmp_path / "owner.json", json.dumps(owner))
    ended = threading.Event()

    def beat():
        number = 0
        while not ended.wait(0.02):
            number += 1
            write(tmp_path / "owner.json", json.dumps(owner | {"beat": number}))

    thread = threading.Thread(target=beat)
    thread.start()
    with FolderLock(tmp_path) as lock, pytest.raises(InUse, match="process 7 on elsewhere"):
        lock.take()
    ended.set()
    thread.join()
    with caplog.at_level(logging.WARNING), FolderLock(tmp_path) as lock:
        lock.take()
        assert "was used by process 7 on elsewhere" in caplog.text
        first = (tmp_path / "owner.json").stat().st_mtime_ns
        deadline = time.monotonic() + 60
        while (tmp_path / "owner.json").stat().st_mtime_ns == first:
            assert time.monotonic() < deadline, "the owner shows that it lives"
            time.sleep(0.05)


def test_the_history_of_a_run_that_goes_on_is_that_of_one_that_was_not_stopped(tmp_path):
    """An earlier version wrote 1.0 where 1 had stood."""
    rows = [
        {"epoch": 1, "step": 3, "learning_rate": 0.0, "loss": 2.0, "accuracy": 0.123457},
        {"epoch": 2, "step": 6, "learning_rate": 1e-05, "loss": 1.5, "accuracy": 1.0, "seconds": 7},
    ]
    whole, stopped = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "stopped")
    whole.write_history(rows)
    stopped.write_history(rows[:1])
    stopped.write_history([*stopped.history, rows[1]])
    stopped.write_history(stopped.history)
    assert stopped.history_path.read_bytes() == whole.history_path.read_bytes()
    huge = whole.history_path.read_text().replace(",3,", f",{'1' * 400},")
    whole.history_path.write_text(huge)
    assert whole.history[0]["step"] == float("inf")
