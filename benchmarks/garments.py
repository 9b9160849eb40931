"""Makes a data set whose images have several labels: one to four garments on a canvas.

    python benchmarks/garments.py FOLDER --canvases 2000

Each canvas of 56 x 56 pixels has garments of the embedded Fashion-MNIST images in some of its four
quarters; its labels are what they are. The parts take their garments from the parts of that set, so
that no garment is in two of them. FOLDER/table.csv is what `--dataset csv:FOLDER/table.csv` takes;
flags.csv says the same by a column of 0 and 1 for each class. With `--garments 1 1`, table.csv has
one label an image, and `--compare RUN OTHER` holds two evaluated runs on these against each other,
such as one on each table: how often the likeliest class is right, and the paired difference.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_inception.data import Source, open_source

SIDE = 28  # of a garment, in pixels


def write(
    folder: Path,
    canvases: int,
    garments: tuple[int, int] = (2, 4),
    seed: int = 0,
    source: Source | None = None,
) -> Path:
    """Writes canvases, table.csv and flags.csv; returns the path of the first table.

    Args:
        folder: Where to.
        canvases: How many, of which 70 % train, 15 % validate and 15 % test.
        garments: The least and the most on one canvas.
        seed: Decides which garments are on which canvas.
        source: Where garments come from: by default the embedded set.
    """
    source = source or open_source("fashion_mnist_mini", validation_fraction=0.15)
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for part, share in (("train", 0.7), ("validation", 0.15), ("test", 0.15)):
        split = source.splits[part]
        for number in range(round(share * canvases)):
            count = int(rng.integers(garments[0], garments[1] + 1))
            chosen = rng.choice(len(split), count, replace=False)
            canvas = np.zeros((2 * SIDE, 2 * SIDE, 1), np.uint8)
            for place, i in zip(rng.permutation(4), chosen, strict=False):
                top, left = SIDE * (place // 2), SIDE * (place % 2)
                pixels = split.pixels(int(i), 1).numpy()
                canvas[top : top + SIDE, left : left + SIDE] = pixels
            labels = sorted({source.class_names[split.labels[i]] for i in chosen})
            name = f"{part}-{number:05d}.png"
            (folder / name).write_bytes(tf.io.encode_png(canvas).numpy())
            rows.append([name, "|".join(labels), part])
    names = list(source.class_names)
    flags = [[n, p, *(int(one in ls.split("|")) for one in names)] for n, ls, p in rows]
    for name, lines in (
        ("table.csv", [["path", "label", "split"], *rows]),
        ("flags.csv", [["path", "split", *names], *flags]),
    ):
        with (folder / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(lines)
    return folder / "table.csv"


def compare_runs(one: Path, other: Path) -> None:
    """Prints how often the likeliest class of two runs is right, on images with one label."""
    from keras_inception.evaluation.metrics import compare

    right = []
    for run in (one, other):
        with np.load(run / "predictions.npz") as kept:
            if "rank" in kept:
                right.append(kept["rank"][:, 0] == 0)
            else:
                right.append(kept["probabilities"][:, 0].argmax(1) == kept["labels"].argmax(1))
        print(f"{run}: {right[-1].mean():.1%} of {len(right[-1])} images")
    found = compare(*right)
    low, high = found["difference_interval"]
    print(f"difference: {found['difference']:+.1%} ({low:+.1%} to {high:+.1%})")


def main() -> None:
    """Reads the command line and writes the set, or compares two runs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", help="where the set is written")
    parser.add_argument("--compare", type=Path, nargs=2, metavar=("RUN", "OTHER"))
    parser.add_argument("--canvases", type=int, default=2000)
    parser.add_argument("--garments", type=int, nargs=2, default=(2, 4), metavar=("LEAST", "MOST"))
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.compare:
        return compare_runs(*given.compare)
    if not given.folder:
        parser.error("give a folder to write to, or --compare two runs")
    least, most = given.garments
    print(write(given.folder, given.canvases, (least, most), given.seed))


if __name__ == "__main__":
    main()
