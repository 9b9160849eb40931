"""A publisher's layers in the publisher's own file format, without the publisher's framework."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from keras_inception import files
from keras_inception.weights.readers import Layers, safetensors, tf_checkpoint, torch_pickle


def torch_safetensors(path: Path, layers: Layers) -> None:
    """Writes layers as the state dict of a torch module, in a safetensors file."""
    safetensors.write(path, torch_pickle.state_dict(layers), {"format": "pt"})


def checkpoint(path: Path, layers: Layers) -> None:
    """Writes layers as a TensorFlow checkpoint (V2), whose prefix is the path."""
    index, shard = tf_checkpoint.write(layers)
    files.write_all(
        {
            path.with_name(f"{path.name}.data-00000-of-00001"): shard,
            path.with_name(f"{path.name}.index"): index,
        }
    )


def by_ending(path: Path, save: Callable[[Path], object]) -> None:
    """Writes a file by a function that looks at the whole ending, such as .weights.h5."""
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder, path.name)
        save(written)
        files.write(path, written.read_bytes())
