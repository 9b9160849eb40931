"""The goldens' arrays in the peers' own file formats, byte for byte as their frameworks write them.

Nothing but numpy, h5py and (for checkpoints) TensorFlow is needed. The pickles of torch's files are
put together opcode by opcode, as the standard pickler emits them for tensors.
"""

from __future__ import annotations

import json
import pickle
import struct
import zipfile

import numpy as np
import rule


def arrays(spec):
    """[(name, array)] in the order of the peer's file; torch's counters are arbitrary numbers."""
    return [
        (row[0], np.int64(len(row[0])) if row[2] == "int" else rule.array_for(*row))
        for row in spec["arrays"]
    ]


class _Pickle:
    """Just enough of pickle protocol 2, with memo opcodes as the standard pickler emits them."""

    def __init__(self):
        self.out, self.memo, self.n = bytearray(b"\x80\x02"), {}, 0

    def put(self):
        self.out += b"q" + bytes([self.n]) if self.n < 256 else b"r" + struct.pack("<I", self.n)
        self.n += 1

    def once(self, key, code):
        if key in self.memo:
            i = self.memo[key]
            self.out += b"h" + bytes([i]) if i < 256 else b"j" + struct.pack("<I", i)
        else:
            self.out += code
            self.memo[key] = self.n
            self.put()

    def glob(self, module, name):
        self.once(("g", module, name), f"c{module}\n{name}\n".encode())

    def str(self, s):
        b = s.encode("utf-8")
        self.once(("s", s), b"X" + struct.pack("<I", len(b)) + b)

    def int(self, v):
        if v < 256:
            self.out += b"K" + bytes([v])
        elif v < 65536:
            self.out += b"M" + struct.pack("<H", v)
        else:
            self.out += b"J" + struct.pack("<i", v)

    def ints(self, t):
        if not t:
            self.out += b")"
            return
        if len(t) > 3:
            self.out += b"("
        for v in t:
            self.int(v)
        self.out += {1: b"\x85", 2: b"\x86", 3: b"\x87"}.get(len(t), b"t")
        self.put()

    def odict(self):
        self.glob("collections", "OrderedDict")
        self.out += b")R"
        self.put()


def _state_dict_pickle(items, container):
    """items: [(name, array)]. container: "zip" | "legacy" | "old"."""
    p = _Pickle()
    p.odict()
    p.out += b"("
    for key, (name, a) in enumerate(items):
        p.str(name)
        p.glob("torch._utils", "_rebuild_tensor" if container == "old" else "_rebuild_tensor_v2")
        p.out += b"(("
        p.str("storage")
        p.glob(
            "torch", {"float32": "FloatStorage", "int64": "LongStorage"}[str(np.asarray(a).dtype)]
        )
        p.str(str(key))
        p.str("cpu")
        p.int(np.asarray(a).size)
        if container != "zip":
            p.out += b"N"  # view metadata
        p.out += b"t"
        p.put()
        p.out += b"QK\x00"
        p.ints(np.shape(a))
        p.ints([int(np.prod(np.shape(a)[i + 1 :])) for i in range(np.ndim(a))])
        if container != "old":
            p.out += b"\x89"
            p.odict()
        p.out += b"t"
        p.put()
        p.out += b"R"
        p.put()
    p.out += b"u"
    if container != "old":  # state_dict()._metadata: {module path: {"version": n}}
        mods = {"": 1}
        for name, _ in items:
            parts = name.split(".")[:-1]
            for i in range(1, len(parts) + 1):
                mods.setdefault(".".join(parts[:i]), 1)
            if name.endswith(".running_mean"):
                mods[name[: -len(".running_mean")]] = 2
        p.out += b"}"
        p.put()
        p.str("_metadata")
        p.odict()
        p.out += b"("
        for m, v in mods.items():
            p.str(m)
            p.out += b"}"
            p.put()
            p.str("version")
            p.int(v)
            p.out += b"s"
        p.out += b"usb"
    return bytes(p.out + b".")


def _le(a):
    return np.asarray(a).tobytes()


def torch_zip(spec, path):
    items = arrays(spec)
    root = path.name.partition(".")[0]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as z:

        def add(name, data):
            i = zipfile.ZipInfo(f"{root}/{name}", (1980, 1, 1, 0, 0, 0))
            pad = (
                -(z.fp.tell() + 30 + len(i.filename) + 4) % 64
            )  # torch aligns every record to 64 bytes
            i.extra = b"FB" + struct.pack("<H", pad) + b"Z" * pad
            z.writestr(i, data)

        add("data.pkl", _state_dict_pickle(items, "zip"))
        add("byteorder", b"little")
        for k, (_, a) in enumerate(items):
            add(f"data/{k}", _le(a))
        add("version", b"3\n")


def torch_legacy(spec, path, container="legacy"):
    items = [
        (n, a)
        for n, a in arrays(spec)
        if container == "legacy" or not n.endswith("num_batches_tracked")
    ]
    with path.open("wb") as f:
        f.write(pickle.dumps(0x1950A86A20F9469CFC6C, 2))
        f.write(pickle.dumps(1001, 2))
        f.write(
            pickle.dumps(
                {
                    "protocol_version": 1001,
                    "little_endian": True,
                    "type_sizes": {"short": 2, "int": 4, "long": 4},
                },
                2,
            )
        )
        f.write(_state_dict_pickle(items, container))
        f.write(pickle.dumps([str(k) for k in range(len(items))], 2))
        for _, a in items:
            f.write(struct.pack("<q", np.asarray(a).size) + _le(a))


def torch_old(spec, path):
    torch_legacy(spec, path, "old")


def safetensors(spec, path):
    header, data, end = {}, [], 0
    for name, array in arrays(spec):
        raw = _le(array)
        header[name] = {
            "dtype": {"float32": "F32", "int64": "I64"}[str(np.asarray(array).dtype)],
            "shape": list(np.shape(array)),
            "data_offsets": [end, end + len(raw)],
        }
        data.append(raw)
        end += len(raw)
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    path.write_bytes(struct.pack("<Q", len(encoded)) + encoded + b"".join(data))


def keras_h5(spec, path, *, top=True, first=1):
    """keras.applications' file: Keras 2's layout. Automatic names count from `first`."""
    import h5py

    groups = {}
    for name, array in arrays(spec):
        owner, variable = name.split("/")
        kind, _, number = owner.rpartition("_")
        if owner in ("conv2d", "batch_normalization"):
            owner = f"{owner}_{first}"
        elif kind in ("conv2d", "batch_normalization"):
            owner = f"{kind}_{int(number) + first}"
        if top or owner != "predictions":
            groups.setdefault(owner, []).append((f"{owner}/{variable}:0", array))
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = np.array([owner.encode() for owner in groups])
        for owner, weights in groups.items():
            group = file.create_group(owner)
            group.attrs["weight_names"] = np.array([name.encode() for name, _ in weights])
            for name, array in weights:
                group.create_dataset(name, data=array)


def tf2cv_h5(spec, path):
    """Keras 2's layout of nested models; attributes above 64 kB are split, as Keras splits them."""
    import h5py

    groups = {}
    for name, array in arrays(spec):
        group, _, weight = name.partition("/")
        groups.setdefault(group, []).append((weight, array))
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = np.array([group.encode() for group in groups])
        for group, weights in groups.items():
            created = file.create_group(group)
            names = np.array([weight.encode() for weight, _ in weights])
            chunks = np.array_split(names, -(-names.nbytes // 60_000))
            for i, chunk in enumerate(chunks):
                number = i if len(chunks) > 1 else ""
                created.attrs[f"weight_names{number}"] = chunk
            for weight, array in weights:
                created.create_dataset(weight, data=array)


def tf_v1(spec, path):
    import tensorflow as tf

    names, data = zip(*arrays(spec), strict=True)
    tf.raw_ops.Save(filename=str(path), tensor_names=names, data=[tf.constant(a) for a in data])


def tf_v2(spec, path):
    import tensorflow as tf

    names, data = zip(*arrays(spec), strict=True)
    tf.raw_ops.SaveV2(
        prefix=str(path),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[tf.constant(a) for a in data],
    )


def _varint(v):
    out = bytearray()
    while v > 127:
        out.append(v & 127 | 128)
        v >>= 7
    return bytes(out + bytes([v]))


def _field(num, payload):
    """One protobuf field: bytes (length-delimited) or int (varint)."""
    if isinstance(payload, int):
        return _varint(num << 3) + _varint(payload)
    return _varint(num << 3 | 2) + _varint(len(payload)) + payload


def caffemodel(spec, path, v1=False):
    rows = {r[0]: r for r in spec["arrays"]}
    with path.open("wb") as f:
        f.write(_field(1, spec["peer"].encode()))
        for name in dict.fromkeys(row.rpartition("/")[0] for row in rows):
            kind = "InnerProduct" if rows[f"{name}/0"][2] == "dense_kernel" else "Convolution"
            blobs = []
            for k in range(2):
                a = rule.array_for(*rows[f"{name}/{k}"])
                data = _field(5, _le(a))
                if v1:
                    four = (1,) * (4 - a.ndim) + a.shape
                    blobs.append(b"".join(_field(i + 1, s) for i, s in enumerate(four)) + data)
                else:
                    blobs.append(data + _field(7, _field(1, b"".join(_varint(s) for s in a.shape))))
            if v1:
                msg = (
                    _field(4, name.encode())
                    + _field(5, {"Convolution": 4, "InnerProduct": 14}[kind])
                    + b"".join(_field(6, b) for b in blobs)
                )
            else:
                msg = (
                    _field(1, name.encode())
                    + _field(2, kind.encode())
                    + b"".join(_field(7, b) for b in blobs)
                )
            f.write(_field(2 if v1 else 100, msg))
