"""The data sets and start weights of finetuning.py, out of what package registries ship."""

from __future__ import annotations

import base64
import gzip
import json
import re
from pathlib import Path

import numpy as np

FASHION = "T-shirt Trouser Pullover Dress Coat Sandal Shirt Sneaker Bag Boot".split()
TESTED = 100  # images a class


def read_idx(path: Path) -> np.ndarray:
    """An IDX file, gzipped."""
    data = gzip.decompress(path.read_bytes())
    dimensions = data[3]
    shape = np.frombuffer(data, ">i4", dimensions, 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def write_png(path: Path, pixels: np.ndarray) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def prepare_fashion(idx: Path, folder: Path) -> None:
    """Random images of each class; the test parts are of the test part, but for `fashion50v`'s."""
    parts = {}
    for part, name in (("train", "train"), ("test", "t10k")):
        (images,) = idx.rglob(f"{name}-images-idx3-ubyte.gz")
        (labels,) = idx.rglob(f"{name}-labels-idx1-ubyte.gz")
        parts[part] = read_idx(images), read_idx(labels)
    for count in (50, 200, 1000, 6000):
        root = folder / f"fashion{count if count < 6000 else 60000}"
        for part, (images, labels) in parts.items():
            order = np.random.default_rng(0).permutation(len(labels))
            for label, name in enumerate(FASHION):
                members = order[labels[order] == label]
                for i in members[: count if part == "train" else TESTED]:
                    write_png(root / part / name / f"{i:05}.png", images[i])
    # To choose settings on more images than a validation part of 80: others of the training part.
    images, labels = parts["train"]
    order = np.random.default_rng(0).permutation(len(labels))
    for label, name in enumerate(FASHION):
        members = order[labels[order] == label]
        for part, numbers in (("train", members[:50]), ("test", sorted(members[50:200])[:TESTED])):
            for i in numbers:
                write_png(folder / "fashion50v" / part / name / f"{i:05}.png", images[i])


def prepare_emoji(package: Path, folder: Path) -> None:
    from PIL import Image

    for i, emoji in enumerate(json.loads((package / "emoji.json").read_text())):
        if not emoji["has_img_twitter"] or emoji["category"] in ("Component", "Flags"):
            continue
        drawing = Image.open(package / "img/twitter/64" / emoji["image"]).convert("RGBA")
        white = Image.new("RGBA", drawing.size, "white")
        pixels = np.array(Image.alpha_composite(white, drawing).convert("RGB"))
        part = "test" if i % 4 == 3 else "train"
        name = emoji["category"].split()[0]
        write_png(folder / "emoji" / part / name / emoji["image"], pixels)
        if part == "train":  # as fashion50v
            part = "test" if i // 4 % 4 == 3 else "train"
            write_png(folder / "emojiv" / part / name / emoji["image"], pixels)


def prepare_elpv(folder: Path) -> None:
    """`elpv`, a quarter of each class and kind of cell for the test; `elpvv` of its training part.

    Deitsch et al. label a cell's probability of a defect 0, 1/3, 2/3 or 1; their classifiers'
    question is functional or defective, the border between 1/3 and 2/3. Their own draw of a
    quarter is not published.
    """
    from elpv_dataset.utils import load_dataset

    from keras_inception.data.parts import stratified

    images, probability, kinds = load_dataset()
    labels = (probability > 0.5).astype(int)
    rest, tested = stratified(labels * 2 + (np.asarray(kinds) == "poly"), 0.25, 0)

    def write(root: str, number: int, cell: int, part: str) -> None:
        name = ("functional", "defective")[labels[cell]]
        write_png(folder / root / part / name / f"{number:04}.png", images[cell])

    for cell in range(len(labels)):
        write("elpv", cell, cell, "test" if cell in tested else "train")
    _, tested = stratified(labels[rest], 0.25, 0)
    for number, cell in enumerate(rest):  # as fashion50v
        write("elpvv", number, cell, "test" if number in tested else "train")


def prepare_digits(folder: Path) -> None:
    """Of each class every fourth of scikit-learn's written digits is for the test."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images, seen = np.uint8(digits.images * 255 / 16), np.zeros(10, int)
    for i, (pixels, label) in enumerate(zip(images, digits.target, strict=True)):
        part = "test" if seen[label] % 4 == 3 else "train"
        write_png(folder / "digits" / part / str(label) / f"{i:04}.png", pixels)
        seen[label] += 1


def prepare_nsfwjs(package: Path, file: Path) -> None:
    """TensorFlow.js' layers are numbered in the order of keras.applications'."""
    from keras_inception import InceptionV3, Preprocessing, save_weights
    from keras_inception.identity import attach
    from keras_inception.weights.layouts.keras_applications import V3

    models = package / "dist" / "models" / "inception_v3"
    text = (models / "model.min.js").read_text()
    data = b""
    for i in range(1, 7):
        shard = (models / f"group1-shard{i}of6.min.js").read_text()
        data += base64.b64decode(max(re.findall(r'"([A-Za-z0-9+/=]+)"', shard), key=len))
    arrays, at = {}, 0
    entry = (
        r'\{name:"([^"]+)",shape:\[([\d,]*)\],dtype:"float32",'
        r"quantization:\{min:([-\d.e]+),scale:([-\d.e]+),"
    )
    for name, sizes, low, scale in re.findall(entry, text[text.index("weightsManifest") :]):
        shape = [int(n) for n in sizes.split(",")]
        count = int(np.prod(shape))
        stored = np.frombuffer(data, np.uint8, count, at).reshape(shape)
        arrays[name] = (stored * float(scale) + float(low)).astype(np.float32)
        at += count
    assert at == len(data), (at, len(data))
    model = InceptionV3(weights=None, input_shape=(299, 299, 3), include_top=False, pooling="avg")
    for theirs, ours in V3.names.items():
        kind, _, number = theirs.rpartition("_")
        if not number.isdecimal():
            continue
        layer, theirs = model.get_layer(ours), f"{kind}_{int(number) + 1}"  # theirs count from 1
        for variable in layer.weights:
            variable.assign(arrays[f"{theirs}/{variable.name}"])
    contract = Preprocessing(size=(299, 299), crop_fraction=1.0, mean=0.0, std=255.0)
    attach(model, model.identity.replace(preprocessing=contract))
    save_weights(model, file)
