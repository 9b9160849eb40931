"""Goldens of the distances: pytorch-fid, torch-fidelity and clean-fid on the same seeded weights.

pip install torch torchvision pytorch-fid torch-fidelity clean-fid "scipy<1.16"
python tools/goldens/fid_peers.py tests/goldens --check

None of the three downloads its weights here: each runs the network of `pytorch_fid.json`'s arrays
on its own resize of the images of `tests/goldens/fid.py`.
"""

from __future__ import annotations

import json
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

import cleanfid.fid as cleanfid
import numpy as np
import pytorch_fid.fid_score as pytorch_fid
import torch
import torch_peers
from cleanfid.resize import build_resizer
from pytorch_fid import inception
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "goldens"))
import fid
import rule

FILE = "fid_peers.json"
PACKAGES = ("pytorch-fid", "torch-fidelity", "clean-fid", "scipy", "torch")


def network() -> torch.nn.Module:
    net = torch_peers.fid("pytorch_fid").eval()
    state = net.state_dict()
    for row in torch_peers.layout(state):
        if row[2] != "int":
            state[row[0]] = torch.from_numpy(np.array(rule.array_for(*row)))
    net.load_state_dict(state)
    return net


def batch(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None]


def tf1(net: torch.nn.Module, images: list[np.ndarray]) -> dict[str, torch.Tensor]:
    """torch-fidelity."""
    with tempfile.NamedTemporaryFile(suffix=".pth") as file:
        state = {k: v for k, v in net.state_dict().items() if "AuxLogits" not in k}
        torch.save(state, file.name)
        names = ["2048", "logits_unbiased"]
        extractor = FeatureExtractorInceptionV3(
            "seeded", names, feature_extractor_weights_path=file.name
        )
    rows = [extractor(batch(image)) for image in images]
    return {name: torch.cat([row[i] for row in rows]) for i, name in enumerate(names)}


def pytorch(net: torch.nn.Module, images: list[np.ndarray]) -> np.ndarray:
    """pytorch-fid."""
    inception.fid_inception_v3 = lambda: net
    blocks = inception.InceptionV3([3]).eval()
    with torch.no_grad():
        rows = [blocks(batch(image).float() / 255)[0].flatten(1) for image in images]
    return torch.cat(rows).numpy()


def clean(net: torch.nn.Module, images: list[np.ndarray]) -> np.ndarray:
    """clean-fid, whose own file of weights scales by (x - 128) / 128."""
    inception.fid_inception_v3 = lambda: net
    blocks = inception.InceptionV3([3], resize_input=False, normalize_input=False).eval()
    resize = build_resizer("clean")
    with torch.no_grad():
        rows = [blocks((batch(resize(i)) - 128) / 128)[0].flatten(1) for i in images]
    return torch.cat(rows).numpy()


def compute() -> dict[str, Any]:
    net, sets = network(), fid.images()
    one, other = (tf1(net, s) for s in sets)
    stats = [fid_features_to_statistics(f["2048"]) for f in (one, other)]
    size = {"kid_subsets": 1, "kid_subset_size": len(sets[0]), "verbose": False}
    score = isc_features_to_metric(
        torch.cat([one["logits_unbiased"], other["logits_unbiased"]]), splits=2, shuffle=False
    )
    result: dict[str, Any] = {
        "tf1": {
            "fid": fid_statistics_to_metric(*stats, verbose=False)["frechet_inception_distance"],
            "kid": kid_features_to_metric(one["2048"], other["2048"], **size)[
                "kernel_inception_distance_mean"
            ],
            "inception_score": score["inception_score_mean"],
            "inception_score_std": score["inception_score_std"],
            "features": one["2048"][0, ::64].tolist(),
        }
    }
    features = [pytorch(net, s) for s in sets]
    moments = [m for f in features for m in (f.mean(0), np.cov(f, rowvar=False))]
    result["pytorch"] = {
        "fid": float(pytorch_fid.calculate_frechet_distance(*moments)),
        "features": features[0][0, ::64].tolist(),
    }
    features = [clean(net, s) for s in sets]
    result["clean"] = {
        "fid": float(cleanfid.fid_from_feats(*features)),
        "kid": cleanfid.kernel_distance(*features, num_subsets=1),
        "features": features[0][0, ::64].tolist(),
    }
    return result


if __name__ == "__main__":
    computed = compute()
    path = Path(sys.argv[1]) / FILE
    if "--check" in sys.argv:
        there = json.loads(path.read_text())["results"]
        for mode, values in computed.items():
            for name, value in values.items():
                kept = np.array(there[mode][name])
                # Of the largest: features behind a ReLU may be 0.
                worst = np.max(np.abs(np.array(value) - kept)) / np.max(np.abs(kept))
                print(f"{mode} {name}: {worst:.1e} of the largest")
                assert worst < 1e-3, (mode, name)
    else:
        versions = {name: metadata.version(name) for name in PACKAGES}
        path.write_text(json.dumps({"versions": versions, "results": computed}, indent=1) + "\n")
        print(path.read_text())
