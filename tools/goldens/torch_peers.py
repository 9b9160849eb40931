"""Goldens of the torch ports.

pip install torch torchvision timm pytorch-fid pytorchcv numpy
pip install --no-deps facenet-pytorch pretrainedmodels munch six
python tools/goldens/torch_peers.py tests/goldens --check
"""

from __future__ import annotations

import sys
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
import record
import rule

BGR = {
    "text": "BGR 0..255 minus (104, 117, 128)",
    "channels": "BGR",
    "divide": 1.0,
    "subtract": [104.0, 117.0, 128.0],
    "then_divide": 1.0,
}
FACES = {
    "text": "(uint8 - 127.5) / 128, RGB",
    "channels": "RGB",
    "divide": 1.0,
    "subtract": 127.5,
    "then_divide": 128.0,
}


def torchvision(name: str) -> Any:
    models = import_module("torchvision.models")
    build = {"tv_googlenet": models.googlenet, "tv_inception_v3": models.inception_v3}[name]
    return build(weights=None, aux_logits=True, init_weights=False, transform_input=False)


def timm(name: str) -> Any:
    network = name.removeprefix("timm_").removesuffix("_aux")
    options = {"aux_logits": True} if name.endswith("_aux") else {}
    return import_module("timm").create_model(network, pretrained=False, **options)


def fid(name: str) -> Any:
    """As pytorch_fid.inception.fid_inception_v3 puts it together, without its download."""
    blocks = import_module("pytorch_fid.inception")
    net = blocks._inception_v3(num_classes=1008, aux_logits=False, weights=None)
    for block, kind, width in (
        *(
            ("Mixed_5" + b, blocks.FIDInceptionA, w)
            for b, w in zip("bcd", (192, 256, 288), strict=True)
        ),
        *(("Mixed_6" + b, blocks.FIDInceptionC, 768) for b in "bcde"),
    ):
        more = {"pool_features": 32 if block == "Mixed_5b" else 64}
        if kind is blocks.FIDInceptionC:
            more = {"channels_7x7": {"b": 128, "c": 160, "d": 160, "e": 192}[block[-1]]}
        setattr(net, block, kind(width, **more))
    net.Mixed_7b, net.Mixed_7c = blocks.FIDInceptionE_1(1280), blocks.FIDInceptionE_2(2048)
    return net


def facenet(name: str) -> Any:
    return import_module("facenet_pytorch").InceptionResnetV1(
        pretrained=None, classify=True, num_classes=8631
    )


def cadene(name: str) -> Any:
    return import_module("pretrainedmodels").bninception(pretrained=None, num_classes=1000)


def pytorchcv(name: str) -> Any:
    network = name.removeprefix("pytorchcv_")
    return getattr(import_module(f"pytorchcv.models.{network}"), network)(pretrained=False)


# peer -> (builder, distribution, side of the input, scaling, classes)
_PM1, _NET = record.PLUS_MINUS_ONE, record.IMAGENET
PEERS: dict[str, tuple[Any, str, int, dict, int]] = {
    "tv_googlenet": (torchvision, "torchvision", 224, _NET, 1000),
    "tv_inception_v3": (torchvision, "torchvision", 299, _NET, 1000),
    "timm_inception_v3": (timm, "timm", 299, _PM1, 1000),
    "timm_inception_v3_aux": (timm, "timm", 299, _PM1, 1000),
    "timm_inception_v4": (timm, "timm", 299, _PM1, 1000),
    "timm_inception_resnet_v2": (timm, "timm", 299, _PM1, 1000),
    "pytorch_fid": (fid, "pytorch-fid", 299, _PM1, 1008),
    "facenet_pytorch": (facenet, "facenet-pytorch", 160, FACES, 8631),
    "cadene_bninception": (cadene, "pretrainedmodels", 224, BGR, 1000),
    "pytorchcv_bninception": (pytorchcv, "pytorchcv", 224, _NET, 1000),
    "pytorchcv_inceptionv3": (pytorchcv, "pytorchcv", 299, _NET, 1000),
    "pytorchcv_inceptionv4": (pytorchcv, "pytorchcv", 299, _NET, 1000),
    "pytorchcv_inceptionresnetv1": (pytorchcv, "pytorchcv", 299, _NET, 1000),
    "pytorchcv_inceptionresnetv2": (pytorchcv, "pytorchcv", 299, _NET, 1000),
}


# Images in 0..255 into a kernel for -1..1 would give activations of hundreds.
GAINS = {"conv1_7x7_s2.weight": 1 / 64}


def layout(state: dict[str, torch.Tensor]) -> list[list]:
    """The rows of a golden: name, shape, kind, axes."""
    rows = []
    for name, value in state.items():
        owner, _, last = name.rpartition(".")
        norm, axes = f"{owner}.running_mean" in state, "-"
        if last == "num_batches_tracked":
            kind = "int"
        elif last == "weight" and not norm:
            kind, axes = ("conv_kernel", "OIHW") if value.ndim == 4 else ("dense_kernel", "OI")
        else:
            kind = {"weight": "bn_gamma", "running_mean": "bn_mean", "running_var": "bn_var"}.get(
                last, "bn_beta" if norm else "bias"
            )
        gain = [GAINS[name]] if name in GAINS else []
        rows.append([name, list(value.shape), kind, axes, *gain])
    return rows


def compute(name: str) -> tuple[dict, dict]:
    build, distribution, size, scaling, classes = PEERS[name]
    net = build(name).eval()
    state = net.state_dict()
    spec = {
        "peer": name,
        "source": f"{distribution}=={metadata.version(distribution)}",
        "preprocess": scaling,
        "classes": classes,
        "input_size": size,
        "arrays": layout(state),
    }
    for row in spec["arrays"]:
        if row[2] != "int":
            state[row[0]] = torch.from_numpy(np.array(rule.array_for(*row)))
    net.load_state_dict(state)
    x = torch.from_numpy(record.images(spec).transpose(0, 3, 1, 2).copy())
    seen: dict[str, torch.Tensor] = {}
    last = [m for m in net.modules() if isinstance(m, torch.nn.Linear)][-1]
    heads = {"aux1": "aux1_logits", "aux2": "aux2_logits", "AuxLogits": "aux_logits"}
    modules = dict(net.named_modules())
    final = {
        "facenet_pytorch": "logits",
        "pytorchcv_inceptionresnetv1": "output.fc1",
        "cadene_bninception": "last_linear",
    }.get(name)
    classifier = modules[final] if final else last
    inner = "embedding" if name == "facenet_pytorch" else "pooled"
    classifier.register_forward_hook(lambda m, i, o: seen.__setitem__(inner, i[0]))
    if name == "facenet_pytorch":
        modules["last_linear"].register_forward_hook(lambda m, i, o: seen.update(pooled=i[0]))
    with torch.no_grad():
        answer = net(x)  # timm's with the auxiliary head gives both
        outputs = {"logits": answer[0] if isinstance(answer, tuple) else answer}
        if name.startswith("tv_"):
            net.transform_input = True
            outputs["logits_transform_input"] = net(x)
            net.transform_input = False
            net(x)
        features = {"aux1": "inception4a", "aux2": "inception4d", "AuxLogits": "Mixed_6e"}
        for head, key in heads.items():
            if head in modules:
                tap = modules[features[head]].register_forward_hook(
                    lambda m, i, o: seen.__setitem__("at", o)
                )
                net(x)
                outputs[key] = modules[head](seen["at"])
                tap.remove()
    outputs |= {key: seen[key] for key in ("pooled", "embedding") if key in seen}
    return spec, {k: v.reshape(2, -1).numpy() for k, v in outputs.items()}


if __name__ == "__main__":
    record.run(dict.fromkeys(PEERS, compute))
