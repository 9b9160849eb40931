"""Drawing the parts that a data set lacks out of its training part."""

from __future__ import annotations

import dataclasses
import itertools
import logging
from collections import Counter, defaultdict

import numpy as np

from keras_inception.data.facts import groups_of_equals
from keras_inception.data.groups import numbers_of, united
from keras_inception.data.splits import SPLITS, Source, Split

# The test part's share, where there is none.
TEST_FRACTION = 0.2
# A part of whole groups whose share is further from the one that was asked for is told of.
_FAR = 0.25
_PASSES = 4  # over the groups, when whole ones are drawn


def stratified(
    labels: np.ndarray, fraction: float, seed: int, groups: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Indices (kept, held out): `fraction` of all examples is held out, drawn by `seed`.

    Every class gives its share, rounded up or down so that the whole has its share, too: a
    twentieth of 60 classes of 8 examples is one example each of 24 classes. A class keeps at least
    one example.

    Args:
        labels: int (n,), class of each example; or (n, classes) of 0 and 1, see
            `_of_several`.
        fraction: Share that is held out.
        seed: Decides which.
        groups: int (n,): examples of one group stay together, such as equal files.
    """
    rng = np.random.default_rng(seed)
    if labels.ndim == 2:
        out = _of_several(labels, fraction, groups, rng)
        return np.setdiff1d(np.arange(len(labels)), out), out
    known, number = np.unique(labels, return_inverse=True)
    number = number.reshape(-1)
    classes = [rng.permutation(np.flatnonzero(number == i)) for i in range(len(known))]
    sizes = np.array([len(members) for members in classes])
    counts = _shares(sizes, fraction, rng)
    if groups is None or len(np.unique(groups)) == len(groups):
        held = [members[:wanted] for members, wanted in zip(classes, counts.tolist(), strict=True)]
        out = np.sort(np.concatenate(held)) if held else np.zeros(0, int)
    else:
        out = np.flatnonzero(_whole_groups(number, groups, sizes, counts, rng))
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
    labels: np.ndarray,
    groups: np.ndarray,
    sizes: np.ndarray,
    wanted: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """bool (n,): about `wanted` examples of each class, no group divided.

    Groups are looked at in an order that is drawn, some times over, and go in or out if the counts
    come closer to those that are wanted: by the sum of the squares of what each class is off,
    divided by its size, and the same of the whole. No class gives all that it has. If each group
    is too large to bring the counts closer, the one that does least harm goes in.
    """
    _, group = np.unique(groups, return_inverse=True)
    pairs, counts = np.unique(np.stack([group.reshape(-1), labels], 1), axis=0, return_counts=True)
    begins = np.flatnonzero(np.diff(pairs[:, 0], prepend=-1))
    of_group = np.split(pairs[:, 1], begins[1:]), np.split(counts, begins[1:])
    off, total, taken = -wanted.astype(float), -float(wanted.sum()), np.zeros(len(begins), bool)
    least, best = np.inf, -1
    for _ in range(_PASSES):
        before = taken.copy()
        for i in rng.permutation(len(begins)).tolist():
            mine, step = of_group[0][i], of_group[1][i] * (-1 if taken[i] else 1)
            if (off[mine] + wanted[mine] + step >= sizes[mine]).any():
                continue
            change, images = (step * (2 * off[mine] + step) / sizes[mine]).sum(), step.sum()
            change += images * (2 * total + images) / len(labels)
            if change < 0:
                taken[i] = not taken[i]
                off[mine] += step
                total += images
            elif change < least and not taken[i]:
                least, best = change, i
        if (taken == before).all():
            break
    if not taken.any() and wanted.sum() and best >= 0:
        taken[best] = True
    return taken[group.reshape(-1)]


def _of_several(
    labels: np.ndarray, fraction: float, groups: np.ndarray | None, rng: np.random.Generator
) -> np.ndarray:
    """Examples that are held out so that each label and each pair of labels gives its share.

    Groups with rare labels come first, as in iterative stratification (Sechidis et al. 2011, and
    Szymanski and Kajdanowicz 2017 for pairs), in a random order. A group is held out if that
    brings the counts of its labels, of its pairs and of all examples nearer to their shares of
    what has been seen so far (the sum of squares), and leaves each of its labels an example.

    Args:
        labels: (n, classes) of 0 and 1.
        fraction: The share.
        groups: int (n,): examples of one group stay together.
        rng: Decides the order.

    Returns:
        int (held out,), sorted.
    """
    groups = np.arange(len(labels)) if groups is None else groups
    order = np.argsort(groups, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1) if len(order) else []
    frequency = labels.sum(0, dtype=np.int64)
    rarity = np.where(labels > 0, frequency, len(labels) + 1).min(1, initial=len(labels) + 1)
    rarest = np.array([rarity[group].min() for group in members], np.int64)
    owed: dict[tuple[int, ...], float] = defaultdict(float)
    left = dict(enumerate(frequency.tolist()))
    held = []
    for number in np.lexsort((rng.permutation(len(members)), rarest)).tolist():
        features = Counter[tuple[int, ...]]()
        for row in labels[members[number]]:
            own = np.flatnonzero(row).tolist()
            kinds = [(one,) for one in own] or [(-1,)]  # to have no label is a kind, too
            features.update([(), *kinds, *itertools.combinations(own, 2)])
        for feature, count in features.items():
            owed[feature] += fraction * count
        nearer = sum(count * (2 * owed[f] - count) for f, count in features.items()) > 0
        own_labels = {f[0]: count for f, count in features.items() if len(f) == 1 and f[0] >= 0}
        if nearer and all(left[label] > count for label, count in own_labels.items()):
            held.append(members[number])
            for feature, count in features.items():
                owed[feature] -= count
            for label, count in own_labels.items():
                left[label] -= count
    return np.sort(np.concatenate(held)) if held else np.zeros(0, np.int64)


def draw_missing_parts(source: Source, validation_fraction: float, seed: int) -> Source:
    """Takes the test and the validation part out of the training part, where there is none.

    Examples of equal content, and of one group, stay together. What was drawn stands in
    `provenance`.
    """
    splits, drawn = dict(source.splits), {}
    if "train" not in splits:  # images that are only measured on
        nothing = next(iter(splits.values())).subset(np.zeros(0, np.int64))
        return dataclasses.replace(source, splits={p: splits.get(p, nothing) for p in SPLITS})
    for part, fraction in (("test", TEST_FRACTION), ("validation", validation_fraction)):
        if part not in splits:
            train = splits["train"]
            rest, held = stratified(train.labels, fraction, seed, what_stays_together(train))
            splits[part], splits["train"] = train.subset(held), train.subset(rest)
            drawn[part] = [train.name(i) for i in held]
            share = len(held) / max(len(train), 1)
            if train.groups is not None and abs(share - fraction) > _FAR * fraction:
                logging.warning(
                    "%s: the %s part that was drawn holds %.1f %% of the images, not %.1f %%: it "
                    "consists of whole groups.",
                    source.name,
                    part,
                    100 * share,
                    100 * fraction,
                )
    return dataclasses.replace(
        source,
        splits={part: splits[part] for part in SPLITS},
        drawn=tuple(drawn),
        provenance=source.provenance | {"seed": seed, "held_out": drawn},
    )


def what_stays_together(split: Split) -> np.ndarray | None:
    """int64 (n,): a number for each image, the same for those that belong in one part.

    None if nothing is known of groups or contents.
    """
    known = [] if split.groups is None else [numbers_of(split.groups)]
    if "digest" in split.facts:
        known.append(groups_of_equals(split.facts))
    return united(*known) if len(known) > 1 else known[0] if known else None
