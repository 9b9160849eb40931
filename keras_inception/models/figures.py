"""What the variants' networks give and cost, as data: to print it takes neither Keras nor seconds.

`tools/figures.py` measures the built networks into figures.json, and a test holds it to them.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

from keras_inception.catalog import Weights

FILE = "figures.json"


@dataclasses.dataclass(frozen=True)
class Figures:
    """What a network gives and costs, block by block.

    Attributes:
        input_shape: (height, width, channels) of the images.
        smallest_input: The smallest (height, width) that it takes, in pixels.
        blocks: The rows of `models.measure.summary_by_block`.
    """

    input_shape: tuple[int, int, int]
    smallest_input: tuple[int, int]
    blocks: list[dict[str, Any]]

    @classmethod
    def of(cls, model: Any) -> Figures:
        """The figures of a built model; see `summary_by_block` for what it refuses."""
        from keras_inception.models.measure import smallest_input, summary_by_block

        return cls(model.input_shape[1:], smallest_input(model), summary_by_block(model))

    def total(self, what: str) -> int:
        """The sum of a column of the blocks: "parameters" or "multiply_adds"."""
        return sum(row[what] for row in self.blocks)


def figures_of(variant: str, arguments: Mapping[str, Any]) -> Figures | None:
    """The figures of a network that is known without building it.

    Args:
        variant: A name of `list_models()`.
        arguments: What the builder is called with, besides `weights=None`.

    Returns:
        None if it is not among those of `keras_inception.models`' table and catalogue.
    """
    return _known().get(key_of(variant, arguments))


def arguments_of(record: Weights) -> dict[str, Any]:
    """What builds the network of a published file, at the size of its contract."""
    if record.classes:
        return {**record.builder_arguments, "classes": record.classes}
    assert record.preprocessing is not None
    shape = (*record.preprocessing.size, 3)
    features = {"include_top": False, "pooling": "avg", "input_shape": shape}
    return {**record.builder_arguments, **features}


def key_of(variant: str, arguments: Mapping[str, Any]) -> str:
    """A network's name in figures.json."""
    return f"{variant} {json.dumps(dict(arguments), sort_keys=True)}"


@functools.cache
def _known() -> dict[str, Figures]:
    names = ("block", "output", "parameters", "multiply_adds")
    known = {}
    text = (resources.files(__package__) / FILE).read_text(encoding="utf-8")
    for key, (shape, smallest, rows) in json.loads(text).items():
        blocks = [dict(zip(names, (r[0], tuple(r[1]), *r[2:]), strict=True)) for r in rows]
        known[key] = Figures(tuple(shape), tuple(smallest), blocks)
    return known
