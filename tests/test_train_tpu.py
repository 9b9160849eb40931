"""The command line as a user meets it."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from keras_inception import load_classifier
from keras_inception.runs import RunFolder

ROOT = Path(__file__).parents[1]


def command(*arguments, **options):
    return subprocess.run(
        [sys.executable, str(ROOT / "train_tpu.py"), *arguments],
        capture_output=True,
        text=True,
        **options,
    )


def test_help_is_grouped():
    process = command("--help")
    assert process.returncode == 0
    for group in ("Run:", "Devices:", "Model:", "Data:", "Optimization:"):
        assert group in process.stdout


def test_flags_need_no_tensorflow():
    code = (
        "import sys; from keras_inception.cli import flags; flags.parse(['x']); "
        "assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--modle=InceptionV1", "--modle=InceptionV1"),
        ("--model=InceptionV9", "Did you mean"),
        ("--epochs=many", "'many'"),
        ("--learning_rate=-1", "learning_rate"),
        ("--recipe=alexnet", "'alexnet'"),
        ("--config=/nowhere.json", "/nowhere.json"),
    ],
)
def test_what_is_wrong_is_one_line_before_training(flag, message, tmp_path, capsys):
    from keras_inception.cli.train import main

    with pytest.raises(SystemExit) as end:
        main(["train_tpu.py", flag, f"--run_dir={tmp_path / 'run'}"])
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("train_tpu.py:") and message in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--dataset=folder:/nowhere", "no folder /nowhere"),
        ("--batch_size=6000", "--batch_size should be at most the training part's 4"),
        ("--strategy=tpu", "No TPU"),
    ],
)
def test_what_the_data_and_the_machine_lack_is_one_line(flag, message, tmp_path, capsys):
    from keras_inception.cli.train import main

    assert main(["x", "--dataset=fake", flag, f"--run_dir={tmp_path / 'run'}"]) == 2
    (line,) = (text for text in capsys.readouterr().err.splitlines() if text.startswith("x:"))
    assert message in line
    assert not (tmp_path / "run").exists()


def test_one_command_opens_its_data_set_once(tmp_path, monkeypatch):
    from keras_inception import evaluation, exporting, report, training
    from keras_inception.cli import train
    from keras_inception.data import sources

    opened, seen = [], []
    original = sources.open_source

    def open_source(*arguments, **options):
        opened.append(original(*arguments, **options))
        return opened[-1]

    def trained(recipe, run_dir, source, **options):
        seen.append(source)
        return RunFolder(run_dir)

    monkeypatch.setattr(sources, "open_source", open_source)
    monkeypatch.setattr(training, "train", trained, raising=False)
    for module, name in (
        (evaluation, "evaluate"),
        (exporting, "export_run"),
        (report, "write_report"),
    ):
        monkeypatch.setattr(module, name, lambda path, source, *_, **__: seen.append(source))
    monkeypatch.setattr(evaluation, "table", lambda result: "")
    assert train.main(["x", "--dataset=fake", f"--run_dir={tmp_path}"]) == 0
    assert len(opened) == 1 and seen == opened * 4


@pytest.mark.parametrize(
    ("stage", "happens", "code", "said"),
    [
        ("evaluate", "stop", 75, "Stopped; start the same command again to go on."),
        ("export_run", "stop", 75, "Stopped; start the same command again to go on."),
        (
            "evaluate",
            "lose",
            5,
            "x: 1 images of the test part can no longer be read since the ",
        ),
        ("export_run", ValueError("`keep=best` is x"), 2, "x: --keep=best is x"),
        ("evaluate", OSError(28, "No space left"), 2, "x: [Errno 28] No space left"),
    ],
)
def test_how_the_stages_after_training_end(
    stage, happens, code, said, monkeypatch, capsys, tmp_path
):
    """With stages that do nothing but this; the lock is given back however it ends."""
    import tensorflow as tf

    from keras_inception import data, evaluation, exporting, report, training
    from keras_inception.cli.train import main
    from keras_inception.locks import FolderLock

    source = data.open_source("fake")

    def act(*arguments, **options):
        if happens == "stop":
            os.kill(os.getpid(), signal.SIGTERM)
        elif happens == "lose":
            broken = dataclasses.replace(source.splits["test"], image=missing)
            source.splits["test"] = broken.subset(np.arange(1))
            source.splits["test"].pixels(0)
        else:
            raise happens

    def missing(i):
        return tf.io.read_file(str(tmp_path / "gone.png"))

    for module, name in (
        (evaluation, "evaluate"),
        (exporting, "export_run"),
        (report, "write_report"),
    ):
        monkeypatch.setattr(module, name, act if name == stage else lambda *a, **o: None)
    monkeypatch.setattr(evaluation, "table", lambda result: "")
    monkeypatch.setattr(training, "open_bound", lambda *a, **o: source, raising=False)

    def train(recipe, run_dir, *, lock, **options):
        lock.take()
        return RunFolder(run_dir)

    monkeypatch.setattr(training, "train", train, raising=False)
    assert main(["x", f"--run_dir={tmp_path / 'run'}"]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(said)
    with FolderLock(tmp_path / "run") as lock:
        lock.take()


# Latin, Cyrillic, Chinese; Greek, Devanagari, Arabic, and matplotlib's markup.
SCRIPTS = ("Kätzchen кошка 猫", "γάτα बिल्ली قطة $1_$5")


# With a network of one block most of the time is its graphs'.
@pytest.mark.filterwarnings("default")  # as in a command
@pytest.mark.parametrize("network", ["short", pytest.param("whole", marks=pytest.mark.slow)])
def test_a_folder_of_images_becomes_a_checked_model_for_a_phone(
    network, tmp_path, monkeypatch, capsys, request
):
    """The whole chain on files as a user has them, then the same command again."""
    import tensorflow as tf

    from keras_inception import evaluation, exporting, report
    from keras_inception.cli.train import main

    rng = np.random.default_rng(0)
    for name, shade in zip(SCRIPTS, (200, 50), strict=True):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(60):
            pixels = np.clip(rng.normal(shade, 30, (40, 52, 3)), 0, 255).astype(np.uint8)
            file = tmp_path / "images" / name / f"{i}"
            if i % 2:
                file.with_suffix(".png").write_bytes(tf.io.encode_png(pixels).numpy())
            else:
                file.with_suffix(".jpg").write_bytes(tf.io.encode_jpeg(pixels).numpy())
    arguments = [
        f"--dataset=folder:{tmp_path / 'images'}",
        f"--run_dir={tmp_path / 'run'}",
        "--image_size=32",
        "--width_multiplier=0.25",
        "--aux_weight=0",
        "--epochs=6",
        "--batch_size=16",
        "--augmentation=none",
        "--ema=0.5",
        "--label_smoothing=0",  # a sure network: eight bits move an uncertain one's answers most
    ]
    if network == "short":
        request.getfixturevalue("short_googlenet")
        assert main(["train_tpu.py", *arguments]) == 0
        printed = capsys.readouterr().out
    else:
        process = command(*arguments)
        assert process.returncode == 0, process.stderr[-2000:]
        printed = process.stdout
    assert "Test accuracy 100.0%" in printed
    expected = {
        ".lock",
        "checkpoints",
        "config.json",
        "confusion_matrix.png",
        "curves.png",
        "data.json.gz",
        "evaluation.json",
        "export.json",
        "history.csv",
        "labels.txt",
        "model.keras",
        "model.tflite",
        "model_int8.tflite",
        "predictions.npz",
        "preprocessing.json",
        "reliability.png",
        "report.html",
        "saved_model",
        "split.json",
        "tensorboard",
        "weights.safetensors",
    }
    assert {p.name for p in (tmp_path / "run").iterdir()} == expected
    assert (tmp_path / "run" / "labels.txt").read_text("utf-8").split("\n")[:-1] == list(SCRIPTS)
    page = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert all(f"<bdi>{name}</bdi>" in page for name in SCRIPTS)
    assert load_classifier(tmp_path / "run" / "model_int8.tflite").class_names == SCRIPTS
    assert load_classifier(tmp_path / "run" / "saved_model").class_names == SCRIPTS
    # The same command again trains no further.
    for module, name in ((evaluation, "evaluate"), (exporting, "export_run")):
        monkeypatch.setattr(module, name, lambda *a, **o: None)
    monkeypatch.setattr(evaluation, "table", lambda result: "")
    monkeypatch.setattr(report, "write_report", lambda *arguments: "as before")
    assert main(["x", f"--config={tmp_path / 'run' / 'config.json'}", arguments[1]]) == 0
    assert "Going on from step" in capsys.readouterr().out
    # What --fresh removes is all that a run writes, and nothing else.
    (tmp_path / "run" / "thesis.tex").write_text("years of work")
    (tmp_path / "run" / "checkpoints" / "mine.txt").write_text("and more")
    RunFolder(tmp_path / "run").clear()
    left = {p.relative_to(tmp_path / "run").as_posix() for p in (tmp_path / "run").rglob("*")}
    assert left == {".lock", "thesis.tex", "checkpoints", "checkpoints/mine.txt"}
