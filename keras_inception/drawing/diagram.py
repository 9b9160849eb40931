"""A network drawn as the papers draw it, from the built model: an SVG image.

On the left the whole, from the image to the classes; on the right every kind of block with its
branches. Blocks that are equal in every number are drawn once.
"""

from __future__ import annotations

import html
import itertools
import math
import os
from collections.abc import Iterator

import keras
from keras import layers

from keras_inception.drawing.stages import INPUT, KINDS, Box, Stage, stages
from keras_inception.models.measure import multiply_adds

# Sizes in pixels of the drawing.
_BOX, _TALL, _ACROSS, _DOWN = 76, 34, 8, 18
_PAD, _HEAD, _LEFT, _WIDE = 14, 42, 320, 1120

_STYLE = """
text{font:11px "Helvetica Neue",Arial,"DejaVu Sans",sans-serif;fill:#1c2330;text-anchor:middle}
.t{font-weight:600;font-size:13px;text-anchor:start}.s{fill:#5c6675;text-anchor:start}
.n{fill:#5c6675}.h{font-weight:600;font-size:19px;text-anchor:start}
.page{fill:#fff}.card{fill:#fafbfc;stroke:#d5dae2}
path{fill:none;stroke:#6b7686;stroke-width:1.2}
rect{stroke-width:1.2}.conv{fill:#dce8fb;stroke:#5b86c9}.pool{fill:#fbe3dc;stroke:#cf7f63}
.join{fill:#e8e3f5;stroke:#8b74bd}.io{fill:#eef0f3;stroke:#9aa4b2}.dense{fill:#dff1e3;stroke:#5da072}
.stem,.convolution{fill:#eef0f3;stroke:#9aa4b2}.inception{fill:#dce8fb;stroke:#5b86c9}
.residual{fill:#d8efee;stroke:#4f9c99}.reduction{fill:#fbe3dc;stroke:#cf7f63}
.head{fill:#dff1e3;stroke:#5da072}.aux{fill:#fbf3d0;stroke:#bda24a}
"""


def diagram(model: keras.Model, title: str = "") -> str:
    """Draws a network with its stem, its blocks and their branches, its reductions and heads.

    Args:
        model: A model of this package's builders with a known input size, with or without top and
            auxiliary heads.
        title: Stands above; by default the variant's or the model's name.

    Returns:
        An SVG file's text.

    Raises:
        ValueError: the model has no inception blocks, or the input size is open.
    """
    drawn = stages(model)
    identity = getattr(model, "identity", None)
    title = title or (identity.variant if identity else "") or model.name
    size = " x ".join(map(str, model.input_shape[1:]))
    left, tall_left = _overview(drawn, size)
    cards, tall_right = _cards(drawn)
    height = max(tall_left, tall_right) + 20
    width = _LEFT + _WIDE
    head = _facts(model, size, any(stage.kind == "aux" for stage in drawn))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height:.0f}" '
        # No width and height of its own: pages and notebooks show it as wide as they are.
        f'role="img"><title>{_text(title)}</title>'
        f"<style>{_STYLE.strip()}</style>"
        '<defs><marker id="a" viewBox="0 0 6 6" refX="5.5" refY="3" markerWidth="6" '
        'markerHeight="6" orient="auto"><path d="M0 0L6 3L0 6z" style="fill:#6b7686;stroke:none"/>'
        "</marker></defs>"
        f'<rect class="page" width="{width}" height="{height:.0f}"/>'
        f'<text class="h" x="24" y="34">{_text(title)}</text>'
        f'<text class="s" x="24" y="54">{_text(head)}</text>'
        f"{left}{cards}</svg>\n"
    )


def _facts(model: keras.Model, size: str, with_heads: bool) -> str:
    """The line under the title: what the network costs, and what the marks mean."""
    parameters = sum(math.prod(w.shape) for w in model.trainable_weights)
    heads = " with auxiliary heads" if with_heads else ""
    normed = any(isinstance(layer, layers.BatchNormalization) for layer in model.layers)
    return (
        f"{size}; {parameters / 1e6:.1f} million parameters and "
        f"{sum(multiply_adds(model).values()) / 1e9:.2f} billion multiply-adds{heads}. / 2: stride "
        f"2; V: unpadded; conv: with {'BatchNorm and ' if normed else ''}ReLU"
    )


def _text(words: str) -> str:
    return html.escape(words)


def _box(x: float, y: float, lines: tuple[str, ...], style: str, width: float = _BOX) -> str:
    """A box around (x, y), its center."""
    parts = [
        f'<rect class="{style}" x="{x - width / 2:.1f}" y="{y - _TALL / 2:.1f}" '
        f'width="{width:g}" height="{_TALL}" rx="4"/>'
    ]
    lines = tuple(line for line in lines if line)
    for i, line in enumerate(lines):
        at = y + 4 + 13 * (i - (len(lines) - 1) / 2)
        number = ' class="n"' if i else ""
        parts.append(f'<text{number} x="{x:.1f}" y="{at:.1f}">{_text(line)}</text>')
    return "".join(parts)


def _arrow(x: float, y: float, to_x: float, to_y: float, middle: float | None = None) -> str:
    """From the bottom of a box to the top of another, with rounded corners where it turns."""
    if abs(x - to_x) < 1:
        return f'<path d="M{x:.1f} {y:.1f}V{to_y:.1f}" marker-end="url(#a)"/>'
    turn = middle if middle is not None else to_y - _DOWN / 2
    return f'<path d="M{x:.1f} {y:.1f}V{turn:.1f}H{to_x:.1f}V{to_y:.1f}" marker-end="url(#a)"/>'


def _overview(stages: list[Stage], size: str) -> tuple[str, float]:
    """The whole network, from the image down to the classes."""
    x, y, parts = 24 + 90.0, 96.0, []
    parts.append(_box(x, y, ("image", size), "io", 180))
    body = [stage for stage in stages if stage.kind != "aux"]
    centers = {}
    for _, group in itertools.groupby(body, key=lambda stage: stage.signature):
        run = list(group)
        parts.append(_arrow(x, y + _TALL / 2, x, y + _TALL / 2 + 18))
        y += _TALL + 18
        times = f"{len(run)} x " if len(run) > 1 else ""
        shape = " x ".join(map(str, run[-1].shape))
        words = f"{times}{_names(run)}"
        if words.endswith(" pool"):
            (box,) = run[0].boxes.values()
            words = " ".join(box.lines)
        parts.append(_box(x, y, (words, shape), run[0].kind, 180))
        centers.update(dict.fromkeys((s.name for s in run), y))
    for stage in stages:
        if stage.kind == "aux" and stage.after in centers:
            to_x, to_y = x + 90 + 24, centers[stage.after]
            parts.append(
                f'<path d="M{x + 90:.0f} {to_y:.0f}H{to_x:.0f}" marker-end="url(#a)"/>'
                + _box(to_x + 37, to_y, (stage.name, str(stage.shape[-1])), "aux", 74)
            )
    return "".join(parts), y + _TALL


def _names(stages: list[Stage]) -> str:
    """mixed_5b, mixed_5c, mixed_5d as "mixed_5b-5d"."""
    names = [stage.name for stage in stages]
    if len(names) <= 2:
        return ", ".join(names)
    shared = os.path.commonprefix([names[0], names[-1]]).rstrip("0123456789")
    return f"{names[0]}-{names[-1][len(shared) :]}"


def _cards(stages: list[Stage]) -> tuple[str, float]:
    """Every kind of block, in rows beside the whole."""
    groups: dict[tuple, list[Stage]] = {}
    for stage in stages:
        if not stage.name.endswith(" pool"):  # the whole shows it
            groups.setdefault(stage.signature, []).append(stage)
    x, y, tall, parts = float(_LEFT), 78.0, 0.0, []
    for content, width, height in map(_card, groups.values()):
        if x > _LEFT and x + width > _LEFT + _WIDE - 20:
            x, y, tall = float(_LEFT), y + tall + 16, 0.0
        parts.append(f'<g transform="translate({x:.0f} {y:.0f})">{content}</g>')
        x, tall = x + width + 16, max(tall, height)
    return "".join(parts), y + tall


def _card(group: list[Stage]) -> tuple[str, float, float]:
    """One kind of block: the drawing, its width and its height."""
    stage = group[0]
    boxes = stage.boxes.values()
    columns = max((b.column for b in boxes), default=0) + 1
    inner = columns * (_BOX + _ACROSS) - _ACROSS
    offset = 26.0 if any(_is_past_branches(b) for b in boxes) else 0.0
    times = f" ({len(group)} times)" if len(group) > 1 else ""
    title = f"{_names(group)}{times}"
    detail = f"{KINDS[stage.kind]}, gives {' x '.join(map(str, stage.shape))}"
    needs = (inner + offset, 7.6 * len(title), 6.0 * len(detail))
    width = max(needs) + 2 * _PAD
    rows = max((b.row for b in boxes), default=1)
    height = _HEAD + (rows + 1) * (_TALL + _DOWN) + _PAD - _DOWN + 4
    begin = offset + (width - offset - inner) / 2
    top = (begin + inner / 2, _HEAD + _TALL / 2)
    places = {
        name: (
            begin + b.column * (_BOX + _ACROSS) + _BOX / 2,
            _HEAD + b.row * (_TALL + _DOWN) + _TALL / 2,
        )
        for name, b in stage.boxes.items()
    }
    parts = [
        f'<rect class="card" width="{width:.0f}" height="{height:.0f}" rx="8"/>'
        f'<text class="t" x="{_PAD}" y="20">{_text(title)}</text>'
        f'<text class="s" x="{_PAD}" y="35">{_text(detail)}</text>'
    ]
    parts += dict.fromkeys(_lines(stage.boxes, places, top, offset / 2 + 2))
    parts.append(_box(*top, ("input",), "io"))
    parts += [_box(*places[name], b.lines, b.style) for name, b in stage.boxes.items()]
    return "".join(parts), width, height


def _is_past_branches(box: Box) -> bool:
    """Whether a residual's sum takes the block's input, which passes its branches."""
    return INPUT in box.inputs and box.row > 1 and box.style == "join"


def _lines(
    boxes: dict[str, Box],
    places: dict[str, tuple[float, float]],
    top: tuple[float, float],
    side: float,
) -> Iterator[str]:
    """The ways between the boxes of a card.

    Args:
        boxes: Box by name.
        places: The centers of the boxes.
        top: The center of the box of the input.
        side: Where a residual's input passes the branches.
    """
    half = _TALL / 2
    for name, box in boxes.items():
        x, y = places[name]
        for source in box.inputs:
            if source in boxes:
                from_x, from_y = places[source]
                direct = boxes[source].row + 1 == box.row or box.style == "join"
                turn = None if direct else from_y + half + _DOWN / 2
                yield _arrow(from_x, from_y + half, x, y - half, turn)
            elif _is_past_branches(box):
                yield (
                    f'<path d="M{top[0]:.1f} {top[1] + half:.1f}v{_DOWN / 2:g}H{side:.1f}'
                    f'V{y:.1f}H{x - _BOX / 2:.1f}" marker-end="url(#a)"/>'
                )
            else:
                yield _arrow(top[0], top[1] + half, x, y - half, top[1] + half + _DOWN / 2)
