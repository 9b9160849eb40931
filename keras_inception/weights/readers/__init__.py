"""One module a file format; all return arrays in Keras' own layout, under the file's own names.

`read` recognises a format by looking into the file, whatever its name says. All readers work on
bytes in memory and share one `Budget`, and `refusing` is the one boundary around them.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from keras_inception import archives, files
from keras_inception.budget import LARGEST_FILE, LOADABLE, Budget, Refused, refuses
from keras_inception.messages import printable
from keras_inception.weights.readers import (
    caffemodel,
    graphdef,
    keras_h5,
    safetensors,
    tf_checkpoint,
    torch_pickle,
)
from keras_inception.weights.readers.layers import Layers, check_values

__all__ = ["Contents", "Layers", "graphdef", "read", "tf_checkpoint"]


@dataclasses.dataclass(frozen=True)
class Contents:
    """What a weights file holds.

    Attributes:
        format: The format's name, for messages.
        layers: Arrays by the file's layer name and Keras' variable name ("kernel", "moving_mean").
        metadata: Text that the file says about itself (native and .keras files, and graphs).
    """

    format: str
    layers: Layers
    metadata: dict[str, str] = dataclasses.field(default_factory=dict)


@refuses
def read(path: str | os.PathLike) -> Contents:
    """Reads a weights file of any known format.

    Args:
        path: The file, or the prefix or any file of a TensorFlow checkpoint.

    Raises:
        ValueError: there is no such file, its format is not known, it is damaged, or reading it
            would take more than the `Budget` of a file of its size.
        OSError: the file cannot be opened.
    """
    contents = _read(Path(path))
    check_values(contents.layers)
    return contents


def _read(path: Path) -> Contents:
    if (path / "saved_model.pb").is_file():
        path /= "variables"  # a SavedModel's arrays; its graph, which could be run, is not read
    folder, name = path.parent, path.name
    if path.is_dir():
        folder, name = path, _the_checkpoint({p.name: _end(p) for p in path.iterdir()})
    elif not path.exists():
        if not tf_checkpoint.is_prefix(path):
            raise Refused(f"There is no weights file {printable(os.fspath(path))}.")
        name = f"{path.name}.index"
    else:
        name = tf_checkpoint.index_of(path) or name
    data = files.read(folder / name, LARGEST_FILE)
    budget = Budget.of(len(data))

    def beside(suffix: str) -> bytes:
        shard = files.read(folder / (name.removesuffix(".index") + suffix), LARGEST_FILE)
        budget.memory += Budget.of(len(shard)).memory
        return shard

    return _from_bytes(data, budget, beside)


def _from_bytes(data: bytes, budget: Budget, beside: tf_checkpoint.Beside) -> Contents:
    """The contents of a file's bytes; `beside` gives a V2 checkpoint's further files."""
    if data.startswith(b"PK\x03\x04"):
        return _from_zip(archives.Zip(data, budget), budget)
    if data.startswith(b"\x89HDF\r\n\x1a\n"):
        return Contents("Keras .h5", keras_h5.read(data, budget))
    if data.startswith(b"\x1f\x8b") or data[257:262] == b"ustar":
        return _from_files(archives.tar_files(data, budget), budget)
    if torch_pickle.is_legacy(data[:32]):
        return Contents("torch pickle", torch_pickle.read(data, budget))
    view = memoryview(data)
    if data[8:9] == b"{":
        layers, metadata = safetensors.read(data, budget)
        return Contents("safetensors", layers, metadata)
    if tf_checkpoint.is_table(view):
        return Contents("TensorFlow checkpoint", tf_checkpoint.read(view, beside, budget))
    if graphdef.is_graph(data[:512]):
        return Contents("TensorFlow graph", *graphdef.read(view, budget))
    if caffemodel.is_net(data[:512]):
        return Contents("caffemodel", caffemodel.read(view, budget))
    if data.lstrip()[:6] in (b"node {", b"node{\n"):
        raise ValueError(
            "it is a graph as text (.pbtxt). Write it in binary and load that: "
            "tf.io.write_graph(graph, folder, 'graph.pb', as_text=False)."
        )
    raise ValueError(
        "it is in no format that can be read. "
        f"Received: a file of {len(data):,} bytes that begins with {data[:8]!r}. {LOADABLE}"
    )


def _from_zip(archive: archives.Zip, budget: Budget) -> Contents:
    """A .keras archive, a torch file, or one weights file that was zipped."""
    if "model.weights.h5" in archive.names:
        layers, metadata = keras_h5.read_keras_archive(archive, budget)
        return Contents("Keras .keras", layers, metadata)
    if any(name.endswith("data.pkl") for name in archive.names):
        return Contents("torch zip", torch_pickle.read_zip(archive, budget))
    if len(archive.names) == 1 or any(n.endswith((".index", ".pb")) for n in archive.names):
        return _from_files(archive.files(), budget)
    raise ValueError(
        "it is a zip archive that is neither a .keras file, a torch file nor one zipped weights "
        f"file. Received: members {archive.names[:5]}. {LOADABLE}"
    )


def _from_files(files: dict[str, bytes], budget: Budget) -> Contents:
    """The one weights file, the one checkpoint or else the one frozen graph of an archive."""
    found = list(files)
    if len(files) > 1 and not any(map(tf_checkpoint.is_table, files.values())):
        found = [name for name, data in files.items() if graphdef.is_graph(data[:512])]
    name = found[0] if len(found) == 1 else _the_checkpoint(files)

    def beside(suffix: str) -> bytes:
        wanted = name.removesuffix(".index") + suffix
        if wanted not in files:
            raise ValueError(f"it lacks {wanted!r:.80}")
        return files[wanted]

    return _from_bytes(files[name], budget, beside)


def _the_checkpoint(ends: dict[str, bytes]) -> str:
    """The name of the one checkpoint among files, of which the last bytes are given.

    Raises:
        ValueError: there is none, or more than one.
    """
    found = sorted(n for n, e in ends.items() if tf_checkpoint.is_table(e) and n[0] != ".")
    if len(found) != 1:
        raise ValueError(
            "it should hold one TensorFlow checkpoint; give the path of the one that you mean. "
            f"Received: {len(found)} checkpoints {found[:8]}"
        )
    return found[0]


def _end(path: Path) -> bytes:
    """A file's last bytes; none of what is no regular file."""
    if not path.is_file() or path.stat().st_size < 8:
        return b""
    with files.opened(path) as file:
        file.seek(-8, os.SEEK_END)
        return file.read(8)
