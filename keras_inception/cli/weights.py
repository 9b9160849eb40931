"""keras-inception weights: table of the published checkpoints that `weights=` takes by name."""

from __future__ import annotations

import argparse

import keras_inception

HELP = "table of the published checkpoints that `weights=` takes by name"


def run(arguments: argparse.Namespace) -> None:
    """Prints the catalogue of published checkpoints, as Markdown."""
    print("| weights | top-1 | top-5 | protocol | classes | verified by | license | origin |")
    print("| --- | ---: | ---: | --- | ---: | --- | --- | --- |")
    usual = {
        keras_inception.get_weights("imagenet", variant).name
        for variant in keras_inception.list_models()
        if keras_inception.list_weights(variant)
    }
    for name in keras_inception.list_weights():
        record = keras_inception.get_weights(name)
        kind, _, digest = record.hash.partition(":")
        cells = [
            f"`{name}`" + " (`imagenet`)" * (name in usual),
            f"{record.top1:.1f}" if record.top1 else "",
            f"{record.top5:.1f}" if record.top5 else "",
            record.protocol,
            str(record.classes or "no top"),
            f"{kind} {digest[:8]}" if digest else "",
            record.license,
            record.origin,
        ]
        print("| " + " | ".join(cells) + " |")
