"""A run's accuracy on its test part, which is read here for the first and only time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from keras_inception.data import Batches, Source, evaluation_batches, open_run
from keras_inception.evaluation import plots
from keras_inception.evaluation.metrics import summarize
from keras_inception.files import write
from keras_inception.runs import RunFolder
from keras_inception.runtime import load_classifier

BATCH = 64

# What to hold a run against, and how its protocol differs; printed and shown in the report.
COMPARISONS = {
    "elpv": (
        "Deitsch et al. 2019 (Solar Energy 185) report 82.4 % for an SVM and 88.4 % for a "
        "fine-tuned VGG-19 on these cells. The protocols differ: they split 75/25 by a draw that "
        "is not published, weight examples by the experts' certainty and start from ImageNet "
        "weights; here the split is a stratified 75/25 of another draw, every cell counts once "
        "and training started from {start} weights. Cells of one module stand on both sides in "
        "both."
    ),
}


def predict_split(
    predict: Callable[[Any], Any], batches: Iterable[dict[str, Any]]
) -> dict[str, np.ndarray]:
    """A predict function's answers on evaluation batches, without the padding.

    Args:
        predict: (batch, height, width, channels) -> probabilities (batch, classes).
        batches: What `data.evaluation_batches` returns.

    Returns:
        "probabilities" float32 (n, classes), "labels" int64 (n,) and "index" int64 (n,).
    """
    columns: dict[str, list[np.ndarray]] = {"probabilities": [], "labels": [], "index": []}
    for batch in batches:
        real = np.asarray(batch["weight"]) > 0
        columns["probabilities"].append(np.asarray(predict(batch["image"]))[real])
        columns["labels"].append(np.asarray(batch["label"])[real])
        columns["index"].append(np.asarray(batch["index"])[real])
    return {name: np.concatenate(parts) for name, parts in columns.items()}


def evaluate_run(run_dir: str | Path, source: Source | None = None) -> dict[str, Any]:
    """Evaluates a finished run and adds evaluation.json, predictions.npz, confusion_matrix.png.

    Args:
        run_dir: The run folder.
        source: The run's data set, if it is open already.

    Returns:
        What evaluation.json holds: see `metrics.summarize`, and "comparison" for some data sets.

    Raises:
        ValueError: the folder holds no finished run.
    """
    run = RunFolder(run_dir)
    classifier, labels = load_classifier(run.path), run.class_names
    unscaled = run.preprocessing.replace(inside_model=True)  # the classifier scales
    examples = evaluation_batches(source or open_run(run), "test", unscaled, batch_size=BATCH)

    def views(images: Any) -> np.ndarray:
        """(batch, views, classes): the probabilities of each view of an image."""
        images = np.asarray(images)
        shown = [images] if run.recipe.views == "center" else [images, images[:, :, ::-1]]
        return np.stack([classifier.predict(view) for view in shown], axis=1)

    with Batches(examples) as batches:
        answers: dict[str, Any] = predict_split(views, batches)
    single = answers["probabilities"][:, 0]
    answers["probabilities"] = answers["probabilities"].mean(axis=1)
    result = summarize(answers["probabilities"], answers["labels"], labels)
    result["views"] = run.recipe.views
    result["single_view_accuracy"] = round(float((single.argmax(1) == answers["labels"]).mean()), 6)
    if run.recipe.dataset in COMPARISONS:
        start = run.recipe.weights or "random"
        result["comparison"] = COMPARISONS[run.recipe.dataset].format(start=start)

    def save_answers(path: Path) -> None:
        with path.open("wb") as file:
            np.savez_compressed(file, **answers)

    write(run.predictions_path, save_answers)
    matrix = np.array(result["confusion_matrix"])
    write(run.path / "confusion_matrix.png", lambda path: plots.confusion(matrix, labels, path))
    run.write_json("evaluation.json", result)
    run.publish()
    print(table(result), flush=True)
    return result


def table(result: dict[str, Any]) -> str:
    """An evaluation as text."""
    low, high = result["accuracy_interval"]
    lines = [
        f"Test accuracy {result['accuracy']:.1%} (95 % interval {low:.1%} to {high:.1%}, "
        f"{result['examples']} images); always the most frequent class: "
        f"{result['majority_baseline']:.1%}; balanced accuracy {result['balanced_accuracy']:.1%}"
    ]
    if result["views"] == "mirror":
        lines.append(
            "  (probabilities of an image and its mirror image averaged; the image alone: "
            f"{result['single_view_accuracy']:.1%})"
        )
    width = max(len(row["name"]) for row in result["per_class"])
    lines.append(f"  {'class':{width}}  images  precision  recall     f1")
    shown = result["per_class"][:50]
    for row in shown:
        lines.append(
            f"  {row['name']:{width}}  {row['images']:6d}  {row['precision']:9.1%}  "
            f"{row['recall']:6.1%}  {row['f1']:5.1%}"
        )
    if len(shown) < len(result["per_class"]):
        lines.append(f"  and {len(result['per_class']) - len(shown)} more in evaluation.json")
    if "comparison" in result:
        lines.append(result["comparison"])
    return "\n".join(lines)
