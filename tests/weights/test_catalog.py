"""The catalogue as data: well-formed, and the docs' table is the command's."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from keras_inception import catalog, get_weights, list_models, list_weights
from keras_inception.catalog import CATALOG
from keras_inception.cli import run
from keras_inception.weights import layouts

DOCS = Path(__file__).parents[2] / "docs" / "weights.md"


def test_records_are_well_formed():
    assert len({record.name for record in CATALOG}) == len(CATALOG)
    assert len({record.filename for record in CATALOG}) == len(CATALOG)
    for record in CATALOG:
        assert record.variant in list_models()
        assert record.layout in layouts.LAYOUTS
        assert layouts.LAYOUTS[record.layout].variant == record.variant
        assert re.fullmatch(r"https?://\S+", record.url)
        assert re.fullmatch(r"(md5|sha1|sha256|sha384):[0-9a-f]{8,96}|", record.hash), record.name
        assert record.preprocessing is not None and record.license and record.origin
        assert (record.top1 or 70) < (record.top5 or 90) <= 100
        assert record.label_offset == (record.classes in (1001, 1008))
        assert get_weights(record.tag, record.variant) is record
        assert get_weights(record.name) is record


def test_the_readme_counts_them():
    readme = (DOCS.parents[1] / "README.md").read_text()
    assert f"{len(CATALOG)} published checkpoints" in readme


def test_the_defaults_are_pinned(monkeypatch):
    """A better checkpoint in the catalogue changes nobody's network; a line in CHANGELOG does."""
    better = get_weights("inception_v4.slim")
    better = dataclasses.replace(better, name="inception_v4.better", top1=99.0, top5=99.9)
    monkeypatch.setattr(catalog, "CATALOG", (better, *CATALOG))
    names = {v: get_weights("imagenet", v).name for v in list_models() if list_weights(v)}
    assert names == {
        "InceptionV1": "inception_v1.slim",
        "BNInception": "bn_inception.slim",
        "InceptionV3": "inception_v3.tf2cv",
        "InceptionV4": "inception_v4.slim",
        "InceptionResNetV1": "inception_resnet_v1.tf2cv",
        "InceptionResNetV2": "inception_resnet_v2.tf2cv",
    }
    for name in names.values():
        record = get_weights(name)
        assert record.url.startswith("https:") and record.top1 and record.variant in names
        usual = record.preprocessing.mean == record.preprocessing.std == 127.5
        assert usual or record.variant not in ("InceptionV1", "BNInception")


def test_a_record_serves_a_file_of_ones_own(tmp_path):
    record = get_weights("inception_v3.timm_gluon").with_file(tmp_path / "mine.pth")
    assert (record.url, record.hash, record.filename) == ("", "", str(tmp_path / "mine.pth"))
    assert record.preprocessing == get_weights("inception_v3.timm_gluon").preprocessing


def test_an_unknown_name_lists_those_that_there_are():
    with pytest.raises(ValueError, match="no published weights 'v5'; there are inception_v1.slim"):
        get_weights("v5")
    with pytest.raises(ValueError, match="'imagenet' for InceptionV2; there are none"):
        get_weights("imagenet", "InceptionV2")


def test_the_docs_table_is_the_commands(capsys):
    with pytest.raises(SystemExit) as end:
        run(["weights"])
    assert end.value.code == 0
    assert capsys.readouterr().out in DOCS.read_text()
