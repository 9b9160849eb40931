"""A recipe's fields. They are flat, so that each is one flag, one line of config.json and one line
to compare with a paper.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from keras_inception import settings
from keras_inception.messages import nearest
from keras_inception.models.registry import check_name
from keras_inception.preprocessing import ASPECTS
from keras_inception.settings import group

POLICIES = ("randaugment", "augmix", "gridmask", "cutout")  # of keras-cv
AUGMENTATIONS = ("none", "flip", "mild", "crop", "inception", *POLICIES)
MIXES = ("none", "mixup", "cutmix", "either")

_model, _data = group("Model"), group("Data")
_train, _export = group("Optimization"), group("Export")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What a training run computes. With the defaults: minutes on a laptop's CPU."""

    model: str = _model("InceptionV1", "variant to train")
    image_size: int = _model(48, "side of the square input, in pixels", least=1, most=10_000)
    width_multiplier: float = _model(
        1.0, "share of every convolution's filters, also in weights to start from", above=0, most=16
    )
    dropout: float = _model(
        0.2, "share of the pooled features that training drops", least=0, below=1
    )
    aux_weight: float = _model(
        0.0, "weight of each auxiliary head's loss; 0 trains without the heads", least=0, most=1000
    )
    weights: str = _model("", "weights to start from; empty starts from random ones")
    precision: str = _model(
        "float32",
        "dtype policy; heads and loss stay in float32. auto: mixed_bfloat16 where the machine "
        "computes it fast (TPUs, GPUs since compute capability 8.0, processors with AMX)",
        choices=("float32", "mixed_bfloat16", "mixed_float16", "auto"),
    )
    sync_bn: bool = _model(
        False, "BatchNorm over the batches of all replicas, not over each one's own"
    )
    freeze: str = _model(
        "none",
        "norms: BatchNorm keeps the statistics that it came with; backbone: only the classifiers "
        "train",
        choices=("none", "norms", "backbone"),
    )
    unfreeze_from: str = _model(
        "",
        "endpoint from which on the network trains, what comes before it being frozen: its name "
        "(keras-inception info MODEL lists them), or stride16 for the first one whose map is 16 "
        "times smaller than the image; empty: all of it",
    )
    probe: bool = _model(
        False,
        "first fit the classifier to convergence on the features of the frozen network, which are "
        "computed once for each image; with epochs=0 that is all",
    )
    head_epochs: int = _model(
        0, "epochs before the others in which only the classifiers train", least=0, most=1_000_000
    )
    head_learning_rate: float = _model(
        0.08, "constant rate of those, per 256 images", above=0, most=1e6
    )

    dataset: str = _data(
        "fashion_mnist_mini",
        "fashion_mnist_mini (embedded), folder:PATH, csv:FILE, tfds:NAME, tfrecord:PATH or fake",
    )
    data_dir: str = _data("", "where prepared TFDS data lies (also gs://); TFDS' default")
    split: str = _data(
        "",
        "TFDS splits of the training, validation and test part (or training and test), such as "
        "train[:80%],train[80%:90%],train[90%:]; empty takes the set's own",
    )
    keys: str = _data(
        "",
        "keys of an image and its label in TFRecord shards, or features of a TFDS set, such as "
        "image,class; empty takes the usual ones, or those found by their types",
    )
    groups: str = _data(
        "",
        "what keeps images in one part, such as those of a patient: a regular expression whose "
        "first group in parentheses names it in each path; a .csv file with the columns path and "
        "group; a key of records or TFDS; or twins: images that look alike, as inspect --near",
    )
    validation_fraction: float = _data(
        0.05, "share of the training part that is held out to watch the training", least=0, below=1
    )
    max_pixels: int = _data(
        150_000_000, "images with more pixels count as unreadable", least=1, most=2**31 - 1
    )
    background: str = _data("ffffff", "color behind transparent pixels, six hex digits: RRGGBB")
    bands: str = _data(
        "",
        "bands of TIFFs that are red, green and blue, such as 4,3,2, or the one that is gray; "
        "empty for images of one or three",
    )
    crop_fraction: float = _data(
        1.0, "share of the image's side that an evaluation's central crop keeps", above=0, most=1
    )
    aspect: str = _data(
        "weights",
        "how images of another shape than the input come to it: crop keeps the middle, pad the "
        "whole in its own shape, stretch the whole in the input's; weights: as these were trained "
        "(crop, but for TF-Slim's)",
        choices=("weights", *ASPECTS),
    )
    augmentation: str = _data(
        "flip",
        "what training does to images: nothing; mirror; random crop of 60-100 % and a little "
        "color distortion; random crop of 8-100 %; the same with color distortion; or with one of "
        "keras-cv's policies (all but none mirror at random)",
        choices=AUGMENTATIONS,
    )
    mirror: bool = _data(
        True,
        "whether training mirrors images; no where left and right differ in meaning (then also "
        "views=center)",
    )
    mix: str = _data(
        "none", "mixes pairs of images and their labels; either: one of the two", choices=MIXES
    )
    views: str = _data(
        "mirror",
        "whose probabilities the test averages: the central crop's, or its mirror image's as well",
        choices=("center", "mirror"),
    )

    epochs: int = _train(12, "passes over the training part", least=0, most=1_000_000)
    min_steps: int = _train(
        0,
        "steps that are taken at least, for which epochs are added; epochs of your own do without",
        least=0,
        most=1_000_000_000,
    )
    batch_size: int = _train(64, "global batch, over all replicas", least=1, most=1_000_000)
    accumulation_steps: int = _train(
        1, "parts that a replica computes its batch in, to save memory", least=1, most=1_000_000
    )
    optimizer: str = _train(
        "adamw", "rmsprop is TF1's, the others Keras'", choices=("adamw", "lion", "rmsprop", "sgd")
    )
    learning_rate: float = _train(
        0.008, "peak rate per 256 images; scales with the global batch", above=0, most=1e6
    )
    layer_decay: float = _train(
        1.0,
        "factor of the rate from each block to the one before it: the first ones move least; 1: "
        "all alike",
        above=0,
        most=1,
    )
    schedule: str = _train(
        "cosine",
        "cosine to 0, or x decay_rate every decay_epochs in steps",
        choices=("cosine", "exponential", "constant"),
    )
    decay_rate: float = _train(0.94, "factor of the exponential schedule", above=0, most=1)
    decay_epochs: float = _train(2.0, "epochs between the exponential's steps", above=0, most=1e6)
    warmup_epochs: float = _train(1.0, "epochs of linear warm-up", least=0, most=1e6)
    momentum: float = _train(0.9, "momentum of sgd and rmsprop", least=0, below=1)
    epsilon: float = _train(1.0, "rmsprop's, inside the root", above=0, most=1e6)
    weight_decay: float = _train(
        0.3, "adamw's and lion's, decoupled; else L2 of kernels, w/2 |k|^2", least=0, most=1000
    )
    clip_norm: float = _train(2.0, "limit of the global gradient norm; 0: none", least=0, most=1e9)
    label_smoothing: float = _train(0.1, "share spread over all classes", least=0, below=1)
    class_weight: str = _train(
        "none",
        "where classes have unequal numbers of images; balanced: the loss weighs them equally; "
        "sampling: the images of small classes are repeated",
        choices=("none", "balanced", "sampling"),
    )
    ema: float = _train(
        0.99, "decay of the average that is evaluated and exported; 0: none", least=0, below=1
    )
    bn_momentum: float = _train(0.9, "what BatchNorm's statistics keep a step", least=0, below=1)
    precise_bn: int = _train(
        512,
        "training images that BatchNorm's statistics are computed anew from before validation and "
        "export; 0: the moving averages of training",
        least=0,
        most=1_000_000,
    )
    keep: str = _train(
        "last", "which weights are kept; best: by validation accuracy", choices=("last", "best")
    )
    patience: int = _train(
        0,
        "epochs without a better validation accuracy after which training ends; 0: never",
        least=0,
        most=1_000_000,
    )
    seed: int = _train(0, "of weights, order, augmentation and dropout", least=0, most=2**32 - 1)

    formats: str = _export(
        "saved_model,tflite",
        "what the trained network is exported to, with commas between: saved_model, tflite, web, "
        "onnx, openvino; empty: nothing",
    )
    quantization: str = _export(
        "float32,dynamic",
        "of the .tflite files, with commas between: float32, float16, dynamic, int8",
    )

    @property
    def decays_weights_apart(self) -> bool:
        """Whether the optimizer decays weights itself, apart from the loss."""
        return self.optimizer in ("adamw", "lion")

    def __post_init__(self) -> None:
        settings.exact(self)

    def replace(self, **changes: Any) -> Recipe:
        """A copy with these fields; one with `epochs` but no `min_steps` trains just as long."""
        if "epochs" in changes:
            changes.setdefault("min_steps", 0)
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Recipe:
        """The recipe with these fields, and the defaults for the others.

        Raises:
            ValueError: there is an unknown field; the message names the nearest known one.
        """
        known = [f.name for f in dataclasses.fields(cls)]
        for name in fields:
            if name not in known:
                hint = nearest(str(name), known)
                raise ValueError(f"A recipe has no field {str(name)[:80]!r}{hint}")
        return cls(**fields)

    @property
    def background_color(self) -> tuple[int, int, int]:
        """Red, green and blue of `background`, 0..255."""
        red, green, blue = bytes.fromhex(self.background)
        return red, green, blue

    @property
    def band_numbers(self) -> tuple[int, ...]:
        """The numbers in `bands`."""
        return tuple(map(int, self.bands.split(","))) if self.bands else ()

    def check(self) -> None:
        """Raises ValueError for the first field that has a wrong type or is out of range."""
        settings.check(self)
        check_name(self.model)
        if not re.fullmatch("[0-9a-fA-F]{6}", self.background):
            raise ValueError(
                "`background` should be a color in six hexadecimal digits, such as ffffff for "
                f"white. Received: background={self.background!r}"
            )
        if not re.fullmatch("|[1-9][0-9]{0,3}(,[1-9][0-9]{0,3}){2}|[1-9][0-9]{0,3}", self.bands):
            raise ValueError(
                "`bands` should be one number or three with commas between, the first band is 1. "
                f"Received: bands={self.bands!r}"
            )
        if not self.epochs and not self.probe:
            raise ValueError(
                "`epochs=0` trains nothing unless `probe` fits the classifier. Received: epochs=0"
            )
        if self.probe and self.head_epochs:
            raise ValueError(
                "`probe` fits the classifier that `head_epochs` would train; take one of the two. "
                f"Received: head_epochs={self.head_epochs}"
            )
        if self.batch_size % self.accumulation_steps:
            raise ValueError(
                f"`batch_size` should divide by `accumulation_steps={self.accumulation_steps}`. "
                f"Received: batch_size={self.batch_size}"
            )
