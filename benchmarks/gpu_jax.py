"""v3 and v4 on a GPU under Keras' JAX backend, beside timm: see run.py.

    python benchmarks/gpu_jax.py gpu_jax.json             # needs a GPU, jax, torch and timm
    python benchmarks/gpu_jax.py --rehearse nothing.json  # tiny, on the CPU: does all of it run?
    python benchmarks/run.py --add gpu_jax=gpu_jax.json   # onto the page

TensorFlow is not needed: models and weights run on every Keras backend. Images lie on the device,
except those of `fit` and `predict`, which take them from the host as users' programs do. Each line
has a process of its own; within a case they take turns. The file is written after each case, about
two minutes each, and the same command goes on after the last one that it holds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # several processes on one GPU

import numpy as np
from timing import InAProcess, circumstances, rows

CLASSES, STEPS = 1000, 10
# Precision -> Keras' dtype policy and JAX's precision of products.
PRECISIONS = {
    "float32": ("float32", "float32"),
    "TF32": ("float32", "tensorfloat32"),
    "mixed_bfloat16": ("mixed_bfloat16", "tensorfloat32"),
    "mixed_float16": ("mixed_float16", "tensorfloat32"),
}
TIMM = {"InceptionV3": "inception_v3", "InceptionV4": "inception_v4"}
# In the order of what people use; a run that is stopped lacks the last.
CASES = (
    ("training", "InceptionV3", "mixed_bfloat16"),
    ("inference", "InceptionV3", "mixed_bfloat16"),
    ("training", "InceptionV3", "TF32"),
    ("training", "InceptionV4", "mixed_bfloat16"),
    ("inference", "InceptionV4", "mixed_bfloat16"),
    ("inference", "InceptionV3", "TF32"),
    ("training", "InceptionV3", "mixed_float16"),
    ("training", "InceptionV3", "float32"),
    ("training", "InceptionV4", "TF32"),
)
NO_GPU = "there is no GPU in this machine that JAX can use"


def measure(quick: bool) -> list[dict[str, Any]]:
    if not has_gpu():
        return [{"case": "GPU under JAX", "name": "v3 and v4", "word": NO_GPU}]
    return [row for case in CASES[: 1 if quick else None] for row in one_case(*case)]


def has_gpu() -> bool:
    """Asked in another process, so that this one keeps no memory of the GPU."""
    asks = "import jax; raise SystemExit(jax.default_backend() != 'gpu')"
    return subprocess.run([sys.executable, "-c", asks], capture_output=True).returncode == 0


def one_case(
    kind: str, variant: str, precision: str, rehearse: bool = False
) -> list[dict[str, Any]]:
    batch, steps, rounds = (2, 1, 1) if rehearse else (128, STEPS, 5)
    given = (variant, precision, batch, steps)
    base = "keras.applications" if variant == "InceptionV3" else "keras_inception"

    def made(function: str, *more: Any) -> InAProcess:
        return InAProcess("gpu_jax", function, *given, *more, as_commands=False)

    if kind == "training":
        calls = {
            f"{base} fit": made("of_fit", base),
            "keras_inception, a jitted step": made("of_step"),
            "timm, channels last": made("of_timm", True, False),
            "timm, channels last, torch.compile": made("of_timm", True, True),
        }
        if variant == "InceptionV3":
            calls["keras_inception fit"] = made("of_fit", "keras_inception")
        case = f"GPU: {variant} training at 299 px, {precision}, {steps} steps of {batch} images"
    else:
        calls = {
            f"{base} predict": made("of_predict", base),
            "keras_inception, jitted": made("of_call", False),
            "keras_inception, fused, jitted": made("of_call", True),
            "timm, channels last": made("of_timm", False, False),
            "timm, channels last, torch.compile": made("of_timm", False, True),
        }
        case = f"GPU: {variant} at 299 px, {precision}, {steps} times {batch} images"
    words, started = {}, list(calls.values())
    for name in list(calls):
        try:
            calls[name]()
        except (OSError, RuntimeError) as error:
            words[name] = f"failed here: {error}"
            del calls[name]
    found = rows(case, calls, rounds=rounds, images=batch * steps, words=words, warm_up=1)
    for call in started:  # or the next case lacks their memory
        call.end()
    return found


def built(package: str, variant: str, precision: str, **settings: Any) -> Any:
    """A network in a precision, with BatchNorm's statistics other than the initial ones."""
    import jax
    import keras
    from timing import randomise

    import keras_inception

    policy, products = PRECISIONS[precision]
    jax.config.update("jax_default_matmul_precision", products)
    keras.config.set_dtype_policy(policy)
    source = keras.applications if package == "keras.applications" else keras_inception
    return randomise(getattr(source, variant)(weights=None, classes=CLASSES, **settings))


def arrays(batch: int, steps: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    images = rng.standard_normal((batch * steps, 299, 299, 3), np.float32)
    return images, rng.integers(0, CLASSES, batch * steps).astype(np.int32)


def of_fit(variant: str, precision: str, batch: int, steps: int, package: str) -> Callable[[], Any]:
    """Keras' own loop over images in the host's memory."""
    import keras

    model = built(package, variant, precision, classifier_activation=None)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), loss)
    images, labels = arrays(batch, steps)

    def call() -> None:
        model.fit(images, labels, batch_size=batch, verbose=0, shuffle=False)

    call()
    return call


def of_step(variant: str, precision: str, batch: int, steps: int) -> Callable[[], Any]:
    """The step as Keras' guide for JAX writes it."""
    import jax
    import keras

    model = built("keras_inception", variant, precision, classifier_activation=None)
    optimizer = keras.optimizers.SGD(0.01, momentum=0.9)
    optimizer.build(model.trainable_variables)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def loss_of(trainable: Any, others: Any, images: Any, labels: Any) -> Any:
        logits, others = model.stateless_call(trainable, others, images, training=True)
        return loss(labels, logits.astype("float32")), others

    gradients = jax.value_and_grad(loss_of, has_aux=True)

    def step(state: Any, images: Any, labels: Any) -> Any:
        trainable, others, slots = state
        (value, others), slopes = gradients(trainable, others, images, labels)
        trainable, slots = optimizer.stateless_apply(slots, slopes, trainable)
        return (trainable, others, slots), value

    step = jax.jit(step, donate_argnums=0)
    images, labels = (jax.numpy.asarray(one) for one in arrays(batch))
    lists = (model.trainable_variables, model.non_trainable_variables, optimizer.variables)
    state = [[jax.numpy.array(v.value) for v in variables] for variables in lists]

    def call() -> None:
        nonlocal state
        for _ in range(steps):
            state, value = step(tuple(state), images, labels)
        assert np.isfinite(float(value))

    call()
    return call


def of_predict(
    variant: str, precision: str, batch: int, steps: int, package: str
) -> Callable[[], Any]:
    """Keras' own loop over images in the host's memory."""
    model = built(package, variant, precision)
    images, _ = arrays(batch, steps)

    def call() -> None:
        assert np.isfinite(model.predict(images, batch_size=batch, verbose=0)).all()

    call()
    return call


def of_call(variant: str, precision: str, batch: int, steps: int, fused: bool) -> Callable[[], Any]:
    import jax

    from keras_inception import fuse

    model = built("keras_inception", variant, precision)
    if fused:
        model = fuse(model, precision.removeprefix("mixed_") if "mixed" in precision else None)
    weights = [
        [jax.numpy.asarray(v.value) for v in variables]
        for variables in (model.trainable_variables, model.non_trainable_variables)
    ]
    answer = jax.jit(lambda w, x: model.stateless_call(*w, x, training=False)[0])
    images = jax.numpy.asarray(arrays(batch)[0])

    def call() -> None:
        found = [answer(weights, images) for _ in range(steps)]
        assert np.isfinite(np.asarray(found[-1], np.float32)).all()

    call()
    return call


def of_timm(
    variant: str, precision: str, batch: int, steps: int, training: bool, compiled: bool
) -> Callable[[], Any]:
    """timm's network as its own scripts run it: channels last, autocast."""
    import timm
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision != "float32"
    dtype = {"mixed_bfloat16": torch.bfloat16, "mixed_float16": torch.float16}.get(precision)
    torch.manual_seed(0)
    model = timm.create_model(TIMM[variant], pretrained=False, num_classes=CLASSES)
    model = model.to(device, memory_format=torch.channels_last).train(training)
    run = torch.compile(model) if compiled else model
    images, labels = arrays(batch)
    x = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    x = x.to(device).contiguous(memory_format=torch.channels_last)
    y = torch.from_numpy(labels.astype(np.int64)).to(device)
    cast = torch.autocast(device, dtype=dtype, enabled=dtype is not None)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    scaler = torch.amp.GradScaler(device, enabled=dtype == torch.float16)

    def train() -> None:
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            with cast:
                loss = torch.nn.functional.cross_entropy(run(x), y)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
        assert np.isfinite(loss.item())

    @torch.inference_mode()
    def infer() -> None:
        with cast:
            found = [run(x) for _ in range(steps)]
        assert torch.isfinite(found[-1]).all().item()

    call = train if training else infer
    call()
    return call


def graphics() -> str:
    """The name of the GPU and its driver, as NVIDIA's tool gives them."""
    try:
        asked = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "none"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path, help="a JSON file, which is kept if it has cases")
    parser.add_argument("--rehearse", action="store_true", help="two images, one step, any device")
    options = parser.parse_args()
    if not (options.rehearse or has_gpu()):
        parser.error(NO_GPU)
    facts = circumstances() | {"gpu": graphics()}
    facts["versions"] |= {name: metadata.version(name) for name in ("jax", "torch", "timm")}
    record = {"circumstances": facts, "quick": options.rehearse, "rows": []}
    if options.output.exists():
        record = json.loads(options.output.read_text())
    for case in CASES[len({row["case"] for row in record["rows"]}) :]:
        found = one_case(*case, options.rehearse)
        record["rows"] += found
        options.output.write_text(json.dumps(record))
        for row in found:
            print(row["case"], row["name"], row.get("images_per_second", row["word"]), flush=True)


if __name__ == "__main__":
    main()
