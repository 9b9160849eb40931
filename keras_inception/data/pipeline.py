"""Examples -> batches. What happens to an example is a pure function of (seed, its position).

A position is an example's place in the endless stream of training examples. Step s of a run takes
the positions s * batch ... (s + 1) * batch - 1, whatever the number of replicas, so a run that is
resumed at step s sees what it would have seen.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from keras_inception.data.order import Order
from keras_inception.data.policies import make_policy
from keras_inception.data.splits import Source, Split
from keras_inception.data.transforms import (
    AREA,
    MILD_AREA,
    MILD_COLOR,
    distort_color,
    mix_batch,
    random_crop_box,
    random_mirror,
)
from keras_inception.preprocessing import Preprocessing
from keras_inception.recipes import AUGMENTATIONS, MIXES, POLICIES

# Examples whose records are read together: a call of Python costs more than reading one.
_CHUNK = 16


def train_batches(
    source: Source,
    preprocessing: Preprocessing,
    *,
    batch_size: int,
    seed: int,
    augmentation: str = "none",
    mirror: bool = True,
    mix: str = "none",
    channels: int = 3,
    start_step: int = 0,
    shard: tuple[int, int] = (0, 1),
    replicas: int = 1,
) -> tf.data.Dataset:
    """The endless stream of one host's training batches.

    Args:
        source: The data set; its training part is shuffled anew each epoch.
        preprocessing: The model's contract: size and scaling.
        batch_size: Examples of one replica's batch.
        seed: Decides order and augmentation.
        augmentation: "none" (the contract's central crop), "flip" (that, mirrored at random),
            "mild" (60-100 % of the area, mirrored, with a little color distortion),
            "crop" (8-100 % of the area at an aspect of 3/4 to 4/3, mirrored), "inception" (that,
            with color distortion) or the name of a keras-cv policy ("crop", then that).
        mirror: Whether these mirror images at random; False where left and right differ in meaning.
        mix: "none", "mixup", "cutmix" or "either"; pairs are formed within a replica's batch.
        channels: 3 (gray images are repeated) or 1.
        start_step: The global step to begin with; costs nothing however large.
        shard: (host, hosts): which part of every global batch this host reads.
        replicas: Replicas of this host; their batches come one after the other.

    Returns:
        Elements {"image": float32 (batch_size, H, W, channels) as the model takes it, "label":
        float32 one-hot (batch_size, classes), "index": int64 (batch_size,)}.

    Raises:
        ValueError: the global batch is larger than the training part, or `augmentation` unknown.
    """
    split, classes = source.splits["train"], len(source.class_names)
    host, hosts = shard
    local = batch_size * replicas
    if local * hosts > len(split):
        raise ValueError(
            f"The global batch should be at most the training part's {len(split)} images. "
            f"Received: batch_size={local * hosts}"
        )
    if augmentation not in AUGMENTATIONS:
        raise ValueError(
            f"`augmentation` should be one of {', '.join(AUGMENTATIONS)}. "
            f"Received: {augmentation!r}"
        )
    if mix not in MIXES:
        raise ValueError(f"`mix` should be one of {', '.join(MIXES)}. Received: {mix!r}")
    if augmentation in POLICIES and channels != 3:
        raise ValueError(
            f"augmentation={augmentation} needs images of 3 channels. Received: {channels}"
        )
    labels = tf.constant(split.labels)

    def positions() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        order = Order(split, seed)  # one an iterator, since each iterator has its own thread
        for step in itertools.count(start_step):
            at = step * local * hosts + host * local + np.arange(local)
            index = order.examples_at(at)
            for begin in range(0, local, _CHUNK):
                chunk = slice(begin, begin + _CHUNK)
                yield at[chunk], index[chunk]

    def example(
        position: tf.Tensor, index: tf.Tensor, encoded: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        image = _training_image(
            split,
            index,
            encoded,
            preprocessing,
            channels,
            augmentation,
            mirror,
            tf.stack([seed, position]),
        )
        return {
            "image": image if is_mixed else preprocessing.scale(image),
            "label": tf.one_hot(tf.gather(labels, index), classes),
            "index": index,
            "position": position,
        }

    policy = make_policy(augmentation, preprocessing.size) if augmentation in POLICIES else None
    # What needs the batch comes before the scaling; if nothing does, each image is scaled while it
    # is in the cache, by as many threads as there are.
    is_mixed = policy is not None or mix != "none"

    def finished(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        image, label = batch["image"], batch["label"]
        if not is_mixed:
            return {"image": image, "label": label, "index": batch["index"]}
        key = tf.stack([tf.constant(seed, tf.int64), batch["position"][0]])
        if policy:
            image = policy(image, key)
        if mix != "none":
            image, label = mix_batch(mix, image, label, key)
        return {"image": preprocessing.scale(image), "label": label, "index": batch["index"]}

    signature = (tf.TensorSpec((None,), tf.int64), tf.TensorSpec((None,), tf.int64))
    chunks = tf.data.Dataset.from_generator(positions, output_signature=signature)
    if split.images is not None:
        read = split.images
        chunks = chunks.map(lambda at, i: (at, i, read(i)), num_parallel_calls=tf.data.AUTOTUNE)
    return (
        chunks.unbatch()
        .map(example, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(batch_size, drop_remainder=True)
        .map(finished)
        .prefetch(2 * replicas)
    )


def evaluation_batches(
    source: Source,
    split: str,
    preprocessing: Preprocessing,
    *,
    batch_size: int,
    channels: int = 3,
    shard: tuple[int, int] = (0, 1),
    replicas: int = 1,
    start_step: int = 0,
    scale: bool = True,
) -> tf.data.Dataset:
    """Every example of a split once, in order, in full batches: padding has weight 0.

    Args:
        batch_size: Examples of one replica's batch.
        shard: (host, hosts). Every host gives the same number of batches.
        replicas: Replicas of this host; the number of batches is a multiple of it.
        start_step: The batch of all replicas to begin with.
        scale: Whether images are scaled as the model takes them; without, they stay in 0..255.

    Returns:
        Elements {"image": float32 (batch_size, H, W, channels), "label": int64 (batch_size,),
        "weight": float32 (batch_size,) of 0 and 1, "index": int64 (batch_size,)}.
    """
    part = source.splits[split]
    host, hosts = shard
    step = batch_size * replicas * hosts
    steps = np.arange(-(-len(part) // step) * step).reshape(-1, hosts, batch_size * replicas)
    indices = steps[start_step:, host].ravel()
    labels = tf.constant(part.labels)
    last = max(len(part) - 1, 0)

    def example(index: tf.Tensor) -> dict[str, tf.Tensor]:
        real = index <= last
        index = tf.minimum(index, last)
        image = _central_image(part, index, None, preprocessing, channels)
        return {
            "image": preprocessing.scale(image) if scale else image,
            "label": tf.gather(labels, index),
            "weight": tf.cast(real, tf.float32),
            "index": index,
        }

    return (
        tf.data.Dataset.from_tensor_slices(indices.astype(np.int64))
        .map(example, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(batch_size, drop_remainder=True)
        .prefetch(2 * replicas)
    )


def _central_image(
    split: Split,
    index: tf.Tensor,
    encoded: tf.Tensor | None,
    preprocessing: Preprocessing,
    channels: int,
) -> tf.Tensor:
    """The contract's central crop at the contract's size: float32 in 0..255."""
    image = preprocessing.crop_and_resize(split.pixels(index, channels, encoded))
    return tf.ensure_shape(image, (*preprocessing.size, channels))


def _training_image(
    split: Split,
    index: tf.Tensor,
    encoded: tf.Tensor | None,
    preprocessing: Preprocessing,
    channels: int,
    augmentation: str,
    mirror: bool,
    key: tf.Tensor,
) -> tf.Tensor:
    """An augmented image: float32 in 0..255, of the contract's size; key: (seed, position)."""
    if augmentation in ("none", "flip"):
        image = _central_image(split, index, encoded, preprocessing, channels)
    else:
        area = MILD_AREA if augmentation == "mild" else AREA
        image = split.crop(index, lambda size: random_crop_box(size, key, area), channels, encoded)
        image = tf.image.resize(image, preprocessing.size, preprocessing.interpolation)
        if preprocessing.interpolation == "bicubic":  # the only one that overshoots
            image = tf.clip_by_value(image, 0.0, 255.0)
    if augmentation != "none" and mirror:
        image = random_mirror(image, key)
    if augmentation == "inception" and channels == 3:
        image = distort_color(image, key)
    elif augmentation == "mild" and channels == 3:
        image = distort_color(image, key, *MILD_COLOR)
    return image
