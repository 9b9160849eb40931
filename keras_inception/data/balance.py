"""Classes of unequal size: how unequal, weights against it, and an order that is balanced."""

from __future__ import annotations

import functools

import numpy as np

# Largest class to smallest above which a data set counts as unbalanced.
UNBALANCED = 10.0


def imbalance(labels: np.ndarray, classes: int) -> float:
    """The largest class' number of examples in units of the smallest's; inf if one has none."""
    counts = np.bincount(labels, minlength=classes)
    return float(counts.max() / counts.min()) if counts.min() else float("inf")


def class_weights(labels: np.ndarray, classes: int) -> np.ndarray:
    """Weights of the classes' losses that make all classes count alike.

    Args:
        labels: int (n,), class of each example.
        classes: How many classes there are.

    Returns:
        float32 (classes,): n / (classes that have examples * the class' examples), so that the
        mean weight of an example is 1; 0 for a class without examples.
    """
    counts = np.bincount(labels, minlength=classes)
    weights = np.zeros(classes, np.float32)
    present = counts > 0
    weights[present] = len(labels) / (present.sum() * counts[present])
    return weights


class BalancedOrder:
    """An endless stream of examples in which all classes are equally frequent.

    Of as many successive positions as there are classes, each class has one; the examples of a
    class follow one another in permutations of their own. Which example is at a position depends
    on nothing but the seed and the position.

    Args:
        labels: int (n,), class of each example.
        seed: Decides the order.
    """

    def __init__(self, labels: np.ndarray, seed: int) -> None:
        self._seed = seed
        order = np.argsort(labels, kind="stable")
        self._classes, begins = np.unique(labels[order], return_index=True)
        self._members = np.split(order, begins[1:])
        self._permutation = functools.lru_cache(maxsize=2 * len(self._classes))(self._permute)

    def __call__(self, positions: np.ndarray) -> np.ndarray:
        """int64 (n,), places in the stream -> int64 (n,), numbers of examples."""
        turns, places = np.divmod(positions, len(self._classes))
        result = np.empty(len(positions), np.int64)
        for turn in np.unique(turns):
            here = turns == turn
            shuffled = np.random.default_rng([self._seed, 1, int(turn)]).permutation(
                len(self._classes)
            )
            result[here] = [self._member(int(which), int(turn)) for which in shuffled[places[here]]]
        return result

    def _member(self, which: int, turn: int) -> int:
        members = self._members[which]
        epoch, place = divmod(turn, len(members))
        return int(members[self._permutation(which, epoch)[place]])

    def _permute(self, which: int, epoch: int) -> np.ndarray:
        members = self._members[which]
        return np.random.default_rng([self._seed, 2, which, epoch]).permutation(len(members))
