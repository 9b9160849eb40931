"""The loss by epochs with the fused BatchNorm and with Keras' own, on three seeds.

    python benchmarks/loss_curves.py [--epochs 3] [--seeds 3]

Trains the demo's recipe at 32 px with a quarter of InceptionV1's filters, and prints the training
loss and the validation accuracy after each epoch: means over the seeds, with their range.
"""

from __future__ import annotations

import argparse
import tempfile
from unittest import mock

from keras_inception.cli.process import prepare_process, use_onednn

prepare_process()
use_onednn()

import keras  # noqa: E402

from keras_inception import recipes  # noqa: E402
from keras_inception.training import networks, train  # noqa: E402
from keras_inception.training.fused import FusedBatchNormalization  # noqa: E402

LAYERS = {"fused": FusedBatchNormalization, "Keras' own": keras.layers.BatchNormalization}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    rows: dict[str, list[list[dict[str, float]]]] = {name: [] for name in LAYERS}
    for seed in range(options.seeds):
        changes = {"image_size": 32, "width_multiplier": 0.25, "aux_weight": 0.0}
        for name, layer in LAYERS.items():
            recipe = recipes.named("demo").replace(**changes, epochs=options.epochs, seed=seed)
            with (
                tempfile.TemporaryDirectory() as folder,
                mock.patch.object(networks, "FusedBatchNormalization", layer),
            ):
                rows[name].append(train(recipe, folder).history)
    print("| BatchNorm | epoch | loss | validation accuracy |\n| --- | ---: | --- | --- |")
    for name, histories in rows.items():
        for epoch in range(options.epochs):
            cells = []
            for field, form in (("loss", ".3f"), ("validation_accuracy", ".1%")):
                values = [history[epoch][field] for history in histories]
                mean = sum(values) / len(values)
                cells.append(f"{mean:{form}} ({min(values):{form}} to {max(values):{form}})")
            print(f"| {name} | {epoch + 1} | {cells[0]} | {cells[1]} |")


if __name__ == "__main__":
    main()
