"""keras-inception info: table of one variant's blocks: output, parameters, multiply-adds."""

from __future__ import annotations

import argparse

import keras_inception

HELP = "table of one variant's blocks: output, parameters, multiply-adds"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument("model", help="the variant, such as InceptionV4")
    parser.add_argument("--aux", action="store_true", help="with the auxiliary heads")


def run(arguments: argparse.Namespace) -> None:
    """Prints what every block of a variant gives and costs, as Markdown."""
    model = keras_inception.get_model(arguments.model, weights=None, aux_logits=arguments.aux)
    height, width = keras_inception.smallest_input(model)
    shape = " x ".join(map(str, model.input_shape[1:]))
    print(f"{arguments.model} at {shape}; the smallest image is {height} x {width}\n")
    print("| block | output | parameters | million multiply-adds |")
    print("| --- | --- | ---: | ---: |")
    for row in keras_inception.summary_by_block(model):
        output = " x ".join(map(str, row["output"]))
        millions = row["multiply_adds"] / 1e6
        print(f"| `{row['block']}` | {output} | {row['parameters']:,} | {millions:,.1f} |")
