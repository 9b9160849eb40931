"""Which strategy `auto` takes; what the strategies compute is in test_replicas and test_workers."""

from __future__ import annotations

import pytest
import tensorflow as tf

from keras_inception.training import make_strategy, strategy


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.delenv("TPU_NAME", raising=False)


@pytest.fixture
def tpus(monkeypatch):
    """The names of the TPUs that were asked for, none of which is there."""
    asked = []
    monkeypatch.setattr(strategy, "_tpu", asked.append)
    return asked


def test_a_laptop_trains_on_one_device(tpus):
    assert isinstance(make_strategy(), tf.distribute.OneDeviceStrategy)
    assert not tpus


def test_auto_takes_the_tpu_that_is_named_or_there(tpus, monkeypatch):
    make_strategy(tpu="mine")
    monkeypatch.setattr(strategy, "is_tpu_vm", lambda: True)
    make_strategy()
    monkeypatch.setenv("TPU_NAME", "theirs")
    make_strategy()
    assert tpus == ["mine", "local", "theirs"]
    make_strategy("one_device")
    assert len(tpus) == 3


@pytest.mark.parametrize("chip", ["accel0", "vfio/0"])
def test_a_tpu_vm_has_chips_and_their_driver(chip, tmp_path, monkeypatch):
    assert not strategy.is_tpu_vm(tmp_path)
    (tmp_path / chip).parent.mkdir(exist_ok=True)
    (tmp_path / chip).touch()
    assert not strategy.is_tpu_vm(tmp_path)  # no libtpu in this environment
    (tmp_path / "libtpu").mkdir()
    (tmp_path / "libtpu" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert strategy.is_tpu_vm(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "parameter_server"}, "one of auto, one_device, mirrored, multi_worker, tpu"),
        ({"kind": "multi_worker"}, "`workers` and `worker_index`"),
        ({"workers": "a:1,b:2", "worker_index": 2}, "should be 0 to 1"),
        ({"workers": "nonsense"}, "10.0.0.1:12345.*workers='nonsense'"),
        ({"workers": "a:1,b:99999"}, "`workers` should be the addresses"),
        ({"num_virtual_devices": -1}, "at least 0 and at most 64.*=-1"),
        ({"num_virtual_devices": 100_000}, "at least 0 and at most 64.*=100000"),
    ],
)
def test_what_is_not_there_is_said(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_strategy(**arguments)


@pytest.mark.parametrize("text", ["{", "[]", '{"cluster": []}', '{"cluster": {"worker": 3}}'])
def test_a_damaged_tf_config_is_named(text, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match="environment variable TF_CONFIG should hold"):
        make_strategy()
