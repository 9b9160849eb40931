"""Writes keras_inception/models/figures.json: what `models` and `info` print of the networks.

    python tools/figures.py

It builds each variant without and with its auxiliary heads, and each network of the catalogue.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras_inception
from keras_inception.models import figures

OUTPUT = Path(figures.__file__).with_name(figures.FILE)


def networks() -> Iterator[tuple[str, dict[str, Any]]]:
    """Variant and arguments of each network that is written."""
    for name in keras_inception.list_models():
        yield name, {}
        yield name, {"aux_logits": True}
    for name in keras_inception.list_weights():
        record = keras_inception.get_weights(name)
        yield record.variant, figures.arguments_of(record)


def main() -> None:
    lines = {}
    for name, arguments in networks():
        key = figures.key_of(name, arguments)
        if key in lines:
            continue
        found = figures.Figures.of(keras_inception.get_model(name, weights=None, **arguments))
        rows = [
            [r["block"], r["output"], r["parameters"], r["multiply_adds"]] for r in found.blocks
        ]
        value = [found.input_shape, found.smallest_input, rows]
        lines[key] = f"{json.dumps(key)}: {json.dumps(value, separators=(',', ':'))}"
    OUTPUT.write_text("{\n" + ",\n".join(lines.values()) + "\n}\n")


if __name__ == "__main__":
    main()
