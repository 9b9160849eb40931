"""keras-inception recipes: table of the training recipes that train takes."""

from __future__ import annotations

import argparse

from keras_inception.recipes import RECIPES

HELP = "table of the training recipes that train takes"


def run(_: argparse.Namespace) -> None:
    """Prints the training recipes, as Markdown."""
    head = ["recipe", "model", "width", "pixels", "batch", "epochs", "optimizer", "rate"]
    head += ["schedule", "decay", "heads", "EMA", "source"]
    print("| " + " | ".join(head) + " |\n" + "| --- " * len(head) + "|")
    for name, (r, source) in RECIPES.items():
        schedule = r.schedule
        if schedule == "exponential":
            schedule = f"x {r.decay_rate:g} / {r.decay_epochs:g} epochs"
        cells = [f"`{name}`", r.model, f"{r.width_multiplier:g}", r.image_size, r.batch_size]
        cells += [
            f"{r.epochs}, at least {r.min_steps} steps" if r.min_steps else r.epochs,
            r.optimizer,
            f"{r.learning_rate:g}",
            schedule,
            f"{r.weight_decay:g}",
            r.aux_weight or "",
        ]
        cells += [r.ema or "", source]
        print("| " + " | ".join(map(str, cells)) + " |")
