"""What was read from a file, and how it gets into a model: by name, and all of it or nothing."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_inception.identity import Identity
from keras_inception.messages import some
from keras_inception.preprocessing import Preprocessing
from keras_inception.weights import graph as network_graph
from keras_inception.weights.layouts import own
from keras_inception.weights.native import variables

AUXILIARY_HEADS = ("aux_logits", "aux1_logits", "aux2_logits")
# Layers that a caller may leave out of the model, or have with another number of classes.
HEADS = ("predictions", *AUXILIARY_HEADS)
# Google's graphs of 2015, one of which the Frechet Inception distance is measured with: background,
# the classes in an order of their own, and seven outputs that were never trained.
ORDER_OF_2015 = 1008
# Outputs of ImageNet's 1000 classes with a background class in front, and maybe unused ones behind.
WITH_BACKGROUND = (1001, ORDER_OF_2015)
_IMAGENET_CLASSES = 1000


@dataclasses.dataclass(frozen=True)
class Loaded:
    """The arrays of a file under our names, and what a model has to be for them.

    Attributes:
        source: The file or the published name that they come from, for messages.
        arrays: "layer/variable" -> array.
        identity: What the file or the catalogue says of the network: the builder (empty if neither
            says), its arguments, the preprocessing contract and the names of the classes.
        label_offset: Outputs in front of the first real class.
        layout: The format and the publisher's layout that were recognised, for people.
        layers: The file's layer -> ours.
        foreign: The file's layers that are not part of the network, such as a head of one's own.
        graph: The file's own graph, if it has one: the built model is held against it.
    """

    source: str
    arrays: dict[str, np.ndarray]
    identity: Identity = Identity("")
    label_offset: int = 0
    layout: str = ""
    layers: dict[str, str] = dataclasses.field(default_factory=dict)
    foreign: tuple[str, ...] = ()
    graph: network_graph.Graph = dataclasses.field(default_factory=dict)

    @property
    def outputs(self) -> int:
        """Outputs of the classifier in the file; 0 if it has none."""
        return outputs_of(self.arrays)

    @property
    def classes(self) -> int:
        """Real classes among the outputs: 1000 of 1001 or 1008 that include a background class."""
        if self.label_offset and self.outputs in WITH_BACKGROUND:
            return _IMAGENET_CLASSES
        return self.outputs - self.label_offset

    @property
    def has_auxiliary_heads(self) -> bool:
        """Whether the file holds auxiliary classifiers."""
        return any(f"{head}/kernel" in self.arrays for head in AUXILIARY_HEADS)

    @property
    def channels(self) -> int:
        """Channels of the images: those of the first kernel."""
        for name, array in self.arrays.items():
            layer, _, variable = name.partition("/")
            # A separable layer also has a pointwise kernel, for the channels in between.
            if own.is_first(layer) and variable in ("kernel", "depthwise_kernel"):
                return array.shape[2] if array.ndim == 4 else 3
        return 3

    def order_of_2015(self, classes: int) -> tuple[str, ...]:
        """Names for outputs of Google's graphs of 2015, so that none is taken for ImageNet's.

        Args:
            classes: How many outputs are used.

        Returns:
            As many names; none of other files, or if the classes are others.
        """
        is_theirs = self.outputs == ORDER_OF_2015 and self.label_offset
        if not is_theirs or classes not in (self.outputs, self.classes):
            return ()
        first = 0 if classes == self.outputs else self.label_offset
        return tuple(f"class {first + i} in the order of 2015" for i in range(classes))

    def default_classes(self) -> int:
        """The number of classes for a model with a classifier whose caller gives no `classes`.

        All outputs of the graphs of 2015: their 1,000 classes alone would be taken for ImageNet's
        in the usual order.

        Raises:
            ValueError: the file's own answers need layers that the model does not have.
        """
        choice = (
            "Write `classes=` for a new classifier, or `include_top=False` for the features alone."
        )
        if self.foreign:
            raise ValueError(
                f"{self.source} has a head of its own, which is not part of "
                f"{self.identity.variant or 'the network'}: {some(self.foreign, 6)}. {choice}"
            )
        if not self.outputs:
            raise ValueError(f"{self.source} has no classifier. {choice}")
        return self.outputs if self.outputs == ORDER_OF_2015 else self.classes


def outputs_of(arrays: dict[str, np.ndarray]) -> int:
    """Outputs of the main classifier among arrays with our names; 0 if there is none."""
    kernel = arrays.get("predictions/kernel")
    return 0 if kernel is None else kernel.shape[-1]


def load_into(model: keras.Model, weights: Loaded, *, new_heads: bool = True) -> list[str]:
    """Sets every weight of a model, or none.

    This is the one place where classes, channels and heads are adapted. Each adaptation is logged
    as a warning:

    - outputs in front of the first real class are dropped where the model has the real classes
      only;
    - a classifier that the file does not have, or has for another number of classes or in front of
      further layers, stays as it was initialised;
    - classifiers of the file that the model does not have, and layers that are not part of the
      network, are left out;
    - a BatchNorm's gamma that the file does not have is 1, and a classifier's bias 0;
    - a first kernel for three channels is summed for one, and for others repeated and scaled.

    Args:
        model: A model whose layers have the names of the arrays.
        weights: What was read.
        new_heads: Whether classifiers that the file does not give may stay as they are.

    Returns:
        What was adapted, a sentence each.

    Raises:
        ValueError: arrays are missing, unexpected or of another shape. The message lists them, and
            the model is unchanged.
    """
    wanted = variables(model)
    arrays, fresh, notes = _adapted(weights, {n: tuple(v.shape) for n, v in wanted.items()})
    keep = {n: v for n, v in wanted.items() if not new_heads or n.partition("/")[0] not in fresh}
    missing = [n for n in keep if n not in arrays]
    unexpected = [n for n in arrays if n not in wanted]
    shapes = [
        f"{n}: {weights.arrays[n].shape} in the file, {tuple(v.shape)} in the model"
        for n, v in keep.items()
        if n in arrays and arrays[n].shape != tuple(v.shape)
    ]
    problems = {
        "missing in the file": missing,
        "unexpected in the file": unexpected,
        "of another shape": shapes,
    }
    if any(problems.values()):
        listing = "; ".join(
            f"{what}: {some(names, 6)}" for what, names in problems.items() if names
        )
        hint = ""
        if not missing and not unexpected and all(map(own.in_head, shapes)):
            hint = " `include_top=False` loads the features without this classifier."
        hint += _other_width(arrays, wanted)
        raise ValueError(
            f"{weights.source} does not fit {model.name}; the model is unchanged. {listing}.{hint}"
        )
    for note in notes:
        logging.warning("%s: %s", weights.source, note)
    for name, variable in keep.items():
        variable.assign(arrays[name])
    return notes


def _other_width(arrays: Mapping[str, np.ndarray], wanted: Mapping[str, Any]) -> str:
    """What to do if a file's network is wider or narrower; empty if it is not."""
    first = next(name for name in wanted if name.endswith("kernel"))
    theirs = arrays[first].shape[-1] if first in arrays else 0
    ours = wanted[first].shape[-1]
    if theirs in (0, ours):
        return ""
    return (
        f" Its first layer has {theirs} filters, not {ours}: give its network's `width_multiplier`."
    )


Shape = tuple[int, ...]


def _adapted(
    weights: Loaded, wanted: dict[str, Shape]
) -> tuple[dict[str, np.ndarray], set[str], list[str]]:
    """The arrays as the model needs them, the layers to initialise anew, and what was done."""
    arrays = dict(weights.arrays)
    fresh: set[str] = set()
    notes: list[str] = []
    for head in HEADS:
        if f"{head}/kernel" in wanted:
            found = _head_for(head, weights, wanted)
            arrays |= found.arrays
            fresh |= found.fresh
            notes += found.notes
    layers = {name.partition("/")[0] for name in wanted}
    left_out = {name.partition("/")[0] for name in arrays} - layers
    left_out = {layer for layer in left_out if own.in_head(layer)}
    arrays = {name: a for name, a in arrays.items() if name.partition("/")[0] not in left_out}
    if left_out:
        notes.append(f"the model has no {', '.join(sorted(left_out))}: left out")
    if weights.foreign:
        notes.append(
            f"layers that are not part of the network are left out: {some(weights.foreign, 6)}"
        )
    gammas = [n for n in wanted if n.endswith("/gamma") and n not in arrays]
    gammas = [n for n in gammas if n.replace("gamma", "beta") in arrays]
    for name in gammas:
        arrays[name] = np.ones(wanted[name], np.float32)
    if gammas:
        notes.append(f"it has no gammas: {len(gammas)} are 1")
    for name, array in weights.arrays.items():
        channels = _other_channels(array, wanted.get(name))
        if channels:
            arrays[name] = _for_channels(array, channels)
            notes.append(f"{name} is for 3 channels: adapted to {channels}")
    return arrays, fresh, notes


class _Head(NamedTuple):
    """What becomes of a classifier of the model: its arrays, or layers to initialise anew."""

    notes: list[str]
    arrays: dict[str, np.ndarray]
    fresh: set[str]


def _head_for(head: str, weights: Loaded, wanted: dict[str, Shape]) -> _Head:
    """A classifier of the model, as far as the file gives it."""

    def anew(why: str, layers: str = f"the layer {head}") -> _Head:
        return _Head([f"{why}: {layers} is initialised anew"], {}, fresh)

    kernel, bias, fresh = f"{head}/kernel", f"{head}/bias", {head}
    if kernel not in weights.arrays and head in AUXILIARY_HEADS:
        prefix = head.removesuffix("logits")
        fresh = {n.partition("/")[0] for n in wanted if n.startswith(prefix)}
        return anew("it has no auxiliary head", f"the model's ({prefix}...)")
    if kernel not in weights.arrays:
        return anew("it has no classifier")
    if weights.foreign and head == "predictions":
        return anew("its classifier is not the last of its layers")
    have, want = weights.arrays[kernel].shape[-1], wanted[kernel][-1]
    arrays = {name: weights.arrays[name] for name in (kernel, bias) if name in weights.arrays}
    notes = []
    if bias in wanted and bias not in arrays:
        arrays[bias] = np.zeros(have, np.float32)
        notes.append(f"{head} has no bias: it is 0")
    offset = weights.label_offset
    if have == want:
        return _Head(notes, arrays, set())
    if not offset or want != weights.classes:
        return anew(f"it has {have} classes and the model {want}")
    notes.append(
        f"{head} has {have} outputs; of these, {offset} before the first class and "
        f"{have - offset - want} after the last are dropped"
    )
    if have == ORDER_OF_2015:
        notes.append(
            f"the {want} classes stand in the order of Google's graph of 2015, not in the one "
            "that `decode_predictions` takes 1000 outputs for"
        )
    cut = {name: array[..., offset : offset + want] for name, array in arrays.items()}
    return _Head(notes, cut, set())


def _other_channels(kernel: np.ndarray, wanted: Shape | None) -> int | None:
    """The model's channels, if a kernel is the first one and the model has other than three."""
    if wanted is None or kernel.ndim != 4 or kernel.shape[2] != 3 or wanted[2] == 3:
        return None
    same = (*kernel.shape[:2], kernel.shape[3]) == (*wanted[:2], wanted[3])
    return wanted[2] if same else None


def _for_channels(kernel: np.ndarray, channels: int) -> np.ndarray:
    """A first kernel (H, W, 3, filters) for another number of channels, as timm adapts it.

    For one channel the three are summed, which computes the same as three equal channels. For other
    numbers they are repeated in turn, and scaled so that their sum stays about what it was.
    """
    if channels == 1:
        return kernel.sum(axis=2, keepdims=True)
    repeats = -(-channels // 3)
    return np.tile(kernel, (1, 1, repeats, 1))[:, :, :channels] * (3 / channels)


def in_rgb(weights: Loaded) -> Loaded:
    """The same network for R, G, B images, if its contract says B, G, R: its first kernel reversed.

    Raises:
        ValueError: the images have no three channels, or the first convolution is separable.
    """
    contract = weights.identity.preprocessing
    if contract is None or contract.channel_order == "RGB":
        return weights
    contract.scale_and_offset(weights.channels)  # refuses other channels
    first = next((n for n in weights.arrays if own.is_first(n.rpartition("/")[0])), "")
    name = f"{first.rpartition('/')[0]}/kernel"
    if name not in weights.arrays:
        raise ValueError("channel_order=BGR is for a first convolution that is not separable")
    arrays = {**weights.arrays, name: weights.arrays[name][:, :, ::-1]}
    identity = weights.identity.replace(preprocessing=contract.replace(channel_order="RGB"))
    return dataclasses.replace(weights, arrays=arrays, identity=identity)


def fold_input_scaling(weights: Loaded, contract: Preprocessing) -> Loaded:
    """The same network for images scaled by another contract's mean and std.

    The first convolution and its BatchNorm are linear: the kernel takes the ratio of the scales,
    and the moving mean (or the bias, without BatchNorm) the difference of the means. This is exact
    where that convolution is unpadded.

    Args:
        weights: Arrays with an unpadded first unit "stem_0_0". A first kernel for other than three
            channels is left as it is, and so is the contract.
        contract: The contract whose mean and std the images will have.
    """
    preprocessing = weights.identity.preprocessing
    assert preprocessing is not None
    kernel = weights.arrays["stem_0_0_conv/kernel"].astype(np.float64)
    same = (preprocessing.mean, preprocessing.std) == (contract.mean, contract.std)
    if same or kernel.shape[2] != 3:
        return weights
    old_scale, old_offset = map(np.asarray, preprocessing.scale_and_offset(3))
    scale, offset = map(np.asarray, contract.scale_and_offset(3))
    ratio = old_scale / scale  # old = ratio * new + shift
    shift = old_offset - ratio * offset
    moved = (kernel * shift[:, None]).sum(axis=(0, 1, 2))
    arrays = {
        **weights.arrays,
        "stem_0_0_conv/kernel": (kernel * ratio[:, None]).astype(np.float32),
    }
    if "stem_0_0_bn/moving_mean" in arrays:
        mean = arrays["stem_0_0_bn/moving_mean"]
        arrays["stem_0_0_bn/moving_mean"] = (mean - moved).astype(np.float32)
    else:
        arrays["stem_0_0_conv/bias"] = (arrays["stem_0_0_conv/bias"] + moved).astype(np.float32)
    identity = weights.identity.replace(
        preprocessing=preprocessing.replace(mean=contract.mean, std=contract.std)
    )
    return dataclasses.replace(weights, arrays=arrays, identity=identity)
