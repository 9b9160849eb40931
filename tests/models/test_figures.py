"""What `models` and `info` print, against the built networks."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from keras_inception import get_model
from keras_inception.models.figures import Figures, figures_of, key_of

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
import figures  # noqa: E402

NETWORKS = list({key_of(*network): network for network in figures.networks()}.values())
# Two that cost a second; `make test-all` builds the others.
QUICK = [("InceptionV1", {"aux_logits": True}), ("BNInception", {})]


@pytest.mark.parametrize(
    ("variant", "arguments"),
    [n if n in QUICK else pytest.param(*n, marks=pytest.mark.slow) for n in NETWORKS],
)
def test_the_figures_are_those_of_the_built_network(variant, arguments):
    built = Figures.of(get_model(variant, weights=None, **arguments))
    assert figures_of(variant, arguments) == built


def test_other_networks_are_not_known():
    assert figures_of("InceptionV1", {"classes": 5}) is None
