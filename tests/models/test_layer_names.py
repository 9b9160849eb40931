"""Layer names are an interface: weights load by them for ever. One golden file a variant.

After a change that is meant, write the files anew: `python tests/models/test_layer_names.py`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from keras_inception import get_model, list_models

GOLDEN = Path(__file__).parent / "layer_names"


def names(variant: str) -> str:
    """The layers that hold weights, with auxiliary heads, a line each."""
    side = 299 if variant != "InceptionV1" else 224
    model = get_model(variant, weights=None, aux_logits=True, input_shape=(side, side, 3))
    return "".join(sorted(f"{layer.name}\n" for layer in model.layers if layer.weights))


@pytest.mark.parametrize("variant", list_models())
def test_names_are_those_that_weights_were_saved_under(variant):
    assert names(variant) == (GOLDEN / f"{variant}.txt").read_text()


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for each in list_models():
        (GOLDEN / f"{each}.txt").write_text(names(each))
