"""A built network as the papers see it: its blocks in order, each as boxes in rows and columns."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
from keras import layers

from keras_inception.models.measure import block_of, endpoints, last_endpoint

INPUT = "input"
KINDS = {
    "stem": "stem",
    "inception": "inception block",
    "residual": "residual block",
    "reduction": "reduction",
    "convolution": "convolution",
    "head": "head",
    "aux": "auxiliary head",
}


@dataclasses.dataclass
class Box:
    """A box of a block: a convolution with its BatchNorm and ReLU, a pool, a sum, ..."""

    lines: tuple[str, ...]
    style: str
    inputs: list[str]
    column: float = 0.0
    row: int = 0


@dataclasses.dataclass(frozen=True)
class Stage:
    """A block, the stem or a head.

    Attributes:
        name: The endpoint, "stem", "head" or an auxiliary head's output.
        kind: One of `KINDS`.
        boxes: Box by name, in the network's order.
        after: The stage whose output it takes.
        shape: Of the output, without the batch.
    """

    name: str
    kind: str
    boxes: dict[str, Box]
    after: str
    shape: tuple[int, ...]

    @property
    def signature(self) -> tuple:
        """What two equal drawings share: boxes by their places, not by their names."""
        number = {name: i for i, name in enumerate(self.boxes)}
        boxes = tuple(
            (b.lines, tuple(number.get(i, -1) for i in b.inputs)) for b in self.boxes.values()
        )
        return (self.kind, boxes, self.shape)


def stages(model: keras.Model) -> list[Stage]:
    """The stages of a network from the image on; the heads last, the main one first.

    Raises:
        ValueError: the model has no inception blocks.
    """
    last = last_endpoint(model)
    blocks = endpoints(model)
    stage_of: dict[str, str] = {}
    passed: set[str] = set()
    for step in model.operations:
        stage = block_of(step.name, blocks)
        if stage not in blocks and not stage.startswith(("stem", "aux")):
            stage = "head" if last in passed else ""
        if stage in passed:  # GoogLeNet's pools between the blocks
            stage = f"{stage} pool"
        if step.name in blocks:
            passed.add(step.name)
        stage_of[step.name] = stage
    names = dict.fromkeys(filter(None, stage_of.values()))
    order = sorted(names, key=lambda name: (name.startswith("aux"), name == "head"))
    return [_stage(model, name, stage_of, name in blocks) for name in order]


def _stage(model: keras.Model, name: str, stage_of: dict[str, str], is_block: bool) -> Stage:
    boxes: dict[str, Box] = {}
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
            source = alias.get(owner, owner)
            inputs.append(source if inside and source in boxes else INPUT)
        described = _described(step)
        if described is None:
            alias[step.name] = source = inputs[0]
            is_sum = source in boxes and boxes[source].lines == ("+",)
            if is_sum and isinstance(step, layers.Activation):
                boxes[source].lines = ("+", "ReLU")
        else:
            boxes[step.name] = Box(*described, inputs)
        shape = tuple(step.output.shape[1:])
    _place(boxes)
    return Stage(name, _kind(name, boxes, is_block), boxes, after, shape)


def _kind(name: str, boxes: dict[str, Box], is_block: bool) -> str:
    for kind in ("stem", "aux"):
        if name.startswith(kind):
            return kind
    if name.endswith(" pool"):
        return "reduction"
    if not is_block:
        return "head"
    if any(box.lines[0].startswith("+") for box in boxes.values()):
        return "residual"
    if all(box.style == "conv" for box in boxes.values()):
        return "convolution"
    reduces = any("/ 2" in line for box in boxes.values() for line in box.lines)
    return "reduction" if reduces else "inception"


def _described(step: Any) -> tuple[tuple[str, ...], str] | None:
    """The words and the style of a box; None for what is drawn with the box before."""
    if isinstance(step, layers.SeparableConv2D | layers.Conv2D):
        kind = "linear" if step.use_bias and step.name.endswith("_up") else "conv"
        kind = "separable" if isinstance(step, layers.SeparableConv2D) else kind
        unpadded = step.padding == "valid" and max(step.kernel_size) > 1
        numbers = f"{step.filters} {_stride(step, unpadded)}".strip()
        return (f"{_size(step.kernel_size)} {kind}", numbers), "conv"
    if isinstance(step, layers.MaxPooling2D | layers.AveragePooling2D):
        kind = "max" if isinstance(step, layers.MaxPooling2D) else "avg"
        mark = _stride(step, step.padding == "valid")
        return (f"{_size(step.pool_size)} {kind} pool", mark), "pool"
    if isinstance(step, layers.GlobalAveragePooling2D | layers.GlobalMaxPooling2D):
        kind = "average" if isinstance(step, layers.GlobalAveragePooling2D) else "max"
        return (f"{kind} pool",), "pool"
    if isinstance(step, layers.Concatenate):
        return ("filter concat", str(step.output.shape[step.axis])), "join"
    if isinstance(step, layers.Add):
        return ("+",), "join"
    if isinstance(step, layers.Rescaling) and step.name.endswith("_scale"):
        return (f"x {step.scale:g}",), "join"
    if isinstance(step, layers.Dropout):
        return (f"dropout {step.rate:g}",), "io"
    if isinstance(step, layers.Dense):
        activation = getattr(step.activation, "__name__", "")
        return ("linear, ReLU" if activation == "relu" else activation, f"{step.units}"), "dense"
    return None


def _size(sides: tuple[int, int]) -> str:
    return f"{sides[0]}x{sides[1]}"


def _stride(step: Any, unpadded: bool) -> str:
    """The figures' marks: "/ 2" for stride 2, V for unpadded layers."""
    stride = f"/ {step.strides[0]} " if step.strides[0] > 1 else ""
    return f"{stride}{'V' if unpadded else ''}".strip()


def _place(boxes: dict[str, Box]) -> None:
    """Rows by the longest way from the input; a column for each way that joins at the end."""
    for box in boxes.values():
        box.row = 1 + max((boxes[i].row for i in box.inputs if i in boxes), default=0)
    used: dict[str, list[float]] = {}
    columns = 0

    def down(name: str) -> list[float]:
        """The columns that a box stands over; boxes that several ways share stand in the middle."""
        nonlocal columns
        if name in used:
            return used[name]
        mine: list[float] = []
        for source in boxes[name].inputs:
            if source in used:  # a second way out of a fork
                mine.append(float(columns))
                used[source] = [*used[source], float(columns)]
                columns += 1
                boxes[source].column = sum(used[source]) / len(used[source])
            elif source in boxes:
                mine += down(source)
        if not mine:
            mine = [float(columns)]
            columns += 1
        used[name] = mine
        boxes[name].column = sum(mine) / len(mine)
        return mine

    for name in reversed(list(boxes)):
        down(name)
    for name, box in reversed(list(boxes.items())):  # the way to a fork stands above its middle
        after = [b.column for b in boxes.values() if name in b.inputs and len(b.inputs) == 1]
        if after:
            box.column = sum(after) / len(after)
