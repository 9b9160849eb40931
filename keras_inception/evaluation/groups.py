"""Intervals where images come in groups, such as several of one patient: groups are drawn.

Images of one group are right or wrong together, so that a hundred images of ten patients say
little more than ten images. The bootstrap draws whole groups with replacement.
"""

from __future__ import annotations

import math

import numpy as np

DRAWS = 2000
_AT_ONCE = 2**24  # numbers of a table of draws


def accuracy_interval(right: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of a share, of images that come in groups.

    From the quantiles of the bootstrap's draws of groups, expanded for few groups (Hesterberg
    2015), or from Wilson's interval for as many independent images as would vary like the draws
    (Korn and Graubard 1998), whichever end is further out: where nearly all answers are right,
    either alone holds the truth too seldom.

    Args:
        right: bool (images,).
        groups: int (images,), the number of each image's group.

    Returns:
        The lower and the upper end; 0 and 1 for a single group, which says nothing.
    """
    draws, count = _draws(right, groups)
    if count < 2:
        return 0.0, 1.0
    share, variance = float(right.mean()), float(draws.var()) * count / (count - 1)
    images = min(share * (1 - share) / variance, len(right)) if variance > 0 else float(count)
    t = _student(count)
    center = (share + t**2 / (2 * images)) / (1 + t**2 / images)
    half = t * np.sqrt(share * (1 - share) / images + t**2 / (4 * images**2)) / (1 + t**2 / images)
    tail = _below(-t * math.sqrt(count / (count - 1)))
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(max(min(center - half, low), 0.0)), float(min(max(center + half, high), 1.0))


def difference_interval(difference: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of a mean difference of paired answers, of images that come in groups.

    Args:
        difference: float (images,), such as 1 where only the first is right, -1 where only the
            second is.
        groups: int (images,).
    """
    draws, count = _draws(difference, groups)
    if count < 2:
        return -1.0, 1.0
    mean, spread = float(np.mean(difference)), float(np.sqrt(draws.var() * count / (count - 1)))
    return mean - _student(count) * spread, mean + _student(count) * spread


def _student(groups: int) -> float:
    from scipy.stats import t  # loaded by who asks, as scipy's others

    return float(t.ppf(0.975, groups - 1))


def _below(value: float) -> float:
    """The share of a normal distribution below a value."""
    return math.erfc(-value / math.sqrt(2)) / 2


def _draws(values: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, int]:
    """float (draws,), the mean of the images of as many groups as there are, drawn with
    replacement; and how many groups there are.
    """
    _, number = np.unique(groups, return_inverse=True)
    number = number.reshape(-1)
    sums, images = np.bincount(number, np.asarray(values, float)), np.bincount(number)
    count, rng, found = len(images), np.random.default_rng(0), []
    step = max(1, _AT_ONCE // count)
    for begin in range(0, DRAWS, step):
        size = min(step, DRAWS - begin)
        times = rng.multinomial(count, np.full(count, 1 / count), size=size)
        found.append((times @ sums) / (times @ images))
    return np.concatenate(found), count
