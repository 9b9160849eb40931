"""Wrong labels are found by a classifier that has not seen them."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from PIL import Image

from keras_inception import cli
from keras_inception.curation import find_wrong_labels
from keras_inception.curation.labels import _folds, judge
from keras_inception.curation.tables import sentence_in
from keras_inception.data import open_source


def clusters(seed, images=1200, classes=4):
    """Features of classes that overlap a little: a probe is right on 94 %."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, images)
    centers = rng.normal(0, 0.75, (classes, 24))
    return (centers[labels] + rng.normal(size=(images, 24))).astype(np.float32), labels


@pytest.mark.parametrize("kind", ["random", "to the next class"])
def test_flipped_labels_are_found_and_counted(kind):
    features, labels = clusters(0)
    rng = np.random.default_rng(1)
    flipped = rng.permutation(len(labels))[:60]
    given = labels.copy()
    given[flipped] += 1 if kind != "random" else rng.integers(1, 4, 60)
    given %= 4
    found = find_wrong_labels(features, given, 4)
    assert np.isin(found.order[:60], flipped).mean() >= 0.75
    assert found.wrong == pytest.approx(60, rel=0.3)
    right = found.suggestions[flipped] == labels[flipped]
    assert right.mean() > 0.85
    if kind != "random":
        assert {(i, j) for i, j, _ in found.pairs(4)} == {(1, 0), (2, 1), (3, 2), (0, 3)}
    assert sorted(found.order) == list(range(len(labels)))


def test_the_estimate_is_that_of_the_images_that_the_classifier_is_sure_of():
    """Of the surer half of each class 5 % are called otherwise, of the other half 50 %."""
    called, place = np.repeat([0, 1], 200), np.tile(np.arange(200), 2)
    wrong = (place < 100) & (place % 20 == 7)
    labels = np.where(wrong | ((place >= 100) & (place % 2 == 1)), 1 - called, called)
    sure = 0.99 - place / 450
    probabilities = np.stack([np.where(called == i, sure, 1 - sure) for i in (0, 1)], 1)
    found = judge(probabilities, labels)
    np.testing.assert_allclose(found.joint, [[190, 10], [10, 190]])
    assert found.wrong == 20 and set(found.suspects[:10]) == set(np.flatnonzero(wrong))
    assert found.pairs() == [(0, 1, 10), (1, 0, 10)]
    assert judge(probabilities, called).wrong == 0


def test_no_fold_divides_a_group_and_each_class_is_in_all():
    rng = np.random.default_rng(0)
    labels, groups = rng.integers(0, 3, 400), rng.integers(0, 120, 400)
    fold = _folds(labels, groups, 0)
    assert all(len(set(fold[groups == group])) == 1 for group in np.unique(groups))
    counts = np.stack([np.bincount(labels[fold == i], minlength=3) for i in range(5)])
    assert counts.min() >= 0.75 * len(labels) / 15


def lines_of(path):
    return path.read_text(encoding="utf-8").splitlines()


def test_inspect_writes_a_sheet_and_a_table_to_train_with(tmp_path, finished_run, capsys):
    rng = np.random.default_rng(0)
    for i in range(60):
        name, shade = ("dark", 40) if i % 2 else ("bright", 170)
        if i in (10, 11):  # one bright image is called dark, and the other way round
            name = "bright" if name == "dark" else "dark"
        (tmp_path / "data" / name).mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 64, (20, 20, 3)) + shade
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "data" / name / f"{i:02}.png")
    dataset, output = f"folder:{tmp_path / 'data'}", tmp_path / "run" / "inspection"
    model = ["--model", str(finished_run.path)]
    arguments = ["inspect", dataset, "--labels", *model]
    with pytest.raises(SystemExit) as ended:
        cli.run([*arguments, "--seed=1", "--output", str(output)])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    source = open_source(dataset, validation_fraction=0.05, seed=1)
    train = source.splits["train"]
    wrong = {i for i in range(len(train)) if train.name(i)[-6:] in ("10.png", "11.png")}
    assert wrong and "training images" in said
    rows = list(csv.DictReader(lines_of(output / "labels.csv")))
    assert {row["path"] for row in rows[: len(wrong)]} == {train.describe(i) for i in wrong}
    assert len(rows) == 60
    again = open_source(f"csv:{output / 'labels.csv'}")
    for part, split in source.splits.items():
        assert len(again.splits[part]) == len(split)
    page = (output / "labels.html").read_text(encoding="utf-8")
    assert f"About {len(wrong)} of" in sentence_in(output)
    assert page.count("<figure class") == len(wrong) and page.count("<figure") == 5 * len(wrong)
    content = json.loads((output / "inspection.json").read_text())
    assert content["suspects"] and content["network"] == str(finished_run.path)
    from_folder = ["inspect", dataset, f"--unlabelled=folder:{tmp_path / 'data'}", "--count=5"]
    with pytest.raises(SystemExit) as ended:
        cli.run([*from_folder, *model, "--output", str(output)])
    assert ended.value.code == 0 and "To label next" in capsys.readouterr().out
    listed = list(csv.DictReader(lines_of(output / "next.csv")))
    assert len(listed) == 5 and {row["likeliest"] for row in listed} <= {"bright", "dark"}
    assert (output / "next.html").read_text(encoding="utf-8").count("<figure") == 5
    for wrong_use, message in (
        ([*arguments, "--output=x.html"], "a folder with --labels or"),
        (["inspect", dataset, "--output=folder"], "a file .html without"),
        (["inspect", dataset, "--model=x"], "--model goes with --labels, "),
        (["inspect", dataset, "--odd", *model, "--preprocessing=x"], "Received: 'x'"),
    ):
        with pytest.raises(SystemExit) as ended:
            cli.run(wrong_use)
        assert ended.value.code == 2 and message in capsys.readouterr().err
