"""How well wrong labels and twins are found, where they are known.

    python benchmarks/finetuning.py prepare --folder data ...    # the sets: see there
    python benchmarks/knowing_data.py labels --data data/SET --model WEIGHTS --kind random \
        --cleanlab ENVIRONMENT/bin/python
    python benchmarks/knowing_data.py twins --data data/SET

`labels` gives 5 % of the training labels another class: a random one, or the one that the network
takes for it most often (`similar`). It prints how many of them are among as many of the most
suspicious images, the estimate of their number (and that of the labels as they were, some of which
are wrong, too), what cleanlab finds on the same probabilities, in an environment of its own, and the
test accuracy of the probe with the flipped labels, after the suspects took their
suggestions where these are right, and with the labels as they were.

`twins` hides copies of 500 images among the others (cropped to 80 %, mirrored, recompressed,
recolored; 125 each) and prints how many are found, and how many other pairs; below it the same of
a difference hash of 64 bits.
"""  # noqa: E501

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from keras_inception.curation import Network
    from keras_inception.data.splits import Split

_CLEANLAB = """
import sys, json, numpy as np
from cleanlab.count import num_label_issues
from cleanlab.rank import get_label_quality_scores
z = np.load(sys.argv[1])
order = np.argsort(get_label_quality_scores(z["labels"], z["probabilities"]), kind="stable")
margin = get_label_quality_scores(z["labels"], z["probabilities"], method="normalized_margin")
print(json.dumps({
    "order": order.tolist(), "margin": np.argsort(margin, kind="stable").tolist(),
    "wrong": int(num_label_issues(z["labels"], z["probabilities"]))}))
"""


def labels(options: argparse.Namespace) -> None:
    from keras_inception.curation import find_wrong_labels
    from keras_inception.data import open_source
    from keras_inception.data.parts import what_stays_together
    from keras_inception.evaluation.metrics import compare, wilson_interval

    source = open_source(f"folder:{options.data}", validation_fraction=0.0)
    network, classes = _network(options.model, options.image_size), len(source.class_names)
    train, test = source.splits["train"], source.splits["test"]
    features, tested = network.of_split(train), network.of_split(test)
    together, right = what_stays_together(train), train.labels
    before = find_wrong_labels(features, right, classes, together)
    rng = np.random.default_rng(options.seed)
    flipped = rng.permutation(len(right))[: round(0.05 * len(right))]
    given = right.copy()
    if options.kind == "random":
        given[flipped] = (right[flipped] + rng.integers(1, classes, len(flipped))) % classes
    else:
        mixed = np.stack([before.probabilities[right == i].mean(0) for i in range(classes)])
        np.fill_diagonal(mixed, 0)
        given[flipped] = mixed.argmax(1)[right[flipped]]
    found = find_wrong_labels(features, given, classes, together)
    count = len(flipped)
    head = f"{options.data.name}, {options.kind}, {len(right):,} images, {count} flipped"
    share = np.isin(found.order[:count], flipped).mean()
    print(f"{head}: {share:.1%} found; estimate {found.wrong}, as they were {before.wrong}")
    sure = (before.probabilities.argmax(1) == right).mean()
    print(f"the classifier, on images that it has not seen: {sure:.1%} as they were")
    if options.cleanlab:
        theirs = _cleanlab(options.cleanlab, found.probabilities, given)
        shares = [np.isin(theirs[way][:count], flipped).mean() for way in ("order", "margin")]
        print(
            f"cleanlab: {shares[0]:.1%} found by self-confidence, {shares[1]:.1%} by margin; "
            f"estimate {theirs['wrong']}"
        )
    corrected = given.copy()
    looked = found.suspects  # a person takes a suggestion where it is right, and no other
    agreed = looked[found.suggestions[looked] == right[looked]]
    corrected[agreed] = right[agreed]
    hits = {}
    for name, own in (("flipped", given), ("corrected", corrected), ("as they were", right)):
        hits[name] = _right(features, own, tested, test.labels, classes)
        low, high = wilson_interval(int(hits[name].sum()), len(test))
        print(f"test accuracy, labels {name}: {hits[name].mean():.2%} ({low:.2%} to {high:.2%})")
    gain = compare(hits["corrected"], hits["flipped"])
    low, high = gain["difference_interval"]
    print(f"corrected minus flipped: {gain['difference']:+.2%} ({low:+.2%} to {high:+.2%})")


def _network(model: Path, side: int) -> Network:
    """What makes the features; of images of `side` pixels, if that is not 0."""
    from keras_inception.curation import Network

    network = Network.open(str(model))
    if not side:
        return network
    contract = dataclasses.replace(network.contract, size=(side, side))
    return Network.open(str(model), contract)


def _right(
    features: np.ndarray, own: np.ndarray, tested: np.ndarray, truth: np.ndarray, classes: int
) -> np.ndarray:
    """Where a probe that was fitted to some labels is right."""
    from keras_inception.data.parts import stratified
    from keras_inception.training.linear import fit_head

    kept, held = stratified(own, 0.15, 0)
    head = fit_head(features[kept], own[kept], features[held], own[held], classes)
    return (tested @ head.kernel + head.bias).argmax(1) == truth


def _cleanlab(python: Path, probabilities: np.ndarray, given: np.ndarray) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "probabilities.npz"
        np.savez(file, probabilities=probabilities, labels=given)
        ran = subprocess.run(
            [python, "-c", _CLEANLAB, file], capture_output=True, text=True, check=True
        )
    return json.loads(ran.stdout.splitlines()[-1])


def twins(options: argparse.Namespace) -> None:
    from keras_inception.data.splits import array_split
    from keras_inception.data.twins import COPIES, copy, find_twins
    from keras_inception.runtime.predict import image_list, pixels

    files, rng = image_list(str(options.data)), np.random.default_rng(options.seed)
    originals = rng.permutation(len(files))[:500]
    splits, kinds = [], np.arange(len(originals)) % len(COPIES)
    for file in files:
        splits.append(array_split(pixels(file)[None], np.zeros(1, int), str(file)))
    for i, kind in zip(originals, kinds, strict=True):
        made = copy(pixels(files[i]), COPIES[kind], rng)
        splits.append(array_split(np.ascontiguousarray(made)[None], np.zeros(1, int), "copy"))
    found = find_twins(splits, seed=options.seed)
    hidden = {(int(i), len(files) + n) for n, i in enumerate(originals)}
    pairs = [tuple(pair) for pair in found.pairs.tolist()]
    hits = [pair for pair in pairs if pair in hidden]
    others = [pair for pair in pairs if pair not in hidden]
    print(
        f"{options.data.name}, {len(files):,} images: {len(hits) / len(hidden):.1%} of "
        f"{len(hidden)} copies found from likeness {found.threshold:.3f} on, {len(others)} other "
        f"pairs, {sum(b < len(files) for _, b in others)} of them of originals"
    )
    copies = {n for (_, n) in hits}
    for kind, name in enumerate(COPIES):
        of_kind = np.flatnonzero(kinds == kind) + len(files)
        print(f"  {name}: {np.mean([n in copies for n in of_kind.tolist()]):.1%}")
    alike = _by_hash(splits)
    hits = sum(bool(alike[i, j]) for i, j in hidden)
    print(
        f"by a difference hash of 64 bits, of which 3 may differ: {hits / len(hidden):.1%} found, "
        f"{int(np.triu(alike, 1).sum()) - hits} other pairs"
    )


def _by_hash(splits: list[Split]) -> np.ndarray:
    """bool (n, n): whose hashes of 9 x 8 gray pixels, each brighter than the next or not, agree."""
    from PIL import Image

    gray = [Image.fromarray(split.pixels(0).numpy()).convert("L") for split in splits]
    small = np.stack([np.asarray(g.resize((9, 8), Image.Resampling.BOX), int) for g in gray])
    signs = np.where(np.diff(small, axis=2) > 0, 1.0, -1.0).reshape(len(splits), -1)
    return signs @ signs.T >= 64 - 2 * 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(required=True)
    checked = verbs.add_parser("labels")
    checked.set_defaults(call=labels)
    checked.add_argument("--model", type=Path, required=True, help="a run folder or weights")
    checked.add_argument("--image_size", type=int, default=0, help="another than the model's")
    checked.add_argument("--kind", choices=("random", "similar"), default="random")
    checked.add_argument("--cleanlab", type=Path, help="a Python that has cleanlab")
    alike = verbs.add_parser("twins")
    alike.set_defaults(call=twins)
    for one in (checked, alike):
        one.add_argument("--data", type=Path, required=True, help="folder of class folders")
        one.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.call(options)


if __name__ == "__main__":
    main()
