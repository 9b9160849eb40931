"""keras-inception models: table of the variants: parameters, multiply-adds, input size."""

from __future__ import annotations

import argparse

import keras_inception

HELP = "table of the variants: parameters, multiply-adds, input size"


def run(_: argparse.Namespace) -> None:
    """Prints the comparison table of the variants, as Markdown."""
    print("| variant | parameters | multiply-adds | input | published top-1 / top-5 | weights |")
    print("| --- | ---: | ---: | ---: | ---: | --- |")
    for row in keras_inception.comparison_table():
        height, width = row["size"]
        billions = row["multiply_adds"] / 1e9
        record = row["weights"]
        accuracy = (
            f"{record.top1:.1f} / {record.top5:.1f} | `{record.name}`" if record else "| none"
        )
        print(
            f"| {row['variant']} | {row['parameters']:,} | {billions:.2f} billion "
            f"| {height} x {width} | {accuracy} |"
        )
