"""keras-inception, as installed."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_inception import InceptionV1, cli, list_models, predict
from keras_inception.cli.process import use_onednn
from keras_inception.recipes import RECIPES
from keras_inception.runtime.quickest import exact_file


def run(arguments):
    """A command that ends well."""
    with pytest.raises(SystemExit) as end:
        cli.run(arguments)
    assert not end.value.code, arguments


GOLDENS = Path(__file__).parent / "goldens"
sys.path.insert(0, str(GOLDENS))
import native  # noqa: E402
import rule  # noqa: E402


def test_models_prints_a_row_a_variant(capsys):
    run(["models"])
    printed = capsys.readouterr().out
    for text in ("README.md", "docs/models.md"):
        assert printed in (Path(__file__).parents[1] / text).read_text()
    lines = printed.splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == list_models()
    # Keras' documentation and the literature: 23.8 million and 5.7 billion for v3.
    (v3,) = [line for line in lines if "InceptionV3" in line]
    assert "23,817,352" in v3 and "5.71 billion" in v3


def test_info_prints_the_docs_table(capsys):
    run(["info", "InceptionV4"])
    printed = capsys.readouterr().out
    assert printed in (Path(__file__).parents[1] / "docs" / "models.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in printed.splitlines()[4:]]
    assert [row[0] for row in rows][:2] == ["`stem`", "`mixed_3a`"] and len(rows) == 2 + 19
    assert sum(int(row[2].replace(",", "")) for row in rows) == 42_648_232


def test_recipes_prints_the_docs_table(capsys):
    run(["recipes"])
    printed = capsys.readouterr().out
    assert printed in (Path(__file__).parents[1] / "docs" / "training.md").read_text()
    assert len(printed.splitlines()) == 2 + len(RECIPES)


RUNS_COMMANDS = """
import sys
from keras_inception import cli
for line in sys.argv[1:]:
    try:
        cli.run(line.split())
    except SystemExit as end:
        assert not end.code, line
print(*sys.modules, file=sys.stderr)
"""


def loaded_by(*lines):
    """The packages that are loaded after commands that end well."""
    command = [sys.executable, "-c", RUNS_COMMANDS, *lines]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in done.stderr.split()}


def test_tables_and_help_load_neither_keras_nor_tensorflow():
    lines = ["weights", "models", "recipes", "info InceptionV4", "info InceptionV1 --aux"]
    lines += [
        "info inception_v3.fid",
        "info inception_v3.keras_notop",
        "--help",
        *(f"{name} --help" for name in cli.COMMANDS),
    ]
    assert not loaded_by(*lines) & {"keras", "tensorflow", "scipy", "matplotlib", "h5py"}


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photo") / "a.jpg"
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    Image.fromarray(pixels).resize((140, 100)).save(path)
    return path


def test_a_run_is_asked_without_keras_by_the_file_that_was_found_equal(finished_run, photo, capsys):
    """An answer of the run, of its file and of its Keras model; damage shows in the digest."""
    pytest.importorskip("ai_edge_litert")
    file = finished_run.path / "model.tflite"
    heavy = {"keras", "tensorflow", "scipy", "matplotlib", "h5py"}
    asked = [f"predict {photo} --model {path}" for path in (finished_run.path, file)]
    assert not loaded_by(*asked) & heavy
    records = {path: next(predict(path, photo)) for path in (finished_run.path, file)}
    assert str(file) in capsys.readouterr().err
    assert len(set(records.values())) == 1
    (by_keras,) = predict(finished_run.model_path, photo)
    assert not capsys.readouterr().err
    assert [name for name, _ in by_keras.top] == [name for name, _ in records[file].top]
    differences = [a[1] - b[1] for a, b in zip(by_keras.top, records[file].top, strict=True)]
    assert max(map(abs, differences)) < 1e-4


@pytest.mark.parametrize("what", ["another file", "less exact", "unfinished", "older", "no record"])
def test_a_run_is_asked_by_keras_unless_the_file_is_known_to_be_equal(what, finished_run, tmp_path):
    pytest.importorskip("ai_edge_litert")
    run = tmp_path / "run"
    run.mkdir()
    for name in ("config.json", "export.json", "labels.txt", "model.keras", "model.tflite"):
        shutil.copy2(finished_run.path / name, run / name)
    assert exact_file(run) == run / "model.tflite"
    record = json.loads((run / "export.json").read_text())
    if what == "another file":
        (run / "model.tflite").write_bytes((run / "model.tflite").read_bytes() + b" ")
    elif what == "less exact":
        record["files"]["model.tflite"]["largest_difference"] = 0.01
    elif what == "unfinished":
        record["unfinished"] = True
    (run / "export.json").write_text(json.dumps(record))
    if what == "older":
        later = (run / "export.json").stat().st_mtime + 9
        os.utime(run / "model.keras", (later, later))
    elif what == "no record":
        (run / "export.json").unlink()
    assert exact_file(run) is None
    assert exact_file(run / "model.tflite") is None and exact_file("inception_v3.keras") is None


def test_every_ending_of_a_training_has_an_exit_code_that_the_docs_name():
    from keras_inception.cli import codes
    from keras_inception.training import Ending

    assert codes.ENDINGS.keys() == {ending.__name__ for ending in Ending.__subclasses__()}
    page = (Path(__file__).parents[1] / "docs" / "training.md").read_text()
    for code in (codes.BAD_INPUT, codes.FAILED_CHECK, *codes.ENDINGS.values()):
        assert f"\n| {code} | " in page


def test_a_reader_that_goes_away_ends_a_command_as_it_ends_other_tools():
    program = (
        "from keras_inception.cli import output\n"
        "with output.escaped():\n"
        "    for _ in range(10**6): print('a line')\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as command:
        assert command.stdout.readline() == b"a line\n"
        command.stdout.close()
        assert command.stderr.read() == b""
    assert command.returncode == 141


@pytest.mark.parametrize("arguments", [[], ["model"], ["models", "--fast"]])
def test_a_wrong_call_is_one_line(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        cli.run(arguments)
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("keras-inception: ")


@pytest.mark.parametrize("ending", [".safetensors", ".keras"])
def test_convert_makes_a_file_that_computes_the_same(ending, tmp_path, capsys):
    spec = json.loads((GOLDENS / "slim_inception_v1.json").read_text())
    native.tf_v1(spec, tmp_path / "inception_v1.ckpt")
    output = tmp_path / f"v1{ending}"
    run(
        [
            "convert",
            str(tmp_path / "inception_v1.ckpt"),
            "--model=InceptionV1",
            f"--output={output}",
        ]
    )
    printed = capsys.readouterr().out
    assert "230 arrays for InceptionV1" in printed and "of these, 1 before" not in printed
    model = InceptionV1(weights=output, classifier_activation=None)
    x = rule.preprocess(rule.images(224), spec)
    with np.load(GOLDENS / "slim_inception_v1.npz") as golden:
        np.testing.assert_allclose(model(x, training=False), golden["logits"][:, 1:], atol=2e-4)
    assert {p.name for p in tmp_path.iterdir()} == {"inception_v1.ckpt", output.name}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.h5", "--model=InceptionV4", "--output=a.keras"], "no weights file nowhere.h5"),
        (["slim", "--model=InceptionV9", "--output=a.keras"], "InceptionV9"),
        (["slim", "--model=InceptionV4", "--output=a.h5"], "should end in .safetensors or .keras"),
        (["slim", "--model=InceptionV4", "--output=no/a.keras"], "a folder that does not exist"),
    ],
)
def test_a_wrong_convert_is_one_line(arguments, message, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.run(["convert", *arguments])
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


USES_MEMORY = """
import ctypes, resource, sys
from keras_inception.cli.process import keep_freed_memory
library = ctypes.CDLL(None)
library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
library.free.argtypes = [ctypes.c_void_p]
print(keep_freed_memory())
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    block = library.malloc(64 << 20)
    ctypes.memset(block, 1, 64 << 20)
    library.free(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's options")
def test_freed_memory_is_kept_for_the_next_step_unless_the_user_chose():
    """Counted in the pages that the kernel has to give: once, or at each of eight uses."""
    taken = {}
    for variables in ({}, {"MALLOC_ARENA_MAX": "2"}):
        clean = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
        process = subprocess.run(
            [sys.executable, "-c", USES_MEMORY],
            env=clean | variables,
            capture_output=True,
            text=True,
            check=True,
        )
        worked, pages = process.stdout.split()
        taken[worked] = int(pages)
    assert taken["True"] < 1.5 * taken["False"] / 8


@pytest.mark.parametrize("given", [None, "0"])
def test_training_uses_onednn_unless_the_user_chose(given, monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    if given:
        monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", given)
    use_onednn()
    assert os.environ["TF_ENABLE_ONEDNN_OPTS"] == (given or "1")
