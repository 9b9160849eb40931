"""What `precision=auto` decides."""

from __future__ import annotations

import shutil

import pytest
import short_googlenet
import tensorflow as tf

from keras_inception.models import inception_v1
from keras_inception.recipes import Recipe
from keras_inception.runs import RunFolder
from keras_inception.training import precision, train

CPU = tf.distribute.OneDeviceStrategy("CPU:0")


class Devices:
    """A strategy as far as its devices are asked for."""

    def __init__(self, *names):
        self.extended = self
        self.worker_devices = [f"/job:localhost/replica:0/task:0/device:{name}" for name in names]


def test_a_processor_needs_amx(tmp_path):
    flags = tmp_path / "cpuinfo"
    flags.write_text("flags\t\t: fma avx512_bf16 amx_bf16 amx_tile\n")
    assert precision.fast_precision(CPU, flags) == ("mixed_bfloat16", "a processor with AMX")
    flags.write_text("flags\t\t: fma avx512_bf16\n")
    assert precision.fast_precision(CPU, flags) == ("float32", "a processor without AMX")
    assert precision.fast_precision(CPU, tmp_path / "none")[0] == "float32"


def test_the_weakest_gpu_decides(monkeypatch):
    found = {"old": {"compute_capability": (7, 5)}, "new": {"compute_capability": (9, 0)}}
    monkeypatch.setattr(tf.config.experimental, "get_device_details", found.get)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["new"])
    assert precision.fast_precision(Devices("GPU:0"))[0] == "mixed_bfloat16"
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["new", "old"])
    decided = precision.fast_precision(Devices("GPU:0", "GPU:1"))
    assert decided == ("float32", "a GPU of compute capability 7.5")
    assert precision.fast_precision(Devices("TPU:0"))[0] == "mixed_bfloat16"


def test_a_run_keeps_what_it_began_with(finished_run, monkeypatch, tmp_path):
    asked = finished_run.recipe.replace(precision="auto")
    monkeypatch.setattr(precision, "fast_precision", lambda strategy: ("mixed_bfloat16", "new"))
    recipe, (line,) = precision.decided(asked, finished_run, CPU, fresh=False)
    assert recipe == finished_run.recipe and "float32, with which this run began" in line
    for folder, fresh in ((finished_run, True), (RunFolder(tmp_path), False)):
        recipe, (line,) = precision.decided(asked, folder, CPU, fresh)
        assert recipe.precision == "mixed_bfloat16" and line == "Precision: mixed_bfloat16 (new)"
    assert precision.decided(Recipe(), finished_run, CPU, fresh=False) == (Recipe(), [])


def test_the_same_command_goes_on(finished_run, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(inception_v1, "features", short_googlenet.features)
    run = RunFolder(shutil.copytree(finished_run.path, tmp_path / "run"))
    train(run.recipe.replace(precision="auto"), run.path)
    assert run.recipe.precision == "float32"
    assert "Precision: float32, with which this run began" in capsys.readouterr().out


def test_several_workers_need_a_name(monkeypatch, tmp_path):
    monkeypatch.setattr(precision, "is_multi_worker", lambda strategy: True)
    with pytest.raises(ValueError, match="several workers could decide differently"):
        precision.decided(Recipe(precision="auto"), RunFolder(tmp_path), CPU, fresh=False)
