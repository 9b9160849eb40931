"""A publisher's layer names and ours, as a table that a reader can hold against both.

A row is "theirs  ours". Braces expand to several rows: {a,b} lists values, and {1..10} and {b..e}
are ranges. The nth groups of both sides are paired, value by value; separate groups form a product:

    features.{6..9}.branch1.{0,1}    mixed_5{b..e}_branch1_{0,1}      (eight rows)
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import re
from collections.abc import Mapping

import numpy as np

from keras_inception.weights.layouts import own
from keras_inception.weights.readers import Layers

_GROUP = re.compile(r"\{([^{}]*)\}")
# Dense layers of ours that some publishers build as 1 x 1 convolutions.
_DENSE = ("predictions", "aux_logits", "aux1_logits", "aux2_logits", "bottleneck")


@dataclasses.dataclass(frozen=True)
class Layout:
    """The layer names of one publisher for one variant.

    Attributes:
        name: "publisher/network".
        variant: Name of the builder.
        units: Rows for convolutions with their BatchNorm. A row names both layers at once: ours are
            `{ours}_conv` and `{ours}_bn`, theirs follow `scheme`.
        layers: Rows for single layers, with their full names.
        scheme: How the publisher names the convolution and the BatchNorm of a unit.
        prefix: What all names of the publisher begin with; the tables leave it out.
        bgr: Whether the network was trained on B, G, R images; its first kernel is then reversed
            along the channels.
        flattened: Our dense layers that follow a flattened feature map -> (channels, height, width)
            of that map, where the publisher flattens channels first.
        repeats_merged: Whether the file writes "conv.conv" as "conv". tf2cv's nested Keras names
            repeat their parents' names, and the reader merges the repetitions.
    """

    name: str
    variant: str
    units: str
    layers: str
    scheme: tuple[str, str] = ("{}.conv", "{}.bn")
    prefix: str = ""
    bgr: bool = False
    flattened: dict[str, tuple[int, int, int]] = dataclasses.field(default_factory=dict)
    repeats_merged: bool = False

    @functools.cached_property
    def names(self) -> dict[str, str]:
        """Their layer -> ours."""
        found = {self.prefix + theirs: ours for theirs, ours in rows(self.layers)}
        for theirs, ours in rows(self.units):
            for pattern, part in zip(self.scheme, ("conv", "bn"), strict=True):
                found[self.prefix + pattern.format(theirs)] = f"{ours}_{part}"
        if self.repeats_merged:
            found = {re.sub(r"\b(\w+)(\.\1\b)+", r"\1", name): v for name, v in found.items()}
        return found

    @functools.cached_property
    def body(self) -> frozenset[str]:
        """Their names of the layers of the features, without classifiers and their layers."""
        return frozenset(theirs for theirs, ours in self.names.items() if not own.in_head(ours))

    @functools.cached_property
    def convolutions(self) -> frozenset[str]:
        """Their names of the features' convolutions: every file of the layout has all of them."""
        return frozenset(theirs for theirs in self.body if not self.names[theirs].endswith("_bn"))

    def translate(self, layers: Layers) -> dict[str, np.ndarray]:
        """Their layers as arrays of ours, named "layer/variable".

        A bias in front of a BatchNorm (Caffe's networks have both) is absorbed by the norm's mean.

        Args:
            layers: Layers whose names are all in the table.

        Raises:
            ValueError: two layers stand for the same one of ours, or an array has a shape that its
                layer cannot have.
        """
        ours: dict[str, dict[str, np.ndarray]] = {}
        for name, values in layers.items():
            if self.names[name] in ours:
                raise ValueError(f"it has {self.names[name]} twice, once as {name}")
            ours[self.names[name]] = dict(values)
        for _, unit in rows(self.units):
            norm, conv = ours.get(f"{unit}_bn"), ours.get(f"{unit}_conv", {})
            if norm and "bias" in conv:
                norm["moving_mean"] = norm["moving_mean"] - conv.pop("bias")
        for layer in _DENSE:
            kernel = ours.get(layer, {}).get("kernel")
            if kernel is not None and kernel.ndim == 4:
                ours[layer]["kernel"] = kernel.reshape(kernel.shape[-2:])
        for layer, (channels, height, width) in self.flattened.items():
            if layer in ours:
                kernel = ours[layer]["kernel"].reshape(channels, height, width, -1)
                flat = kernel.transpose(1, 2, 0, 3).reshape(height * width * channels, -1)
                ours[layer]["kernel"] = flat
        first = ours["stem_0_conv"] if self.bgr else {}
        if "kernel" in first and first["kernel"].shape[2] == 3:
            first["kernel"] = first["kernel"][:, :, ::-1]
        return {f"{layer}/{v}": array for layer, vs in ours.items() for v, array in vs.items()}

    def restored(self, arrays: Mapping[str, np.ndarray], gammas: bool) -> Layers:
        """Our arrays as their layers: `translate` backwards.

        Args:
            arrays: Arrays named "layer/variable", whose layers are all in the table.
            gammas: Whether the publisher's BatchNorm has a gamma. If it has, one that we do not
                have is 1; if not, ours goes into the kernel in front of it and the moving mean.
        """
        ours: dict[str, dict[str, np.ndarray]] = {}
        for name, array in arrays.items():
            layer, _, variable = name.rpartition("/")
            ours.setdefault(layer, {})[variable] = array
        for _, unit in rows(self.units):
            norm, conv = ours.get(f"{unit}_bn", {}), ours.get(f"{unit}_conv", {})
            if norm and gammas:
                norm.setdefault("gamma", np.ones_like(norm["beta"]))
            elif "gamma" in norm:
                gamma = norm.pop("gamma")
                conv["kernel"], norm["moving_mean"] = (
                    conv["kernel"] * gamma,
                    norm["moving_mean"] * gamma,
                )
        for layer, (channels, height, width) in self.flattened.items():
            if layer in ours:
                kernel = ours[layer]["kernel"].reshape(height, width, channels, -1)
                flat = kernel.transpose(2, 0, 1, 3).reshape(channels * height * width, -1)
                ours[layer]["kernel"] = flat
        # Of two names for one layer the last is the living publisher's.
        theirs = {name: other for other, name in self.names.items()}
        for layer in _DENSE:
            if layer in ours and "Conv2d" in theirs[layer]:
                ours[layer]["kernel"] = ours[layer]["kernel"][None, None]
        return {theirs[layer]: values for layer, values in ours.items()}


@functools.cache
def rows(table: str) -> tuple[tuple[str, str], ...]:
    """The rows of a table, braces expanded.

    Raises:
        ValueError: a row does not have two columns, or its two sides have different groups.
    """
    found = []
    for line in table.strip().splitlines():
        if not line.strip():
            continue
        theirs, ours = line.split()
        groups = [[_items(g) for g in _GROUP.findall(side)] for side in (theirs, ours)]
        if [len(g) for g in groups[0]] != [len(g) for g in groups[1]]:
            raise ValueError(f"The groups of this row do not go together: {line.strip()}")
        pairs = [list(zip(*both, strict=True)) for both in zip(*groups, strict=True)]
        for choice in itertools.product(*pairs):
            chosen = [[pick[side] for pick in choice] for side in (0, 1)]
            found.append((_filled(theirs, chosen[0]), _filled(ours, chosen[1])))
    return tuple(found)


def _items(group: str) -> list[str]:
    """ "a,b" -> a, b;  "1..3" -> 1, 2, 3;  "b..d" -> b, c, d."""
    first, counts, last = group.partition("..")
    if not counts:
        return group.split(",")
    if first.isdigit():
        return [str(i) for i in range(int(first), int(last) + 1)]
    return [chr(i) for i in range(ord(first), ord(last) + 1)]


def _filled(pattern: str, choice: list[str]) -> str:
    parts = iter(choice)
    return _GROUP.sub(lambda _: next(parts), pattern)
