"""Recipes, options and their flags: each has a type and a range, checked in one place."""

from __future__ import annotations

import json

import pytest

from keras_inception import recipes
from keras_inception.cli import flags
from keras_inception.options import Options
from keras_inception.recipes import Recipe

NUMBERS = [
    ("learning_rate", "nan"),
    ("learning_rate", "inf"),
    ("learning_rate", "1e30"),
    ("learning_rate", "0"),
    ("head_learning_rate", "nan"),
    ("head_epochs", "-1"),
    ("weight_decay", "inf"),
    ("weight_decay", "-1e-4"),
    ("clip_norm", "nan"),
    ("clip_norm", "-1"),
    ("epsilon", "-1"),
    ("epsilon", "0"),
    ("bn_momentum", "5"),
    ("bn_momentum", "1"),
    ("momentum", "1"),
    ("aux_weight", "nan"),
    ("decay_epochs", "0"),
    ("decay_rate", "-1"),
    ("warmup_epochs", "inf"),
    ("width_multiplier", "inf"),
    ("width_multiplier", "1e9"),
    ("width_multiplier", "0"),
    ("image_size", "100000"),
    ("image_size", "0"),
    ("epochs", "-1"),
    ("epochs", str(10**20)),
    ("batch_size", str(10**20)),
    ("accumulation_steps", "0"),
    ("dropout", "1"),
    ("ema", "1"),
    ("label_smoothing", "nan"),
    ("validation_fraction", "1"),
    ("crop_fraction", "1.5"),
    ("seed", "-1"),
    ("seed", str(2**32)),
    ("num_virtual_devices", "-1"),
    ("num_virtual_devices", "100000"),
    ("steps_per_loop", "0"),
    ("worker_index", "-1"),
    ("workers", "nonsense"),
    ("workers", "host:0"),
    ("workers", "host:1,,host:2"),
]


def one_line(capsys, *arguments):
    """What a wrong command line says."""
    with pytest.raises(SystemExit) as end:
        flags.parse(["train_tpu.py", *arguments])
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("train_tpu.py: ") and line.endswith("(--help lists the flags)")
    return line


@pytest.mark.parametrize(("name", "value"), NUMBERS)
def test_a_number_out_of_its_range_is_one_line(name, value, capsys):
    line = one_line(capsys, f"--{name}={value}")
    assert f"--{name} should be" in line and f"Received: --{name}=" in line
    assert "`" not in line


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sync_bn": "yes"}, "`sync_bn` should be true or false. Received: sync_bn='yes'"),
        ({"sync_bn": 1}, "`sync_bn` should be true or false"),
        ({"epochs": True}, "`epochs` should be a whole number at least 0.*epochs=True"),
        ({"epochs": 2.5}, "`epochs` should be a whole number"),
        ({"epochs": None}, "`epochs` should be a whole number"),
        ({"epochs": [3]}, "`epochs` should be a whole number"),
        ({"learning_rate": "0.1"}, "`learning_rate` should be a finite number above 0"),
        ({"learning_rate": 10**400}, "`learning_rate` should be a finite number"),
        ({"learning_rate": float("nan")}, "`learning_rate` should be a finite number"),
        ({"model": ["InceptionV1"]}, "`model` should be text"),
        ({"aspect": "fit"}, "`aspect` should be one of weights, crop, pad, stretch"),
        ({"dataset": "folder:/a\nb"}, "`dataset` should be text without control characters"),
        ({"optimizer": "adam"}, "`optimizer` should be one of adamw, lion, rmsprop, sgd"),
        ({"optimizer": {}}, "`optimizer` should be one of"),
        ({"epoch": 3}, "no field 'epoch'; did you mean 'epochs'"),
        ({"epochs": 0}, "`epochs=0` trains nothing unless `probe`"),
        ({"probe": True, "head_epochs": 2}, "`probe` fits the classifier that `head_epochs`"),
        ({"batch_size": 64, "accumulation_steps": 3}, "`batch_size` should divide by"),
    ],
)
def test_a_config_is_held_to_the_same(fields, message, tmp_path, capsys):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"recipe": fields}))
    with pytest.raises(ValueError, match=message) as caught:
        recipes.load(path)
    assert str(path) in str(caught.value)
    assert flags.with_flags(message).partition(".")[0][:20] in one_line(capsys, f"--config={path}")
    with pytest.raises(ValueError, match=message):
        Recipe.from_dict(fields).check()


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[1]", b'{"recipe": 3}', b"[" * 100_000, b"\xff\xfe", b'{"recipe": {}', b"null"],
)
def test_a_file_that_is_no_config_is_named(content, tmp_path, capsys):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    line = one_line(capsys, f"--config={path}")
    assert f"{path} is not the config.json of a run: " in line
    assert str(tmp_path / "none") in one_line(capsys, f"--config={tmp_path / 'none'}")


def test_whole_numbers_are_read_as_floats_where_a_field_is_one(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"recipe": {"learning_rate": 1}}))
    recipe = recipes.load(tmp_path / "config.json")
    assert type(recipe.learning_rate) is float and recipe == Recipe(learning_rate=1)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("`keep=best` needs a part. Received: keep='last'", "--keep=best needs a part. Received: "
         "--keep='last'"),
        ("Give `fresh=True` or another `run_dir`.", "Give --fresh or another --run_dir."),
        ("Build with `include_top=False`.", "Build with `include_top=False`."),
        ("Received: classes=5", "Received: classes=5"),
        ("Received: image_size=9, classes=5, batch_size=2", "Received: --image_size=9, classes=5, "
         "--batch_size=2"),
    ],
)  # fmt: skip
def test_the_command_line_names_flags(said, shown):
    assert flags.with_flags(said) == shown


def test_flags_become_settings():
    recipe, options = flags.parse(
        ["x", "--recipe=inception_v3", "--sync_bn=true", "--epochs=3", "--fresh", "--run_dir=a/b"]
    )
    assert recipe == recipes.named("inception_v3").replace(sync_bn=True, epochs=3)
    assert options == Options(run_dir="a/b", fresh=True)
    assert flags.parse(["x"])[1].run_dir == "runs/fashion_mnist_mini-InceptionV1"


def test_the_limit_of_pixels_is_the_decoders():
    from keras_inception.data.decode import MAX_PIXELS

    assert Recipe().max_pixels == MAX_PIXELS


def test_bands_are_one_number_or_three():
    assert [Recipe(bands=b).band_numbers for b in ("", "8", "4,3,12")] == [(), (8,), (4, 3, 12)]
    for wrong in ("4,3", "0,1,2", "4;3;2", "nir", "-1"):
        with pytest.raises(ValueError, match="`bands` should be one number or three"):
            Recipe(bands=wrong).check()


def test_a_background_is_a_color():
    from keras_inception.data.decode import Decoding

    assert Recipe().background_color == Decoding().background
    assert Recipe(background="0a10ff").background_color == (10, 16, 255)
    for wrong in ("white", "#ffffff", "fff"):
        with pytest.raises(ValueError, match="`background` should be a color"):
            Recipe(background=wrong).check()
