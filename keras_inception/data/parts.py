"""Drawing the parts that a data set lacks out of its training part."""

from __future__ import annotations

import dataclasses

import numpy as np

from keras_inception.data.facts import groups_of_equals
from keras_inception.data.splits import SPLITS, Source

# The test part's share, where there is none.
TEST_FRACTION = 0.2


def stratified(
    labels: np.ndarray, fraction: float, seed: int, groups: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Indices (kept, held out): `fraction` of all examples is held out, drawn by `seed`.

    Every class gives its share, rounded up or down so that the whole has its share, too: a
    twentieth of 60 classes of 8 examples is one example each of 24 classes. A class keeps at least
    one example.

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
    classes = [rng.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    counts = _shares(np.array([len(members) for members in classes]), fraction, rng)
    held = [
        members[:wanted] if alone else _whole_groups(members, groups, sizes, wanted)
        for members, wanted in zip(classes, counts.tolist(), strict=True)
    ]
    out = np.sort(np.concatenate(held)) if held else np.zeros(0, int)
    return np.setdiff1d(np.arange(len(labels)), out), out


def _shares(sizes: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """How many examples classes of these sizes give: the largest remainders are rounded up."""
    exact = sizes * fraction
    wanted = np.floor(exact + 1e-9).astype(int)
    may_give_more = (exact - wanted > 1e-9) & (wanted < sizes - 1)
    order = np.lexsort((rng.permutation(len(sizes)), wanted - exact))  # equal ones as drawn
    order = order[may_give_more[order]]
    wanted[order[: max(round(float(exact.sum())) - int(wanted.sum()), 0)]] += 1
    return wanted


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


def draw_missing_parts(source: Source, validation_fraction: float, seed: int) -> Source:
    """Takes the test and the validation part out of the training part, where there is none.

    Examples of equal content stay together. What was drawn stands in `provenance`.
    """
    splits, drawn = dict(source.splits), {}
    if "train" not in splits:  # images that are only measured on
        nothing = next(iter(splits.values())).subset(np.zeros(0, np.int64))
        return dataclasses.replace(source, splits={p: splits.get(p, nothing) for p in SPLITS})
    for part, fraction in (("test", TEST_FRACTION), ("validation", validation_fraction)):
        if part not in splits:
            train = splits["train"]
            groups = groups_of_equals(train.facts) if "digest" in train.facts else None
            rest, held = stratified(train.labels, fraction, seed, groups)
            splits[part], splits["train"] = train.subset(held), train.subset(rest)
            drawn[part] = [train.name(i) for i in held]
    return dataclasses.replace(
        source,
        splits={part: splits[part] for part in SPLITS},
        drawn=tuple(drawn),
        provenance=source.provenance | {"seed": seed, "held_out": drawn},
    )
