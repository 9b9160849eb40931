"""The pooled features of a data set, computed once with a frozen network and kept in a run folder.

features/key.json                       what they are features of; anything else starts anew
features/{part}-{worker}-{batch}.npz    some batches of a part, while they are computed
features/{part}.npy                     float32 (images, views, features), in the part's order
"""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_inception import archives, files, messages
from keras_inception.data import Batches, evaluation_batches
from keras_inception.files import write
from keras_inception.identity import attach, identity_of
from keras_inception.training.endings import Interrupted
from keras_inception.training.stage import Place
from keras_inception.training.strategy import (
    distributed,
    is_chief,
    is_multi_worker,
    wait_for_all,
)

PARTS = ("train", "validation")
VIEWS = {"center": 1, "mirror": 2}
# Batches are written together when so many seconds have gone by: what a killed run loses.
_SECONDS = 20.0


def feature_network(model: keras.Model) -> keras.Model:
    """The network from the image to what its classifier takes; shares the weights."""
    network = keras.Model(model.input, model.get_layer("predictions").input)
    known = identity_of(model)
    return attach(network, known) if known else network


def pooled_features(
    network: keras.Model,
    place: Place,
    say: Callable[[str], None],
    stop: Mapping[str, int],
) -> dict[str, np.ndarray]:
    """Runs every training and validation image through a network once, or reads what was kept.

    Args:
        network: From scaled images to features (batch, features); see `feature_network`.
        place: The data set, the contract of its images, the folder that all workers read and write,
            and the devices, whose replicas share each batch. Of the recipe, `batch_size` and
            `views` count: "center" (the contract's central crop) or "mirror" (its mirror image as
            well).
        say: Prints a line of progress.
        stop: Gets "signal" when the process is asked to stop.

    Returns:
        Part -> float32 (images, views, features), mapped from its file.

    Raises:
        Interrupted: it was asked to stop; what was computed is kept.
    """
    source, strategy, folder = place.source, place.strategy, place.folder.features_path
    views = place.recipe.views
    _bind(folder, _key(network, place), strategy, say)
    step = _step(network, views, strategy)
    found = {}
    for part in PARTS:
        shape = (source.num_examples(part), VIEWS[views], network.output_shape[-1])
        if not shape[0]:
            found[part] = np.zeros(shape, np.float32)
            continue
        path = folder / f"{part}.npy"
        if not path.exists():
            _compute(step, place, part, say, stop)
            wait_for_all(strategy)
            if is_chief(strategy):
                _join(folder, part, shape)
            wait_for_all(strategy)
        found[part] = np.load(files.regular(path), mmap_mode="r")
    return found


def _key(network: keras.Model, place: Place) -> str:
    """What the features depend on, as text."""
    digest = hashlib.sha256()
    for weight in network.weights:
        if not weight.dtype.startswith(("float", "bfloat")):
            continue  # the state of dropout's seed, whose name counts the layers of the process
        digest.update(weight.path.partition("/")[2].encode())
        digest.update(np.asarray(keras.ops.convert_to_numpy(weight)).tobytes())
    identity = identity_of(network)
    parts = {
        "weights": digest.hexdigest(),
        # A network without an identity is known by its graph, whose names count those of a process.
        "layers": [identity.variant, identity.arguments] if identity else network.to_json(),
        "contract": place.contract.to_dict(),
        "views": place.recipe.views,
        "images": place.source.fingerprint().digest,
    }
    return json.dumps(parts, sort_keys=True)


def _bind(
    folder: Path, key: str, strategy: tf.distribute.Strategy, say: Callable[[str], None]
) -> None:
    """Empties the folder if it holds the features of other weights, images or settings."""
    path = folder / "key.json"
    if is_chief(strategy):
        before = files.read_text(path) if path.exists() else ""
        if before != key:
            if folder.exists():
                changed = _changed(before, key)
                say(f"The features kept in {folder} are not used: other {changed}.")
                shutil.rmtree(folder)
            write(path, key)
    wait_for_all(strategy)


def _changed(before: str, now: str) -> str:
    """Names what differs between two keys."""
    try:
        old, new = json.loads(before), json.loads(now)
        return ", ".join(name for name in new if old.get(name) != new[name])
    except (ValueError, AttributeError):
        return "settings that cannot be read"


def _step(
    network: keras.Model, views: str, strategy: tf.distribute.Strategy
) -> Callable[[Any], Any]:
    """A batch's (features, indices, weights) on every replica; one graph for all parts."""

    @tf.function(reduce_retracing=True, autograph=False)
    def step(batch: dict[str, tf.Tensor]) -> Any:
        def of_replica(batch: dict[str, tf.Tensor]) -> tuple[tf.Tensor, ...]:
            image = batch["image"]
            seen = [image] if views == "center" else [image, tf.image.flip_left_right(image)]
            features = [tf.cast(network(x, training=False), tf.float32) for x in seen]
            return tf.stack(features, axis=1), batch["index"], batch["weight"]

        return strategy.run(of_replica, args=(batch,))

    return step


def _compute(
    step: Callable[[Any], Any],
    place: Place,
    part: str,
    say: Callable[[str], None],
    stop: Mapping[str, int],
) -> None:
    """Writes this worker's batches of a part, from the first that is not there yet."""
    source, strategy, folder = place.source, place.strategy, place.folder.features_path
    worker = strategy.cluster_resolver.task_id if is_multi_worker(strategy) else 0
    replicas = strategy.num_replicas_in_sync
    size = max(1, place.recipe.batch_size // replicas)
    done = _done(folder, part, worker)

    make = functools.partial(
        evaluation_batches, source, part, place.contract, batch_size=size, start_step=done
    )
    total = -(-source.num_examples(part) // (size * replicas))
    kept: list[list[np.ndarray]] = []
    first, started, written = done, time.monotonic(), time.monotonic()
    with Batches(distributed(strategy, make)) as batches:
        for batch in batches:
            rows = zip(*(strategy.experimental_local_results(v) for v in step(batch)), strict=True)
            for features, index, weight in rows:
                real = weight.numpy() > 0
                kept.append([features.numpy()[real], index.numpy()[real]])
            done += 1
            ends = "signal" in stop
            if ends or done == total or time.monotonic() - written > _SECONDS:
                _write(folder / f"{part}-{worker}-{done:08d}.npz", kept)
                kept, written = [], time.monotonic()
                images = min(done * size * replicas, source.num_examples(part))
                rate = (done - first) * size * replicas / (written - started)
                left = (source.num_examples(part) - images) / rate
                say(
                    f"features of {images} of {source.num_examples(part)} {part} images  "
                    f"{rate:.0f} images/s  {messages.minutes(left)} left"
                )
            if ends:
                raise Interrupted(
                    "Stopped while the features are computed; start the same command again to go "
                    "on.",
                    stop["signal"],
                )


def _done(folder: Path, part: str, worker: int) -> int:
    """How many batches of a part this worker has written."""
    ends = [int(path.stem.rpartition("-")[2]) for path in folder.glob(f"{part}-{worker}-*.npz")]
    return max(ends, default=0)


def _write(path: Path, kept: list[list[np.ndarray]]) -> None:
    features, index = (np.concatenate(column) for column in zip(*kept, strict=True))
    write(path, lambda temporary: np.savez(temporary, features=features, index=index))


def _join(folder: Path, part: str, shape: tuple[int, ...]) -> None:
    """Makes one array of all workers' chunks, in the order of the images."""
    chunks = sorted(folder.glob(f"{part}-*-*.npz"))

    def save(temporary: Path) -> None:
        whole = np.lib.format.open_memmap(temporary, "w+", np.float32, shape)
        for path in chunks:
            chunk = archives.arrays(path)
            whole[chunk["index"]] = chunk["features"]
        whole.flush()

    write(folder / f"{part}.npy", save)
    for path in chunks:
        path.unlink()
