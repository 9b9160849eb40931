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
_AXIS_CALIBRATION, _CALIBRATION, _THRESHOLDING, _INVERSE_LOGISTIC = 4, 2, 3, 2
_THRESHOLDS = "thresholds.txt"  # a class a line: scale, slope and offset that change nothing, least


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
        if identity.thresholds:
            # Without a line's end at the end, which MediaPipe would count as one more class.
            lines = [f"1.0,1.0,0.0,{least}" for least in identity.thresholds]
            members.writestr(_THRESHOLDS, "\n".join(lines))
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
    pixels = {0: ("Uint32", size[1]), 1: ("Uint32", size[0])}
    properties = {0: ("Int8", _GRAYSCALE if channels == 1 else _RGB), 1: pixels}
    image: dict[int, Any] = {
        0: "image",
        1: _described(identity, channels),
        3: {0: ("Uint8", _IMAGE_PROPERTIES), 1: properties},
    }
    if normalized:
        # The graph scales by itself: a runtime has to leave the pixels alone, which is this.
        image[4] = [{0: ("Uint8", _NORMALIZATION), 1: {0: [0.0], 1: [1.0]}}]
    what = "logits" if logits else "probabilities"
    answer: dict[int, Any] = {
        0: what,
        1: f"The {what} of the classes that {LABELS} names, in its order.",
        6: [{0: LABELS, 2: ("Int8", _TENSOR_AXIS_LABELS)}],
    }
    if identity.thresholds and not logits:
        # Scores below a class's own threshold become 0, and what is below all of them is left out.
        calibration = {0: ("Int8", _INVERSE_LOGISTIC), 1: ("Float32", 0.0)}
        least = {0: ("Float32", max(min(identity.thresholds), 1e-6))}
        answer[4] = [
            {0: ("Uint8", _CALIBRATION), 1: calibration},
            {0: ("Uint8", _THRESHOLDING), 1: least},
        ]
        answer[6].append({0: _THRESHOLDS, 2: ("Int8", _AXIS_CALIBRATION)})
    network = identity.variant or "Image classifier"
    root = {
        0: network,
        1: f"{network}: {len(identity.class_names)} classes, exported by keras_inception.",
        3: [{2: [image], 3: [answer]}],
        4: author,
        5: license,
        6: [{0: IDENTITY}],
        7: "1.0.0",
    }
    builder = flatbuffers.Builder(1024)
    builder.Finish(_written(builder, root), b"M001")
    return bytes(builder.Output())


def _written(to: flatbuffers.Builder, value: Any) -> int:
    """Writes a value and what is in it; where it begins.

    Args:
        to: The flatbuffer.
        value: A text; a vector, as a list of floats or of tables; or a table, as a dict of values
            by place, of which numbers are given as (flatbuffers' name of the type, number).
    """
    if isinstance(value, str):
        return to.CreateString(value)
    if isinstance(value, list):
        items = [item if isinstance(item, float) else _written(to, item) for item in value]
        to.StartVector(4, len(items), 4)
        for item in reversed(items):
            put = to.PrependFloat32 if isinstance(item, float) else to.PrependUOffsetTRelative
            put(item)
        return to.EndVector()
    fields = {
        place: field if isinstance(field, tuple) else ("UOffsetTRelative", _written(to, field))
        for place, field in value.items()
        if field != ""
    }
    to.StartObject(max(fields) + 1)
    for place, (kind, number) in fields.items():
        getattr(to, f"Prepend{kind}Slot")(place, number, 0)
    return to.EndObject()


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
