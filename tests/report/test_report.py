"""The page shows what is there, says what is missing, and trusts no text."""

from __future__ import annotations

import shlex
import shutil
from html.parser import HTMLParser

import numpy as np
import page_runs
import pytest
from PIL import Image, ImageOps

from keras_inception import Preprocessing, cli
from keras_inception.cli import flags
from keras_inception.data import open_source
from keras_inception.evaluation import evaluate
from keras_inception.recipes import RECIPES, Recipe, named
from keras_inception.report import exports, repeat, training, write_report
from keras_inception.runs import RunFolder

VOID = ("img", "meta", "link", "input", "br")


class Page(HTMLParser):
    """Checks that tags close, and collects text, tags and addresses."""

    def __init__(self, path):
        super().__init__()
        self.open, self.text, self.sources, self.tags = [], "", [], []
        self.feed(path.read_text("utf-8"))
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        self.sources += [v for k, v in attributes if k in ("src", "href")]
        assert not [k for k, _ in attributes if k.startswith("on")]

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.text += data


@pytest.fixture
def run(tmp_path):
    """A run whose data set can be opened."""
    source = open_source("fake", validation_fraction=Recipe().validation_fraction)
    return page_runs.made_run(tmp_path / "run", 4, source)[0].path


@pytest.fixture(scope="module", params=[2, 10, 1000])
def made(request, tmp_path_factory):
    """Pages of runs with as many classes, and the runs."""
    folder = tmp_path_factory.mktemp("made") / str(request.param)
    run, source = page_runs.made_run(folder, request.param)
    write_report(run.path, source)
    return run


def test_a_page_shows_the_evaluation(run):
    result = evaluate(run)["results"][0]
    page = Page(write_report(run))
    assert f"{result['accuracy']:.1%}" in page.text
    assert all(name in page.text for name in ("darkest", "brightest", "most frequent class", "F1"))
    error = result["calibration"]["expected_calibration_error"]
    assert f"On average the two are {error:.1%} apart" in page.text
    wrong = round((1 - result["accuracy"]) * result["examples"])
    assert f"{wrong} of {result['examples']} test images were called wrong" in page.text
    images = [s for s in page.sources if s.startswith("data:image/")]
    # samples, the curves, the confusion matrix, the reliability, the mistakes
    assert len(images) == 4 * 5 + 3 + 2 * min(wrong, 24)
    assert f"{result['examples']:,}" in page.text


def test_a_page_loads_nothing_and_runs_nothing_of_others(made):
    page = Page(made.path / "report.html")
    assert all(s.startswith(("data:", "#")) for s in page.sources)
    assert page.tags.count("script") == 1 and not set(page.tags) & {"i", "s", "u", "iframe"}
    for name in made.class_names[: len(page_runs.HOSTILE)]:
        assert name in page.text
    assert "folder:/photos/<b>mine</b>" in page.text
    assert "<u>a</u> = b" in page.text and "broken/<s>1</s>.jpg" in page.text
    assert (made.path / "report.html").stat().st_size < 2_000_000


def test_many_classes_are_summarized(made):
    html = (made.path / "report.html").read_text("utf-8")
    classes = len(made.class_names)
    assert ('alt="confusion matrix"' in html) == (classes <= 40)
    assert html.count('<div class="row">') == min(classes, 12)
    assert f"of {classes:,} classes" in html or classes <= 12
    body = html.split('id="classes"')[1].split("</section>")[0]
    scores = [float(row.split('data-sort="')[2].split('"')[0]) for row in body.split("<tr>")[2:]]
    assert len(scores) == classes
    assert scores == sorted(scores) or classes <= 20


def test_missing_parts_are_said(run):
    for name in ("evaluation.json", "predictions.npz", "export.json", "history.csv"):
        (run / name).unlink(missing_ok=True)
    page = Page(write_report(run, images=False))
    for said in ("Not evaluated yet.", "Not exported yet.", "No epoch is done yet."):
        assert said in page.text
    assert "This page was written without images." in page.text
    assert not [s for s in page.sources if s.startswith("data:image")]


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no run folder"):
        write_report(tmp_path)


@pytest.mark.parametrize(
    ("changes", "holds", "lacks"),
    [
        ({}, ["label smoothing 0.1", "moving average (0.99)", "augmented"], ["head", "L2"]),
        (
            {"aux_weight": 0.4, "optimizer": "sgd", "weight_decay": 4e-5, "label_smoothing": 0.0},
            ["0.4 times the loss of each auxiliary head", "L2 of the kernels, 4e-05 / 2"],
            ["smoothing"],
        ),
        ({"mix": "either", "class_weight": "balanced"}, ["mixup or cutmix", "count alike"], []),
        (
            {"augmentation": "none", "ema": 0.0, "label_smoothing": 0.0},
            ["plain images", "with the weights"],
            ["with label", "average"],
        ),
    ],
)
def test_the_legend_says_what_a_line_holds(changes, holds, lacks):
    mine, theirs = training.meanings(Recipe().replace(**changes))["loss"]
    assert all(words in mine + theirs for words in holds)
    assert not [words for words in lacks if words in mine + theirs]
    assert theirs.startswith("plain cross-entropy")


def test_the_least_loss_with_smoothing_is_that_of_the_smoothed_labels():
    import keras

    target = np.full(10, 0.01)
    target[3] = 0.91
    expected = float(keras.losses.categorical_crossentropy(target, target))
    assert training._smoothing_floor(0.1, 10) == pytest.approx(expected, rel=1e-5)


def test_a_probe_and_a_first_stage_are_told(tmp_path):
    run, _ = page_runs.made_run(tmp_path / "run", 2)
    path = [
        {"penalty": p, "loss": p, "accuracy": 0.9, "validation_accuracy": 0.8} for p in (1.0, 0.1)
    ]
    head = RunFolder(run.path / "head")
    head.path.mkdir()
    shutil.copy(run.path / "labels.txt", head.path)
    recipe = run.recipe.replace(probe=True, epochs=0)
    head.write_json("config.json", {"recipe": recipe.to_dict(), "versions": {}})
    head.write_json("probe.json", {"penalty": 0.1, "path": path})
    head.write_history([{"epoch": 1, "step": 1, "loss": 0.5, "accuracy": 0.9}])
    page = Page(write_report(run.path, images=False))
    assert "First stage: only the classifier" in page.text and "0.1 (chosen)" in page.text


@pytest.mark.parametrize("name", RECIPES)
def test_the_commands_are_ones_that_the_parsers_take(name, tmp_path):
    recipe = named(name).replace(dataset="folder:/my photos/it's", seed=7, probe=True)
    recipe = recipe.replace(head_epochs=0, learning_rate=1 / 3)
    words = _words(repeat.train_command(recipe, "runs/a b"))
    again, options = flags.parse(words[1:])
    assert again == recipe and options.run_dir == "runs/a b"
    run = RunFolder(tmp_path / "it's")
    commands = dict(repeat._commands(run, recipe))
    for command in list(commands.values())[1:]:
        cli.parser().parse_args(_words(command)[1:])


def _words(command):
    """A command as a shell reads it, which joins lines that end in a backslash."""
    return shlex.split(command.replace("\\\n", ""))


def test_measurements_of_a_run_are_in_its_folder_and_on_its_page(run, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.run(["evaluate", str(run), "--dataset", "fake", "--limit", "8", "--crops", "mirror"])
    assert ended.value.code == 0
    (written,) = (run / "evaluations").glob("fake-mirror-*/evaluation.json")
    page = Page(run / "report.html")
    assert "Measurements" in page.text and "fake (8)" in page.text
    with pytest.raises(SystemExit) as ended:
        cli.run(["evaluate", str(run), "--dataset", "fake", "--output", str(run)])
    assert ended.value.code == 2
    assert "is a run folder" in capsys.readouterr().err
    written.write_text("{}")
    with pytest.raises(ValueError, match="evaluation.json cannot be used"):
        write_report(run)
    written.write_bytes(b"{" + b"\xff" * 9_999)  # none of it is printed
    with pytest.raises(ValueError, match="evaluation.json cannot be used") as refused:
        write_report(run)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize(
    "contract",
    [
        Preprocessing(size=(40, 40), crop_fraction=1.0),
        Preprocessing(size=(40, 30), crop_fraction=0.875, interpolation="bicubic"),
        Preprocessing(size=(40, 30), crop_fraction=0.875, aspect="stretch"),
        Preprocessing(size=(40, 30), crop_fraction=1.0, aspect="stretch"),
        Preprocessing(size=(40, 32), crop_fraction=1.0, aspect="pad"),
        Preprocessing(size=(42, 28), crop_fraction=0.875, aspect="pad", mean=(124.0, 117.0, 104.0)),
    ],
)
def test_the_phones_code_fits_an_image_as_the_contract_does(contract):
    waves = np.sin(np.linspace(0, 9, 160))[:, None, None] + np.cos(np.linspace(0, 7, 240))[:, None]
    pixels = np.uint8(127 + 60 * waves * np.array([1.0, 0.5, -1.0]))
    image = Image.fromarray(pixels)
    expression = exports.fitted_by_pillow(contract)
    fitted = eval(expression, {"image": image, "Image": Image, "ImageOps": ImageOps})
    assert fitted.size == contract.size[::-1]
    assert np.abs(np.float32(fitted) - contract.crop_and_resize(pixels)).max() < 3
