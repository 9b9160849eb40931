"""What is measured of networks whose images may have several labels."""

from __future__ import annotations

import numpy as np
import pytest

from keras_inception.evaluation.several import (
    Answers,
    average_precision,
    class_lines,
    summarize_several,
)

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def answers():
    labels = (RNG.random((300, 5)) < [0.5, 0.3, 0.1, 0.02, 0.0]).astype(np.uint8)
    scores = (0.4 * labels + RNG.random((300, 5)) * 0.6).astype(np.float32)
    scores[:, 1] = scores[:, 1].round(1)  # with equal ones
    return Answers(scores, labels, np.array([0.5, 0.5, 0.4, 0.6, 0.5], np.float32))


def test_average_precision_by_its_definition():
    # Recall 1/2 at a precision of 1, then the other half at 2 of 3, both of equal scores together.
    assert average_precision(np.array([1, 0, 1, 0]), np.array([0.9, 0.5, 0.5, 0.1])) == (
        pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    )
    assert average_precision(np.array([1, 1]), np.array([0.2, 0.2])) == 1
    assert np.isnan(average_precision(np.array([0, 0]), np.array([0.2, 0.1])))


def test_average_precision_is_scikit_learns(answers):
    from sklearn.metrics import average_precision_score

    for label in range(4):
        own = answers.labels[:, label], answers.probabilities[:, label]
        assert average_precision(*own) == pytest.approx(average_precision_score(*own), abs=1e-12)


def test_the_summary_is_scikit_learns(answers):
    from sklearn.metrics import average_precision_score, precision_recall_fscore_support

    names = [f"class {i}" for i in range(5)]
    found = summarize_several(answers, names)
    labels, named = answers.labels, answers.named
    precision, recall, f1, support = precision_recall_fscore_support(labels, named, zero_division=0)
    for i, row in enumerate(found["per_class"]):
        assert (row["name"], row["images"]) == (names[i], support[i])
        got = row["precision"], row["recall"], row["f1"]
        assert got == pytest.approx((precision[i], recall[i], f1[i]), abs=1e-6)
    micro = precision_recall_fscore_support(labels, named, average="micro", zero_division=0)[:3]
    got = found["micro_precision"], found["micro_recall"], found["micro_f1"]
    assert got == pytest.approx(micro, abs=1e-6)
    occur = average_precision_score(labels[:, :4], answers.probabilities[:, :4], average="macro")
    assert found["mean_average_precision"] == pytest.approx(occur, abs=1e-6)
    whole = average_precision_score(labels.ravel(), answers.probabilities.ravel())
    assert found["micro_average_precision"] == pytest.approx(whole, abs=1e-6)
    assert found["macro_f1"] == pytest.approx(f1[:4].mean(), abs=1e-6)
    assert found["accuracy"] == pytest.approx((named == (labels > 0)).all(1).mean(), abs=1e-6)
    _, counts = np.unique(labels, axis=0, return_counts=True)
    assert found["majority_baseline"] == pytest.approx(counts.max() / 300, abs=1e-6)
    assert found["per_class"][4]["average_precision"] is None  # no image has it
    pairs = sum(row["images"] for row in found["calibration"]["bins"])
    assert pairs == labels.size
    assert len(class_lines(found["per_class"])) == 6


def test_intervals_are_those_of_the_bootstrap(answers):
    from sklearn.metrics import average_precision_score

    found = summarize_several(answers, list("abcde"))
    rng, means, rows = np.random.default_rng(1), [], []
    for _ in range(400):
        drawn = rng.integers(300, size=300)
        if not answers.labels[drawn, :4].any(0).all():
            continue
        own = answers.labels[drawn, :4], answers.probabilities[drawn, :4]
        rows.append(average_precision_score(*own, average=None))
        means.append(rows[-1].mean())
    assert found["mean_average_precision_interval"] == pytest.approx(
        np.quantile(means, (0.025, 0.975)), abs=0.03
    )
    for i in range(2):
        interval = found["per_class"][i]["average_precision_interval"]
        want = np.quantile([row[i] for row in rows], (0.025, 0.975))
        assert interval == pytest.approx(want, abs=0.02)
        assert interval[0] <= found["per_class"][i]["average_precision"] <= interval[1]


def test_what_cannot_be_measured_is_refused(answers):
    nothing = Answers(answers.probabilities, np.zeros_like(answers.labels), answers.thresholds)
    with pytest.raises(ValueError, match="at least one image with a label"):
        summarize_several(nothing, list("abcde"))
    broken = Answers(answers.probabilities * np.nan, answers.labels, answers.thresholds)
    with pytest.raises(ValueError, match="NaN or infinity"):
        summarize_several(broken, list("abcde"))
