"""Goldens of TF-Slim's networks that PyPI's tf-slim holds: v1, v2 and v3.

    pip install tensorflow-cpu tf_keras tf-slim numpy
    python tools/goldens/slim_peers.py tests/goldens --check

tf-slim 1.1.0 is older than TensorFlow 2.21: two names that it imports have moved. v4 and
Inception-ResNet v2 are in research/slim only, so their goldens have names and no outputs.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf
import tf_keras
import tf_keras.src.legacy_tf_layers as legacy_layers
from tensorflow.python.framework import ops

sys.modules["tf_keras.legacy_tf_layers"] = legacy_layers
tf_keras.legacy_tf_layers = legacy_layers
for part in ("base", "convolutional", "core", "normalization", "pooling"):
    module = __import__(f"tf_keras.src.legacy_tf_layers.{part}", fromlist=["_"])
    sys.modules[f"tf_keras.legacy_tf_layers.{part}"] = module
if not hasattr(ops, "Tensor"):
    ops.Tensor = tf.Tensor

from tf_slim import arg_scope  # noqa: E402
from tf_slim.nets import inception_v1, inception_v2, inception_v3  # noqa: E402

sys.path.insert(0, str(Path(__file__).parent))
import record  # noqa: E402
import rule  # noqa: E402

tf.compat.v1.disable_eager_execution()

# peer -> (network, its arg_scope, side of the input)
PEERS = {
    "slim_inception_v1": (inception_v1.inception_v1, inception_v1.inception_v1_arg_scope, 224),
    "slim_inception_v2": (inception_v2.inception_v2, inception_v2.inception_v2_arg_scope, 224),
    "slim_inception_v3": (inception_v3.inception_v3, inception_v3.inception_v3_arg_scope, 299),
}
KINDS = {
    "weights": ("conv_kernel", "HWIO"),
    "pointwise_weights": ("conv_kernel", "HWIO"),
    "depthwise_weights": ("depthwise_kernel", "HWIM"),
    "biases": ("bias", "-"),
    "beta": ("bn_beta", "-"),
    "moving_mean": ("bn_mean", "-"),
    "moving_variance": ("bn_var", "-"),
}


def compute(name: str) -> tuple[dict, dict]:
    network, scope, size = PEERS[name]
    spec = {
        "peer": name,
        "source": f"tf_slim==1.1.0 nets/{name.removeprefix('slim_')}.py",
        "preprocess": record.PLUS_MINUS_ONE,
        "classes": 1001,
        "input_size": size,
        "arrays": [],
    }
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        images = tf.compat.v1.placeholder(tf.float32, (2, size, size, 3))
        with arg_scope(scope()):
            logits, ends = network(images, num_classes=1001, is_training=False)
        for variable in tf.compat.v1.global_variables():
            owner = variable.op.name
            kind, axes = KINDS[owner.rpartition("/")[2]]
            row = [owner, variable.shape.as_list(), kind, axes]
            spec["arrays"].append(row)
            variable.load(rule.array_for(*row), session)
        wanted = {"logits": logits}
        graph = tf.compat.v1.get_default_graph()
        pools = [
            op.outputs[0]
            for op in graph.get_operations()
            if op.type == "AvgPool" and "Logits" in op.name and "Aux" not in op.name
        ]
        wanted["pooled"] = tf.reshape(pools[-1], (2, -1))
        if "AuxLogits" in ends:
            wanted["aux_logits"] = ends["AuxLogits"]
        outputs = session.run(wanted, {images: record.images(spec)})
    return spec, outputs


if __name__ == "__main__":
    record.run(dict.fromkeys(PEERS, compute))
