"""Fine-tuning on several data sets, in several ways: accuracy and minutes.

    python benchmarks/finetuning.py prepare --folder data --fashion DIR --emoji DIR --nsfwjs DIR
    python benchmarks/finetuning.py run --folder data --set elpv --way probe --weights data/nsfwjs.safetensors \
        --model InceptionV3 --image_size 150 --results results.json
    python benchmarks/finetuning.py table --results results.json
    python benchmarks/finetuning.py features --image_size 150
    python benchmarks/finetuning.py passes --folder data --set elpv --weights data/nsfwjs.safetensors

`prepare` writes the data sets as folders of images, and the start weights:

- `fashion50`, `fashion200`, `fashion1000`: so many images a class of Fashion-MNIST's training part
  (MIT), tested on 100 a class of its test part; `fashion60000` is the whole of it, to pretrain on.
  DIR holds the IDX files (Debian: dataset-fashion-mnist). `fashion50v` is `fashion50` with 1,000
  other images of the training part for its test: settings can be chosen on it.
- `emoji`: Twitter's drawings at 64 px (CC-BY 4.0) in eight groups, a quarter of them for the test.
  DIR is the unpacked npm package emoji-datasource-twitter. `emojiv` is its training part, a quarter
  of it for the test.
- `elpvv`: the same of elpv's training images with seed 0.
- `nsfwjs.safetensors`: the trained Inception v3 of npm's nsfwjs (MIT), TensorFlow.js layers of
  uint8. For experiments only, and no part of the package.

`elpv` comes from the package elpv-dataset. The way `torch` needs torch and timm: run it with the Python of
`.venv-peers`, which `benchmarks/run.py --peers` makes. `run` trains in one way, on one set, and adds a row to
the results; `sklearn` fits scikit-learn's logistic regression to the features that `probe` kept in the
same `--run_dir`. With `--part validation` nothing of the test part is read: that is for choosing settings
(`--change learning_rate=0.001` changes a field of the recipe). `features` holds the frozen pass of
`probe` against the fastest inference of the package, in images a second; `passes` holds the whole of
`probe`, with its network built, the classifier fitted and the model saved, against Keras' own `predict`
of the same images. The data set is open before either.
"""  # noqa: E501

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from keras_inception.cli.process import prepare_process, use_onednn

prepare_process()  # all ways, Keras' own included
use_onednn()

with contextlib.suppress(ImportError):
    import timm  # noqa: F401 - its libraries crash where TensorFlow's are loaded before them

import keras  # noqa: E402
import numpy as np  # noqa: E402

WAYS = ("random", "probe", "sklearn", "finetune", "finetune_slim", "keras", "torch")


def recipe_of(options: argparse.Namespace) -> Any:
    """The recipe of a way on a set."""
    from keras_inception import recipes

    sets = {"elpv": "elpv"}
    common = {
        "dataset": sets.get(options.set, f"folder:{options.folder / options.set}"),
        "validation_fraction": 0.15,
        "seed": options.seed,
    }
    if options.way == "random":
        recipe = recipes.named("demo").replace(**common)
    else:
        named = {"keras": "finetune", "torch": "finetune", "sklearn": "probe"}.get(
            options.way, options.way
        )
        recipe = recipes.named(named).replace(
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


def train_with_keras(recipe: Any, source: Any, epochs: tuple[int, int]) -> tuple[Any, Any]:
    """As keras.io's guide "Transfer learning & fine-tuning": fit the head, then everything.

    Adam at its default rate for the head on the frozen network, then 1e-5 for all layers;
    BatchNorm in inference mode throughout; mirrored and slightly rotated images; dropout 0.2.
    """
    from keras_inception import get_model
    from keras_inception.data import train_batches
    from keras_inception.weights import resolve

    base = get_model(
        recipe.model,
        weights=recipe.weights,
        input_shape=(recipe.image_size, recipe.image_size, 3),
        include_top=False,
        pooling="avg",
        width_multiplier=recipe.width_multiplier,
    )
    contract = resolve(recipe.weights, recipe.model).identity.preprocessing
    contract = contract.replace(size=(recipe.image_size,) * 2, crop_fraction=recipe.crop_fraction)
    inputs = keras.Input(base.input_shape[1:])
    x = keras.layers.RandomRotation(0.1)(inputs)
    x = keras.layers.Dropout(0.2)(base(x, training=False))
    outputs = keras.layers.Dense(len(source.class_names), activation="softmax")(x)
    model = keras.Model(inputs, outputs)
    batches = train_batches(
        source, contract, batch_size=recipe.batch_size, seed=recipe.seed, augmentation="flip"
    ).map(lambda batch: (batch["image"], batch["label"]))
    steps = source.num_examples("train") // recipe.batch_size
    for trainable, rate, count in ((False, 1e-3, epochs[0]), (True, 1e-5, epochs[1])):
        base.trainable = trainable
        model.compile(keras.optimizers.Adam(rate), "categorical_crossentropy")
        model.fit(batches, epochs=count, steps_per_epoch=steps, verbose=0)
    return model, contract


def fit_with_sklearn(model: keras.Model, features: Path, source: Any) -> None:
    """Gives the network scikit-learn's classifier, with the best C by validation loss."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows, labels = {}, {}
    for part in ("train", "validation"):
        kept = np.load(features / f"{part}.npy").astype(np.float64)
        rows[part] = kept.reshape(-1, kept.shape[-1])
        labels[part] = np.repeat(source.splits[part].labels, kept.shape[1])
    best = None
    for exponent in range(-12, 5):
        regression = LogisticRegression(C=10 ** (exponent / 2), max_iter=2000)
        fitted = make_pipeline(StandardScaler(), regression)
        fitted.fit(rows["train"], labels["train"])
        probabilities = fitted.predict_proba(rows["validation"])
        loss = log_loss(labels["validation"], probabilities, labels=regression.classes_)
        if best is None or loss < best[0]:
            best = loss, fitted
    scaler, regression = (step for _, step in best[1].steps)
    kernel = (regression.coef_ / scaler.scale_).T
    bias = regression.intercept_ - scaler.mean_ @ kernel
    if kernel.shape[1] == 1:  # two classes
        kernel, bias = np.concatenate([0 * kernel, kernel], 1), np.concatenate([0 * bias, bias])
    model.get_layer("predictions").set_weights([kernel, bias])


def run(options: argparse.Namespace) -> None:
    from keras_inception import training
    from keras_inception.data import open_source
    from keras_inception.runs import RunFolder

    recipe = recipe_of(options)
    with tempfile.TemporaryDirectory() as scratch:
        folder = RunFolder(options.run_dir or scratch)
        if options.head:  # of an earlier run with the same set, weights and size
            shutil.copytree(options.head, folder.path / "head", dirs_exist_ok=True)
        # Seconds of earlier calls: of this run, if it was stopped, or else of its head.
        spent = [Path(p) / "seconds.txt" for p in (options.run_dir, options.head) if p]
        seconds = next((float(p.read_text()) for p in spent if p.exists()), 0.0)
        begun = time.perf_counter()
        source = open_source(
            recipe.dataset, validation_fraction=recipe.validation_fraction, seed=recipe.seed
        )
        if options.way == "keras":
            model, contract = train_with_keras(recipe, source, tuple(options.keras_epochs))
            answer = model.predict_on_batch
        elif options.way == "torch":
            from finetuning_torch import train_with_torch

            answer, contract = train_with_torch(recipe, source, options.torch_epochs)
        else:
            try:
                training.train(recipe, folder.path, source=source)
            finally:
                total = seconds + time.perf_counter() - begun
                (folder.path / "seconds.txt").write_text(f"{total:.1f}")
            model, contract = folder.load_model(), folder.preprocessing
            if options.way == "sklearn":
                fit_with_sklearn(model, folder.path / "features", source)
            answer = model.predict_on_batch
        seconds += time.perf_counter() - begun
        add_row(options, recipe, source, answer, contract, seconds)
        if options.last:
            model = last_epochs_network(folder, source)
            options.change.append("keep=last")
            add_row(options, recipe, source, model.predict_on_batch, contract, seconds)


def last_epochs_network(folder: Any, source: Any) -> keras.Model:
    """What the same training gives with `keep=last`."""
    from keras_inception import training

    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "run"
        shutil.copytree(folder.path, copy)
        recipe = folder.recipe.replace(keep="last")
        (copy / "config.json").write_text(json.dumps({"recipe": recipe.to_dict()}))
        return training.train(recipe, copy, source=source).load_model()


def add_row(
    options: argparse.Namespace,
    recipe: Any,
    source: Any,
    answer: Any,
    contract: Any,
    seconds: float,
) -> None:
    """Evaluates on the part that was asked for, and adds the row to the results."""
    from keras_inception.data import evaluation_batches
    from keras_inception.evaluation.run import predict_split

    batches = evaluation_batches(source, options.part, contract, batch_size=64)
    answers = predict_split(answer, batches)
    right = answers["probabilities"].argmax(1) == answers["labels"]
    recall = [right[answers["labels"] == c].mean() for c in np.unique(answers["labels"])]
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
        "accuracy": round(float(right.mean()), 5),
        "balanced_accuracy": round(float(np.mean(recall)), 5),
        "minutes": round(seconds / 60, 2),
        "machine": options.machine or machine(),
        "right": "".join("01"[int(r)] for r in right),
    }
    rows = json.loads(options.results.read_text()) if options.results.exists() else []
    options.results.write_text(json.dumps([*rows, row], indent=1) + "\n")
    print(json.dumps({k: v for k, v in row.items() if k != "right"}), flush=True)


def machine() -> str:
    return f"{os.cpu_count()} CPU cores ({platform.machine()}), {platform.system()}"


def table(options: argparse.Namespace) -> None:
    """The rows of a part as Markdown, a line a way: means over the seeds, gains on the probe."""
    from keras_inception.evaluation.metrics import compare, wilson_interval

    rows = [r for r in json.loads(options.results.read_text()) if r["part"] == options.part]
    print(
        "| data set | training images | network | way | accuracy (95 % interval, or each seed's) "
        "| balanced | minus the probe's (95 % interval) | minutes |"
    )
    print("| --- | ---: | --- | --- | --- | ---: | --- | ---: |")

    def probe_of(row: dict[str, Any]) -> dict[str, Any] | None:
        """The probe on the same images, best of the same network, with no change that it lacks."""
        same = [
            r
            for r in rows
            if r["way"] == "probe"
            and all(r[name] == row[name] for name in ("set", "seed", "images"))
            and {c for c in r["change"] if not c.startswith("crop_fraction=")} <= {*row["change"]}
        ]
        network = ("model", "width", "image_size")
        return max(same, key=lambda r: [r[n] == row[n] for n in network], default=None)

    ways: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for r in rows:
        network = f"{r['model']} {r['width']:g}, {r['image_size']} px, {r['weights'] or 'random'}"
        changes = f" ({', '.join(r['change'])})" if r["change"] else ""
        way = r["way"] + changes
        ways.setdefault((r["set"], str(r["training_images"]), network, way), []).append(r)
    for names, group in ways.items():
        group.sort(key=lambda r: r["seed"])
        low, high = wilson_interval(group[0]["right"].count("1"), group[0]["images"])
        spread = f"{low:.1%} to {high:.1%}"
        if len(group) > 1:
            spread = ", ".join(f"{r['accuracy']:.1%}" for r in group)
        gains = []
        for r in group:
            probe = probe_of(r)
            if probe is not None and probe is not r:
                gains.append(compare(bits(r), bits(probe)))
        accuracy, balanced, minutes = (
            statistics.mean(r[name] for r in group)
            for name in ("accuracy", "balanced_accuracy", "minutes")
        )
        gain = ""
        if len(gains) == len(group):
            each = [
                "{:+.1%} ({:+.1%} to {:+.1%})".format(g["difference"], *g["difference_interval"])
                for g in gains
            ]
            gain = "; ".join(each)
        print(
            f"| {' | '.join(names)} | {accuracy:.1%} ({spread}) | {balanced:.1%} | {gain} "
            f"| {minutes:.1f} |"
        )
    print("\nMachine: " + "; ".join(sorted({r["machine"] for r in rows})))


def bits(row: dict[str, Any]) -> np.ndarray:
    """Of each image of the part, whether its answer was right."""
    return np.array([c == "1" for c in row["right"]])


def features(options: argparse.Namespace) -> None:
    """The probe's pass over images in memory, and what `optimize` chooses for them, in turns."""
    import tensorflow as tf
    from timing import circumstances, randomise, rows

    from keras_inception import InceptionV3, fuse, optimize
    from keras_inception.training.features import feature_network

    side, batch = options.image_size, options.batch_size
    model = randomise(InceptionV3(weights=None, input_shape=(side, side, 3), classes=10))
    images = np.random.default_rng(0).integers(0, 256, (batch, side, side, 3)).astype(np.float32)
    scaled = tf.constant(images / np.float32(127.5) - 1)
    network = fuse(feature_network(model))
    probe = tf.function(lambda x: network(x, training=False))
    fastest = optimize(model, batch_size=batch, fresh=True)
    calls = {
        "probe's frozen pass": lambda: probe(scaled).numpy(),
        "optimize": lambda: fastest.predict(images, batch_size=batch),
    }
    words = {"optimize": "float32, as the probe"}
    case = f"InceptionV3 at {side} px, {batch} images a call"
    print(circumstances())
    for row in rows(case, calls, rounds=options.rounds, images=batch, words=words):
        print(
            f"{row['name']}: {row['images_per_second']:.1f} images/s, {row['ratio']:.2f}x "
            f"({row['ratio_low']:.2f} to {row['ratio_high']:.2f}) {row['word']}"
        )


def passes(options: argparse.Namespace) -> None:
    """The probe's time in passes of Keras' `predict` over the training and validation images."""
    from timing import circumstances, rows

    from keras_inception import get_model, training
    from keras_inception.data import evaluation_batches, open_source
    from keras_inception.weights import resolve

    recipe = recipe_of(options).replace(formats="")
    source = open_source(recipe.dataset, validation_fraction=0.15, seed=recipe.seed)
    contract = resolve(recipe.weights, recipe.model).identity.preprocessing
    contract = contract.replace(size=(recipe.image_size,) * 2, crop_fraction=recipe.crop_fraction)
    images = sum(source.num_examples(part) for part in ("train", "validation"))

    def predict() -> None:
        side = recipe.image_size
        network = get_model(
            recipe.model,
            weights=recipe.weights,
            input_shape=(side, side, 3),
            include_top=False,
            pooling="avg",
        )
        for part in ("train", "validation"):
            batches = evaluation_batches(source, part, contract, batch_size=recipe.batch_size)
            network.predict(batches.map(lambda batch: batch["image"]), verbose=0)

    def probe() -> None:
        with tempfile.TemporaryDirectory() as scratch:
            training.train(recipe, Path(scratch) / "run", source=source)

    print(circumstances())
    case = f"{recipe.model} at {recipe.image_size} px, {images} images of {options.set}"
    calls = {"Keras' predict": predict, "probe": probe}
    base, ours = rows(case, calls, rounds=options.rounds, images=images, warm_up=1)
    print(
        f"{case}: Keras' predict {base['milliseconds'] / 1000:.1f} s, probe "
        f"{ours['milliseconds'] / 1000:.1f} s, {1 / ours['ratio']:.2f} passes "
        f"({1 / ours['ratio_high']:.2f} to {1 / ours['ratio_low']:.2f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    made = verbs.add_parser("prepare")
    made.add_argument("--folder", type=Path, required=True)
    for name in ("fashion", "emoji", "nsfwjs"):
        made.add_argument(f"--{name}", type=Path)
    made.add_argument("--elpv", action="store_true", help="needs the package elpv-dataset")
    one = verbs.add_parser("run")
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
    one.add_argument("--keras_epochs", nargs=2, type=int, default=(2, 4))
    one.add_argument("--torch_epochs", type=int, default=4)
    one.add_argument("--head", help="run_dir of a probe that finetune starts from")
    one.add_argument("--run_dir", help="where the run is kept; removed by default")
    one.add_argument("--last", action="store_true", help="a second row, of keep=last")
    one.add_argument("--machine", help="what the results call this machine")
    one.add_argument("--results", type=Path, required=True)
    whole = verbs.add_parser("passes")
    for option in ("folder", "set", "weights"):
        whole.add_argument(f"--{option}", type=str if option == "set" else Path, required=True)
    whole.add_argument("--image_size", type=int, default=150)
    whole.add_argument("--rounds", type=int, default=3)
    whole.add_argument("--change", nargs="*", default=["crop_fraction=1.0"])
    whole.set_defaults(way="probe", model="InceptionV3", width=1.0, seed=0)
    shown = verbs.add_parser("table")
    shown.add_argument("--results", type=Path, required=True)
    shown.add_argument("--part", choices=("validation", "test"), default="test")
    pass_only = verbs.add_parser("features")
    pass_only.add_argument("--image_size", type=int, default=150)
    pass_only.add_argument("--batch_size", type=int, default=32)
    pass_only.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    if options.verb == "run":
        run(options)
    elif options.verb == "features":
        features(options)
    elif options.verb == "passes":
        passes(options)
    elif options.verb == "table":
        table(options)
    else:
        from finetuning_sets import prepare_elpv, prepare_emoji, prepare_fashion, prepare_nsfwjs

        options.folder.mkdir(parents=True, exist_ok=True)
        if options.fashion:
            prepare_fashion(options.fashion, options.folder)
        if options.emoji:
            prepare_emoji(options.emoji, options.folder)
        if options.nsfwjs:
            prepare_nsfwjs(options.nsfwjs, options.folder / "nsfwjs.safetensors")
        if options.elpv:
            prepare_elpv(options.folder)


if __name__ == "__main__":
    main()
