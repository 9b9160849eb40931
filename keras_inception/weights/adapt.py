"""What was read from a file, and how it gets into a model: by name, all of it or nothing."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import keras
import numpy as np

from keras_inception.preprocessing import Preprocessing
from keras_inception.weights import graph as network_graph
from keras_inception.weights.native import variables

# Layers whose arrays a caller may leave out, or have another number of classes in.
AUXILIARY_HEADS = ("aux_logits", "aux1_logits", "aux2_logits")
HEADS = ("predictions", *AUXILIARY_HEADS)
_IMAGENET_CLASSES = 1000


@dataclasses.dataclass(frozen=True)
class Loaded:
    """Arrays for a variant, and what a model has to compute for them to mean something.

    Attributes:
        source: The file or published name that they come from, for messages.
        arrays: "layer/variable" -> array.
        variant: Builder that they belong to; empty if the file does not say.
        builder_arguments: What that builder has to be given, such as {"bn_scale": True}.
        preprocessing: The contract of the model's input, or None if the file does not say.
        label_offset: Outputs before the first real class.
        class_names: The file's own names of its classes, if it holds any.
        layout: Format and publisher's layout as recognised, for people.
        layers: The file's layer -> ours.
        graph: The file's own graph, if it has one: the built model is held against it.
    """

    source: str
    arrays: dict[str, np.ndarray]
    variant: str = ""
    builder_arguments: dict[str, Any] = dataclasses.field(default_factory=dict)
    preprocessing: Preprocessing | None = None
    label_offset: int = 0
    class_names: tuple[str, ...] = ()
    layout: str = ""
    layers: dict[str, str] = dataclasses.field(default_factory=dict)
    graph: network_graph.Graph = dataclasses.field(default_factory=dict)

    @property
    def outputs(self) -> int:
        """Outputs of the classifier in the file; 0 if it has none."""
        bias = self.arrays.get("predictions/bias")
        return 0 if bias is None else len(bias)

    @property
    def classes(self) -> int:
        """Real classes among the outputs: 1000 of the 1001 or 1008 with a background."""
        return _IMAGENET_CLASSES if self.label_offset else self.outputs

    @property
    def has_auxiliary_heads(self) -> bool:
        """Whether the file holds auxiliary classifiers."""
        return any(f"{head}/kernel" in self.arrays for head in AUXILIARY_HEADS)


def load_into(model: keras.Model, weights: Loaded) -> list[str]:
    """Sets every weight of a model, or none.

    Classes, channels and heads are adapted here and nowhere else; each adaptation is logged:

    - outputs before the first real class are dropped where the model has the real classes only;
    - a head with another number of classes, and an auxiliary head that the file does not have,
      stay as they were initialised;
    - heads of the file that the model does not have are left out;
    - gammas that the file does not have are 1;
    - a first kernel for three channels is summed for one, and for others repeated and scaled.

    Args:
        model: A model whose layers are called as the arrays are.
        weights: What was read.

    Returns:
        What was adapted, a sentence each.

    Raises:
        ValueError: arrays are missing, unexpected or of the wrong shape; the message lists them,
            and the model is as it was.
    """
    wanted = variables(model)
    arrays, fresh, notes = _adapted(weights, {n: tuple(v.shape) for n, v in wanted.items()})
    keep = {n: v for n, v in wanted.items() if n.partition("/")[0] not in fresh}
    missing = [n for n in keep if n not in arrays]
    unexpected = [n for n in arrays if n not in wanted]
    shapes = [
        f"{n}: {arrays[n].shape} in the file, {tuple(v.shape)} in the model"
        for n, v in keep.items()
        if n in arrays and arrays[n].shape != tuple(v.shape)
    ]
    problems = [
        f"{what}: {', '.join(names[:6])}{f' and {len(names) - 6} more' * (len(names) > 6)}"
        for what, names in (
            ("missing in the file", missing),
            ("unexpected in the file", unexpected),
            ("of another shape", shapes),
        )
        if names
    ]
    if problems:
        no_top = "predictions/kernel" in missing and not weights.outputs
        first = next(n for n in wanted if n.endswith("kernel"))
        theirs, ours = (a[first].shape[-1] if first in a else 0 for a in (arrays, wanted))
        raise ValueError(
            f"{weights.source} does not fit {model.name}; the model is unchanged. "
            + "; ".join(problems)
            + ". The file has no classifier: build with `include_top=False`." * no_top
            + f". Its first layer has {theirs} filters, not {ours}: give its network's "
            "`width_multiplier`." * (0 < theirs != ours)
        )
    for note in notes:
        logging.warning("%s: %s", weights.source, note)
    for name, variable in keep.items():
        variable.assign(arrays[name])
    return notes


Shape = tuple[int, ...]


def _adapted(
    weights: Loaded, wanted: dict[str, Shape]
) -> tuple[dict[str, np.ndarray], set[str], list[str]]:
    """The arrays as the model needs them, the heads to initialise anew, and what was done."""
    arrays, fresh, notes = dict(weights.arrays), set(), []
    auxiliary = tuple(f"{head.partition('_')[0]}_" for head in AUXILIARY_HEADS)
    for head in HEADS:
        have, want = arrays.get(f"{head}/bias"), wanted.get(f"{head}/bias")
        if have is None and want is not None and head in AUXILIARY_HEADS:
            prefix = f"{head.partition('_')[0]}_"
            fresh |= {n.partition("/")[0] for n in wanted if n.startswith(prefix)}
            notes.append(f"it has no auxiliary head: the model's ({prefix}...) is initialised anew")
        elif have is not None and want is not None and have.shape != want:
            offset = weights.label_offset
            if offset and want[0] == weights.classes:
                for variable in ("kernel", "bias"):
                    name = f"{head}/{variable}"
                    arrays[name] = arrays[name][..., offset : offset + want[0]]
                notes.append(
                    f"{head} has {have.shape[0]} outputs; of these, {offset} before the first "
                    f"class and {have.shape[0] - offset - want[0]} after the last are dropped"
                )
            else:
                fresh.add(head)
                notes.append(
                    f"it has {have.shape[0]} classes and the model {want[0]}: the layer {head} is "
                    "initialised anew"
                )
    unused = {n for n in arrays if n not in wanted and n.startswith(("predictions/", *auxiliary))}
    for name in unused:
        del arrays[name]
    left_out = sorted({n.partition("/")[0] for n in unused})
    if left_out:
        notes.append(f"the model has no {', '.join(left_out)}: left out")
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


def _other_channels(kernel: np.ndarray, wanted: Shape | None) -> int | None:
    """The model's channels, if a kernel is the first one and the model has other than three."""
    if wanted is None or kernel.ndim != 4 or kernel.shape[2] != 3 or wanted[2] == 3:
        return None
    same = (*kernel.shape[:2], kernel.shape[3]) == (*wanted[:2], wanted[3])
    return wanted[2] if same else None


def _for_channels(kernel: np.ndarray, channels: int) -> np.ndarray:
    """A first kernel (H, W, 3, filters) for other images, as timm does it.

    One channel: the sum, which computes the same as three equal channels. Others: the three in
    turn, scaled so that the sum over the channels stays about what it was.
    """
    if channels == 1:
        return kernel.sum(axis=2, keepdims=True)
    repeats = -(-channels // 3)
    return np.tile(kernel, (1, 1, repeats, 1))[:, :, :channels] * (3 / channels)


def fold_input_scaling(weights: Loaded, contract: Preprocessing) -> Loaded:
    """The same network for images scaled by another contract's mean and std.

    The first convolution and its BatchNorm are linear: its kernel takes the ratio of the scales
    and the moving mean the difference of the means. Exact where that convolution is unpadded.

    Args:
        weights: Arrays with a first unit "stem_0_0", unpadded, on three channels.
        contract: Whose mean and std the images will have.
    """
    assert weights.preprocessing is not None
    have = (weights.preprocessing.mean, weights.preprocessing.std)
    if have == (contract.mean, contract.std):
        return weights
    old_scale, old_offset = map(np.asarray, weights.preprocessing.scale_and_offset(3))
    scale, offset = map(np.asarray, contract.scale_and_offset(3))
    ratio = old_scale / scale  # old = ratio * new + shift
    shift = old_offset - ratio * offset
    kernel = weights.arrays["stem_0_0_conv/kernel"].astype(np.float64)
    moved = (kernel * shift[:, None]).sum(axis=(0, 1, 2))
    mean = weights.arrays["stem_0_0_bn/moving_mean"]
    arrays = {
        **weights.arrays,
        "stem_0_0_conv/kernel": (kernel * ratio[:, None]).astype(np.float32),
        "stem_0_0_bn/moving_mean": (mean - moved).astype(np.float32),
    }
    preprocessing = weights.preprocessing.replace(mean=contract.mean, std=contract.std)
    return dataclasses.replace(weights, arrays=arrays, preprocessing=preprocessing)
