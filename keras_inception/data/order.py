"""The order in which training takes its examples, as a pure function of (seed, position)."""

from __future__ import annotations

import numpy as np

from keras_inception.data.splits import Split


class Order:
    """Which training example stands at each position: every epoch is a permutation of its own.

    An object remembers the permutations of two epochs, since a batch may end one and begin the
    next. It belongs to one stream: threads do not share it.

    Args:
        split: The training part.
        seed: Decides the permutations.
    """

    def __init__(self, split: Split, seed: int) -> None:
        self._split, self._seed = split, seed
        self._permutations: dict[int, np.ndarray] = {}

    def examples_at(self, positions: np.ndarray) -> np.ndarray:
        """The example at each position.

        Args:
            positions: int64 (n,); step s of a run takes s * batch ... (s + 1) * batch - 1.

        Returns:
            int64 (n,): numbers of examples.
        """
        epochs, places = np.divmod(positions, len(self._split))
        indices = np.empty(len(positions), np.int64)
        for epoch in np.unique(epochs).tolist():
            here = epochs == epoch
            indices[here] = self._permutation(epoch)[places[here]]
        return indices

    def _permutation(self, epoch: int) -> np.ndarray:
        if epoch not in self._permutations:
            if len(self._permutations) > 1:
                del self._permutations[next(iter(self._permutations))]
            rng, split = np.random.default_rng([self._seed, epoch]), self._split
            self._permutations[epoch] = (
                rng.permutation(len(split))
                if split.shards is None
                else in_file_order(rng, split.shards, split.window)
            )
        return self._permutations[epoch]


def in_file_order(rng: np.random.Generator, shards: np.ndarray, window: int) -> np.ndarray:
    """A permutation that reads files from their beginning to their end, one after the other.

    The files come in an order drawn anew. Of the examples in that order, every `window` ones are
    shuffled among each other; where windows begin is drawn, too, so that no two examples are always
    in one window.

    Args:
        rng: Decides the permutation.
        shards: int (n,), the file of each example.
        window: Examples; what lies in the files between the first and the last of a window has to
            be kept in memory, and nothing more.

    Returns:
        int64 (n,).
    """
    files, number = np.unique(shards, return_inverse=True)
    in_order = np.argsort(rng.permutation(len(files))[number], kind="stable")
    place = (np.arange(len(shards)) + rng.integers(window)) // window
    return in_order[np.argsort(place + rng.random(len(shards)))]
