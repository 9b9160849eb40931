"""`train` and the run that it returns."""

from __future__ import annotations

import os

import numpy as np
import pytest
import short_googlenet
from PIL import Image

from keras_inception import (
    bar,
    evaluate,
    explain,
    inspect,
    load_classifier,
    load_run,
    predict,
    train,
)
from keras_inception.data import open_run
from keras_inception.models import inception_v1
from keras_inception.runs import RunFolder


def test_a_run_is_finished_and_given_again(finished_run, monkeypatch, capsys):
    """On a folder whose training has ended; what is switched off is not done."""
    monkeypatch.setattr(inception_v1, "features", short_googlenet.features)
    recipe, path = finished_run.recipe, finished_run.path
    run = train(recipe=recipe, run_dir=path, export=False, verbose=0)
    assert capsys.readouterr().out == ""
    rows = RunFolder(path).history
    assert run.history["loss"] == [row["loss"] for row in rows] and len(rows) == recipe.epochs
    assert not (path / "export.json").exists() and run.report == path / "report.html"
    again = load_run(run)
    assert again.evaluation == run.evaluation == evaluate(run)
    accuracy = run.evaluation["results"][0]["accuracy"]
    shown = again._repr_html_()
    assert f"{accuracy:.1%}" in repr(again) and f"{accuracy:.1%}" in shown
    assert shown.count("<img") == 1 and os.fspath(run.report) in shown
    image = np.zeros((1, *run.classifier.input_shape), np.uint8)
    scaled = run.model.preprocessing.scale(image)
    want = run.model(scaled, training=False)
    np.testing.assert_allclose(run.classifier.predict(image), want, atol=1e-6)
    assert load_classifier(run).class_names == tuple(run.class_names)


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"epoch": 2}, TypeError, "no argument 'epoch'; did you mean 'epochs'"),
        ({"worker_inde": 2}, TypeError, "did you mean 'worker_index'"),
        ({"epochs": "two"}, ValueError, "`epochs` should be a whole number"),
        ({"recipe": "finetoon"}, ValueError, "Unknown recipe"),
    ],
)
def test_what_a_run_cannot_be_is_said_before_anything_is_written(fields, error, message, tmp_path):
    with pytest.raises(error, match=message):
        train("fake", run_dir=tmp_path / "run", **fields)
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(ValueError, match="no run folder"):
        load_run(tmp_path)


def test_networks_answer_to_arrays(finished_run):
    """All images are measured on, and whole numbers are the run's classes."""
    run, split = load_run(finished_run.path), open_run(finished_run).splits["test"]
    images = np.stack([split.pixels(i) for i in range(8)])
    result = evaluate(run, (images, split.labels[:8]))
    (one,) = result["results"]
    right = sum(
        record.top[0][0] == run.class_names[label]
        for record, label in zip(predict(run, (images, split.labels)), split.labels, strict=False)
    )
    assert (result["images"], result["dataset"], one["trained_on"]) == (8, "arrays", 0)
    assert round(one["accuracy"] * 8) == right
    assert [row["name"] for row in one["per_class"]] == run.class_names
    with pytest.raises(ValueError, match="Labels should be 0 to 3, for 4 class names"):
        evaluate(run, (images, split.labels[:8] + 4))


def test_silence(finished_run, tmp_path, monkeypatch, capfd):
    """Images that were not looked at before, with a bar that would tell of each."""
    monkeypatch.setattr(bar, "_SECONDS_IN_A_LOG", 0)
    rng, run = np.random.default_rng(5), load_run(finished_run.path)

    def table(count=4):
        paths = [tmp_path / f"{rng.integers(1 << 40)}.png" for _ in range(count)]
        for path in paths:
            Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8)).save(path)
        return paths, [run.class_names[i % 2] for i in range(count)]

    evaluate(run, table(), verbose=2)
    assert "4 of 4 images checked" in capfd.readouterr().err
    inspect(table(8), verbose=0)
    evaluate(run, table(), verbose=0)
    list(predict(run, table(), batch_size=1, verbose=0))
    explain(run, table()[0][0])
    assert capfd.readouterr() == ("", "")


def test_parts_of_data_that_has_its_own(tmp_path):
    with pytest.raises(ValueError, match="`validation` and `test` go with arrays"):
        train("fake", run_dir=tmp_path / "run", test=(np.zeros((2, 8, 8, 3)), [0, 1]))
    assert not (tmp_path / "run").exists()
