"""A publisher's names for our layers, as a table that a reader can hold against both.

A row is "theirs  ours". Braces stand for several rows: {a,b} lists, {1..10} and {b..e} count. A
group on the left goes with the group at the same place on the right; different places combine:

    features.{6..9}.branch1.{0,1}    mixed_5{b..e}_branch1_{0,1}      (eight rows)
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import re

import numpy as np

from keras_inception.weights.readers import Layers

_GROUP = re.compile(r"\{([^{}]*)\}")
# Dense layers of ours that some publishers draw as 1 x 1 convolutions.
_DENSE = ("predictions", "aux_logits", "aux1_logits", "aux2_logits", "bottleneck")


@dataclasses.dataclass(frozen=True)
class Layout:
    """One published layout of one variant.

    Attributes:
        name: "publisher/network".
        variant: Builder that it belongs to.
        units: Rows for a convolution with its BatchNorm, by a common name: ours is `{ours}_conv`
            and `{ours}_bn`.
        layers: Rows for single layers, by their full names.
        scheme: How the publisher calls a unit's convolution and its BatchNorm.
        prefix: What all of the publisher's names begin with; the tables leave it out.
        bgr: Whether it was trained on B, G, R images: the first kernel is turned round.
        flattened: Our dense layers after a flattened map -> (channels, height, width) of that map,
            where the publisher flattens channels first.
        left_out: Regular expression of their layers that are no part of ours, on purpose.
        repeats_merged: Whether "conv.conv" is "conv" in the file: Keras' nested names repeat their
            parents', so the reader writes each only once.
    """

    name: str
    variant: str
    units: str
    layers: str
    scheme: tuple[str, str] = ("{}.conv", "{}.bn")
    prefix: str = ""
    bgr: bool = False
    flattened: dict[str, tuple[int, int, int]] = dataclasses.field(default_factory=dict)
    left_out: str = r"(?!)"
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

    def translate(self, layers: Layers) -> dict[str, np.ndarray]:
        """Their layers as "layer/variable" arrays of ours.

        A bias before a BatchNorm (Caffe's) is absorbed by the norm's mean.

        Raises:
            ValueError: the file has layers that the table does not know.
        """
        unknown = [
            name for name in layers if name not in self.names and not re.search(self.left_out, name)
        ]
        if unknown:
            raise ValueError(
                f"it looks like {self.name}, which has no layers {', '.join(unknown[:6])}"
                + f" and {len(unknown) - 6} more" * (len(unknown) > 6)
            )
        ours = {self.names[name]: dict(values) for name, values in layers.items() if name in self}
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
        if self.bgr:
            first = ours["stem_0_conv"]
            first["kernel"] = first["kernel"][:, :, ::-1]
        return {f"{layer}/{v}": array for layer, vs in ours.items() for v, array in vs.items()}

    def __contains__(self, layer: str) -> bool:
        return layer in self.names


@functools.cache
def rows(table: str) -> tuple[tuple[str, str], ...]:
    """The rows of a table, braces expanded.

    Raises:
        ValueError: a row has other than two columns, or its groups do not go together.
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
