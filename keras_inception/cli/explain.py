"""keras-inception explain: what a network looks at, dreams of, finds alike, and tells apart."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from keras_inception.cli import codes, contract

HELP = "what a network looks at, what its channels answer to, and how image sets differ in it"

_STATISTICS = (".npz", ".npy")  # an .npy holds none: it is refused by name, and not as an image
_MODEL = "a run folder, a .keras or weights file, or a published name as in `weights`"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's own commands and their arguments."""
    methods = parser.add_subparsers(
        dest="method", metavar="METHOD", required=True, parser_class=type(parser)
    )

    def method(name: str, description: str) -> argparse.ArgumentParser:
        return methods.add_parser(name, help=description, description=description)

    def drawing(name: str, description: str) -> argparse.ArgumentParser:
        added, output = method(name, description), f"{name}.png"
        added.add_argument("--model", required=True, help=_MODEL)
        contract.add_arguments(added)
        added.add_argument("--output", default=output, metavar="FILE", help=f"[{output}]")
        return added

    cam = drawing("grad_cam", "where the network sees the evidence for a class")
    cam.add_argument("--layer", help="layer whose map is looked at [the last with places]")
    cover = drawing("occlusion", "what the class's probability loses where the image is covered")
    cover.add_argument("--window", type=int, help="side of the cover [a fifth of the input]")
    for added in (cam, cover):
        added.add_argument("image")
        added.add_argument("--target", metavar="CLASS", help="name or number [the one answered]")

    dream = drawing("dream", "an image with what a layer sees in it enhanced (DeepDream)")
    dream.add_argument("image")
    dream.add_argument("--layer", help="an endpoint or a layer [the endpoint in the middle]")
    dream.add_argument("--size", type=int, help="longer side in pixels [the image's own]")
    feature = drawing("feature", "an image that a channel answers most to")
    feature.add_argument("--layer", required=True, help="an endpoint, a layer, or predictions")
    feature.add_argument("--size", type=int, default=256, help="side in pixels [256]")
    _add_climbing(dream, steps=10)
    _add_climbing(feature, steps=30)

    alike = drawing("nearest", "the images that are nearest to one in feature space")
    alike.add_argument("image")
    alike.add_argument("images", help="folder or pattern that is searched")
    alike.add_argument("--layer", help="layer of the features [the classifier's input]")
    alike.add_argument("--count", type=int, default=5, help="neighbors [5]")
    _add_distance(
        method("distance", "the Frechet and the kernel Inception distance of two sets of images")
    )


def _add_climbing(parser: argparse.ArgumentParser, steps: int) -> None:
    parser.add_argument("--channel", type=int, help="channel, or class, by number [all]")
    parser.add_argument("--octaves", type=int, default=4, help="sizes [4]")
    parser.add_argument("--octave_scale", type=float, default=1.4, help="their ratio [1.4]")
    parser.add_argument("--steps", type=int, default=steps, help=f"steps a size [{steps}]")
    parser.add_argument("--jitter", type=int, default=16, help="pixels [16]")
    parser.add_argument("--seed", type=int, default=0, help="[0]")


def _add_distance(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("first", help="a folder, a pattern, or statistics in an .npz file")
    parser.add_argument("second", nargs="?", help="the same; left out with --save")
    parser.add_argument(
        "--resize",
        default="tf1",
        choices=("tf1", "clean", "pytorch"),
        help="tf1: the original, as torch-fidelity; clean: as clean-fid; pytorch: as pytorch-fid",
    )
    parser.add_argument("--weights", default="fid", help="a file of inception_v3.fid [downloaded]")
    parser.add_argument("--save", metavar="FILE.npz", help="write the first set's statistics")
    parser.add_argument("--inception_score", action="store_true", help="of the first set, too")


def run(arguments: argparse.Namespace) -> int:
    """Computes, writes the image file and says what it shows."""
    if arguments.method == "distance":
        return _distance(arguments)
    if arguments.method == "nearest":
        return _nearest(arguments)
    _picture(arguments)
    return 0


# What each drawing is made by, of these arguments of its own.
_CLIMBING = ("layer", "size", "channel", "octaves", "octave_scale", "steps", "jitter", "seed")
_DRAWINGS = {
    "grad_cam": ("grad_cam", ("image", "target", "layer")),
    "occlusion": ("occlusion", ("image", "target", "window")),
    "dream": ("deep_dream", ("image", *_CLIMBING)),
    "feature": ("visualize", _CLIMBING),
}


def _picture(arguments: argparse.Namespace) -> None:
    """Draws a map of heat, or climbs to an image."""
    from keras_inception import explaining

    function, names = _DRAWINGS[arguments.method]
    given = {name: getattr(arguments, name) for name in names}
    model = contract.opened(arguments.model, arguments)
    found = getattr(explaining, function)(model, **given)
    found.save(arguments.output)
    if hasattr(found, "peak"):
        print(found)
    else:
        first, last = found.objective[-1][0], found.objective[-1][-1]
        print(f"{found.what}: {first:.4g} to {last:.4g} at the last size")
    print(arguments.output)


def _nearest(arguments: argparse.Namespace) -> int:
    import numpy as np

    from keras_inception.explaining import features, nearest
    from keras_inception.explaining.heat import save_row
    from keras_inception.runtime import load_classifier
    from keras_inception.runtime.predict import image_list

    listed = image_list(arguments.images)
    model = load_classifier(contract.opened(arguments.model, arguments))
    query = features(model, arguments.image, layer=arguments.layer)
    others = features(model, listed, layer=arguments.layer)
    numbers, similarity = nearest(query, others, arguments.count)
    found = [listed[i] for i in numbers[0]]
    for image, value in zip(found, similarity[0], strict=True):
        print(f"{value:.4f}  {image}")
    captions = ["", *(f"{value:.3f}" for value in similarity[0])]
    save_row([arguments.image, *found], captions, arguments.output)
    print(arguments.output)
    return 0 if np.isfinite(others).all() else codes.SOME_UNREADABLE


def _distance(arguments: argparse.Namespace) -> int:
    from keras_inception import explaining
    from keras_inception.models.inception_v3 import InceptionV3
    from keras_inception.runtime.predict import image_list

    given = [one for one in (arguments.first, arguments.second) if one]
    if len(given) < 2 and not (arguments.save or arguments.inception_score):
        raise ValueError(
            "A distance takes two sets of images; or give --save or --inception_score for one."
        )
    if arguments.inception_score and arguments.first.endswith(_STATISTICS):
        raise ValueError("--inception_score needs the images, not their statistics.")
    # Read first: what is no statistics, or no image, is known before the network is built.
    read = {one: explaining.read_statistics(one) for one in given if one.endswith(_STATISTICS)}
    listed = {one: image_list(one) for one in given if one not in read}
    model = InceptionV3(weights=arguments.weights, classes=1008)
    name = "inception_v3.fid" if arguments.weights == "fid" else Path(arguments.weights).name
    how = {"weights": name, "resize": arguments.resize}
    features: dict[str, Any] = {
        one: explaining.fid_features(images, resize=arguments.resize, model=model)
        for one, images in listed.items()
    }
    sets = [read.get(one) or explaining.statistics(features[one], **how) for one in given]
    print(f"features of {name}, resize {arguments.resize}")
    if arguments.save:
        explaining.save_statistics(sets[0], arguments.save)
        print(f"{arguments.save}: statistics of {sets[0].images} images")
    if len(sets) == 2:
        print(f"Frechet Inception distance {explaining.frechet_distance(*sets):.4f}")
    if len(features) == 2:
        mean, deviation = explaining.kernel_distance(*features.values())
        print(f"kernel Inception distance {mean:.6f} (deviation over subsets {deviation:.6f})")
    if arguments.inception_score:
        logits = explaining.fid_logits(features[arguments.first], model)
        mean, deviation = explaining.inception_score(logits, splits=min(10, len(logits)))
        print(f"Inception score {mean:.4f} (deviation over parts {deviation:.4f})")
    is_whole = all(len(features[one]) == len(images) for one, images in listed.items())
    return 0 if is_whole else codes.SOME_UNREADABLE
