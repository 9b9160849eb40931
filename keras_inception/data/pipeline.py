"""Examples -> batches. What happens to an example is a pure function of (seed, its position).

A position is an example's place in the endless stream of training examples. Step s of a run takes
the positions s * batch ... (s + 1) * batch - 1, whatever the number of replicas, so a run that is
resumed at step s sees what it would have seen.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator

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

# AutoGraph rewrites a function and all that it calls, which takes seconds. What reads an example is
# made of TensorFlow's operations already.
_as_written = tf.autograph.experimental.do_not_convert


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """What training does to images.

    Attributes:
        kind: "none" (the contract's central crop), "flip" (that, mirrored at random), "mild"
            (60-100 % of the area, mirrored, with a little color distortion), "crop" (8-100 % of
            the area at an aspect of 3/4 to 4/3, mirrored), "inception" (that, with color
            distortion) or the name of a keras-cv policy ("crop", then that).
        mirror: Whether these mirror images at random; False where left and right differ in
            meaning.
        mix: "none", "mixup", "cutmix" or "either"; pairs are formed within a replica's batch.

    Raises:
        ValueError: there is no such kind or mix.
    """

    kind: str = "none"
    mirror: bool = True
    mix: str = "none"

    def __post_init__(self) -> None:
        if self.kind not in AUGMENTATIONS:
            raise ValueError(
                f"`augmentation` should be one of {', '.join(AUGMENTATIONS)}. "
                f"Received: {self.kind!r}"
            )
        if self.mix not in MIXES:
            raise ValueError(f"`mix` should be one of {', '.join(MIXES)}. Received: {self.mix!r}")

    @property
    def is_by_batch(self) -> bool:
        """Whether something is done to whole batches, after which they are scaled.

        Otherwise each image is scaled while it is in the processor's cache, by as many threads as
        there are.
        """
        return self.kind in POLICIES or self.mix != "none"


def train_batches(
    source: Source,
    preprocessing: Preprocessing,
    *,
    batch_size: int,
    seed: int,
    augmentation: Augmentation = Augmentation(),
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
        augmentation: What is done to the images.
        channels: 3 (gray images are repeated) or 1.
        start_step: The global step to begin with; costs nothing however large.
        shard: (host, hosts): which part of every global batch this host reads.
        replicas: Replicas of this host; their batches come one after the other.

    Returns:
        Elements {"image": float32 (batch_size, H, W, channels) as the model takes it, "label":
        float32 (batch_size, classes), one-hot or several ones, "index": int64 (batch_size,)}.

    Raises:
        ValueError: the global batch is larger than the training part, or a keras-cv policy is
            asked for images of one channel.
    """
    split, total = source.splits["train"], batch_size * replicas * shard[1]
    if total > len(split):
        raise ValueError(
            f"The global batch should be at most the training part's {len(split)} images. "
            f"Received: batch_size={total}"
        )
    images, labels = _Images(split, preprocessing, channels), tf.constant(split.labels)

    @_as_written
    def example(
        position: tf.Tensor, index: tf.Tensor, encoded: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        image = images.augmented(index, augmentation, tf.stack([seed, position]), encoded)
        return {
            "image": image if augmentation.is_by_batch else preprocessing.scale(image),
            "label": _shares(tf.gather(labels, index), len(source.class_names)),
            "index": index,
            "position": position,
        }

    examples = _examples(split, seed, start_step, batch_size * replicas, shard)
    batches = examples.map(example, num_parallel_calls=tf.data.AUTOTUNE)
    batches = batches.batch(batch_size, drop_remainder=True)
    return batches.map(_finish(augmentation, images, seed)).prefetch(2 * replicas)


def _examples(
    split: Split, seed: int, start_step: int, local: int, shard: tuple[int, int]
) -> tf.data.Dataset:
    """Position and number of each of a host's examples, and its record where many are read at once.

    Args:
        local: Examples of this host in a step.
    """
    host, hosts = shard

    def chunks() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        order = Order(split, seed)  # one an iterator, since each iterator has its own thread
        for step in itertools.count(start_step):
            at = (step * hosts + host) * local + np.arange(local)
            index = order.examples_at(at)
            for begin in range(0, local, _CHUNK):
                chunk = slice(begin, begin + _CHUNK)
                yield at[chunk], index[chunk]

    signature = (tf.TensorSpec((None,), tf.int64), tf.TensorSpec((None,), tf.int64))
    dataset = tf.data.Dataset.from_generator(chunks, output_signature=signature)
    if split.images is not None:
        read = _as_written(split.images)
        dataset = dataset.map(lambda at, i: (at, i, read(i)), num_parallel_calls=tf.data.AUTOTUNE)
    return dataset.unbatch()


def _shares(label: tf.Tensor, classes: int) -> tf.Tensor:
    """float32 (classes,): of one class, or of an example's several labels as they are."""
    return tf.cast(label, tf.float32) if label.shape.rank else tf.one_hot(label, classes)


def _finish(
    augmentation: Augmentation, images: _Images, seed: int
) -> Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]]:
    """What is done to a batch."""
    preprocessing, policy = images.preprocessing, None
    if augmentation.kind in POLICIES:
        if images.channels != 3:
            raise ValueError(
                f"augmentation={augmentation.kind} needs images of 3 channels. "
                f"Received: {images.channels}"
            )
        policy = make_policy(augmentation.kind, preprocessing.size)

    def finish(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        key = tf.stack([tf.constant(seed, tf.int64), batch.pop("position")[0]])
        if policy:
            batch["image"] = policy(batch["image"], key)
        if augmentation.mix != "none":
            mixed = mix_batch(augmentation.mix, batch["image"], batch["label"], key)
            batch["image"], batch["label"] = mixed
        if augmentation.is_by_batch:
            batch["image"] = preprocessing.scale(batch["image"])
        return batch

    return finish


@dataclasses.dataclass(frozen=True)
class _Images:
    """A part's images at the contract's size: float32 (H, W, channels) in 0..255."""

    split: Split
    preprocessing: Preprocessing
    channels: int

    def central(self, index: tf.Tensor, encoded: tf.Tensor | None = None) -> tf.Tensor:
        """The contract's central crop of image `index`; `encoded` is its record, if at hand."""
        pixels = self.split.pixels(index, self.channels, encoded)
        image = self.preprocessing.crop_and_resize(pixels)
        return tf.ensure_shape(image, (*self.preprocessing.size, self.channels))

    def augmented(
        self,
        index: tf.Tensor,
        augmentation: Augmentation,
        key: tf.Tensor,
        encoded: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Image `index`, augmented by what `key`, (seed, position), draws."""
        kind = augmentation.kind
        if kind in ("none", "flip"):
            image = self.central(index, encoded)
        else:
            area = MILD_AREA if kind == "mild" else AREA
            contract, whole = self.preprocessing, self.preprocessing.aspect != "crop"
            image = self.split.crop(
                index, lambda size: random_crop_box(size, key, area, whole), self.channels, encoded
            )
            inner = contract.inner_size(*tf.unstack(tf.shape(image)[:2]))
            image = tf.image.resize(image, inner, contract.interpolation)
            if contract.interpolation == "bicubic":  # the only one that overshoots
                image = tf.clip_by_value(image, 0.0, 255.0)
            image = tf.ensure_shape(contract.padded(image), (*contract.size, self.channels))
        if kind != "none" and augmentation.mirror:
            image = random_mirror(image, key)
        if kind == "inception" and self.channels == 3:
            image = distort_color(image, key)
        elif kind == "mild" and self.channels == 3:
            image = distort_color(image, key, *MILD_COLOR)
        return image


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
        Elements {"image": float32 (batch_size, H, W, channels), "label": int64 (batch_size,), or
        float32 (batch_size, classes) where images may have several, "weight": float32
        (batch_size,) of 0 and 1, "index": int64 (batch_size,)}.
    """
    part = source.splits[split]
    host, hosts = shard
    step = batch_size * replicas * hosts
    steps = np.arange(-(-len(part) // step) * step).reshape(-1, hosts, batch_size * replicas)
    indices = steps[start_step:, host].ravel()
    images, labels = _Images(part, preprocessing, channels), tf.constant(part.labels)
    last = max(len(part) - 1, 0)

    @_as_written
    def example(index: tf.Tensor) -> dict[str, tf.Tensor]:
        real = index <= last
        index = tf.minimum(index, last)
        image, label = images.central(index), tf.gather(labels, index)
        return {
            "image": preprocessing.scale(image) if scale else image,
            "label": _shares(label, 0) if part.several else label,
            "weight": tf.cast(real, tf.float32),
            "index": index,
        }

    return (
        tf.data.Dataset.from_tensor_slices(indices.astype(np.int64))
        .map(example, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(batch_size, drop_remainder=True)
        .prefetch(2 * replicas)
    )
