"""A network drawn as the papers draw it, from the built model: an SVG image.

On the left the whole, from the image to the classes; on the right every kind of block with its
branches. Blocks that are equal in every number are drawn once.
"""

from __future__ import annotations

import dataclasses
import html
import math
from typing import Any

import keras
from keras import layers

from keras_inception.models.measure import block_of, endpoints, last_endpoint, multiply_adds

# Sizes in pixels of the drawing.
_BOX, _TALL, _ACROSS, _DOWN = 76, 34, 8, 18
_PAD, _HEAD, _LEFT, _WIDE = 14, 42, 320, 1120

_INPUT = "input"
_KINDS = {
    "stem": "stem",
    "inception": "inception block",
    "residual": "residual block",
    "reduction": "reduction",
    "convolution": "convolution",
    "head": "head",
    "aux": "auxiliary head",
}
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


@dataclasses.dataclass
class _Node:
    """A box of a block: a convolution with its BatchNorm and ReLU, a pool, a sum, ..."""

    lines: tuple[str, ...]
    style: str
    inputs: list[str]
    column: float = 0.0
    row: int = 0


@dataclasses.dataclass(frozen=True)
class _Stage:
    """A block, the stem or a head.

    Attributes:
        name: The endpoint, "stem", "head" or an auxiliary head's output.
        kind: One of `_KINDS`.
        nodes: Box by name, in the network's order.
        after: The stage whose output it takes.
        shape: Of the output, without the batch.
    """

    name: str
    kind: str
    nodes: dict[str, _Node]
    after: str
    shape: tuple[int, ...]

    @property
    def signature(self) -> tuple:
        """What two equal drawings share: boxes by their places, not by their names."""
        number = {name: i for i, name in enumerate(self.nodes)}
        boxes = tuple(
            (n.lines, tuple(number.get(i, -1) for i in n.inputs)) for n in self.nodes.values()
        )
        return (self.kind, boxes, self.shape)


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
    costs = multiply_adds(model)
    stages = _stages(model)
    identity = getattr(model, "identity", None)
    title = title or (identity.variant if identity else "") or model.name
    size = " x ".join(map(str, model.input_shape[1:]))
    parameters = sum(math.prod(w.shape) for w in model.trainable_weights)
    heads = " with auxiliary heads" if any(s.kind == "aux" for s in stages) else ""
    normed = any(isinstance(layer, layers.BatchNormalization) for layer in model.layers)
    head = (
        f"{size}; {parameters / 1e6:.1f} million parameters and {sum(costs.values()) / 1e9:.2f} "
        f"billion multiply-adds{heads}. / 2: stride 2; V: unpadded; conv: with "
        f"{'BatchNorm and ' if normed else ''}ReLU"
    )
    groups: dict[tuple, list[_Stage]] = {}
    for stage in stages:
        if stage.name.endswith(" pool"):  # the whole shows it
            continue
        groups.setdefault(stage.signature, []).append(stage)
    left, tall_left = _overview(stages, size)
    cards, tall_right = _cards(list(groups.values()))
    height = max(tall_left, tall_right) + 20
    width = _LEFT + _WIDE
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


# ------------------------------------------------------------------------------ from model to boxes


def _stages(model: keras.Model) -> list[_Stage]:
    blocks = endpoints(model)
    last_endpoint(model)  # raises for a network without blocks
    where = {layer.name: block_of(layer.name, blocks) for layer in model.layers}
    passed_last, stage_of, passed = False, {}, set()
    for step in model.operations:
        stage = where.get(step.name, step.name)
        if stage not in blocks and not stage.startswith(("stem", "aux")):
            stage = "head" if passed_last or step.name in _head_of(model, blocks) else ""
        passed_last = passed_last or stage == "head"
        if stage in passed:  # GoogLeNet's pools between the blocks
            stage = f"{stage} pool"
        if step.name in blocks:
            passed.add(step.name)
        stage_of[step.name] = stage
    names = [n for n in dict.fromkeys(stage_of.values()) if n]
    return [_stage(model, name, stage_of, blocks) for name in _in_order(names)]


def _in_order(names: list[str]) -> list[str]:
    """The heads last, the auxiliary ones after the main one."""
    aux = [n for n in names if n.startswith("aux")]
    body = [n for n in names if n not in aux and n != "head"]
    return body + (["head"] if "head" in names else []) + aux


def _head_of(model: keras.Model, blocks: dict[str, Any]) -> set[str]:
    """Names of what is computed from the last block alone."""
    last, after, seen = list(blocks)[-1], False, set()
    for step in model.operations:
        if after:
            seen.add(step.name)
        after = after or step.name == last
    return seen


def _stage(
    model: keras.Model, name: str, stage_of: dict[str, str], blocks: dict[str, Any]
) -> _Stage:
    nodes: dict[str, _Node] = {}
    alias: dict[str, str] = {}  # an operation without a box of its own -> whose output it is
    shape: tuple[int, ...] = ()
    after = ""
    for step in model.operations:
        if stage_of[step.name] != name or isinstance(step, layers.InputLayer):
            continue
        inputs = []
        for tensor in keras.tree.flatten(step.input):
            owner = tensor._keras_history.operation.name
            inside = stage_of.get(owner) == name
            after = after or ("" if inside else stage_of.get(owner, ""))
            inputs.append(alias.get(owner, owner) if inside else _INPUT)
        inputs = [i if i in nodes else _INPUT for i in inputs]
        described = _described(step)
        if described is None:
            source = inputs[0]
            alias[step.name] = source
            if source in nodes and _is_final_relu(step, nodes[source]):
                nodes[source].lines = ("+", "ReLU")
        else:
            nodes[step.name] = _Node(*described, inputs)
        shape = tuple(step.output.shape[1:])
    kind = _kind(name, nodes, model, blocks)
    _place(nodes)
    return _Stage(name, kind, nodes, after, shape)


def _kind(name: str, nodes: dict[str, _Node], model: keras.Model, blocks: dict[str, Any]) -> str:
    if name.startswith("stem"):
        return "stem"
    if name.startswith("aux"):
        return "aux"
    if name.endswith(" pool"):
        return "reduction"
    if name not in blocks:
        return "head"
    if any(node.lines[0].startswith("+") for node in nodes.values()):
        return "residual"
    if all(node.style == "conv" for node in nodes.values()):
        return "convolution"
    reduces = any("/ 2" in line for node in nodes.values() for line in node.lines)
    return "reduction" if reduces else "inception"


def _described(step: Any) -> tuple[tuple[str, ...], str] | None:
    """The words and the style of a box; None for what is drawn with the box before."""
    if isinstance(step, layers.SeparableConv2D):
        return (f"{_size(step.kernel_size)} separable", _conv(step)), "conv"
    if isinstance(step, layers.Conv2D):
        linear = step.use_bias and step.name.endswith("_up")
        return (f"{_size(step.kernel_size)} {'linear' if linear else 'conv'}", _conv(step)), "conv"
    if isinstance(step, layers.MaxPooling2D | layers.AveragePooling2D):
        kind = "max" if isinstance(step, layers.MaxPooling2D) else "avg"
        return (f"{_size(step.pool_size)} {kind} pool", _stride(step)), "pool"
    if isinstance(step, layers.GlobalAveragePooling2D | layers.GlobalMaxPooling2D):
        kind = "average" if isinstance(step, layers.GlobalAveragePooling2D) else "max"
        return (f"{kind} pool",), "pool"
    if isinstance(step, layers.Concatenate):
        return ("filter concat", str(step.output.shape[_axis(step)])), "join"
    if isinstance(step, layers.Add):
        return ("+",), "join"
    if isinstance(step, layers.Rescaling) and step.name.endswith("_scale"):
        return (f"x {step.scale:g}",), "join"
    if isinstance(step, layers.Dropout):
        return (f"dropout {step.rate:g}",), "io"
    if isinstance(step, layers.Dense):
        activation = getattr(step.activation, "__name__", "")
        words = {"linear": "linear", "softmax": "softmax", "relu": "linear, ReLU"}
        return (words.get(activation, activation), f"{step.units}"), "dense"
    return None


def _is_final_relu(step: Any, node: _Node) -> bool:
    return isinstance(step, layers.Activation) and node.lines == ("+",)


def _axis(step: Any) -> int:
    return step.axis if isinstance(step.axis, int) else -1


def _size(sides: tuple[int, int]) -> str:
    return f"{sides[0]}x{sides[1]}"


def _stride(step: Any) -> str:
    words = [f"/ {step.strides[0]}"] if step.strides[0] > 1 else []
    return " ".join(words + (["V"] if step.padding == "valid" else []))


def _conv(step: Any) -> str:
    valid = step.padding == "valid" and max(step.kernel_size) > 1
    stride = f"/ {step.strides[0]}" if step.strides[0] > 1 else ""
    return " ".join(filter(None, [str(step.filters), stride, "V" if valid else ""]))


def _place(nodes: dict[str, _Node]) -> None:
    """Rows by the longest way from the input; a column for each way that joins at the end."""
    for node in nodes.values():
        node.row = 1 + max((nodes[i].row for i in node.inputs if i in nodes), default=0)
    used: dict[str, list[float]] = {}
    columns = 0

    def down(name: str) -> list[float]:
        """The columns that a box stands over; boxes that several ways share stand in the middle."""
        nonlocal columns
        if name in used:
            return used[name]
        sources = [i for i in nodes[name].inputs if i in nodes]
        mine: list[float] = []
        for source in sources:
            fresh = source not in used
            found = down(source)
            if not fresh:  # a second way out of a fork
                found = [*found, float(columns)]
                columns += 1
                used[source] = found
                found = found[-1:]
                nodes[source].column = sum(used[source]) / len(used[source])
            mine += found
        if not sources or (not mine):
            mine = [float(columns)]
            columns += 1
        used[name] = mine
        nodes[name].column = sum(mine) / len(mine)
        return mine

    for name in reversed(list(nodes)):
        down(name)
    for name, node in reversed(list(nodes.items())):  # the way to a fork stands above its middle
        after = [n.column for n in nodes.values() if name in n.inputs and len(n.inputs) == 1]
        if after:
            node.column = sum(after) / len(after)


# ----------------------------------------------------------------------------- from boxes to shapes


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


def _overview(stages: list[_Stage], size: str) -> tuple[str, float]:
    """The whole network, from the image down to the classes."""
    x, y, parts = 24 + 90.0, 96.0, []
    parts.append(_box(x, y, ("image", size), "io", 180))
    runs: list[list[_Stage]] = []
    for stage in stages:
        if stage.kind == "aux":
            continue
        if runs and runs[-1][0].signature == stage.signature:
            runs[-1].append(stage)
        else:
            runs.append([stage])
    centers = {}
    for run in runs:
        parts.append(_arrow(x, y + _TALL / 2, x, y + _TALL / 2 + 18))
        y += _TALL + 18
        times = f"{len(run)} x " if len(run) > 1 else ""
        shape = " x ".join(map(str, run[-1].shape))
        words = f"{times}{_names(run)}"
        if words.endswith(" pool"):
            (node,) = run[0].nodes.values()
            words = " ".join(node.lines)
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


def _names(stages: list[_Stage]) -> str:
    """mixed_5b, mixed_5c, mixed_5d as "mixed_5b-5d"."""
    names = [stage.name for stage in stages]
    if len(names) == 1:
        return names[0]
    first, last = names[0], names[-1]
    shared = 0
    while shared < min(len(first), len(last)) and first[shared] == last[shared]:
        shared += 1
    while shared and (first[shared - 1].isdigit()):
        shared -= 1
    return f"{first}-{last[shared:]}" if _in_a_row(stages) else ", ".join(names)


def _in_a_row(stages: list[_Stage]) -> bool:
    return len(stages) > 2


def _cards(groups: list[list[_Stage]]) -> tuple[str, float]:
    """Every kind of block, in rows beside the whole."""
    drawn = [_card(group) for group in groups]
    x, y, tall, parts = float(_LEFT), 78.0, 0.0, []
    for content, width, height in drawn:
        if x > _LEFT and x + width > _LEFT + _WIDE - 20:
            x, y, tall = float(_LEFT), y + tall + 16, 0.0
        parts.append(f'<g transform="translate({x:.0f} {y:.0f})">{content}</g>')
        x, tall = x + width + 16, max(tall, height)
    return "".join(parts), y + tall


def _card(group: list[_Stage]) -> tuple[str, float, float]:
    """One kind of block: the drawing, its width and its height."""
    stage = group[0]
    nodes = stage.nodes
    columns = max((n.column for n in nodes.values()), default=0) + 1
    shortcut = any(_INPUT in n.inputs and n.row > 1 and n.style == "join" for n in nodes.values())
    offset = 26.0 if shortcut else 0.0
    times = f" ({len(group)} times)" if len(group) > 1 else ""
    title = f"{_names(group)}{times}"
    detail = f"{_KINDS[stage.kind]}, gives {' x '.join(map(str, stage.shape))}"
    width = max(
        columns * (_BOX + _ACROSS) - _ACROSS + 2 * _PAD + offset,
        7.6 * len(title) + 2 * _PAD,
        6.0 * len(detail) + 2 * _PAD,
    )
    rows = max((n.row for n in nodes.values()), default=1)
    height = _HEAD + (rows + 1) * (_TALL + _DOWN) + _PAD - _DOWN + 4
    inner = columns * (_BOX + _ACROSS) - _ACROSS
    begin = offset + (width - offset - inner) / 2

    def at(node: _Node) -> tuple[float, float]:
        return (
            begin + node.column * (_BOX + _ACROSS) + _BOX / 2,
            _HEAD + node.row * (_TALL + _DOWN) + _TALL / 2,
        )

    top = (begin + inner / 2, _HEAD + _TALL / 2)
    parts = [
        f'<rect class="card" width="{width:.0f}" height="{height:.0f}" rx="8"/>'
        f'<text class="t" x="{_PAD}" y="20">{_text(title)}</text>'
        f'<text class="s" x="{_PAD}" y="35">{_text(detail)}</text>'
    ]
    lines = []
    for node in nodes.values():
        x, y = at(node)
        for source in node.inputs:
            if source in nodes:
                from_x, from_y = at(nodes[source])
                below = nodes[source].row + 1 == node.row
                turn = None if below or node.style == "join" else from_y + _TALL / 2 + _DOWN / 2
                lines.append(_arrow(from_x, from_y + _TALL / 2, x, y - _TALL / 2, turn))
            elif node.row > 1 and node.style == "join":  # the residual's way past the branches
                side = offset / 2 + 2
                lines.append(
                    f'<path d="M{top[0]:.1f} {top[1] + _TALL / 2:.1f}v{_DOWN / 2:g}H{side:.1f}'
                    f'V{y:.1f}H{x - _BOX / 2:.1f}" marker-end="url(#a)"/>'
                )
            else:
                turn = top[1] + _TALL / 2 + _DOWN / 2
                lines.append(_arrow(top[0], top[1] + _TALL / 2, x, y - _TALL / 2, turn))
    parts += dict.fromkeys(lines)
    parts.append(_box(*top, ("input",), "io"))
    parts += [_box(*at(node), node.lines, node.style) for node in nodes.values()]
    return "".join(parts), width, height
