"""keras-inception info: what a network is: identity, contract, labels, blocks, and its diagram."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import keras_inception
from keras_inception import buckets
from keras_inception.cli import contract
from keras_inception.models.figures import Figures, arguments_of, figures_of
from keras_inception.models.registry import check_name

HELP = "what a variant, a published name, a file or a run is: contract, labels, blocks; its diagram"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument(
        "model",
        help="a variant, such as InceptionV4; a published name as in `weights`; a run folder, a "
        ".keras, .tflite or weights file, or a SavedModel",
    )
    contract.add_arguments(parser)
    parser.add_argument("--aux", action="store_true", help="a variant with its auxiliary heads")
    parser.add_argument("--diagram", metavar="FILE.svg", help="draw the network as the papers do")


def run(arguments: argparse.Namespace) -> None:
    """Prints what a network is, and what every block of it gives and costs, as Markdown."""
    if arguments.diagram and not arguments.diagram.endswith(".svg"):
        raise ValueError(f"--diagram should end in .svg. Received: {arguments.diagram}")
    source = os.fspath(buckets.local(arguments.model))
    published = source in keras_inception.list_weights()
    is_file = not published and Path(source).exists()
    if arguments.aux and (is_file or published):
        raise ValueError("--aux is for variants by name; a file has the heads that it has.")
    if published:
        record = keras_inception.get_weights(source)
        _print_record(record)
        model = _print_variant(record.variant, arguments_of(record), bool(arguments.diagram))
    elif is_file:
        model = _print_classifier(source, arguments)
    else:
        known = {"aux_logits": True} if arguments.aux else {}
        model = _print_variant(source, known, bool(arguments.diagram))
    if arguments.diagram:
        if model is None:
            raise ValueError(f"--diagram needs a network that Keras shows; {source} is none.")
        from keras_inception.files import write

        write(Path(arguments.diagram), keras_inception.diagram(model))
        print(f"\n{arguments.diagram}")


def _print_variant(name: str, arguments: dict[str, Any], is_drawn: bool) -> Any:
    """Prints a variant's blocks. Returns its model if it was built: to be drawn, or measured."""
    check_name(name)
    figures, model = figures_of(name, arguments), None
    if is_drawn or figures is None:
        model = keras_inception.get_model(name, weights=None, **arguments)
    _print_blocks(name, figures or Figures.of(model))
    return model


def _print_record(record: Any) -> None:
    """A published file, as its record knows it; nothing is downloaded."""
    figures = [f"{v:.2f} % {n}" for n, v in (("top-1", record.top1), ("top-5", record.top5)) if v]
    size = f", {record.size / 2**20:.1f} MiB" if record.size else ""
    rows = {
        "variant": record.variant,
        "built with": _arguments(record.builder_arguments),
        "contract": _contract(record.preprocessing),
        "classes": f"{record.classes}, {record.label_set}",
        "published": f"{', '.join(figures) or 'no accuracy'} ({record.protocol or 'no protocol'})",
        "file": f"{record.filename}{size}, {record.hash or 'no published hash'}",
        "license": record.license,
        "origin": f"{record.origin}, arXiv {record.paper}",
        "from": record.url,
    }
    _print_rows(record.name, rows)


def _print_classifier(source: str, arguments: argparse.Namespace) -> Any:
    """A file or a run. Returns its Keras model, or None."""
    from keras_inception.models.measure import endpoints

    classifier = keras_inception.load_classifier(contract.opened(source, arguments))
    identity, names = classifier.identity, classifier.class_names
    path = Path(source)
    files = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
    shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    shown = shown if identity.class_names else "their names are not known"
    height, width, channels = classifier.input_shape
    rows = {
        "variant": identity.variant or "not known",
        "built with": _arguments(identity.arguments) if identity.arguments else "not recorded",
        "engine": classifier.engine.name,
        "input": f"{height} x {width} x {channels}",
        "contract": _contract(classifier.preprocessing),
        "classes": f"{len(names)}: {shown}",
        **_thresholds(classifier.thresholds),
        "size": f"{sum(p.stat().st_size for p in files) / 2**20:.1f} MiB",
    }
    _print_rows(path.name, rows)
    model = getattr(classifier.engine, "model", None)
    if model is not None and endpoints(model):
        _print_blocks(identity.variant or path.name, Figures.of(model))
    return model


def _thresholds(thresholds: Any) -> dict[str, str]:
    """A row about a network with a sigmoid for each class."""
    if thresholds is None:
        return {}
    return {
        "outputs": "a sigmoid for each class, which is named from its threshold on: "
        f"{thresholds.min():.3g} to {thresholds.max():.3g}"
    }


def _print_rows(title: str, rows: dict[str, str]) -> None:
    print(title)
    width = max(map(len, rows))
    for name, value in rows.items():
        print(f"  {name:{width}}  {value}")
    print()


def _arguments(arguments: dict[str, Any]) -> str:
    return ", ".join(f"{k}={v!r}" for k, v in arguments.items()) or "the default arguments"


def _contract(contract: Any) -> str:
    if contract is None:
        return "not known"
    fields = contract.to_dict()
    height, width = contract.size
    rest = ", ".join(f"{k}={v}" for k, v in fields.items() if k != "size")
    return f"{height} x {width}, {rest}"


def _print_blocks(name: str, figures: Figures) -> None:
    height, width = figures.smallest_input
    shape = " x ".join(map(str, figures.input_shape))
    print(f"{name} at {shape}; the smallest image is {height} x {width}\n")
    print("| block | output | parameters | million multiply-adds |")
    print("| --- | --- | ---: | ---: |")
    for row in figures.blocks:
        output = " x ".join(map(str, row["output"]))
        millions = row["multiply_adds"] / 1e6
        print(f"| `{row['block']}` | {output} | {row['parameters']:,} | {millions:,.1f} |")
