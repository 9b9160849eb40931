"""Metrics against numbers computed by hand or printed elsewhere."""

from __future__ import annotations

import json

import numpy as np
import pytest

from keras_inception.evaluation import summarize, wilson_interval


def test_wilson_interval_is_the_textbooks():
    # Agresti & Coull 1998: 0 of 10 gives 0 to 0.278; symmetric for 10 of 10.
    assert wilson_interval(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson_interval(10, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)
    low, high = wilson_interval(1780, 2000)
    assert (low, high) == pytest.approx((0.8755, 0.9030), abs=1e-4)


def test_summary_by_hand():
    labels = np.array([0, 0, 0, 1, 1, 2])
    called = np.array([0, 0, 1, 1, 1, 0])
    result = summarize(np.eye(3)[called], labels, ["a", "b", "c"])
    assert result["accuracy"] == pytest.approx(4 / 6, abs=1e-6)
    assert result["majority_baseline"] == 0.5
    assert result["balanced_accuracy"] == pytest.approx((2 / 3 + 1 + 0) / 3, abs=1e-6)
    a, b, c = result["per_class"]
    assert (a["precision"], a["recall"], a["f1"]) == pytest.approx((2 / 3, 2 / 3, 2 / 3), abs=1e-6)
    assert (b["precision"], b["recall"], b["f1"]) == pytest.approx((2 / 3, 1.0, 0.8), abs=1e-6)
    assert (c["precision"], c["recall"], c["f1"]) == (0, 0, 0)
    assert result["confusion_matrix"] == [[2, 1, 0], [0, 2, 0], [1, 0, 0]]


def test_classes_that_do_not_occur_do_not_lower_balanced_accuracy():
    result = summarize(np.eye(3)[[0, 1]], np.array([0, 1]), ["a", "b", "never"])
    assert result["balanced_accuracy"] == 1.0


def test_arrays_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="2 labels, 3 names"):
        summarize(np.zeros((2, 2)), np.zeros(2, int), ["a", "b", "c"])


@pytest.mark.parametrize("classes", [2, 12, 300])
def test_the_confusion_matrix_can_be_drawn(classes, tmp_path):
    from keras_inception.evaluation.plots import confusion

    names = [f"class {i} <&>" for i in range(classes)]
    confusion(np.eye(classes, dtype=int) * 3, names, tmp_path / "matrix.png")
    assert (tmp_path / "matrix.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_is_evaluated_on_its_test_part(finished_run):
    from keras_inception.data import evaluation_batches, open_run
    from keras_inception.evaluation import evaluate_run

    result = evaluate_run(finished_run.path)
    assert json.loads(finished_run.evaluation_path.read_text()) == result
    assert result["examples"] == 128
    assert result["accuracy_interval"][0] > result["majority_baseline"]
    with np.load(finished_run.predictions_path) as answers:
        assert answers["probabilities"].shape == (128, 4)
        recomputed = (answers["probabilities"].argmax(1) == answers["labels"]).mean()
    assert recomputed == pytest.approx(result["accuracy"], abs=1e-6)
    # Another batch size and the model's own predict: the same answers.
    model, images, labels = finished_run.load_model(), [], []
    for batch in evaluation_batches(
        open_run(finished_run), "test", finished_run.preprocessing, batch_size=50
    ):
        real = batch["weight"].numpy() > 0
        images.append(batch["image"].numpy()[real])
        labels.append(batch["label"].numpy()[real])
    predicted = model.predict(np.concatenate(images), verbose=0).argmax(1)
    assert (predicted == np.concatenate(labels)).mean() == pytest.approx(recomputed)
