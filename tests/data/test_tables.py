"""csv:FILE, and what `keras-inception inspect` says of it."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from keras_inception import cli
from keras_inception.data import open_source
from keras_inception.data.sources.files import ImageFile, split_of_files


@pytest.fixture
def table(tmp_path, monkeypatch):
    """A function that writes a table beside 12 images, 0.png to 11.png of shade 10 times i."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(12):
        Image.fromarray(np.full((8, 9), 10 * i, np.uint8)).save(folder / f"{i}.png")

    def write(text, encoding="utf-8"):
        (tmp_path / "table.csv").write_text(text, encoding=encoding)
        return f"csv:{tmp_path / 'table.csv'}"

    return write


def rows(line, head):
    return "\n".join([head, *(line(i) for i in range(12))])


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_with_parts(table, delimiter, caplog):
    def line(i):
        part = ("Train", "train", "val", "testing")[i % 4]
        return delimiter.join([f"{9 + i % 2}", f"images/{i}.png", part, "more"])

    head = delimiter.join(["Label", "path", "split", "other"])
    source = open_source(table(rows(line, head), encoding="utf-8-sig"))
    assert source.class_names == ("9", "10")  # as numbers
    assert "Each number is a class" in caplog.text and "output 0 = '9'" in caplog.text
    assert [source.num_examples(p) for p in ("train", "validation", "test")] == [6, 3, 3]
    assert source.splits["test"].name(1) == "images/7.png"
    assert source.splits["test"].labels.tolist() == [1, 1, 1]
    assert source.splits["test"].pixels(1).numpy().max() == 70


def test_a_table_without_parts_is_divided(table):
    text = rows(lambda i: f"images/{i}.png,{'Katze' if i < 6 else 'Hündin'}", "path,label")
    source = open_source(table(text + "\nimages/0.png,Katze\n\n"), validation_fraction=0.2)
    assert source.class_names == ("Hündin", "Katze")
    assert [source.num_examples(p) for p in ("train", "validation", "test")] == [8, 2, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "columns path and label.*Received: no columns"),
        ("file,class\nx,a", "columns path and label.*Received: file, class"),
        ("path,class\nx,a", "should hold 0 or 1. Received: 'a' as class"),
        ("path,cat,dog\nx,0,2", "line 2: .* should hold 0 or 1. Received: '2' as dog"),
        ("path,cat|dog,fox\nx,0,1", "no class may have it in its name. Received: 'cat|dog'"),
        ("path,label,label\nx,a,b", "a column twice.*as a|b"),
        ("path,label\nimages/0.png,a\nimages/0.png,b", "line 3: images/0.png has two labels.*a|b"),
        ("path,label\nimages/0.png,a|b\nimages/0.png,b", "line 3: images/0.png has two labels"),
        (
            "path,label,split\nimages/0.png,a,train\nimages/0.png,a,test",
            "line 3: images/0.png has two parts",
        ),
        ("path,label\nimages/0.png", "line 2: 1 cells, not 2"),
        ("path,label\nimages/0.png,", "line 2: a row needs a path and a label"),
        ("path,label,split\nimages/0.png,a,holdout", "Received: 'holdout'"),
        ("path,label,split\nimages/0.png,a,test", "no row of the training part, only test"),
        ("path,label\nimages/0.png,a\nno/where.png,b", "1 of the 2 images .* are not there.*where"),
        ("path,label", "has no rows"),
        ("path,label\nimages/0.png,a", "at least two classes"),
        ('path,label\nimages/0.png,a\nimages/1.png,"b\nc"', r"with U\+000A"),
        (
            "path,label,split\nimages/0.png,a,train\nimages/1.png,b,test",
            "has no readable images of b",
        ),
    ],
)
def test_what_is_wrong_with_a_table_is_said(table, text, message):
    with pytest.raises(ValueError, match=message.replace("|", r"\|")):
        open_source(table(text))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_cell_keeps_unicodes_other_line_ends(table, tmp_path, end):
    """Only \\n, \\r and both end a line of CSV, also where the line of a mistake is counted."""
    odd = "images/a\x0b\x0c\x1c\x85\u2028b.png"
    (tmp_path / "images" / "0.png").rename(tmp_path / odd)
    lines = ["path,label", f"{odd},a", *(f"images/{i}.png,b" for i in range(1, 12))]
    (tmp_path / "table.csv").write_bytes(end.join(lines).encode())
    dataset = f"csv:{tmp_path / 'table.csv'}"
    assert odd in names(open_source(dataset))
    (tmp_path / "table.csv").write_bytes(end.join([*lines, "images/1.png,"]).encode())
    with pytest.raises(ValueError, match="line 14: a row needs a path and a label"):
        open_source(dataset)


def test_images_that_a_table_names_by_whole_paths_are_found_by_their_descriptions(table, tmp_path):
    source = open_source(
        table(rows(lambda i: f"{tmp_path}/images/{i}.png,{'ab'[i % 2]}", "path,label"))
    )
    described = {part.describe(i) for part in source.splits.values() for i in range(len(part))}
    assert described == {str(tmp_path / "images" / f"{i}.png") for i in range(12)}
    of_bucket = split_of_files([ImageFile("gs://b/1.png", "gs://b/1.png", 0)], "/data/")
    assert of_bucket.describe(0) == "gs://b/1.png"


def names(source):
    return {part.name(i) for part in source.splits.values() for i in range(len(part))}


def test_inspect_prints_what_a_data_set_holds(table, tmp_path, capsys):
    text = rows(
        lambda i: (
            f"images/{i}.png,{'Kätzchen' if i < 11 else '犬'},{'test' if i in (0, 1) else 'train'}"
        ),
        "path,label,split",
    )
    dataset = table(text)
    (tmp_path / "images" / "1.png").write_bytes((tmp_path / "images" / "5.png").read_bytes())
    sheet = tmp_path / "sheet.html"
    with pytest.raises(SystemExit) as ended:
        cli.run(["inspect", dataset, "--validation_fraction=0", "--output", str(sheet)])
    assert ended.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(
        "12 images of 2 classes (10 training, 0 validation, 2 test); 12 PNG; 9 x 8"
    )
    assert lines[2].split() == ["Kätzchen", "9", "0", "2"] and lines[3].split() == [
        "犬",
        "1",
        "0",
        "0",
    ]
    assert lines[-2].endswith(
        ": images of the test part are in the train part as well (1), so that what is measured on "
        "them says too much: images/1.png = images/5.png"
    )
    page = sheet.read_text(encoding="utf-8")
    assert "犬 (1)" in page and page.count("data:image/png") == 9
    with pytest.raises(SystemExit) as ended:
        cli.run(["inspect", f"folder:{tmp_path / 'nowhere'}"])
    assert ended.value.code == 2 and "no folder" in capsys.readouterr().err
