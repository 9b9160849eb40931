"""From a command to the end of a training: what is checked, and what passes between stages."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_inception import get_model, get_weights, save_weights
from keras_inception.data import open_run, open_source
from keras_inception.exporting import SavedModel, TFLite
from keras_inception.models.registry import default_preprocessing
from keras_inception.recipes import Recipe, named
from keras_inception.runs import RunFolder
from keras_inception.runtime import load_classifier
from keras_inception.training import (
    Interrupted,
    LostImage,
    balance,
    features,
    loop,
    memory,
    networks,
    stages,
    train,
)
from keras_inception.training.lost import lost_images
from keras_inception.training.networks import training_network
from keras_inception.training.progress import Progress
from keras_inception.training.step import Step
from keras_inception.weights import resolve

GOLDENS = Path(__file__).parents[1] / "goldens"
sys.path.insert(0, str(GOLDENS))
import native  # noqa: E402

TINY = Recipe(
    dataset="fake",
    image_size=32,
    width_multiplier=0.25,
    epochs=1,
    batch_size=64,
    learning_rate=0.016,
    ema=0.0,
    precise_bn=0,  # fewer passes over the images
)

# A file of each publisher's layout: its published name and its writer. The first is the cheapest
# of those whose scaling and padding are not the variant's usual ones.
PUBLISHED = {
    "bvlc_googlenet": ("inception_v1.caffe", native.caffemodel),
    "tv_googlenet": ("inception_v1.torchvision", native.torch_zip),
    "slim_inception_v1": ("inception_v1.slim", native.tf_v1),
    "slim_inception_v2": ("bn_inception.slim", native.tf_v1),
    "cadene_bninception": ("bn_inception.cadene", native.torch_old),
    "tf2cv_bninception": ("bn_inception.tf2cv", native.tf2cv_h5),
    "slim_inception_v3": ("inception_v3.slim", native.tf_v2),
    "keras_InceptionV3": ("inception_v3.keras", native.keras_h5),
    "tv_inception_v3": ("inception_v3.torchvision", native.torch_zip),
    "timm_inception_v3": ("inception_v3.timm_tf", native.safetensors),
    "pytorch_fid": ("inception_v3.fid", native.torch_legacy),
    "pytorchcv_inceptionv3": ("inception_v3.pytorchcv", native.torch_zip),
    "timm_inception_v4": ("inception_v4.timm_tf", native.safetensors),
    "facenet_pytorch": ("inception_resnet_v1.facenet_vggface2", native.torch_zip),
    "pytorchcv_inceptionresnetv1": ("inception_resnet_v1.pytorchcv", native.torch_legacy),
    "keras_InceptionResNetV2": ("inception_resnet_v2.keras", native.keras_h5),
    "timm_inception_resnet_v2": ("inception_resnet_v2.timm_tf", native.safetensors),
}


@pytest.mark.parametrize(
    "peer",
    [
        peer if not i else pytest.param(peer, marks=pytest.mark.slow)
        for i, peer in enumerate(PUBLISHED)
    ],
)
def test_the_second_stage_starts_where_the_first_one_ended(peer, tmp_path, monkeypatch):
    """From a publisher's file: the same network, bit for bit, and the same contract."""
    name, writer = PUBLISHED[peer]
    record = get_weights(name)
    file = tmp_path / record.filename.removesuffix(".tar.gz")
    writer(json.loads((GOLDENS / f"{peer}.json").read_text()), file)
    size = 75 if record.variant in ("InceptionV3", "InceptionV4") else 64
    size = 75 if record.variant.startswith("InceptionResNet") else size
    x = np.random.default_rng(0).normal(size=(2, size, size, 3)).astype(np.float32)
    started, run = [], loop.Descent.run

    def stop_at_the_second_stage(stage, stop):
        if stage.recipe.freeze == "backbone":
            return run(stage, stop)
        started.append((stage.contract, stage.model(x, training=False)))
        raise Interrupted("seen", 15)

    monkeypatch.setattr(loop.Descent, "run", stop_at_the_second_stage)
    recipe = TINY.replace(
        model=record.variant,
        weights=str(file),
        image_size=size,
        width_multiplier=1.0,
        crop_fraction=0.875,
        freeze="norms",
        probe=True,
        views="center",
        validation_fraction=0.0,
    )
    with pytest.raises(Interrupted):
        train(recipe, tmp_path / "run", steps_per_loop=1)
    head = RunFolder(tmp_path / "run" / "head")
    ((contract, logits),) = started
    np.testing.assert_array_equal(keras.ops.softmax(logits), head.load_model()(x, training=False))
    assert contract == head.preprocessing
    published = record.preprocessing.replace(size=(size, size), crop_fraction=0.875)
    if (
        record.variant == "InceptionV3"
    ):  # its stem is not padded: the scaling is folded into the first kernel
        published = published.replace(mean=127.5, std=127.5)
    assert contract == published
    # And for whoever builds it from the file.
    built = get_model(record.variant, weights=head.weights_path, input_shape=(size, size, 3))
    np.testing.assert_array_equal(built(x, training=False), keras.ops.softmax(logits))
    assert built.preprocessing == contract
    assert built.identity.class_names == tuple(head.class_names)
    # What was tried on held-out training images is kept, not the final fit's own row.
    found = head.read_json("probe.json")
    losses = {row["penalty"]: row["validation_loss"] for row in found["path"]}
    assert len(losses) > 1 and losses[found["penalty"]] == min(losses.values())


def test_a_probe_fits_the_classifier_and_ends_as_every_run_does(
    tmp_path, monkeypatch, short_googlenet
):
    """Stopped in the middle of the features, gone on with, and left alone when it has ended."""
    start = get_model("InceptionV1", weights=None, input_shape=(32, 32, 3), width_multiplier=0.25)
    recipe = TINY.replace(
        weights=str(save_weights(start, tmp_path / "start.safetensors")), probe=True, epochs=0
    )
    monkeypatch.setattr(features, "_SECONDS", 0.0)
    asked, stopped = [], []

    def listen(progress, text):
        asked.append(text)
        if text.startswith("features of 128") and not stopped:
            stopped.append(text)
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Progress, "say", listen)
    with pytest.raises(Interrupted, match="while the features are computed"):
        train(recipe, tmp_path / "run")
    asked.clear()
    run = train(recipe, tmp_path / "run")
    lines = [text for text in asked if text.startswith("features of")]
    assert lines[0].startswith("features of 256 of 486 train"), "three batches were kept"
    (row,) = run.history
    assert row["validation_accuracy"] > 0.5 and row["loss"] < np.log(4)
    # The joined classifier gives the regression's probabilities, in every form.
    kept = run.path / "features"
    pooled = np.load(kept / "train.npy")[:8]
    with np.load(kept / "head.npz") as head:
        logits = pooled[:, 0] @ head["kernel"] + head["bias"]
    want = keras.ops.convert_to_numpy(keras.ops.softmax(logits))
    part = open_run(run).splits["train"]
    images = np.stack([run.preprocessing.crop_and_resize(part.pixels(i).numpy()) for i in range(8)])
    network = load_classifier(run.path)
    SavedModel().write(network, tmp_path / "saved_model")
    TFLite().write(network, tmp_path / "model.tflite")
    for form in (run.path, tmp_path / "saved_model", tmp_path / "model.tflite"):
        np.testing.assert_allclose(load_classifier(form).predict(images), want, atol=1e-5)
    stem = start.get_layer("stem_0_conv").kernel.numpy()
    np.testing.assert_array_equal(run.load_model().get_layer("stem_0_conv").kernel, stem)
    found = run.read_json("probe.json")
    losses = {step["penalty"]: step["validation_loss"] for step in found["path"]}
    assert losses[found["penalty"]] == min(losses.values())


def test_nothing_is_removed_before_the_new_run_can_begin(tmp_path):
    run = RunFolder(tmp_path)
    source = open_source("fake")
    contract = default_preprocessing("InceptionV1")
    run.begin(TINY, source.class_names, contract, source.provenance)
    before = {p: p.read_bytes() for p in tmp_path.iterdir()}
    for changes, message in (
        ({"dataset": "folder:/nowhere"}, "no folder /nowhere"),
        ({"weights": "nowhere.safetensors"}, "no weights file"),
        ({"batch_size": 1000}, "`batch_size` should be at most"),
        ({"model": "InceptionV3", "aux_weight": 0.3}, "too small for .*`aux_weight=0`"),
        ({"learning_rate": float("nan")}, "`learning_rate`"),
        ({"batch_size": 400, "image_size": 5000}, "GB of memory"),
    ):
        with pytest.raises(ValueError, match=message):
            train(TINY.replace(**changes), tmp_path, fresh=True)
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == before


def images(folder, counts, size=24):
    """Class folders with so many PNG images each; brighter from class to class."""
    for label, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = np.random.default_rng([label, i]).integers(0, 60, (size, size, 3))
            encoded = tf.io.encode_png((pixels + 60 * label).astype(np.uint8)).numpy()
            (folder / name / f"{i:03}.png").write_bytes(encoded)
    return folder


def test_few_images_keep_the_last_weights_and_say_so(tmp_path):
    """Two a class leave no validation part to choose the best epoch by."""
    source = open_source(f"folder:{images(tmp_path, dict(cat=2, dog=2))}", validation_fraction=0.1)
    recipe = TINY.replace(keep="best", validation_fraction=0.1)
    found, (note,) = stages.for_data(recipe, source)
    assert found == recipe.replace(keep="last") and "leaves no validation part" in note
    with pytest.raises(ValueError, match="`keep=best` needs a validation part"):
        stages.for_data(recipe.replace(validation_fraction=0.0), source)
    with pytest.raises(ValueError, match="`keep=best`, `patience=3` needs a validation part"):
        stages.for_data(recipe.replace(validation_fraction=0.0, patience=3), source)
    assert stages.for_data(recipe, open_source("fake")) == (recipe, [])


def test_epochs_are_added_for_the_steps_that_a_fine_tuning_needs(tmp_path):
    """461 images: 28 steps an epoch. An epoch count of the user's own is taken as it is."""
    source, recipe = open_source("fake"), named("finetune").replace(dataset="fake")
    found, (note,) = stages.for_data(recipe, source)
    assert (recipe.epochs, found.epochs, found.min_steps) == (4, 22, 600)
    assert note.startswith("4 epochs of 461 images are 112 steps, few for a fine-tuning")
    assert stages.for_data(found, source) == (found, [])  # a run that goes on, or is repeated
    given = recipe.replace(epochs=4)
    assert stages.for_data(given, source) == (given, []) and given.min_steps == 0
    assert stages.for_data(recipe.replace(min_steps=112), source)[0].epochs == 4
    run = RunFolder(tmp_path)  # the same command again, as it was given and not as it became
    contract = default_preprocessing("InceptionV3")
    stages.begin(run, found, source, contract)
    assert stages.open_bound(recipe, run).num_examples("train") == 461
    with pytest.raises(ValueError, match="epochs was 22, is 4"):
        stages.open_bound(given, run)


def test_an_image_that_is_lost_during_the_training_is_named(tmp_path, monkeypatch, short_googlenet):
    folder = images(tmp_path / "images", {"cat": 20, "dog": 20})
    recipe = TINY.replace(
        dataset=f"folder:{folder}", batch_size=16, image_size=16, epochs=8, validation_fraction=0.0
    )
    train_part = open_source(recipe.dataset, validation_fraction=0.0).splits["train"]
    victim = Path(train_part.describe(5))

    def remove(progress, step, *rest):
        if step == 1:
            victim.unlink()

    monkeypatch.setattr(Progress, "loop", remove)
    with pytest.raises(LostImage, match=f"1 images of the train part .*{victim}"):
        train(recipe, tmp_path / "run", steps_per_loop=1)
    assert list((tmp_path / "run" / "checkpoints").glob("ckpt-*.index"))
    source = open_source(recipe.dataset, validation_fraction=0.0)
    part = source.splits["train"]
    damaged = [Path(part.describe(i)) for i in range(3)]
    damaged[0].write_bytes(damaged[0].read_bytes()[:60])
    damaged[1].write_text("a letter in place of an image")
    damaged[2].unlink()
    assert lost_images(source, "train", range(len(part))) == [str(p) for p in damaged]


def test_class_weights_by_hand():
    labels = np.array([0, 0, 0, 1])
    weights = balance.class_weights(labels, 3)
    assert weights.tolist() == pytest.approx([4 / 9, 4 / 3, 1.0])
    inputs = keras.Input((5,))
    model = keras.Model(inputs, keras.layers.Dense(3, name="predictions")(inputs))
    x = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
    step = Step(model, keras.optimizers.SGD(), batch_size=4, class_weights=weights)
    _, loss, _ = step._gradients(tf.constant(x), tf.one_hot(labels, 3), 1.0)
    p = keras.ops.convert_to_numpy(keras.ops.softmax(model(x)))
    want = -(weights[labels] * np.log(p[np.arange(4), labels])).mean()
    assert float(loss) == pytest.approx(want, rel=1e-5)


def test_equal_classes_and_what_is_said_of_them(tmp_path):
    folder = images(tmp_path, {"cat": 30, "dog": 5, "eel": 2})
    source = open_source(f"folder:{folder}", validation_fraction=0.0)
    counts = np.bincount(source.splits["train"].labels)
    assert counts.tolist() == [24, 4, 2]
    equal = balance.with_equal_classes(source, seed=0)
    part = equal.splits["train"]
    assert np.bincount(part.labels).tolist() == [24, 24, 24]
    shown = [part.describe(i) for i in range(len(part))]
    assert {shown.count(name) for name in set(shown)} == {1, 6, 12}
    assert equal.splits["test"] is source.splits["test"]
    recipe = Recipe()
    first, hint = balance.describe(recipe, source)
    assert first == "Training images of each class: eel 2, dog 4, cat 24."
    assert hint.startswith("cat has 24 training images and eel 2: class_weight=balanced")
    (weighted,) = balance.describe(recipe.replace(class_weight="balanced"), source)
    assert "eel 2 (weight 5), dog 4 (weight 2.5), cat 24 (weight 0.417)" in weighted
    _, sampled = balance.describe(recipe.replace(class_weight="sampling"), source)
    assert sampled == "Every class is shown 24 times in an epoch."


def test_the_first_blocks_stay_frozen():
    recipe = TINY.replace(unfreeze_from="inception_4e")
    model = training_network(recipe, 4, None)
    trains = [layer.name for layer in model.layers if layer.trainable and layer.weights]
    assert {name.rpartition("_branch")[0] for name in trains} == {
        "", "inception_4e", "inception_5a", "inception_5b"
    }  # fmt: skip
    assert [name for name in trains if "_branch" not in name] == ["predictions"]
    whole = training_network(TINY.replace(unfreeze_from="inception_3a"), 4, None)
    frozen = {layer.name for layer in whole.layers if layer.weights and not layer.trainable}
    stem = ("stem_0", "stem_1_0", "stem_1_1")
    assert frozen == {f"{unit}_{kind}" for unit in stem for kind in ("conv", "bn")}
    for wrong in ("mixed7", "stride64", "stride"):
        with pytest.raises(
            ValueError, match=f"stride16, .*endpoints inception_3a, .*unfreeze_from='{wrong}'"
        ):
            networks.first_block(whole, wrong)


@pytest.mark.parametrize("heads", [False, True])
def test_norms_keep_the_statistics_that_came_with_the_weights(heads, tmp_path):
    """Those of new heads have none, and learn."""
    how = {"input_shape": (72, 72, 3), "width_multiplier": 0.25, "aux_logits": heads}
    file = save_weights(get_model("InceptionV1", weights=None, **how), tmp_path / "a.safetensors")
    loaded = resolve(file, "InceptionV1")
    for freeze in ("norms", "backbone"):
        recipe = TINY.replace(freeze=freeze, aux_weight=0.3, image_size=72)
        model = training_network(recipe, 4, loaded)
        norms = [n for n in model.layers if isinstance(n, keras.layers.BatchNormalization)]
        learn = {norm.name for norm in norms if norm.trainable}
        assert learn == (set() if heads else {"aux1_0_bn", "aux2_0_bn"})


def test_memory_is_a_lower_bound_that_counts_what_is_kept():
    inputs = keras.Input((10, 10, 3))
    x = keras.layers.Conv2D(4, 3, name="c")(inputs)
    x = keras.layers.Activation("relu")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    weights = (3 * 9 * 4 + 4 + 4 * 2 + 2) * 8
    assert memory.step_memory(model, 5, 4) == 5 * 2 * (8 * 8 * 4) * 4 + weights
    assert memory.step_memory(model, 5, 2) == 5 * 2 * (8 * 8 * 4) * 2 + weights
    model.get_layer("c").trainable = False
    assert memory.step_memory(model, 5, 4) == 5 * 10 * 10 * 3 * 4 + weights
    have = memory.machine_memory()
    assert have is None or 2**27 < have < 2**50
