"""How far two sets of images are apart in a network's features. numpy only.

The matrix square root of Frechet's distance is not needed, only its trace, which is the sum of the
roots of a symmetric matrix's eigenvalues: exact where scipy's sqrtm fails, with fewer images than
channels.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np

from keras_inception import archives
from keras_inception.budget import refusing
from keras_inception.files import write


@dataclasses.dataclass(frozen=True)
class Statistics:
    """What the Frechet distance needs of a set of images.

    Attributes:
        mean: float64 (channels,).
        covariance: float64 (channels, channels), divided by images - 1.
        images: How many images; 0 if that is not known.
        how: Where the features come from, such as {"weights": ..., "resize": "tf1"}; empty if that
            is not known.
        factor: float64 (images, channels) with factor' factor = covariance, where there are fewer
            images than channels: it is smaller, and exact. Not written.
    """

    mean: np.ndarray
    covariance: np.ndarray
    images: int = 0
    how: dict[str, Any] = dataclasses.field(default_factory=dict)
    factor: np.ndarray | None = None


def statistics(features: np.ndarray, **how: Any) -> Statistics:
    """Mean and covariance of features.

    Args:
        features: float (images, channels), at least two images.
        **how: Where they come from; written with them and compared.

    Raises:
        ValueError: there are fewer than two images, or features are not finite.
    """
    features = np.asarray(features, np.float64)
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(
            "A covariance takes the features (images, channels) of at least two images. "
            f"Received: shape {features.shape}"
        )
    bad = np.flatnonzero(~np.isfinite(features).all(1))
    if len(bad):
        raise ValueError(
            f"Features should be finite. Received: {len(bad)} of {len(features)} images with "
            f"others, first {bad[0]}"
        )
    factor = (features - features.mean(0)) / np.sqrt(len(features) - 1)
    return Statistics(
        features.mean(0),
        factor.T @ factor,
        len(features),
        how,
        factor if len(factor) < features.shape[1] else None,
    )


def save_statistics(statistics: Statistics, path: str | Path) -> None:
    """Writes an .npz with "mu" and "sigma", as every program for this reads, and what they are."""
    columns: dict[str, Any] = {
        "mu": statistics.mean,
        "sigma": statistics.covariance,
        "images": np.array(statistics.images),
        "how": np.array(json.dumps(statistics.how)),
    }
    write(Path(path), lambda temporary: np.savez(temporary, **columns))


def read_statistics(path: str | Path) -> Statistics:
    """Reads such a file, of this package, of TTUR or of pytorch-fid.

    Raises:
        ValueError: the file holds no finite statistics, is damaged, or unpacks to far more than its
            size.
        OSError: it cannot be opened.
    """
    with refusing(path, "statistics, an .npz with mu and sigma"):
        have = archives.arrays(path)
        mean, covariance = (np.asarray(have[name], np.float64) for name in ("mu", "sigma"))
        if mean.ndim != 1 or covariance.shape != (len(mean),) * 2:
            raise ValueError(f"mu is {mean.shape} and sigma {covariance.shape}")
        if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
            raise ValueError("its statistics are not finite numbers")
        how = json.loads(str(have["how"])) if "how" in have else {}
        if not isinstance(how, dict):
            raise ValueError("what its features are of is no JSON object")
        return Statistics(mean, covariance, int(have.get("images", 0)), how)


def frechet_distance(first: Statistics | np.ndarray, second: Statistics | np.ndarray) -> float:
    """Frechet's distance of two sets of features, taken as normal distributions (Heusel et al.).

    With `fid_features` it is the Frechet Inception distance (FID). It is 0 where it cannot be told
    from rounding, as of a set and itself.

    Args:
        first, second: Statistics, or features (images, channels).

    Raises:
        ValueError: the features differ in their channels, or were computed in different ways.
    """
    one, other = (s if isinstance(s, Statistics) else statistics(s) for s in (first, second))
    if one.mean.shape != other.mean.shape:
        raise ValueError(
            "Both should be features of one network. "
            f"Received: {len(one.mean)} and {len(other.mean)} channels"
        )
    different = [k for k in one.how if k in other.how and one.how[k] != other.how[k]]
    if different:
        what = ", ".join(f"{k} is {one.how[k]} and {other.how[k]}" for k in different)
        raise ValueError(f"The features were computed in different ways: {what}.")
    if bool(one.how) != bool(other.how):
        logging.warning(
            "One of the statistics does not say which weights and resize it was computed with; "
            "the distance means something only if they are the same."
        )
    few = [str(s.images) for s in (one, other) if 0 < s.images < len(s.mean)]
    if few:
        logging.warning(
            "%s images are few for %d channels: the distance is biased upwards; compare only "
            "distances of equally many images.",
            " and ".join(few),
            len(one.mean),
        )
    if one.factor is None:
        one, other = other, one
    root = _root(one.covariance) if one.factor is None else one.factor
    inner = np.maximum(np.linalg.eigvalsh(root @ other.covariance @ root.T), 0)
    apart = one.mean - other.mean
    traces = np.trace(one.covariance) + np.trace(other.covariance)
    distance = float(apart @ apart + traces - 2 * np.sqrt(inner).sum())
    # The root of an eigenvalue that is 0 but for rounding is as large as this, or less than 0.
    rounding = len(inner) * float(np.sqrt(np.finfo(np.float64).eps * inner.max(initial=0)))
    return distance if distance > rounding else 0.0


def _root(matrix: np.ndarray) -> np.ndarray:
    """The square root of a symmetric positive matrix."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def kernel_distance(
    first: np.ndarray,
    second: np.ndarray,
    *,
    subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """The kernel Inception distance (KID, Binkowski et al. 2018): unbiased, also of few images.

    The squared maximum mean discrepancy under the kernel (x y / channels + 1)^3.

    Args:
        first, second: float (images, channels), of `fid_features`.
        subsets: How often images are drawn; 1 is enough where all are drawn.
        subset_size: How many, without replacement; at most all of the smaller set.
        seed: Decides which.

    Returns:
        Mean and standard deviation over the subsets.

    Raises:
        ValueError: the features differ in their channels, or there are fewer than two images.
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if first.shape[1] != second.shape[1] or min(len(first), len(second)) < 2:
        raise ValueError(
            "Both should be features of one network, of at least two images. "
            f"Received: shapes {first.shape} and {second.shape}"
        )
    size = min(subset_size, len(first), len(second))
    rng = np.random.default_rng(seed)
    values = [
        _discrepancy(
            first[rng.choice(len(first), size, replace=False)],
            second[rng.choice(len(second), size, replace=False)],
        )
        for _ in range(subsets)
    ]
    return float(np.mean(values)), float(np.std(values))


def _discrepancy(x: np.ndarray, y: np.ndarray) -> float:
    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a @ b.T / a.shape[1] + 1) ** 3

    size = len(x)
    within = sum(k.sum() - np.trace(k) for k in (kernel(x, x), kernel(y, y)))
    return within / (size * (size - 1)) - 2 * kernel(x, y).mean()


def inception_score(logits: np.ndarray, *, splits: int = 10) -> tuple[float, float]:
    """The Inception score (Salimans et al. 2016): sure answers, and many different ones.

    Args:
        logits: float (images, classes), of `fid_features(..., logits=True)`, whose order decides
            which images share a part.
        splits: Parts that are scored one by one.

    Returns:
        Mean and standard deviation over the parts.

    Raises:
        ValueError: there are fewer images than parts.
    """
    logits = np.asarray(logits, np.float64)
    if not 1 <= splits <= len(logits):
        raise ValueError(
            f"`splits` should be from 1 to the number of images. Received: splits={splits} for "
            f"{len(logits)} images"
        )
    logs = logits - logits.max(1, keepdims=True)
    logs -= np.log(np.exp(logs).sum(1, keepdims=True))
    scores = []
    for i in range(splits):
        part = logs[i * len(logs) // splits : (i + 1) * len(logs) // splits]
        share = np.exp(part)
        scores.append(np.exp((share * (part - np.log(share.mean(0)))).sum(1).mean()))
    return float(np.mean(scores)), float(np.std(scores))
