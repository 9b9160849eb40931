"""One small real run that the tests of the later stages share."""

from __future__ import annotations

import os

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """The run folder of a real, short training on the `fake` data set."""
    from keras_inception.training import Recipe, train

    recipe = Recipe(
        dataset="fake", image_size=32, epochs=3, batch_size=32, learning_rate=0.016, ema=0.5
    )
    return train(recipe, str(tmp_path_factory.mktemp("runs") / "fake"))
