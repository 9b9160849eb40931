"""Makes the embedded demo set: a class-balanced part of Fashion-MNIST as a TFDS directory.

    apt-get install dataset-fashion-mnist        # Debian's package holds the whole set
    python tools/make_fashion_mnist_mini.py      # writes keras_inception/data/fashion_mnist_mini

6,000 images of the official training part and 2,000 of the official test part, the same number
from each class, drawn without replacement with a fixed seed and stored in shuffled order (so that
any slice of a split is nearly balanced too). `index` is the image's place in the official part.
"""

from __future__ import annotations

import gzip
import shutil
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from absl import app, flags

_SOURCE = flags.DEFINE_string(
    "source", "/usr/share/datasets/fashion-mnist", "Folder of the four .gz files of Fashion-MNIST."
)
_OUTPUT = flags.DEFINE_string(
    "output",
    str(Path(__file__).parents[1] / "keras_inception" / "data"),
    "Folder that receives fashion_mnist_mini/1.0.0.",
)

NAME, VERSION = "fashion_mnist_mini", "1.0.0"
SEED = 0
# split -> (prefix of the official files, images of each class)
SPLITS = {"train": ("train", 600), "test": ("t10k", 200)}
CLASSES = [  # in the order of the labels 0..9, as Zalando names them
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
]
CITATION = """@article{xiao2017fashion,
  title = {Fashion-MNIST: a novel image dataset for benchmarking machine learning algorithms},
  author = {Xiao, Han and Rasul, Kashif and Vollgraf, Roland},
  journal = {arXiv:1708.07747},
  year = {2017}
}"""


def read_idx(path: Path) -> np.ndarray:
    """The array of an IDX file of unsigned bytes (two zero bytes, 0x08, rank, the sides, data)."""
    with gzip.open(path) as file:
        raw = file.read()
    if raw[:3] != b"\0\0\x08":
        raise ValueError(f"{path} is no IDX file of unsigned bytes.")
    shape = np.frombuffer(raw, ">u4", count=raw[3], offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape)


def balanced_part(labels: np.ndarray, per_class: int, rng: np.random.Generator) -> np.ndarray:
    """Indices of `per_class` examples of every class, in shuffled order."""
    chosen = [
        rng.choice(np.flatnonzero(labels == k), per_class, replace=False)
        for k in range(len(CLASSES))
    ]
    return rng.permutation(np.concatenate(chosen))


def main(argv: list[str]) -> None:
    del argv
    source, output = Path(_SOURCE.value), Path(_OUTPUT.value)
    rng = np.random.default_rng(SEED)
    splits = {}
    for split, (prefix, per_class) in SPLITS.items():
        images = read_idx(source / f"{prefix}-images-idx3-ubyte.gz")
        labels = read_idx(source / f"{prefix}-labels-idx1-ubyte.gz")
        part = balanced_part(labels, per_class, rng)
        splits[split] = tf.data.Dataset.from_tensor_slices(
            {
                "image": images[part][..., None],
                "label": labels[part].astype(np.int64),
                "index": part.astype(np.int64),
            }
        )
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(28, 28, 1), encoding_format="png"),
            "label": tfds.features.ClassLabel(names=CLASSES),
            "index": tfds.features.Scalar(np.int64),
        }
    )
    target = output / NAME / VERSION
    with tempfile.TemporaryDirectory() as scratch:
        tfds.dataset_builders.store_as_tfds_dataset(
            name=NAME,
            version=VERSION,
            features=features,
            split_datasets=splits,
            data_dir=scratch,
            description="A class-balanced part of Fashion-MNIST: 6,000 training and 2,000 test "
            "images, 28 x 28 gray. Made by tools/make_fashion_mnist_mini.py.",
            homepage="https://github.com/zalandoresearch/fashion-mnist",
            citation=CITATION,
            disable_shuffling=True,
        )
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(Path(scratch) / NAME / VERSION, target)
    size = sum(f.stat().st_size for f in target.iterdir())
    print(f"Wrote {target}: {size / 1e6:.2f} MB")


if __name__ == "__main__":
    app.run(main)
