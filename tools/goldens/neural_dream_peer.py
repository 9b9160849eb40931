"""inception5h, DeepDream's network, against the torch port in neural-dream: the largest difference.

pip install torch keras-inception
pip download --no-deps neural-dream==0.0.4 && unzip -d neural_dream_0.0.4 neural_dream-0.0.4-*.whl
KERAS_BACKEND=torch PYTHONPATH=neural_dream_0.0.4 python tools/goldens/neural_dream_peer.py
"""

from __future__ import annotations

import sys
from importlib import import_module

import keras
import numpy as np
import torch

import keras_inception
from keras_inception.weights import layouts, native
from keras_inception.weights.readers import torch_pickle

INSIDE = "neural_dream.neural_dream_core.models.inception.inception5h"


def main() -> None:
    """Gives both networks the same random weights and images, and compares the logits."""
    record = keras_inception.get_weights("inception_v1.2015")
    model = keras_inception.InceptionV1(
        weights=None, classes=1008, classifier_activation=None, **record.builder_arguments
    )
    rng = np.random.default_rng(0)
    for variable in model.weights:
        fan_in = np.prod(variable.shape[:-1])
        spread = np.sqrt(2 / fan_in) if len(variable.shape) > 1 else 0.1
        variable.assign(rng.normal(size=variable.shape) * spread)
    arrays = {n: keras.ops.convert_to_numpy(v) for n, v in native.variables(model).items()}
    theirs = layouts.LAYOUTS["google/inception_v1_2015"].restored(arrays, gammas=False)
    ends = {"softmax2": "_pre_activation_matmul"}
    named = {f"{n}{ends.get(n, '_pre_relu_conv')}": values for n, values in theirs.items()}
    peer = import_module(INSIDE).Inception5h()
    peer.add_layers()
    state = torch_pickle.state_dict(named)
    peer.load_state_dict({n: torch.from_numpy(a) for n, a in state.items()}, strict=True)
    caught: list[torch.Tensor] = []
    peer.softmax2_pre_activation_matmul.register_forward_hook(lambda m, i, o: caught.append(o))
    images = rng.uniform(-117, 138, (2, 224, 224, 3)).astype(np.float32)
    with torch.no_grad():
        peer.eval()(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))
    wanted = caught[0].numpy()
    got = keras.ops.convert_to_numpy(model(images, training=False))
    difference, spread = np.abs(got - wanted).max(), np.abs(wanted).max()
    print(f"{difference / spread:.1e} of the largest logit, {spread:.3g}")
    sys.exit(bool(difference > 1e-5 * spread))


if __name__ == "__main__":
    main()
