"""Metrics against numbers computed by hand or printed elsewhere."""

from __future__ import annotations

import json

import numpy as np
import pytest

from keras_inception import pictures
from keras_inception.evaluation import evaluate, metrics, results, summarize, wilson_interval


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
    assert result["confusion_matrix"] == [[0, 0, 2], [0, 1, 1], [1, 1, 2], [2, 0, 1]]
    assert result["outside"] == []
    assert result["most_confused"] == [
        {"true": "a", "called": "b", "images": 1},
        {"true": "c", "called": "a", "images": 1},
    ]


def test_answers_that_are_no_class_of_the_data_are_wrong_and_counted():
    """Of three classes the data have two: called x three times, twice by mistake for b."""
    called = [0, 3, 3, 2, 3, 1]
    result = summarize(np.eye(4)[called], np.array([0, 0, 1, 1, 1, 1]), ["a", "b"], ["y", "x"])
    assert result["accuracy"] == pytest.approx(2 / 6, abs=1e-6)
    a, b = result["per_class"]
    assert (a["precision"], a["recall"]) == (1.0, 0.5) and b["recall"] == 0.25
    assert result["outside"] == [{"name": "x", "images": 3}, {"name": "y", "images": 1}]
    matrix = [[0, 0, 1], [0, 2, 1], [1, 1, 1], [1, 3, 1], [1, 2, 2]]
    assert result["confusion_matrix"] == matrix
    assert result["most_confused"][0] == {"true": "b", "called": "x", "images": 2}


def test_classes_that_do_not_occur_do_not_lower_balanced_accuracy():
    result = summarize(np.eye(3)[[0, 1]], np.array([0, 1]), ["a", "b", "never"])
    assert result["balanced_accuracy"] == 1.0


def test_arrays_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="2 labels, 3 names"):
        summarize(np.zeros((2, 2)), np.zeros(2, int), ["a", "b", "c"])


@pytest.fixture(scope="module")
def drawn():
    """Answers of a mediocre classifier: probabilities (500, 12) and labels."""
    rng = np.random.default_rng(7)
    labels = rng.choice(12, 500, p=rng.dirichlet(np.full(12, 2.0)))
    logits = rng.normal(size=(500, 12)) + 2.0 * np.eye(12)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return probabilities.astype(np.float32), labels


def test_the_summary_is_scikit_learns(drawn):
    from sklearn import metrics as peer

    probabilities, labels = drawn
    result = summarize(probabilities, labels, [f"c{i}" for i in range(12)])
    called = probabilities.argmax(1)
    shares = peer.precision_recall_fscore_support(labels, called, labels=range(12), zero_division=0)
    for name, column in zip(("precision", "recall", "f1", "images"), shares, strict=True):
        assert [row[name] for row in result["per_class"]] == pytest.approx(column, abs=1e-6)
    precision, _, f1, _ = peer.precision_recall_fscore_support(
        labels, called, average="macro", zero_division=0
    )
    top5 = peer.top_k_accuracy_score(labels, probabilities, k=5, labels=range(12))
    expected = {
        "accuracy": peer.accuracy_score(labels, called),
        "balanced_accuracy": peer.balanced_accuracy_score(labels, called),
        "macro_precision": precision,
        "macro_f1": f1,
        "top5_accuracy": top5,
    }
    assert {name: result[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    matrix = peer.confusion_matrix(labels, called, labels=range(12))
    entries = np.array(result["confusion_matrix"])
    assert entries[:, 2].all() and len(entries) == np.count_nonzero(matrix)
    np.testing.assert_array_equal(matrix[entries[:, 0], entries[:, 1]], entries[:, 2])


def test_calibration_is_scikit_learns_curve_and_its_error_by_hand(drawn):
    from sklearn.calibration import calibration_curve

    probabilities, labels = drawn
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    ours = metrics.calibration(confidence, right, bins=10)
    accuracy, said = calibration_curve(right, confidence, n_bins=10, strategy="uniform")
    assert [b["accuracy"] for b in ours["bins"]] == pytest.approx(accuracy, abs=1e-6)
    assert [b["confidence"] for b in ours["bins"]] == pytest.approx(said, abs=1e-6)
    # 4 answers of 0.9, 3 right; 2 of 0.5, which ends the bin 0.4..0.5, 1 right; 1 of 0, wrong
    ours = metrics.calibration([0.9] * 4 + [0.5] * 2 + [0.0], [1, 1, 1, 0, 1, 0, 0], bins=10)
    assert ours["expected_calibration_error"] == pytest.approx(4 / 7 * 0.15)
    assert ours["maximum_calibration_error"] == pytest.approx(0.15)
    assert [b["high"] for b in ours["bins"]] == [0.1, 0.5, 0.9]


def test_mcnemar_and_the_difference_of_paired_shares():
    def answers(both, one, other, neither):
        rows = [(1, 1)] * both + [(1, 0)] * one + [(0, 1)] * other + [(0, 0)] * neither
        return np.array(rows, bool).T

    # Newcombe 1998, Statistics in Medicine 17, table III, method 10
    result = metrics.compare(*answers(36, 12, 2, 0))
    assert result["difference"] == pytest.approx(0.2)
    assert result["difference_interval"] == pytest.approx((0.0569, 0.3404), abs=1e-4)
    # 2 P(X <= 2) of 14 fair coins; as even as can be; 2 P(X <= 900) of 2000, by the normal law.
    for one, other, p in [(12, 2, 0.012939), (0, 0, 1), (5, 5, 1), (900, 1100, 8.5e-6)]:
        measured = metrics.compare(*answers(50, one, other, 3))["p_value"]
        assert measured == pytest.approx(p, rel=0.02)
    same = metrics.compare(*answers(40, 0, 0, 10))
    assert same["difference"] == 0 and same["p_value"] == 1
    with pytest.raises(ValueError, match="same images"):
        metrics.compare([True], [True, False])


def test_of_equal_scores_the_lower_class_is_answered():
    answers = metrics.Predictions.of(np.full((2, 7), 1 / 7), np.array([0, 5]))
    assert answers.rank.tolist() == [0, 5]
    assert answers.top[0].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("probabilities", "labels", "message"),
    [
        (np.full((2, 3), np.nan), [0, 1], "2 of 2 images without finite answers"),
        (np.eye(3), [0, 1, 3], "labels from 0 to 3"),
        (np.eye(3), [0, 1], "2 labels"),
    ],
)
def test_answers_that_cannot_be_measured_are_refused(probabilities, labels, message):
    with pytest.raises(ValueError, match=message):
        metrics.Predictions.of(probabilities, np.array(labels))


def test_the_reliability_plot_can_be_drawn(drawn, tmp_path):
    probabilities, labels = drawn
    result = metrics.calibration(probabilities.max(1), probabilities.argmax(1) == labels)
    pictures.reliability(result, tmp_path / "reliability.png")
    assert (tmp_path / "reliability.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("classes", [2, 12, 300, 1300])
def test_the_confusion_matrix_can_be_drawn(classes, tmp_path):
    names = [f"class {i} <&>" for i in range(classes)]
    right = [(i, i, 3) for i in range(classes)]
    entries = np.array([*right, (0, classes, 1)])  # and one that is none of the classes
    pictures.confusion(entries, names, tmp_path / "matrix.png")
    assert (tmp_path / "matrix.png").read_bytes().startswith(b"\x89PNG")


def test_names_that_matplotlib_cannot_draw_become_numbers(tmp_path):
    """It would draw boxes, or letters in the wrong order; `$` would be read as mathematics."""
    names = ["Ka\u0308tzchen", "кошка", "γάτα", "बिल्ली", "\U0010fffd", "قطة", "$1_$5", "a" * 99]
    shown, fonts = pictures.drawable(names)
    assert shown[:3] == ["K\u00e4tzchen", "кошка", "γάτα"]
    assert shown[3:7] == ["class 3", "class 4", "class 5", "$1_$5"]
    assert len(shown[7]) == pictures.LONGEST_NAME and fonts[0] == "DejaVu Sans"
    entries = np.array([(i, i, 1) for i in range(8)])
    pictures.confusion(entries, names, tmp_path / "matrix.png")  # warns of no glyph
    assert (tmp_path / "matrix.png").exists()


def test_a_run_is_evaluated_on_its_test_part(finished_run):
    from keras_inception.data import evaluation_batches, open_run

    result = evaluate(finished_run.path)
    assert json.loads(finished_run.evaluation_path.read_text()) == result
    (one,) = result["results"]
    assert one["examples"] == 128 and result["crops"] == "mirror"
    assert one["accuracy_interval"][0] > one["majority_baseline"]
    kept = results.read_predictions(finished_run.path)
    assert kept["scores"].shape == (128, 1, 4)
    recomputed = (kept["top"][:, 0, 0] == kept["labels"]).mean()
    assert recomputed == pytest.approx(one["accuracy"], abs=1e-6)
    # The model itself, asked by Keras about images that TensorFlow resized: the same answers.
    model, images = finished_run.load_model(), []
    for batch in evaluation_batches(
        open_run(finished_run), "test", finished_run.preprocessing, batch_size=50
    ):
        images.append(batch["image"].numpy()[batch["weight"].numpy() > 0])
    views = [model.predict(np.concatenate(images)[:, :, ::way], verbose=0) for way in (1, -1)]
    mean = sum(views) / 2
    np.testing.assert_array_equal(kept["top"][:, 0, 0], mean.argmax(1))
    np.testing.assert_allclose(kept["scores"][:, 0], -np.sort(-mean, axis=1), atol=1e-5)
    np.testing.assert_allclose(
        kept["true_score"][:, 0], mean[np.arange(128), kept["labels"]], atol=1e-5
    )
    alone = (views[0].argmax(1) == kept["labels"]).mean()
    assert one["single_view_accuracy"] == pytest.approx(alone, abs=1e-6)
    with pytest.raises(ValueError, match="Give `dataset` to choose crops"):
        evaluate(finished_run.path, crops="1")
    with pytest.raises(ValueError, match="model.keras, which is no run folder"):
        evaluate(finished_run.model_path)
