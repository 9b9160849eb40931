"""Writes keras_inception/models/imagenet_classes.txt: ids and names of ImageNet's 1,000 classes.

pip install timm==1.0.31
python tools/make_imagenet_classes.py [--check]

timm (Apache-2.0) ships the WordNet ids of the 1,000 classes in the order of every published
network but Google's graph of 2015, and the names that WordNet gives them; tensorflow-datasets
(Apache-2.0) ships the same ids, which this script compares. The names are WordNet 3.0's, whose
license lets anyone use and distribute them with its notice: imagenet_classes.LICENSE.txt beside it.
"""

from __future__ import annotations

import sys
from importlib import resources
from pathlib import Path

OUTPUT = Path(__file__).parents[1] / "keras_inception" / "models" / "imagenet_classes.txt"


def main() -> None:
    info = resources.files("timm") / "data" / "_info"
    ids = (info / "imagenet_synsets.txt").read_text().split()
    lines = (info / "imagenet_synset_to_lemma.txt").read_text().splitlines()
    names = dict(line.split("\t") for line in lines)
    try:
        other = resources.files("tensorflow_datasets") / "datasets" / "imagenet2012" / "labels.txt"
        assert other.read_text().split() == ids, "tensorflow-datasets has another order"
        print("the order is that of tensorflow-datasets, too")
    except ModuleNotFoundError:
        print("tensorflow-datasets is not installed: the order was not compared")
    assert len(set(ids)) == 1000 and ids == sorted(ids)
    content = "".join(f"{wordnet_id} {names[wordnet_id]}\n" for wordnet_id in ids)
    if "--check" in sys.argv:
        assert OUTPUT.read_text() == content, f"{OUTPUT} differs"
        print(f"{OUTPUT} is what timm ships")
    else:
        OUTPUT.write_text(content)
        print(f"{OUTPUT}: {len(content)} bytes")


if __name__ == "__main__":
    main()
