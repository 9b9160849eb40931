"""keras-inception: facts about the models and their weights, on the command line."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import NoReturn

from absl.flags import argparse_flags

import keras_inception


def _models(_: argparse.Namespace) -> None:
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


def _info(arguments: argparse.Namespace) -> None:
    """Prints what every block of a variant gives and costs, as Markdown."""
    model = keras_inception.get_model(arguments.model, weights=None, aux_logits=arguments.aux)
    height, width = keras_inception.smallest_input(model)
    shape = " x ".join(map(str, model.input_shape[1:]))
    print(f"{arguments.model} at {shape}; the smallest picture is {height} x {width}\n")
    print("| block | output | parameters | million multiply-adds |")
    print("| --- | --- | ---: | ---: |")
    for row in keras_inception.summary_by_block(model):
        output = " x ".join(map(str, row["output"]))
        millions = row["multiply_adds"] / 1e6
        print(f"| `{row['block']}` | {output} | {row['parameters']:,} | {millions:,.1f} |")


def _weights(_: argparse.Namespace) -> None:
    """Prints the catalogue of published checkpoints, as Markdown."""
    print("| weights | top-1 | top-5 | protocol | classes | verified by | licence | origin |")
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
            record.licence,
            record.origin,
        ]
        print("| " + " | ".join(cells) + " |")


def _recipes(_: argparse.Namespace) -> None:
    """Prints the training recipes, as Markdown."""
    from keras_inception.training.recipes import RECIPES, SOURCES

    head = ["recipe", "model", "width", "pixels", "batch", "epochs", "optimizer", "rate"]
    head += ["schedule", "decay", "heads", "EMA", "source"]
    print("| " + " | ".join(head) + " |\n" + "| --- " * len(head) + "|")
    for name, r in RECIPES.items():
        schedule = r.schedule
        if schedule == "exponential":
            schedule = f"x {r.decay_rate:g} / {r.decay_epochs:g} epochs"
        cells = [f"`{name}`", r.model, f"{r.width_multiplier:g}", r.image_size, r.batch_size]
        cells += [
            r.epochs,
            r.optimizer,
            f"{r.learning_rate:g}",
            schedule,
            f"{r.weight_decay:g}",
            r.aux_weight or "",
        ]
        cells += [r.ema or "", SOURCES[name]]
        print("| " + " | ".join(map(str, cells)) + " |")


def _convert(arguments: argparse.Namespace) -> None:
    """Loads weights of any known format and writes them as a native or a .keras file."""
    output = Path(arguments.output)
    if output.suffix not in (".safetensors", ".keras"):
        raise ValueError(f"--output should end in .safetensors or .keras. Received: {output}")
    if not output.parent.is_dir():
        raise ValueError(f"--output names a folder that does not exist: {output.parent}")
    from keras_inception.models.registry import check_name
    from keras_inception.weights import resolve, save_weights

    check_name(arguments.model)
    loaded = resolve(arguments.source, arguments.model)
    if loaded is None:
        raise ValueError("There is nothing to convert in None.")
    model = keras_inception.get_model(
        arguments.model,
        weights=loaded,
        include_top=bool(loaded.outputs),
        aux_logits=loaded.has_auxiliary_heads,
        classes=arguments.classes or loaded.classes or 1000,
    )
    print(f"{loaded.source}: {loaded.layout}; {len(loaded.arrays)} arrays for {arguments.model}")
    if arguments.show_mapping:
        print("\n".join(f"  {theirs} -> {ours}" for theirs, ours in loaded.layers.items()))
    print(f"built with {model.builder_arguments or 'the default arguments'}")
    print(f"input: {model.preprocessing}")
    if output.suffix == ".keras":
        temporary = output.with_name(f".{output.name}.temporary.keras")
        try:
            model.save(temporary)
            os.replace(temporary, output)
        finally:
            temporary.unlink(missing_ok=True)
    else:
        save_weights(model, output)
    print(f"{output}: {len(model.weights)} arrays, {output.stat().st_size / 2**20:.1f} MiB")


_COMMANDS = {
    "models": (_models, "table of the variants: parameters, multiply-adds, input size"),
    "info": (_info, "table of one variant's blocks: output, parameters, multiply-adds"),
    "weights": (_weights, "table of the published checkpoints that `weights=` takes by name"),
    "recipes": (_recipes, "table of the training recipes that train_tpu.py --recipe takes"),
    "convert": (_convert, "make a native .safetensors or a .keras file of any weights file"),
}


class _Parser(argparse_flags.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"keras-inception: {message}\n")


def run(argv: list[str] | None = None) -> None:
    """The console script; TensorFlow is loaded by the commands that need it."""
    parser = _Parser(prog="keras-inception", description=__doc__, inherited_absl_flags=None)
    parser.add_argument("--version", action="version", version=keras_inception.__version__)
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", required=True, parser_class=_Parser
    )
    added = {
        name: commands.add_parser(name, help=text, description=text)
        for name, (_, text) in _COMMANDS.items()
    }
    info = added["info"]
    info.add_argument("model", help="the variant, such as InceptionV4")
    info.add_argument("--aux", action="store_true", help="with the auxiliary heads")
    convert = added["convert"]
    convert.add_argument("source", help="a weights file, or a published name as in `weights`")
    convert.add_argument("--model", required=True, help="the variant, such as InceptionV4")
    convert.add_argument("--output", required=True, help="the .safetensors or .keras file to write")
    convert.add_argument("--classes", type=int, help="outputs; by default the file's real classes")
    convert.add_argument(
        "--show_mapping", action="store_true", help="list which layer of the file went into which"
    )
    arguments = parser.parse_args(sys.argv[1:] if argv is None else argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        _COMMANDS[arguments.command][0](arguments)
    except (ValueError, OSError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    run()
