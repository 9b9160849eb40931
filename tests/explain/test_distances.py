"""Distances of image sets: as pytorch-fid, torch-fidelity and clean-fid compute them."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_inception import InceptionV3, cli
from keras_inception.explaining import (
    fid_features,
    fid_logits,
    frechet_distance,
    inception_score,
    kernel_distance,
    read_statistics,
    save_statistics,
    statistics,
)
from keras_inception.explaining.features import resized

GOLDENS = Path(__file__).parents[1] / "goldens"
sys.path.insert(0, str(GOLDENS))
import fid  # noqa: E402
import native  # noqa: E402


@pytest.fixture(scope="module")
def seeded(tmp_path_factory):
    """The network of 2015 with the weights that the peers were given."""
    path = tmp_path_factory.mktemp("fid") / "pt_inception-2015-12-05-6726825d.pth"
    native.torch_legacy(json.loads((GOLDENS / "pytorch_fid.json").read_text()), path)
    return InceptionV3(weights=path, classes=1008)


@pytest.mark.parametrize("resize", ["tf1", "pytorch", "clean"])
def test_distances_are_the_peers(resize, seeded):
    golden = json.loads((GOLDENS / "fid_peers.json").read_text())["results"][resize]
    one, other = (fid_features(images, resize=resize, model=seeded) for images in fid.images())
    np.testing.assert_allclose(one[0, ::64], golden["features"], rtol=1e-3, atol=1e-4)
    assert frechet_distance(one, other) == pytest.approx(golden["fid"], rel=1e-3)
    if "kid" in golden:
        mean, _ = kernel_distance(one, other, subsets=1)
        assert mean == pytest.approx(golden["kid"], rel=1e-3)
    if "inception_score" in golden:
        logits = fid_logits(np.concatenate([one, other]), seeded)
        expected = golden["inception_score"], golden["inception_score_std"]
        assert inception_score(logits, splits=2) == pytest.approx(expected, rel=1e-3)


def test_the_trace_is_that_of_scipys_matrix_root():
    from scipy.linalg import sqrtm

    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(200, 20)), rng.normal(0.3, 1.5, size=(90, 20))
    one[:, 3] += 2 * one[:, 5]
    first, second = statistics(one), statistics(other)
    root = sqrtm(first.covariance @ second.covariance).real
    expected = ((first.mean - second.mean) ** 2).sum() + np.trace(
        first.covariance + second.covariance - 2 * root
    )
    assert frechet_distance(one, other) == pytest.approx(expected, rel=1e-9)
    np.testing.assert_allclose(first.covariance, np.cov(one, rowvar=False), atol=1e-12)


def test_few_images_of_many_channels(caplog):
    """Where the covariances have no full rank: the same by factors and by whole matrices."""
    rng = np.random.default_rng(1)
    first, second = (statistics(rng.normal(size=(n, 60)), resize="tf1") for n in (10, 25))
    by_factors = frechet_distance(first, second)
    assert caplog.text.count("10 and 25 images are few for 60 channels") == 1

    whole = [dataclasses.replace(s, factor=None) for s in (first, second)]
    assert frechet_distance(*whole) == pytest.approx(by_factors, rel=1e-6)
    assert frechet_distance(first, whole[1]) == pytest.approx(by_factors, rel=1e-6)


@pytest.mark.parametrize("images", [50, 3000])
def test_the_distance_of_equal_sets_is_0(images):
    """It was -0.0005 at 2,048 channels: the roots of eigenvalues that are 0 but for rounding."""
    rng = np.random.default_rng(4)
    features = rng.gamma(0.3, size=(images, 256)) * rng.gamma(0.5, size=256)
    features[:, ::5] = 0  # channels that never answer
    first = statistics(features)
    whole = dataclasses.replace(first, factor=None)
    for one, other in ((first, first), (whole, whole), (first, whole)):
        assert frechet_distance(one, other) == 0
    assert frechet_distance(features, features[::-1]) == 0
    moved = features + 1e-2
    assert frechet_distance(features, moved) == pytest.approx(256 * 1e-4, rel=1e-3)


def test_what_is_no_statistics_is_refused_by_its_name(tmp_path, capsys):
    np.save(tmp_path / "features.npy", np.zeros((5, 8)))
    np.savez(tmp_path / "nan.npz", mu=np.full(4, np.nan), sigma=np.eye(4))
    for name, reason in (("features.npy", "not a zip file"), ("nan.npz", "not finite")):
        with pytest.raises(ValueError, match=f"{name} .* cannot be used: .*{reason}"):
            read_statistics(tmp_path / name)
        with pytest.raises(SystemExit) as ended:
            cli.run(["explain", "distance", str(tmp_path / name), str(tmp_path)])
        assert ended.value.code == 2 and name in capsys.readouterr().err
    with pytest.raises(ValueError, match="2 of 3 images with others, first 1"):
        statistics(np.array([[0.0], [np.nan], [np.inf]]))


def test_a_damaged_image_does_not_end_a_distance(tmp_path, seeded, caplog):
    for name in "abc":
        pixels = np.random.default_rng(ord(name)).integers(0, 256, (20, 20, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"{name}.png")
    whole = fid_features(tmp_path, model=seeded)
    content = (tmp_path / "b.png").read_bytes()
    (tmp_path / "b.png").write_bytes(content[: len(content) // 2])
    found = fid_features(tmp_path, model=seeded)
    np.testing.assert_allclose(found, whole[[0, 2]], atol=1e-4)  # a batch of another size
    assert np.abs(found[1] - whole[1]).max() > 1e-2
    assert "b.png cannot be read and is left out" in caplog.text
    with pytest.raises(ValueError, match="None of the 1 images"):
        fid_features(tmp_path / "b.png", model=seeded)


def test_statistics_travel_with_how_they_were_made(tmp_path, caplog):
    rng = np.random.default_rng(2)
    first = statistics(rng.normal(size=(50, 8)), weights="inception_v3.fid", resize="clean")
    save_statistics(first, tmp_path / "a.npz")
    again = read_statistics(tmp_path / "a.npz")
    assert again.how == first.how and again.images == 50
    assert frechet_distance(first, again) == pytest.approx(0, abs=1e-9)
    other = statistics(rng.normal(size=(50, 8)), weights="inception_v3.fid", resize="tf1")
    with pytest.raises(ValueError, match="resize is tf1 and clean"):
        frechet_distance(other, again)
    # TTUR's and pytorch-fid's files hold two arrays and no provenance.
    np.savez(tmp_path / "b.npz", mu=first.mean, sigma=first.covariance)
    frechet_distance(first, read_statistics(tmp_path / "b.npz"))
    assert "does not say which weights" in caplog.text
    np.savez(tmp_path / "c.npz", mean=first.mean)
    with pytest.raises(ValueError, match="c.npz .*cannot be used"):
        read_statistics(tmp_path / "c.npz")


def test_resizes_by_hand():
    """1 x 4 to 1 x 2: TensorFlow 1 begins at pixel 0, half-pixel centers lie between two."""
    image = np.repeat(np.uint8([[0, 80, 160, 240]]), 4, 0)[..., None].repeat(3, -1)
    assert resized(image, "tf1", 2)[0, :, 0].tolist() == [0, 160]
    assert resized(image, "pytorch", 2)[0, :, 0].tolist() == [40, 200]
    # Keys' cubic, a = -1/2, twice as wide: weights 0.867, 0.867, 0.227 and -0.070 of their sum
    assert resized(image, "clean", 2)[0, :, 0] == pytest.approx([46.942, 193.058], abs=1e-3)
    with pytest.raises(ValueError, match="tf1, clean, pytorch"):
        fid_features(image, resize="bicubic")


def test_the_score_of_sure_and_equal_answers():
    sure = 50.0 * np.eye(4)
    assert inception_score(sure, splits=1) == pytest.approx((4, 0))
    assert inception_score(np.zeros((6, 4)), splits=2) == pytest.approx((1, 0))
    with pytest.raises(ValueError, match="splits=9"):
        inception_score(sure, splits=9)


def test_another_network_is_refused():
    small = InceptionV3(weights=None, width_multiplier=0.25, classes=5)
    with pytest.raises(ValueError, match="1008"):
        fid_features(np.zeros((9, 9, 3), np.uint8), model=small)
