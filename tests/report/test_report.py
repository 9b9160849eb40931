"""The page shows what is there, says what is missing, and trusts no text."""

from __future__ import annotations

import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image, ImageOps

from keras_inception import Preprocessing
from keras_inception.evaluation import evaluate_run
from keras_inception.report import page, write_report


class Page(HTMLParser):
    """Checks that tags close, and collects text and images."""

    def __init__(self, path):
        super().__init__()
        self.open, self.text, self.sources, self.tags = [], "", [], set()
        self.feed(path.read_text())
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag not in ("img", "meta"):
            self.open.append(tag)
        self.sources += [v for k, v in attributes if k in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def run(finished_run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(finished_run.path, copy)
    return copy


def test_a_page_shows_the_evaluation(run):
    result = evaluate_run(run)
    page = Page(write_report(run))
    assert f"{result['accuracy']:.1%}" in page.text
    assert all(name in page.text for name in ("darkest", "brightest", "most frequent class", "F1"))
    assert len(page.sources) >= 2
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)


@pytest.mark.parametrize(
    "contract",
    [
        Preprocessing(size=(40, 40), crop_fraction=1.0),
        Preprocessing(size=(40, 30), crop_fraction=0.875, interpolation="bicubic"),
        Preprocessing(size=(40, 30), crop_fraction=0.875, keep_aspect=False),
        Preprocessing(size=(40, 30), crop_fraction=1.0, keep_aspect=False),
    ],
)
def test_the_phones_code_fits_a_image_as_the_contract_does(contract):
    waves = np.sin(np.linspace(0, 9, 160))[:, None, None] + np.cos(np.linspace(0, 7, 240))[:, None]
    pixels = np.uint8(127 + 60 * waves * np.array([1.0, 0.5, -1.0]))
    image = Image.fromarray(pixels)
    expression = page._fitted_by_pillow(contract)
    fitted = eval(expression, {"image": image, "Image": Image, "ImageOps": ImageOps})
    assert fitted.size == contract.size[::-1]
    assert np.abs(np.float32(fitted) - contract.fit(pixels)).max() < 3


def test_missing_parts_are_said(run):
    for name in ("evaluation.json", "predictions.npz", "export.json", "curves.png"):
        (run / name).unlink(missing_ok=True)
    page = Page(write_report(run))
    assert "Not evaluated yet." in page.text
    assert "Not exported yet." in page.text
    assert "not drawn yet" in page.text


def test_names_are_escaped(run):
    labels = (run / "labels.txt").read_text().splitlines()
    labels[0] = "<script>alert(1)</script>"
    (run / "labels.txt").write_text("\n".join(labels) + "\n")
    evaluate_run(run)
    page = Page(write_report(run))
    assert "script" not in page.tags
    assert "<script>alert(1)</script>" in page.text


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no run folder"):
        write_report(tmp_path)
