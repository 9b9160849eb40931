"""Golden outputs of the paper's GoogLeNet, computed by OpenCV's reader of Caffe networks.

    pip install 'opencv-python-headless<5' numpy h5py
    python tools/goldens/caffe_googlenet.py tests/goldens

OpenCV 4 reads Caffe's prototxt and caffemodel files (5 no longer does), with Caffe's own local
response normalisation, pooling that rounds up, and flattening of channels first. The prototxt is
written here after BVLC's models/bvlc_googlenet: layer names, kernels, strides and paddings.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "goldens"))
import native
import rule

SIZE = 224
# Table 1 of arXiv:1409.4842: 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection
TABLE_1 = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


class Net:
    """A prototxt, and the arrays that its layers need."""

    def __init__(self) -> None:
        self.text = [
            'name: "GoogleNet"',
            'input: "data"',
            f"input_shape {{ dim: 2 dim: 3 dim: {SIZE} dim: {SIZE} }}",
        ]
        self.arrays: list[list] = []
        self.channels = {"data": 3}

    def layer(self, kind: str, name: str, bottoms: list[str], body: str = "") -> str:
        sources = " ".join(f'bottom: "{b}"' for b in bottoms)
        self.text.append(
            f'layer {{ name: "{name}" type: "{kind}" {sources} top: "{name}" {body} }}'
        )
        self.channels[name] = sum(self.channels[b] for b in bottoms)
        return name

    def conv(self, name: str, bottom: str, filters: int, kernel: int, stride=1, pad=0) -> str:
        body = f"num_output: {filters} kernel_size: {kernel} stride: {stride} pad: {pad}"
        shape = [filters, self.channels[bottom], kernel, kernel]
        self.arrays += [[f"{name}/0", shape, "conv_kernel", "OIHW"]]
        self.arrays += [[f"{name}/1", [filters], "bias", "-"]]
        top = self.layer("Convolution", name, [bottom], f"convolution_param {{ {body} }}")
        self.channels[top] = filters
        return self.layer("ReLU", f"{name}/relu", [top])

    def dense(self, name: str, bottom: str, inputs: int, units: int) -> str:
        self.arrays += [[f"{name}/0", [units, inputs], "dense_kernel", "OI"]]
        self.arrays += [[f"{name}/1", [units], "bias", "-"]]
        return self.layer(
            "InnerProduct", name, [bottom], f"inner_product_param {{ num_output: {units} }}"
        )

    def pool(self, name: str, bottom: str, kind: str, kernel: int, stride: int, pad=0) -> str:
        body = f"pool: {kind} kernel_size: {kernel} stride: {stride} pad: {pad}"
        return self.layer("Pooling", name, [bottom], f"pooling_param {{ {body} }}")

    def norm(self, name: str, bottom: str) -> str:
        return self.layer(
            "LRN", name, [bottom], "lrn_param { local_size: 5 alpha: 0.0001 beta: 0.75 }"
        )

    def inception(self, row: str, bottom: str) -> str:
        n1, r3, n3, r5, n5, projection = TABLE_1[row]
        name = f"inception_{row}"
        branches = [self.conv(f"{name}/1x1", bottom, n1, 1)]
        reduced = self.conv(f"{name}/3x3_reduce", bottom, r3, 1)
        branches.append(self.conv(f"{name}/3x3", reduced, n3, 3, pad=1))
        reduced = self.conv(f"{name}/5x5_reduce", bottom, r5, 1)
        branches.append(self.conv(f"{name}/5x5", reduced, n5, 5, pad=2))
        pooled = self.pool(f"{name}/pool", bottom, "MAX", 3, 1, 1)
        branches.append(self.conv(f"{name}/pool_proj", pooled, projection, 1))
        return self.layer("Concat", f"{name}/output", branches)

    def auxiliary(self, number: int, bottom: str) -> None:
        name = f"loss{number}"
        x = self.pool(f"{name}/ave_pool", bottom, "AVE", 5, 3)
        x = self.conv(f"{name}/conv", x, 128, 1)
        x = self.dense(f"{name}/fc", x, 128 * 4 * 4, 1024)
        x = self.layer("ReLU", f"{name}/relu_fc", [x])
        self.dense(f"{name}/classifier", x, 1024, 1000)


def googlenet() -> Net:
    net = Net()
    x = net.conv("conv1/7x7_s2", "data", 64, 7, 2, 3)
    x = net.norm("pool1/norm1", net.pool("pool1/3x3_s2", x, "MAX", 3, 2))
    x = net.conv("conv2/3x3_reduce", x, 64, 1)
    x = net.norm("conv2/norm2", net.conv("conv2/3x3", x, 192, 3, pad=1))
    x = net.pool("pool2/3x3_s2", x, "MAX", 3, 2)
    for row in TABLE_1:
        if row in ("4a", "5a"):
            x = net.pool(f"pool{int(row[0]) - 1}/3x3_s2", x, "MAX", 3, 2)
        x = net.inception(row, x)
        if row in ("4a", "4d"):
            net.auxiliary(1 if row == "4a" else 2, x)
    x = net.pool("pool5/7x7_s1", x, "AVE", 7, 1)
    net.dense("loss3/classifier", x, 1024, 1000)
    return net


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the goldens lie")
    folder = parser.parse_args().folder
    net = googlenet()
    spec = {
        "peer": "bvlc_googlenet",
        "source": f"opencv-python {cv2.__version__} cv2.dnn on BVLC's bvlc_googlenet",
        "preprocess": {
            "text": "BGR, minus (104, 117, 123)",
            "channels": "BGR",
            "divide": 1.0,
            "subtract": [104.0, 117.0, 123.0],
            "then_divide": 1.0,
        },
        "classes": 1000,
        "input_size": SIZE,
        "arrays": net.arrays,
    }
    with tempfile.TemporaryDirectory() as temporary:
        prototxt, weights = Path(temporary) / "deploy.prototxt", Path(temporary) / "net.caffemodel"
        prototxt.write_text("\n".join(net.text))
        native.caffemodel(spec, weights)
        reader = cv2.dnn.readNetFromCaffe(str(prototxt), str(weights))
    x = rule.preprocess(rule.images(SIZE), spec)
    reader.setInput(np.ascontiguousarray(x.transpose(0, 3, 1, 2)), "data")
    names = ["loss3/classifier", "pool5/7x7_s1", "loss1/classifier", "loss2/classifier"]
    logits, pooled, aux1, aux2 = reader.forward(names)
    print(f"logits {logits.std():.3f}, images differ by {np.abs(logits[0] - logits[1]).max():.3f}")
    np.savez(
        folder / "bvlc_googlenet.npz",
        logits=logits,
        pooled=pooled.reshape(2, -1),
        aux1_logits=aux1,
        aux2_logits=aux2,
    )
    rows = ",\n".join(json.dumps(row, separators=(",", ":")) for row in spec.pop("arrays"))
    text = json.dumps(spec, indent=1)[:-2] + f',\n "arrays": [\n{rows}\n]}}\n'
    (folder / "bvlc_googlenet.json").write_text(text)


if __name__ == "__main__":
    main()
