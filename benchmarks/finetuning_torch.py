"""PyTorch's transfer-learning tutorial on timm's Inception v3, for `finetuning.py run --way torch`.

Needs torch and timm in the environment. The start weights go into timm's layout by the table that
reads timm's files, and the images are those of every other way.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch

from keras_inception.data import evaluation_batches, train_batches
from keras_inception.weights import resolve
from keras_inception.weights.layouts.torch_ports import V3
from keras_inception.weights.readers.safetensors import read_arrays


def timm_network(weights: Path, classes: int) -> torch.nn.Module:
    """timm's network with the weights of a file of ours but for the classifier."""
    arrays = {name: torch.tensor(array) for name, array in read_arrays(weights)[0].items()}
    network = timm.create_model("inception_v3", num_classes=classes, aux_logits=False)
    state = network.state_dict()
    for theirs, ours in V3.names.items():
        if ours.startswith(("predictions", "aux")):
            continue
        if ours.endswith("_conv"):
            state[f"{theirs}.weight"] = arrays[f"{ours}/kernel"].permute(3, 2, 0, 1)
            continue
        state[f"{theirs}.weight"] = arrays.get(
            f"{ours}/gamma", torch.ones_like(state[f"{theirs}.weight"])
        )
        state[f"{theirs}.bias"] = arrays[f"{ours}/beta"]
        state[f"{theirs}.running_mean"] = arrays[f"{ours}/moving_mean"]
        state[f"{theirs}.running_var"] = arrays[f"{ours}/moving_variance"]
    network.load_state_dict(state)
    return network.to(memory_format=torch.channels_last)


def train_with_torch(recipe: Any, source: Any, epochs: int) -> tuple[Any, Any]:
    """As pytorch.org's tutorial "Transfer Learning for Computer Vision", all layers.

    SGD at 0.001 with momentum 0.9 and batches of 4, crops of 8 to 100 % of an image and mirrored
    ones, BatchNorm training, the epoch with the best validation accuracy. The tutorial takes 25
    epochs and divides the rate by ten after seven.
    """
    contract = resolve(recipe.weights, recipe.model).identity.preprocessing
    contract = contract.replace(size=(recipe.image_size,) * 2, crop_fraction=recipe.crop_fraction)
    torch.manual_seed(recipe.seed)
    network = timm_network(Path(recipe.weights), len(source.class_names))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.001, momentum=0.9)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=7, gamma=0.1)
    batches = iter(
        train_batches(source, contract, batch_size=4, seed=recipe.seed, augmentation="crop")
    )

    def answers(images: Any) -> np.ndarray:
        network.eval()
        with torch.inference_mode():
            return torch.softmax(network(_to_torch(images)), 1).numpy()

    best, kept = -1.0, None
    for _ in range(epochs):
        network.train()
        for _ in range(source.num_examples("train") // 4):
            batch = next(batches)
            optimizer.zero_grad()
            label = torch.from_numpy(np.array(batch["label"]))
            torch.nn.functional.cross_entropy(network(_to_torch(batch["image"])), label).backward()
            optimizer.step()
        schedule.step()
        right = 0.0
        for batch in evaluation_batches(source, "validation", contract, batch_size=64):
            hits = answers(batch["image"]).argmax(1) == batch["label"].numpy()
            right += float((hits * batch["weight"].numpy()).sum())
        print(f"torch: {right:.0f} validation images are right", flush=True)
        if right > best:
            best, kept = right, copy.deepcopy(network.state_dict())
    network.load_state_dict(kept)
    return answers, contract


def _to_torch(images: Any) -> torch.Tensor:
    array = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2)
    return array.contiguous(memory_format=torch.channels_last)
