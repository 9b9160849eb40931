"""Every public name as a user's typed program calls it; type checkers read it, nothing runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import keras_inception as ki


def networks(images: np.ndarray[Any, Any]) -> None:
    """Builders, and what is asked of a built network."""
    ki.InceptionV1(weights=None, input_shape=(75, 75, 3), classes=5, aux_logits=True)
    ki.BNInception(weights="imagenet", classifier_activation=None)
    ki.InceptionV2(weights=None, bn_momentum=0.9)
    ki.InceptionV3(include_top=False, weights=Path("mine.safetensors"))
    ki.InceptionV4(dropout=0.1)
    ki.InceptionResNetV1(weights=None, width_multiplier=0.5)
    model = ki.InceptionResNetV2(include_top=False, pooling="avg")
    names: list[str] = ki.list_models()
    model = ki.get_model(names[0], weights=None)
    contract: ki.Preprocessing = ki.default_preprocessing(names[0])
    contract.crop_and_resize(images)
    print(ki.comparison_table()[0]["variant"], ki.summary_by_block(model)[0]["block"])
    print(ki.multiply_adds(model).values(), ki.endpoints(model).keys(), ki.smallest_input(model))
    Path("network.svg").write_text(ki.diagram(model, title="mine"))
    ki.feature_pyramid(ki.to_inference(ki.fuse(model, "bfloat16")))
    ki.freeze_backbone(ki.replace_head(model, 7, classifier_activation=None), up_to="mixed5")
    top: list[list[tuple[str, str, float]]] = ki.decode_predictions(model(images), top=3)
    print(top[0][0][1], ki.imagenet_classes()[0].names[0])


def files() -> None:
    """Weights and whole models."""
    record: ki.Weights = ki.get_weights(ki.list_weights("InceptionV3")[0])
    model = ki.load_model(ki.save_model(ki.InceptionV3(weights=record), "mine.keras"))
    path: Path = ki.save_weights(model, "mine.safetensors", class_names=["cat", "dog"])
    ki.convert_weights(model, "mine-timm.safetensors", to="timm")
    ki.publish(model, "mine", license="MIT")
    adapted: list[str] = ki.load_weights(model, path)
    print(adapted)


def a_run(images: np.ndarray[Any, Any], labels: list[int]) -> None:
    """From images to an export."""
    found = ki.inspect("photos", near=True, output="sheet.html", validation_fraction=0.1)
    print(found, found.rows(), found.to_dict(), found.to_pandas())
    recipe = ki.Recipe(epochs=2)
    run: ki.Run = ki.train((images, labels, ["cat", "dog"]), recipe, "runs/mine", verbose=2)
    run = ki.load_run(run.path)
    print(run.history["loss"], run.recipe.epochs, run.to_pandas(), run.to_dict()["path"])
    result = ki.evaluate(run, (images, labels), crops="mirror", verbose=0)
    print(result["results"][0]["accuracy"], result.to_pandas())
    for prediction in ki.predict(run, images, top=3, batch_size=8):
        print(prediction.image, prediction.top[0][1] > 0.5, prediction.to_dict())
    heat = ki.explain(run, "photo.jpg", "occlusion", target="cat", window=20, output="heat.png")
    print(heat.peak[0], heat.label.upper())
    exported = ki.export(run, targets=["tflite:float16"], dataset="photos", num_images=10)
    print(exported["files"], exported.to_pandas())
    classifier: ki.Classifier = ki.optimize(run, "fast", images)
    classifier = ki.load_classifier("fast", threads=1)
    print(classifier.predict(images).argmax(1), classifier.class_names[0].upper())


def keras_loop(images: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> None:
    """`compile` and `fit`."""
    model = ki.InceptionV1(weights=None, aux_logits=True)
    model.compile(ki.optimizer("inception_v1", 100, model), **ki.losses(model, "inception_v1"))
    saving = ki.SaveModel("best.keras", ["cat", "dog"], monitor="val_predictions_accuracy")
    model.fit(images, ki.head_labels(model, labels), callbacks=[saving])
    print(ki.__version__)
