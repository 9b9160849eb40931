"""Drawing the parts that a data set lacks out of its training part."""

from __future__ import annotations

import numpy as np

from keras_inception.data.facts import groups_of_equals
from keras_inception.data.splits import SPLITS, Split

# The test part's share, where there is none.
TEST_FRACTION = 0.2


def stratified(
    labels: np.ndarray, fraction: float, seed: int, groups: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Indices (kept, held out): `fraction` of every class is held out, rounded, drawn by `seed`.

    A class keeps at least one example.

    Args:
        labels: int (n,), class of each example.
        fraction: Share that is held out.
        seed: Decides which.
        groups: int (n,): examples of one group stay together, such as equal files. A group with
            several labels is kept.
    """
    rng = np.random.default_rng(seed)
    groups = np.arange(len(labels)) if groups is None else groups
    sizes = np.bincount(groups, minlength=1)
    alone = bool((sizes <= 1).all())
    held = []
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        wanted = min(round(len(members) * fraction), len(members) - 1)
        held.append(members[:wanted] if alone else _whole_groups(members, groups, sizes, wanted))
    out = np.sort(np.concatenate(held)) if held else np.zeros(0, int)
    return np.setdiff1d(np.arange(len(labels)), out), out


def _whole_groups(
    members: np.ndarray, groups: np.ndarray, sizes: np.ndarray, wanted: int
) -> np.ndarray:
    """About `wanted` of `members`, in their order, no group divided."""
    mine = np.bincount(groups[members], minlength=len(sizes))
    taken: list[np.ndarray] = []
    count, seen = 0, set()
    for member in members:
        group = groups[member]
        if count >= wanted:
            break
        if group in seen or mine[group] != sizes[group] or count + mine[group] > wanted:
            continue
        seen.add(group)
        taken.append(members[groups[members] == group])
        count += mine[group]
    return np.concatenate(taken) if taken else np.zeros(0, int)


def draw_missing_parts(
    splits: dict[str, Split], validation_fraction: float, seed: int
) -> tuple[dict[str, Split], dict[str, list[str]]]:
    """Takes the test and the validation part out of the training part, where there is none.

    Examples of equal content stay together.

    Returns:
        All three parts, and the names of what was drawn for each part that was missing.
    """
    splits, drawn = dict(splits), {}
    for part, fraction in (("test", TEST_FRACTION), ("validation", validation_fraction)):
        if part not in splits:
            train = splits["train"]
            groups = groups_of_equals(train.facts) if "digest" in train.facts else None
            rest, held = stratified(train.labels, fraction, seed, groups)
            splits[part], splits["train"] = train.subset(held), train.subset(rest)
            drawn[part] = [train.name(i) for i in held]
    return {part: splits[part] for part in SPLITS}, drawn
