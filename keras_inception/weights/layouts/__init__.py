"""Which network a file holds, told by its layer names. One module a publisher holds the tables."""

from __future__ import annotations

import collections
import dataclasses
import functools
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from keras_inception.budget import LOADABLE
from keras_inception.messages import some
from keras_inception.weights.layouts import (
    caffe,
    google,
    keras_applications,
    own,
    pytorchcv,
    slim,
    torch_ports,
)
from keras_inception.weights.layouts.layout import Layout
from keras_inception.weights.readers import Layers
from keras_inception.weights.readers.graphdef import RETRAINED

LAYOUTS = {
    layout.name: layout
    for module in (slim, keras_applications, torch_ports, pytorchcv, caffe, google)
    for layout in module.LAYOUTS
}

# keras.applications' automatic layer names.
_NUMBERED = re.compile(r"(conv2d|batch_normalization)(?:_(\d+))?")
_SEPARATORS = re.compile(r"[./]")
# A group of fewer layers cannot hold half of the smallest network, Inception v1.
_FEWEST = 29


class Recognised(NamedTuple):
    """What a file's layers are.

    Attributes:
        layout: The publisher's table; None if the layers have our own names.
        layers: The network's layers by the names of the table, or by ours.
        origin: Name in the table, or ours -> the file's own name of that layer.
        foreign: The file's names of its other layers, such as a head of one's own.
    """

    layout: Layout | None
    layers: Layers
    origin: dict[str, str]
    foreign: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class _View:
    """A file's layer names below one prefix.

    Attributes:
        prefix: The group that all of the names are in, such as "backbone."; may be empty.
        names: Name without the prefix -> the file's own name.
    """

    prefix: str
    names: dict[str, str]


@dataclasses.dataclass(frozen=True)
class _Match:
    """A view, held against one layout.

    Attributes:
        known: Names that the table has.
        missing: Names of the table's features that the view does not have.
        strays: Names that the table does not have, although they stand among the features.
    """

    view: _View
    layout: Layout
    known: frozenset[str]
    missing: tuple[str, ...]
    strays: tuple[str, ...]

    @property
    def whole(self) -> bool:
        """Whether the view holds the features of the layout, all of them and nothing else."""
        return not self.missing and not self.strays


def recognise(layers: Layers) -> Recognised:
    """The layout that a file follows, and which of its layers belong to the network.

    A file follows a layout if it has all of the layout's features: every convolution, and every
    BatchNorm or none. Other layers may stand behind these, and all of the network may stand in a
    group of its own, such as "module.backbone.".

    Args:
        layers: What a reader found.

    Raises:
        ValueError: the names match no layout, part of the network is missing, unknown layers stand
            among its features, or the file holds more than one network.
    """
    matches = [
        match
        for view in _views(layers)
        for layout in LAYOUTS.values()
        if (match := _match(view, layout)) is not None
    ]
    whole = [match for match in matches if match.whole]
    if whole:
        best = max(whole, key=lambda match: len(match.known))
        _check_single(best.view, [match.view for match in whole])
        origin = {name: best.view.names[name] for name in best.known}
        return _recognised(best.layout, layers, origin)
    if matches:
        best = max(matches, key=lambda match: len(match.known))
        raise ValueError(_why_not(best))
    return _own_names(layers)


def _recognised(layout: Layout | None, layers: Layers, origin: dict[str, str]) -> Recognised:
    """The result, in the file's order.

    retrain.py's classifier stands outside of the network's scope, in the place of its own.
    """
    if layout and RETRAINED in layers:
        head = next(theirs for theirs, ours in layout.names.items() if ours == "predictions")
        replaced = origin.pop(head, None)
        layers = {name: values for name, values in layers.items() if name != replaced}
        origin[head] = RETRAINED
    names = {theirs: name for name, theirs in origin.items()}
    return Recognised(
        layout,
        {names[theirs]: values for theirs, values in layers.items() if theirs in names},
        {names[theirs]: theirs for theirs in layers if theirs in names},
        tuple(theirs for theirs in layers if theirs not in names),
    )


def _own_names(layers: Layers) -> Recognised:
    """The layers that have our own names."""
    views = [v for v in _views(layers) if any(map(own.is_first, v.names))]
    if not views:
        names = some(layers, 4) or "no layers"
        raise ValueError(f"its layer names match no known layout: it has {names}. {LOADABLE}")
    best = max(views, key=lambda view: sum(map(own.is_ours, view.names)))
    _check_single(best, views)
    origin = {name: theirs for name, theirs in best.names.items() if own.is_ours(name)}
    return _recognised(None, layers, origin)


def _check_single(best: _View, views: Iterable[_View]) -> None:
    """Raises ValueError if two of the views share no layer: each is a network then."""
    for other in views:
        if not set(best.names.values()) & set(other.names.values()):
            raise ValueError(
                f"it holds two networks, in {best.prefix!r} and in {other.prefix!r}; save the one "
                "that you mean to a file of its own"
            )


def _views(layers: Layers) -> Iterator[_View]:
    """The ways in which a file's names may be meant: without a prefix, and with dots for slashes.

    tf2cv's nested Keras names (`features/stage1/unit1`) come with dots in its torch twin's table.
    """
    spellings = [{name: name for name in layers}]
    if any("/" in name for name in layers):
        spellings.append({name.replace("/", "."): name for name in layers})
    for spelling in spellings:
        groups = collections.Counter(group for name in spelling for group in _groups(name))
        for prefix in ["", *(group for group, count in groups.items() if count >= _FEWEST)]:
            inside = {
                n[len(prefix) :]: full for n, full in spelling.items() if n.startswith(prefix)
            }
            yield _View(prefix, _numbered_from_zero(inside))


def _groups(name: str) -> list[str]:
    """The groups that a layer is in, with their separators: "a.b.c" -> "a.", "a.b."."""
    return [name[: found.end()] for found in _SEPARATORS.finditer(name)]


def _numbered_from_zero(names: dict[str, str]) -> dict[str, str]:
    """The names with keras.applications' automatic numbers counted from 0.

    They count on from whatever the process had built before, without a gap; layers of the same
    class in a head of one's own, which was built after the network, have the numbers behind.
    """
    numbers: dict[str, dict[str, int]] = {}
    for name in names:
        if found := _NUMBERED.fullmatch(name):
            numbers.setdefault(found[1], {})[name] = int(found[2] or 0)
    renamed = {
        name: f"{kind}_{number - min(of_kind.values())}"
        for kind, of_kind in numbers.items()
        for name, number in of_kind.items()
    }
    return {renamed.get(name, name): theirs for name, theirs in names.items()}


def _match(view: _View, layout: Layout) -> _Match | None:
    """A view held against a layout; None if it has less than half of the layout's features."""
    known = frozenset(view.names.keys() & layout.names.keys())
    if 2 * len(known & layout.convolutions) < len(layout.convolutions):
        return None
    normalized = bool(known & (layout.body - layout.convolutions))
    needed = layout.body if normalized else layout.convolutions
    missing = tuple(name for name in layout.names if name in needed and name not in known)
    strays = tuple(
        name
        for name in view.names
        if name not in layout.names
        and not _NUMBERED.fullmatch(name)
        and (name in _all_features() or not _feature_groups(layout.name).isdisjoint(_parents(name)))
    )
    return _Match(view, layout, known, missing, strays)


@functools.cache
def _all_features() -> frozenset[str]:
    """The features' names in any layout: in another one's file they show a mixture of networks."""
    return frozenset().union(*(layout.body for layout in LAYOUTS.values()))


@functools.cache
def _feature_groups(layout_name: str) -> frozenset[str]:
    """The groups of a layout that hold features, and the features themselves."""
    layout = LAYOUTS[layout_name]
    groups = {parent for name in layout.body for parent in _parents(name)} | layout.body
    return frozenset(groups - set(_parents(layout.prefix)))


def _parents(name: str) -> list[str]:
    """The groups that a layer is in, without their last separators."""
    return [group[:-1] for group in _groups(name)]


def _why_not(match: _Match) -> str:
    """What keeps a file from following the layout that it resembles most."""
    ours = match.layout.names
    if match.missing:
        names = [
            ours[n] if _NUMBERED.fullmatch(n) else match.view.prefix + n for n in match.missing
        ]
        return (
            f"it looks like {match.layout.name} ({match.layout.variant}), but part of the network "
            f"is missing: {some(names, 6)}"
        )
    strays = [match.view.names[name] for name in match.strays]
    return (
        f"it looks like {match.layout.name} ({match.layout.variant}), but has layers among the "
        f"features that this network does not have, so that it computes something else: "
        f"{some(strays, 6)}"
    )
