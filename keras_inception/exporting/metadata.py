"""TFLite metadata: what MediaPipe Tasks and Android's tools read from a .tflite file.

It is a flatbuffer of the published schema (metadata_schema.fbs, identifier M001) in a buffer of
the model, and a zip archive of the files that it names, appended to the model.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from typing import Any

import flatbuffers

from keras_inception.identity import Identity
from keras_inception.runtime.litert import IDENTITY, LABELS

_NAME = "TFLITE_METADATA"  # of the entry in the model's table of metadata
# Values of the schema's enumerations and unions.
_TENSOR_AXIS_LABELS, _RGB, _GRAYSCALE, _IMAGE_PROPERTIES, _NORMALIZATION = 2, 1, 2, 2, 1


def with_metadata(
    model: bytes, identity: Identity, *, author: str = "", license: str = ""
) -> bytes:
    """A .tflite file with metadata in it.

    Args:
        model: A file with one input, an image in 0..255, and one output, a number a class.
        identity: What the network is; labels.txt and identity.json are made of it.
        author, license: Shown by the tools that show metadata.

    Returns:
        The file's new content.
    """
    from tensorflow.lite.python import schema_py_generated as schema

    table = schema.ModelT.InitFromPackedBuf(model, 0)
    graph = table.subgraphs[0]
    image = graph.tensors[graph.inputs[0]]
    entry, buffer = schema.MetadataT(), schema.BufferT()
    buffer.data = list(
        _metadata(
            identity,
            size=[int(n) for n in image.shape[1:3]],
            channels=int(image.shape[3]),
            normalized=image.type == schema.TensorType.FLOAT32,
            logits="logits" in _output_name(table),
            author=author,
            license=license,
        )
    )
    entry.name, entry.buffer = _NAME, len(table.buffers)
    table.buffers.append(buffer)
    kept = [m for m in table.metadata or [] if m.name not in (_NAME, _NAME.encode())]
    table.metadata = [*kept, entry]
    builder = flatbuffers.Builder(len(model) + 2**16)
    builder.Finish(table.Pack(builder), b"TFL3")
    archive = io.BytesIO()
    archive.write(builder.Output())
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_STORED) as members:
        members.writestr(LABELS, "".join(f"{name}\n" for name in identity.class_names))
        members.writestr(IDENTITY, json.dumps(identity.to_metadata(), ensure_ascii=False))
    return archive.getvalue()


def _output_name(table: Any) -> str:
    """What the signature calls the model's output."""
    name = table.signatureDefs[0].outputs[0].name
    return name.decode() if isinstance(name, bytes) else name


def _metadata(
    identity: Identity,
    *,
    size: Sequence[int],
    channels: int,
    normalized: bool,
    logits: bool,
    author: str,
    license: str,
) -> bytes:
    """The flatbuffer. Numbers are the places of fields in the schema's tables."""
    to = _Writer()
    height, width = size
    pixels = to.table({0: ("uint32", width), 1: ("uint32", height)})
    color = _GRAYSCALE if channels == 1 else _RGB
    properties = to.table({0: ("int8", color), 1: ("offset", pixels)})
    content = to.table({0: ("uint8", _IMAGE_PROPERTIES), 1: ("offset", properties)})
    # The graph scales by itself: a runtime has to leave the pixels alone, which is this.
    options = to.table({0: ("offset", to.floats([0.0])), 1: ("offset", to.floats([1.0]))})
    unit = to.table({0: ("uint8", _NORMALIZATION), 1: ("offset", options)})
    fields: dict[int, tuple[str, Any]] = {
        0: ("offset", to.text("image")),
        1: ("offset", to.text(_described(identity, channels))),
        3: ("offset", content),
    }
    if normalized:
        fields[4] = ("offset", to.offsets([unit]))
    image = to.table(fields)
    labels = to.table({0: ("offset", to.text(LABELS)), 2: ("int8", _TENSOR_AXIS_LABELS)})
    what = "logits" if logits else "probabilities"
    answer = to.table(
        {
            0: ("offset", to.text(what)),
            1: ("offset", to.text(f"The {what} of the classes that {LABELS} names, in its order.")),
            6: ("offset", to.offsets([labels])),
        }
    )
    graph = to.table({2: ("offset", to.offsets([image])), 3: ("offset", to.offsets([answer]))})
    network = identity.variant or "Image classifier"
    own = to.table({0: ("offset", to.text(IDENTITY))})
    model = {
        0: network,
        1: f"{network}: {len(identity.class_names)} classes, exported by keras_inception.",
        4: author,
        5: license,
    }
    root: dict[int, tuple[str, Any]] = {
        place: ("offset", to.text(text)) for place, text in model.items() if text
    }
    root[3] = ("offset", to.offsets([graph]))
    root[6] = ("offset", to.offsets([own]))
    root[7] = ("offset", to.text("1.0.0"))
    return to.finish(to.table(root), b"M001")


def _described(identity: Identity, channels: int) -> str:
    contract = identity.preprocessing
    assert contract is not None
    how = {
        "crop": "a central crop of its shape",
        "pad": "the whole image, padded to its shape",
        "stretch": "the whole image",
    }[contract.aspect]
    share = f", of that {contract.crop_fraction:.4g} of each side" * (contract.crop_fraction < 1)
    return (
        f"{'Gray' if channels == 1 else 'RGB'} image in 0..255: {how}{share}, resized "
        f"({contract.interpolation}{', antialiased' * contract.antialias}). The model scales it."
    )


class _Writer:
    """Writes tables of a flatbuffer from their fields' places."""

    def __init__(self) -> None:
        self._builder = flatbuffers.Builder(1024)

    def text(self, value: str) -> int:
        return self._builder.CreateString(value)

    def floats(self, values: Sequence[float]) -> int:
        self._builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            self._builder.PrependFloat32(value)
        return self._builder.EndVector()

    def offsets(self, tables: Sequence[int]) -> int:
        self._builder.StartVector(4, len(tables), 4)
        for table in reversed(tables):
            self._builder.PrependUOffsetTRelative(table)
        return self._builder.EndVector()

    def table(self, fields: dict[int, tuple[str, Any]]) -> int:
        """A table; its fields by place, as ("offset" | "int8" | "uint8" | "uint32", value)."""
        to = self._builder
        slots = {
            "offset": to.PrependUOffsetTRelativeSlot,
            "int8": to.PrependInt8Slot,
            "uint8": to.PrependUint8Slot,
            "uint32": to.PrependUint32Slot,
        }
        to.StartObject(max(fields) + 1)
        for place, (kind, value) in fields.items():
            slots[kind](place, value, 0)
        return to.EndObject()

    def finish(self, root: int, identifier: bytes) -> bytes:
        self._builder.Finish(root, identifier)
        return bytes(self._builder.Output())
