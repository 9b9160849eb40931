"""Fine-tuning on several data sets, in several ways: accuracy and minutes.

    python benchmarks/finetuning.py prepare --folder data --fashion DIR --emoji DIR --nsfwjs DIR
    python benchmarks/finetuning.py run --folder data --set emoji --way probe --image_size 96 \
        --weights data/nsfwjs.safetensors --results results.json
    python benchmarks/finetuning.py rows --results results.json

`prepare` writes the data sets as folders of images, and the start weights:

- `fashion50`, `fashion200`, `fashion1000`: so many images a class of Fashion-MNIST's training part
  (MIT), tested on 100 a class of its test part; `fashion60000` is the whole of it, to pretrain on.
  DIR holds the IDX files (Debian: dataset-fashion-mnist). `fashion50v` is `fashion50` with 1,000
  other images of the training part for its test: settings can be chosen on it.
- `emoji`: Twitter's drawings at 64 px (CC-BY 4.0) in eight groups, a quarter of them for the test.
  DIR is the unpacked npm package emoji-datasource-twitter. `emojiv` is its training part, a quarter
  of it for the test.
- `elpv`: 2,624 solar cells of the package elpv-dataset (CC BY-NC-SA 4.0: not for commercial use),
  functional or defective, a quarter for the test. `elpvv` is its training part, a quarter of it for
  the test. Rows of elpv from before this file wrote it drew the test part by each seed.
- `digits`: 1,797 written digits of 8 x 8 pixels of the package scikit-learn, a quarter of each class
  for the test.
- `nsfwjs.safetensors`: the trained Inception v3 of npm's nsfwjs (MIT), TensorFlow.js layers of
  uint8. For experiments only, and no part of the package.

`run` trains in one way, on one set, and adds a row to
the results. With `--part validation` nothing of the test part is read: that is for choosing settings
(`--change learning_rate=0.001` changes a field of the recipe). `rows` prints the results as
docs/fine_tuning.json holds them, a line a way; pages.py makes the picture and the table of that.

Whether the recipes `probe` and `finetune` should take the whole image is measured by

    for set in elpvv emojiv fashion50v; do for seed in 0 1 2; do for crop in 0.875 1.0; do
      for way in probe finetune; do python benchmarks/finetuning.py run --folder data --set $set \
        --way $way --seed $seed --part test --change crop_fraction=$crop \
        --weights data/nsfwjs.safetensors --results crops.json; done; done; done; done
"""  # noqa: E501

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

WAYS = ("random", "probe", "finetune", "finetune_slim")


def recipe_of(options: argparse.Namespace) -> Any:
    """The recipe of a way on a set."""
    from keras_inception import recipes

    common = {
        "dataset": f"folder:{options.folder / options.set}",
        "validation_fraction": 0.15,
        "seed": options.seed,
    }
    if options.way == "random":
        recipe = recipes.named("demo").replace(**common)
    else:
        recipe = recipes.named(options.way).replace(
            **common,
            model=options.model,
            width_multiplier=options.width,
            weights=str(options.weights),
            image_size=options.image_size,
        )
    changes = dict(change.split("=", 1) for change in options.change)
    known = recipe.to_dict()
    typed = {
        name: text == "True" if isinstance(known[name], bool) else type(known[name])(text)
        for name, text in changes.items()
    }
    return recipe.replace(**typed)


def run(options: argparse.Namespace) -> None:
    """Trains in one way, evaluates on the part that was asked for, and adds a row."""
    from keras_inception.cli.process import prepare_process, use_onednn

    prepare_process()
    use_onednn()

    import numpy as np

    from keras_inception import evaluate, training
    from keras_inception.data import open_source

    recipe = recipe_of(options)
    with tempfile.TemporaryDirectory() as scratch:
        begun = time.perf_counter()
        source = open_source(
            recipe.dataset, validation_fraction=recipe.validation_fraction, seed=recipe.seed
        )
        folder = training.train(recipe, options.run_dir or scratch, source=source)
        minutes = (time.perf_counter() - begun) / 60
        measured = Path(scratch) / "measured"
        result = evaluate(folder.path, source, part=options.part, output=measured)["results"][0]
        with np.load(measured / "predictions.npz") as kept:
            right = kept["rank"][:, 0] == 0
    row = {
        "set": options.set,
        "way": options.way,
        "change": options.change,
        "model": recipe.model,
        "width": recipe.width_multiplier,
        "image_size": recipe.image_size,
        "weights": Path(recipe.weights).stem if recipe.weights else "",
        "seed": options.seed,
        "part": options.part,
        "images": len(right),
        "training_images": source.num_examples("train"),
        "accuracy": round(result["accuracy"], 5),
        "balanced_accuracy": round(result["balanced_accuracy"], 5),
        "minutes": round(minutes, 2),
        "machine": options.machine or machine(),
        "right": "".join("01"[int(r)] for r in right),
    }
    rows = json.loads(options.results.read_text()) if options.results.exists() else []
    options.results.write_text(json.dumps([*rows, row], indent=1) + "\n")
    print(json.dumps({k: v for k, v in row.items() if k != "right"}), flush=True)


def machine() -> str:
    return f"{os.cpu_count()} CPU cores ({platform.machine()}), {platform.system()}"


def print_rows(options: argparse.Namespace) -> None:
    """The results of a part as docs/fine_tuning.json holds them: means over seeds, in per cent."""
    from keras_inception.evaluation.metrics import compare, wilson_interval

    results = [r for r in json.loads(options.results.read_text()) if r["part"] == options.part]
    ways: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for r in results:
        network = f"{r['model']} {r['width']:g}, {r['image_size']} px, {r['weights'] or 'random'}"
        ways.setdefault((r["set"], network, r["way"], *r["change"]), []).append(r)
    for (name, network, way, *changes), group in ways.items():
        group.sort(key=lambda r: r["seed"])
        low, high = wilson_interval(group[0]["right"].count("1"), group[0]["images"])
        accuracy, balanced, minutes = (
            statistics.mean(r[field] for r in group)
            for field in ("accuracy", "balanced_accuracy", "minutes")
        )
        row = {
            "set": name,
            "training_images": group[0]["training_images"],
            "network": network,
            "way": way,
            "changes": changes,
            "accuracy": round(100 * accuracy, 1),
            "of_seeds": [round(100 * r["accuracy"], 1) for r in group],
            "interval": [round(100 * low, 1), round(100 * high, 1)],  # of the first seed
            "balanced": round(100 * balanced, 1),
            "minutes": round(minutes, 1),
        }
        gains = []
        for r, probe in ((r, probe_of(r, results)) for r in group):
            if probe is not None and probe is not r:
                found = compare(bits(r), bits(probe))
                three = (found["difference"], *found["difference_interval"])
                gains.append([round(100 * number, 1) for number in three])
        print(json.dumps(row | ({"minus_probe": gains} if gains else {})))


def probe_of(row: dict[str, Any], results: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The probe on the same images, best of the same network, with no change that it lacks."""
    same = [
        r
        for r in results
        if r["way"] == "probe"
        and all(r[name] == row[name] for name in ("set", "seed", "images"))
        and {c for c in r["change"] if not c.startswith("crop_fraction=")} <= {*row["change"]}
    ]
    network = ("model", "width", "image_size")
    return max(same, key=lambda r: [r[n] == row[n] for n in network], default=None)


def bits(row: dict[str, Any]) -> Any:
    """Of each image of the part, whether its answer was right."""
    import numpy as np

    return np.array([c == "1" for c in row["right"]])


def prepare(options: argparse.Namespace) -> None:
    """Writes the sets and start weights whose sources were given."""
    from finetuning_sets import (
        prepare_digits,
        prepare_elpv,
        prepare_emoji,
        prepare_fashion,
        prepare_nsfwjs,
    )

    options.folder.mkdir(parents=True, exist_ok=True)
    if options.fashion:
        prepare_fashion(options.fashion, options.folder)
    if options.emoji:
        prepare_emoji(options.emoji, options.folder)
    if options.nsfwjs:
        prepare_nsfwjs(options.nsfwjs, options.folder / "nsfwjs.safetensors")
    if options.elpv:
        prepare_elpv(options.folder)
    if options.digits:
        prepare_digits(options.folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    made = verbs.add_parser("prepare")
    made.set_defaults(call=prepare)
    made.add_argument("--folder", type=Path, required=True)
    for name in ("fashion", "emoji", "nsfwjs"):
        made.add_argument(f"--{name}", type=Path)
    made.add_argument("--digits", action="store_true", help="needs the package scikit-learn")
    made.add_argument("--elpv", action="store_true", help="needs the package elpv-dataset")
    one = verbs.add_parser("run")
    one.set_defaults(call=run)
    one.add_argument("--folder", type=Path, required=True, help="what prepare wrote")
    one.add_argument("--set", required=True)
    one.add_argument("--way", choices=WAYS, required=True)
    one.add_argument("--weights", default="", help="start weights, but for random")
    one.add_argument("--model", default="InceptionV3")
    one.add_argument("--width", type=float, default=1.0)
    one.add_argument("--image_size", type=int, default=150)
    one.add_argument("--seed", type=int, default=0)
    one.add_argument("--part", choices=("validation", "test"), default="validation")
    one.add_argument("--change", nargs="*", default=[], metavar="FIELD=VALUE")
    one.add_argument("--run_dir", help="where the run is kept; removed by default")
    one.add_argument("--machine", help="what the results call this machine")
    one.add_argument("--results", type=Path, required=True)
    shown = verbs.add_parser("rows")
    shown.set_defaults(call=print_rows)
    shown.add_argument("--results", type=Path, required=True)
    shown.add_argument("--part", choices=("validation", "test"), default="test")
    options = parser.parse_args()
    options.call(options)


if __name__ == "__main__":
    main()
