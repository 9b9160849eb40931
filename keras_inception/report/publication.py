"""A network as a folder for Hugging Face: weights, config.json, labels, pictures, model card."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import keras

import keras_inception
from keras_inception import files
from keras_inception.catalog import get_weights
from keras_inception.evaluation import results
from keras_inception.identity import Identity
from keras_inception.messages import printable, some
from keras_inception.models import publishers
from keras_inception.preprocessing import Preprocessing
from keras_inception.recipes import Recipe
from keras_inception.report import repeat
from keras_inception.runs import RunFolder
from keras_inception.runtime import Classifier, load_classifier
from keras_inception.weights import hub, layouts, save_weights

_FILES = (hub.WEIGHTS, hub.CONFIG, "labels.txt", "README.md")
_PICTURES = ("curves.png", "confusion_matrix.png", "reliability.png")


def publish(
    source: Any, output: str | Path, *, license: str = "", preprocessing: Any = None
) -> Path:
    """Writes a folder that `hf upload` takes, and that `weights=` loads by path or by hf://.

    The weights have timm's names where timm has the network, so that
    `timm.create_model("hf-hub:owner/name")` loads it, and are a native file otherwise. The model
    card says what the run folder knows, and nothing else.

    Args:
        source: What `load_classifier` takes and Keras runs: a run folder, a `.keras` file, weights.
        output: The folder. What an earlier call wrote there is exchanged in one step when the new
            files are whole; other files in it stay.
        license: SPDX identifier of the license of the weights; without one the card names none.
        preprocessing: The contract, where `source` does not hold it.

    Returns:
        The folder.

    Raises:
        ValueError: the source is an exported file, or no network of this package.
    """
    classifier = load_classifier(source, preprocessing=preprocessing)
    model = getattr(classifier.engine, "model", None)
    if model is None:
        raise ValueError(
            f"What is published are weights that can be trained on, which an exported file no "
            f"longer has: give the run folder or its .keras file. Received: {source}"
        )
    output = Path(output).resolve()
    output.parent.mkdir(parents=True, exist_ok=True)
    files.restore(output)
    files.remove_scratch(output.parent)
    with files.scratch(output.parent) as place:
        folder = place / output.name
        if output.exists():  # what others put there, such as a repository's .git, comes along
            ours = shutil.ignore_patterns(*_FILES, *_PICTURES)
            shutil.copytree(output, folder, symlinks=True, ignore=ours)
        _write(folder, classifier, model, license)
        files.exchange(folder, output)
    return output


def _write(folder: Path, classifier: Classifier, model: keras.Model, license: str) -> None:
    """Writes the published files of a network into a folder, which is made if need be."""
    identity = classifier.identity.replace(
        preprocessing=classifier.preprocessing.replace(inside_model=False)
    )
    weights = folder / hub.WEIGHTS
    try:
        publishers.written(model, weights, "timm")
        not_timm = ""
    except ValueError as error:
        not_timm = str(error)
        save_weights(
            model,
            weights,
            preprocessing=identity.preprocessing,
            class_names=classifier.class_names,
        )
    run = RunFolder(classifier.run) if classifier.run else None
    names = classifier.class_names
    config = config_of(identity, names, timm=not not_timm)
    files.write(folder / hub.CONFIG, json.dumps(config, indent=2) + "\n")
    files.write(folder / "labels.txt", "".join(f"{printable(name)}\n" for name in names))
    pictures = [run.inside(name) for name in _PICTURES] if run else []
    pictures = [picture for picture in pictures if picture.is_file()]
    for picture in pictures:
        files.write(folder / picture.name, files.read(picture))
    if not license:
        logging.warning("No license was given (`license`), and the model card names none.")
    shown = [picture.name for picture in pictures]
    text = card(folder.name, identity, names, run, not_timm, license, shown)
    files.write(folder / "README.md", text)


def config_of(identity: Identity, names: tuple[str, ...], timm: bool) -> dict[str, Any]:
    """What config.json holds: timm's fields where timm has the network, and our own."""
    contract = identity.preprocessing
    assert contract is not None, "a classifier has one"
    ours = {"version": keras_inception.__version__, "preprocessing": contract.to_dict()}
    config = {"architecture": identity.variant, "num_classes": len(names), "label_names": [*names]}
    if not timm:
        return config | {hub.OURS: ours}
    architecture = {v: name for name, v in hub.ARCHITECTURES.items()}[identity.variant]
    layout = layouts.LAYOUTS[get_weights("timm_tf", identity.variant).layout or ""]
    theirs = {name: other for other, name in layout.names.items()}
    crop_modes = {aspect: mode for mode, aspect in hub.CROP_MODES.items()}
    mean, std = (
        [v / 255 for v in (value if isinstance(value, tuple) else (value,) * 3)]
        for value in (contract.mean, contract.std)
    )
    return config | {
        "architecture": architecture,
        "pretrained_cfg": {
            "input_size": [3, *contract.size],
            "interpolation": contract.interpolation,
            "crop_pct": contract.crop_fraction,
            "crop_mode": crop_modes[contract.aspect],
            "mean": mean,
            "std": std,
            "num_classes": len(names),
            "first_conv": theirs["stem_0_0_conv"],
            "classifier": theirs["predictions"],
        },
        hub.OURS: ours,
    }


def card(
    name: str,
    identity: Identity,
    names: tuple[str, ...],
    run: RunFolder | None,
    not_timm: str,
    license: str,
    pictures: list[str],
) -> str:
    """The model card: front matter as the hub reads it, and what is known as text."""
    evaluation = results.read(run.path) if run else None
    found = evaluation["results"][0] if evaluation else {}
    if "accuracy" not in found:  # of another kind of classifier
        evaluation = found = None
    head: dict[str, Any] = {
        "library_name": "keras" if not_timm else "timm",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "keras_inception", identity.variant],
    }
    if license:
        head["license"] = license
    if evaluation and found:
        head["model-index"] = [_index(name, evaluation, found)]
    # JSON is YAML.
    front = "".join(f"{key}: {json.dumps(value)}\n" for key, value in head.items())
    parts = [
        f"# {name}\n\n{identity.variant} for {len(names)} classes: {some(map(_plain, names), 20)}. "
        f"Its last activation is {identity.arguments.get('classifier_activation') or 'none'}.",
        f"## Use\n\n{_use(name, not_timm)}",
        f"## Images\n\n{_images(identity.preprocessing)}",
        f"## Training\n\n{_training(run)}",
        f"## Evaluation\n\n{_evaluation(evaluation, found)}",
        *(f"![{picture.partition('.')[0].replace('_', ' ')}]({picture})" for picture in pictures),
        f"## Exports\n\n{_exports(run)}",
        f"## Limits\n\n{_limits(evaluation, found)}",
        f"## License\n\n{_plain(license) or 'No license was given for these weights.'}",
    ]
    return f"---\n{front}---\n\n" + "\n\n".join(parts) + "\n"


def _plain(text: str) -> str:
    """A text of others in Markdown: one line, in which nothing is markup."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>|#!" else c for c in printable(text))


def _data(dataset: str) -> str:
    """A data set's name without the folders of this machine."""
    kind, colon, rest = dataset.partition(":")
    return f"{kind}{colon}{Path(rest).name}" if kind in ("folder", "csv", "tfrecord") else dataset


def _index(name: str, evaluation: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    data = _data(evaluation["dataset"])
    return {
        "name": name,
        "results": [
            {
                "task": {"type": "image-classification"},
                "dataset": {"name": f"{data}, {evaluation['part']}", "type": data},
                "metrics": [{"type": "accuracy", "value": found["accuracy"]}],
            }
        ],
    }


def _use(name: str, not_timm: str) -> str:
    code = (
        "```python\nimport keras_inception\n\n"
        f'classifier = keras_inception.load_classifier("hf://OWNER/{name}")\n```'
    )
    if not_timm:
        return f"{code}\n\nThe weights are a native file of keras_inception: {_plain(not_timm)}"
    return (
        f"{code}\n\nOr in torch, which gives logits:\n\n```python\nimport timm\n\n"
        f'model = timm.create_model("hf-hub:OWNER/{name}", pretrained=True)\n```'
    )


def _images(contract: Preprocessing | None) -> str:
    assert contract is not None, "a classifier has one"
    height, width = contract.size
    smooth = "with" if contract.antialias else "without"
    return (
        f"RGB in 0..255; aspect: {contract.aspect}, central crop {contract.crop_fraction:g}, "
        f"{contract.interpolation} to {height} x {width} {smooth} antialiasing, then (image - "
        f"{contract.mean}) / {contract.std}"
        f"{', the channels reversed to BGR' * (contract.channel_order == 'BGR')}."
    )


def _training(run: RunFolder | None) -> str:
    if run is None:
        return "No run folder was at hand: how it was trained is not known here."
    recipe: Recipe = run.recipe
    like, changed = repeat.nearest(recipe)
    hidden = {"dataset", "data_dir", "weights", "split", "groups"}
    settings = [f"`--{n}={_plain(str(getattr(recipe, n)))}`" for n in changed if n not in hidden]
    start = "random weights"
    if recipe.weights:
        start = Path(recipe.weights).name if "/" in recipe.weights else recipe.weights
    return (
        f"On {_plain(_data(recipe.dataset))}, from {_plain(start)}, by the recipe `{like}`"
        + (f" with {', '.join(settings)}" if settings else "")
        + ". `config.json` of the run holds all settings."
    )


def _evaluation(evaluation: dict[str, Any] | None, found: dict[str, Any] | None) -> str:
    if not evaluation or not found:
        return "None was at hand."
    rows = [("accuracy", found["accuracy"], found["accuracy_interval"])]
    if "top5_accuracy" in found:
        rows.append(("top-5 accuracy", found["top5_accuracy"], found["top5_accuracy_interval"]))
    lines = [f"| {n} | {v:.2%} | {low:.2%} to {high:.2%} |" for n, v, (low, high) in rows]
    calibration = found["calibration"]["expected_calibration_error"]
    return (
        f"{evaluation['images']:,} images of the part {evaluation['part']} of "
        f"{_plain(_data(evaluation['dataset']))}; {_plain(found['protocol'])}.\n\n"
        "| | | 95 % interval |\n| --- | ---: | ---: |\n" + "\n".join(lines) + "\n\n"
        f"The most frequent class alone gives {found['majority_baseline']:.2%}; the expected "
        f"calibration error is {calibration:.2%}."
    )


def _exports(run: RunFolder | None) -> str:
    exported = run.read_json("export.json") if run else None
    if not exported:
        return "None was at hand."
    lines = [
        f"| `{name}` | {file['bytes'] / 1e6:.1f} | {file['largest_difference']:.2g} | "
        f"{file['same_answers']:.2%} |"
        for name, file in exported["files"].items()
    ]
    return (
        f"Compared with this network on {exported['images']} {_plain(exported['origin'])}; the "
        "files are not in this repository.\n\n"
        "| file | MB | largest difference of a probability | same answers |\n"
        "| --- | ---: | ---: | ---: |\n" + "\n".join(lines)
    )


def _limits(evaluation: dict[str, Any] | None, found: dict[str, Any] | None) -> str:
    if not evaluation or not found:
        return "Nothing was measured here: how well it answers is not known."
    said = [
        f"The figures hold for images like those of {_plain(_data(evaluation['dataset']))}; any "
        "image of something else is answered with one of the classes."
    ]
    if found["trained_on"]:
        said.append(
            f"{found['trained_on']} of the images are ones that it was trained on, so that the "
            "figures say too much."
        )
    return " ".join(said)
