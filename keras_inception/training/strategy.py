"""Which devices train: one tf.distribute strategy for the whole run."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import tensorflow as tf

from keras_inception.options import Options


def repeat_bit_for_bit() -> None:
    """Makes runs of one recipe end with identical weights; slow, on one thread.

    To be called before anything else uses TensorFlow. Deterministic operations alone are not
    enough on a CPU: the order in which threads add up has to be fixed as well.
    """
    tf.config.experimental.enable_op_determinism()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def make_strategy(
    kind: str = "auto",
    tpu: str = "",
    num_virtual_devices: int = 0,
    workers: str = "",
    worker_index: int = 0,
) -> tf.distribute.Strategy:
    """Makes the strategy of a run; one a process, before anything else uses TensorFlow's devices.

    Args:
        kind: "auto" (the workers if TF_CONFIG or `workers` names several, a TPU if `tpu` is given
            or the machine is a TPU VM, all GPUs if there are several, else one device),
            "one_device", "mirrored" (all GPUs, or the virtual CPU devices), "multi_worker" or
            "tpu".
        tpu: "local" on a TPU VM, or the TPU's name; by default $TPU_NAME.
        num_virtual_devices: Splits the CPU into so many devices, to try replicas on a laptop.
        workers: "host:port,host:port", the same on every worker; in place of TF_CONFIG.
        worker_index: Which of them this process is; 0 is the chief.

    Raises:
        ValueError: the strategy needs a device or a setting that is not there.
    """
    Options(
        strategy=kind,
        tpu=tpu,
        num_virtual_devices=num_virtual_devices,
        workers=workers,
        worker_index=worker_index,
    ).check()
    several = len(workers.split(",")) if workers else _workers_of_environment()
    if kind == "multi_worker" or (kind == "auto" and several > 1):
        return _multi_worker(workers, worker_index, several)
    if num_virtual_devices:
        cpu = tf.config.list_physical_devices("CPU")[0]
        parts = [tf.config.LogicalDeviceConfiguration()] * num_virtual_devices
        tf.config.set_logical_device_configuration(cpu, parts)
    tpu = tpu or os.environ.get("TPU_NAME", "")
    if kind == "auto" and not tpu and not num_virtual_devices and is_tpu_vm():
        tpu = "local"
    if kind == "tpu" or (kind == "auto" and tpu):
        return _tpu(tpu or "local")
    gpus = tf.config.list_logical_devices("GPU")
    if kind == "auto":
        several = len(gpus) > 1 or num_virtual_devices > 1
        kind = "mirrored" if several else "one_device"
    if kind == "one_device":
        return tf.distribute.OneDeviceStrategy("GPU:0" if gpus else "CPU:0")
    devices = [d.name for d in gpus or tf.config.list_logical_devices("CPU")]
    return tf.distribute.MirroredStrategy(devices)


def _multi_worker(workers: str, worker_index: int, several: int) -> tf.distribute.Strategy:
    if not several:
        raise ValueError(
            "`strategy=multi_worker` needs the addresses of all workers as `workers` and "
            "`worker_index`, or the environment variable TF_CONFIG."
        )
    if not workers:
        return tf.distribute.MultiWorkerMirroredStrategy()
    cluster = tf.train.ClusterSpec({"worker": workers.split(",")})
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        cluster, task_type="worker", task_id=worker_index, rpc_layer="grpc"
    )
    return tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver)


def _workers_of_environment() -> int:
    """How many workers TF_CONFIG names; 0 if it is not set."""
    text = os.environ.get("TF_CONFIG") or "{}"
    try:
        return len(json.loads(text).get("cluster", {}).get("worker", []))
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise ValueError(
            "The environment variable TF_CONFIG should hold a JSON object with the cluster's "
            f"workers, as TensorFlow documents it ({error}). Received: TF_CONFIG={text[:80]!r}"
        ) from error


def is_tpu_vm(devices: Path = Path("/dev")) -> bool:
    """Whether TPU chips are on this machine, and the driver that comes with TensorFlow's TPU wheel.

    Asking TensorFlow itself would mean to start the TPU system, which can take minutes to fail.
    """
    chips = [*devices.glob("accel[0-9]*"), *devices.glob("vfio/[0-9]*")]
    return bool(chips) and importlib.util.find_spec("libtpu") is not None


def _tpu(name: str) -> tf.distribute.Strategy:
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=name)
        if name != "local":
            tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ValueError, tf.errors.OpError) as error:
        raise ValueError(
            f"No TPU answers as {name!r}. On a TPU VM use `tpu=local` with the package's [tpu] "
            f"extra in place of [cpu]; elsewhere use another `strategy`. ({type(error).__name__})"
        ) from error
    return tf.distribute.TPUStrategy(resolver)


def is_multi_worker(strategy: tf.distribute.Strategy) -> bool:
    """Whether several processes train together."""
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes the run folder: worker 0, or the only one."""
    return not is_multi_worker(strategy) or strategy.cluster_resolver.task_id == 0


def wait_for_all(strategy: tf.distribute.Strategy) -> None:
    """Returns once every worker has called it; at once where there is only one."""
    if is_multi_worker(strategy):

        @tf.function
        def meet() -> tf.Tensor:
            return strategy.reduce("SUM", strategy.run(lambda: tf.constant(1.0)), axis=None)

        float(meet())


def distributed(
    strategy: tf.distribute.Strategy, dataset: Callable[..., tf.data.Dataset]
) -> Iterable[Any]:
    """Batches for all replicas of a strategy, to be iterated over as often as wanted.

    Args:
        strategy: The devices.
        dataset: Makes one host's data set; takes `shard`, its number and that of all hosts, and
            `replicas`, how many are on it, as `train_batches` does.
    """

    def of_host(context: tf.distribute.InputContext) -> tf.data.Dataset:
        hosts = context.num_input_pipelines
        return dataset(
            shard=(context.input_pipeline_id, hosts),
            replicas=strategy.num_replicas_in_sync // hosts,
        )

    return strategy.distribute_datasets_from_function(of_host)


def in_words(strategy: tf.distribute.Strategy) -> str:
    """Such as "MirroredStrategy, 2 replicas"."""
    count = strategy.num_replicas_in_sync
    return f"{type(strategy).__name__}, {count} replica{'s' if count > 1 else ''}"
