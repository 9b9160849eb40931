"""Twins: images of one picture, also cropped, mirrored, recolored or compressed anew.

Every image is described by small colored thumbnails, of the whole and of parts of it, upright and
mirrored. Twins are images whose whole is like the whole or a part of the other: their correlation
is at least that of copies which are made of images of the set itself, and far above what images of
the set usually have with the other that they are most like.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from keras_inception.data.groups import ALONE
from keras_inception.data.kept import kept_arrays
from keras_inception.data.splits import SPLITS, Source, Split
from keras_inception.data.stream import stream

_WORK, _SIDE = 48, 16  # pixels of a square image that is kept, and of its thumbnails
_WHOLE = (0.0, 0.0, 1.0)  # top, left, side
# The parts that are compared: of four sizes, at three by three places.
_BOXES = [
    _WHOLE,
    *(
        (y * (1 - side), x * (1 - side), side)
        for side in (0.92, 0.85, 0.78, 0.7)
        for y in (0.0, 0.5, 1.0)
        for x in (0.0, 0.5, 1.0)
    ),
]
_FINE, _STEPS = 24, (0.05, 0.025, 0.012)  # of the closer look: thumbnails' pixels, and moves
_AXES, _LEARN = 128, 4096  # directions that thumbnails are compared along, and images they are of
_COPIES = 100  # images that copies are made of to find the threshold
FOUND = 0.95  # share of such copies that are to be found
_BLOCK = 512
_MOST = 3  # candidates of an image that get a closer look
_LEAST, _SURE = 0.5, 0.995  # likeness below which nothing is a twin, and above which all are
_NEARER = 8.0  # times that a twin is nearer than the other that an image usually is most like
_VERSION = 2  # counted up when the thumbnails or the search change
BY_TWINS = "twins"  # what `groups` is where twins are to stay together


@dataclasses.dataclass(frozen=True)
class Twins:
    """Pairs of images of one picture.

    Attributes:
        pairs: int64 (n, 2), the likest first.
        likeness: float32 (n,), the correlation of their thumbnails.
        threshold: From this likeness on images count as twins.
    """

    pairs: np.ndarray
    likeness: np.ndarray
    threshold: float

    def groups(self, images: int) -> np.ndarray:
        """int64 (images,): a number for each image, the same for twins and the twins of twins."""
        from scipy.sparse import coo_matrix
        from scipy.sparse.csgraph import connected_components

        rows, columns = self.pairs.T if len(self.pairs) else np.zeros((2, 0), int)
        graph = coo_matrix((np.ones(len(rows)), (rows, columns)), (images, images))
        return connected_components(graph, directed=False)[1].astype(np.int64)


def find_twins(splits: Sequence[Split], seed: int = 0) -> Twins:
    """Finds the twins among the images of some parts, which are numbered one after the other.

    Args:
        splits: The parts.
        seed: Draws the images that copies are made of.
    """
    if not all("digest" in split.facts for split in splits):
        return _search(np.concatenate([_small(split) for split in splits]), seed)
    contents = np.concatenate([split.facts["digest"] for split in splits])
    decodings = [str(split.decoding) for split in splits]
    state = (_VERSION, hashlib.sha256(contents.tobytes()).hexdigest(), seed, decodings)
    like = {"pairs": np.zeros((0, 2), int), "likeness": np.zeros(0, np.float32)}

    def compute() -> dict[str, np.ndarray]:
        found = _search(np.concatenate([_small(split) for split in splits]), seed)
        return dataclasses.asdict(found) | {"threshold": np.array([found.threshold])}

    kept = kept_arrays("twins", state, like | {"threshold": np.zeros(0)}, compute)
    return Twins(kept["pairs"], kept["likeness"], float(kept["threshold"][0]))


def grouped_by_twins(source: Source) -> Source:
    """The data set with its twins as groups, so that parts which are drawn keep them together."""
    names = [part for part in SPLITS if part in source.splits]
    splits = [source.splits[part] for part in names]
    ends = np.cumsum([len(split) for split in splits])
    number = find_twins(splits).groups(int(ends[-1]))
    count = np.bincount(number)
    groups = np.array([f"twins {i}" if count[i] > 1 else ALONE for i in number], str)
    found = {
        part: dataclasses.replace(split, groups=own)
        for part, split, own in zip(names, splits, np.split(groups, ends[:-1]), strict=True)
    }
    return dataclasses.replace(source, splits=found)


Place = tuple[str, int]  # an image: its part and its number there


def twins_by_parts(source: Source) -> tuple[dict[str, list[tuple[Place, Place, float]]], float]:
    """The twins of a data set, "test in train" and so on or "train" for those within a part.

    Returns:
        Where -> pairs and their likeness, the likest first; and the likeness from which on images
        count as twins.
    """
    names = [part for part in SPLITS if len(source.splits[part])]
    place = [(part, i) for part in names for i in range(len(source.splits[part]))]
    twins = find_twins([source.splits[part] for part in names])
    found: dict[str, list[tuple[Place, Place, float]]] = {}
    for (i, j), likeness in zip(twins.pairs.tolist(), twins.likeness.tolist(), strict=True):
        one, other = place[i], place[j]
        if one[0] == other[0]:
            found.setdefault(one[0], []).append((one, other, likeness))
        else:
            found.setdefault(f"{other[0]} in {one[0]}", []).append((other, one, likeness))
    return found, twins.threshold


def _search(images: np.ndarray, seed: int) -> Twins:
    """The twins among uint8 (n, 48, 48, 3): candidates by small thumbnails, then a closer look."""
    rng = np.random.default_rng(seed)
    shows = images[_thumbnails(images, _WHOLE).any(1)]  # not images of one color
    if len(shows) < 2:
        return Twins(np.zeros((0, 2), np.int64), np.zeros(0, np.float32), 1.0)
    chosen = shows[rng.permutation(len(shows))[:_COPIES]]
    axes = _axes(images[rng.permutation(len(images))[:_LEARN]])
    made = np.concatenate([[copy(image, kind, rng) for image in chosen] for kind in COPIES])
    both = np.concatenate([chosen, made])
    number = np.arange(len(made))
    pairs = np.stack([number % len(chosen), len(chosen) + number], 1)
    rough = _rough_likeness(both, pairs, axes)
    least = max(float(np.quantile(rough[:, 0], 1 - FOUND)), _LEAST)
    of_copies = float(np.quantile(_closer(both, pairs, rough), 1 - FOUND))
    pairs, rough = _candidates(images, axes, least)
    likeness = _closer(images, pairs, rough)
    best = np.zeros(len(images))  # the likeness of each image to the other it is most like
    np.maximum.at(best, pairs.ravel(), likeness.repeat(2))
    usual = float(np.quantile(best, 0.25))  # that of images without a twin, if many have one
    threshold = max(of_copies, min(1 - (1 - usual) / _NEARER, _SURE))
    order = np.argsort(-likeness, kind="stable")
    order = order[likeness[order] >= threshold]
    return Twins(pairs[order], likeness[order], threshold)


def _axes(images: np.ndarray) -> np.ndarray:
    """float32 (values, axes): the directions in which the thumbnails of a set differ most."""
    flat = _thumbnails(images, _WHOLE)
    _, vectors = np.linalg.eigh(flat.T @ flat)
    return np.ascontiguousarray(vectors[:, ::-1][:, :_AXES], np.float32)


def _parts(images: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(number of the part and whether it is mirrored, thumbnails) of the whole and of parts."""
    for number, box in enumerate(_BOXES):
        for mirrored in (0, 1):
            seen = images[:, :, ::-1] if mirrored else images
            yield np.array([number, mirrored]), _thumbnails(seen, box)


def _rough_likeness(images: np.ndarray, pairs: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """float (pairs, 4): the best likeness of two images, then the part: which image's it is (0 or
    1 of the pair), its number and whether it is mirrored.
    """
    best = np.full((len(pairs), 4), -1.0)
    for turned in (0, 1):
        whole = _thumbnails(images[pairs[:, 1 - turned]], _WHOLE) @ axes
        for part, thumbnails in _parts(images[pairs[:, turned]]):
            likeness = (whole * (thumbnails @ axes)).sum(1)
            better = likeness > best[:, 0]
            best[better] = np.concatenate([[0, turned], part])
            best[better, 0] = likeness[better]
    return best


def _candidates(
    images: np.ndarray, axes: np.ndarray, least: float
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs that reach a likeness, int64 (n, 2), and what `_rough_likeness` says of them."""
    whole = _thumbnails(images, _WHOLE) @ axes
    found: dict[tuple[int, int], tuple[float, ...]] = {}
    for (part, mirrored), thumbnails in _parts(images):
        of_part = thumbnails @ axes
        for begin in range(0, len(images), _BLOCK):
            likeness = whole[begin : begin + _BLOCK] @ of_part.T
            number = np.arange(len(likeness))
            likeness[number, begin + number] = -1.0
            crowded = np.flatnonzero((likeness >= least).sum(1) > _MOST)
            if len(crowded):
                few = likeness[crowded]
                few[few < np.partition(few, -_MOST, axis=1)[:, [-_MOST]]] = -1.0
                likeness[crowded] = few
            rows, columns = np.nonzero(likeness >= least)
            values = likeness[rows, columns].tolist()
            for i, j, value in zip((rows + begin).tolist(), columns.tolist(), values, strict=True):
                pair = (min(i, j), max(i, j))
                if value > found.get(pair, (-1.0,))[0]:
                    found[pair] = (value, float(j > i), float(part), float(mirrored))
    pairs = np.array(list(found), np.int64).reshape(-1, 2)
    rough = np.array(list(found.values()), float).reshape(-1, 4)
    order, kept = np.argsort(-rough[:, 0], kind="stable"), []
    count = np.zeros(len(images), int)
    for row in order.tolist():  # an image has few candidates, the likest
        one, other = pairs[row].tolist()
        if count[one] < _MOST or count[other] < _MOST:
            count[one] += 1
            count[other] += 1
            kept.append(row)
    return pairs[kept], rough[kept]


def _closer(images: np.ndarray, pairs: np.ndarray, rough: np.ndarray) -> np.ndarray:
    """float32 (n,): the likeness of pairs by larger thumbnails, the part's place searched around
    the rough one.
    """
    likeness = np.full(len(pairs), -1.0, np.float32)
    turned, part, mirrored = rough[:, 1:].astype(int).T
    for begin in range(0, len(pairs), _BLOCK):
        chosen = np.arange(begin, min(begin + _BLOCK, len(pairs)))
        pair, side = pairs[chosen], turned[chosen]
        number = np.arange(len(chosen))
        whole, other = images[pair[number, 1 - side]], images[pair[number, side]]
        flipped = mirrored[chosen] == 1
        other = np.where(flipped[:, None, None, None], other[:, :, ::-1], other)
        wanted = _cut(whole, np.tile(_WHOLE, (len(chosen), 1)))
        boxes = np.array(_BOXES)[part[chosen]]
        best = (wanted * _cut(other, boxes)).sum(1)
        for step in _STEPS:
            center = boxes.copy()
            for move in itertools.product((-step, 0, step), repeat=3):
                tried = center + move
                tried[:, 2] = np.clip(tried[:, 2], 0.5, 1)
                tried[:, :2] = np.clip(tried[:, :2], 0, 1 - tried[:, 2:])
                found = (wanted * _cut(other, tried)).sum(1)
                better = found > best
                best[better], boxes[better] = found[better], tried[better]
        likeness[chosen] = best
    return likeness


def _cut(images: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """float32 (n, 24 * 24 * 3): as `_thumbnails`, of a part (top, left, side) of each image."""
    rows, columns = (_averages(boxes[:, i], boxes[:, 2], _FINE) for i in (0, 1))
    high = rows @ images.reshape(len(images), _WORK, -1).astype(np.float32)
    high = high.reshape(len(images), _FINE, _WORK, 3).transpose(0, 2, 1, 3)
    small = columns @ high.reshape(len(images), _WORK, -1)
    return _plain(small.reshape(len(images), _FINE, _FINE, 3))


# What is done to an image to make a copy of it.
COPIES = ("crop", "mirror", "compress", "recolor")


def copy(image: np.ndarray, kind: str, rng: np.random.Generator) -> np.ndarray:
    """A copy of an image that a person would call the same picture.

    Args:
        image: uint8 (height, width, 3).
        kind: "crop" (80 % of each side), "mirror", "compress" (JPEG of quality 30 to 60) or
            "recolor" (brightness and contrast by 30 %, colors by half and a twentieth of the hue).
        rng: Decides where and how much.

    Returns:
        uint8 of the same shape.
    """
    from PIL import Image, ImageEnhance

    if kind == "mirror":
        return image[:, ::-1]
    picture = Image.fromarray(image)
    if kind == "crop":
        width, height = picture.size
        part = round(0.8 * width), round(0.8 * height)
        x, y = (
            int(rng.integers(0, whole - p + 1)) for whole, p in zip(picture.size, part, strict=True)
        )
        cropped = picture.crop((x, y, x + part[0], y + part[1]))
        return np.asarray(cropped.resize((width, height), Image.Resampling.BICUBIC))
    if kind == "compress":
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=int(rng.integers(30, 61)))
        return np.asarray(Image.open(buffer).convert("RGB"))
    for change, least, most in (
        (ImageEnhance.Brightness, 0.7, 1.3),
        (ImageEnhance.Contrast, 0.7, 1.3),
        (ImageEnhance.Color, 0.5, 1.5),
    ):
        picture = change(picture).enhance(float(rng.uniform(least, most)))
    bands = np.array(picture.convert("HSV"))
    bands[..., 0] += np.uint8(int(rng.integers(-12, 13)) % 256)
    return np.asarray(Image.fromarray(bands, "HSV").convert("RGB"))


def _small(split: Split) -> np.ndarray:
    """uint8 (n, 48, 48, 3): a part's images, stretched to squares."""
    from PIL import Image

    def shrink(i: int) -> np.ndarray:
        image = Image.fromarray(split.pixels(i).numpy())
        return np.asarray(image.resize((_WORK, _WORK), Image.Resampling.BOX, reducing_gap=2.0))

    found = np.zeros((len(split), _WORK, _WORK, 3), np.uint8)
    for i, seen in stream(range(len(split)), shrink):
        if isinstance(seen, Exception):
            raise seen
        found[i] = seen
    return found


def _thumbnails(images: np.ndarray, box: tuple[float, float, float]) -> np.ndarray:
    """float32 (n, 16 * 16 * 3): a part of each image (top, left, side) without the mean of its
    colors, of unit length; zeros where it has one color.
    """
    top, left, side = box
    rows, columns = _averages(np.array([top, left]), np.array([side, side]), _SIDE)
    found = np.empty((len(images), 3 * _SIDE**2), np.float32)
    for begin in range(0, len(images), _BLOCK):
        block = images[begin : begin + _BLOCK].astype(np.float32)
        small = np.einsum("yh,nhwc,xw->nyxc", rows, block, columns, optimize=True)
        found[begin : begin + _BLOCK] = _plain(small)
    return found


def _plain(small: np.ndarray) -> np.ndarray:
    """float32 (n, values): images without the mean of their colors, of unit length or zeros."""
    flat = (small - small.mean((1, 2), keepdims=True)).reshape(len(small), -1)
    lengths = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.where(lengths > 1.0, flat / np.maximum(lengths, 1), 0).astype(np.float32)


def _averages(begin: np.ndarray, length: np.ndarray, count: int) -> np.ndarray:
    """float32 (n, count, 48): means over equal pieces of intervals of 0..1."""
    edges = (begin[:, None] + length[:, None] * np.arange(count + 1) / count)[..., None] * _WORK
    pixels = np.arange(_WORK)
    overlap = np.minimum(edges[:, 1:], pixels + 1) - np.maximum(edges[:, :-1], pixels)
    overlap = np.maximum(overlap, 0)
    return (overlap / overlap.sum(2, keepdims=True)).astype(np.float32)
