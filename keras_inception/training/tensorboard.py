"""A run's history as TensorBoard's event files."""

from __future__ import annotations

from pathlib import Path


def add_row(folder: Path, row: dict[str, float]) -> None:
    """Adds an epoch's row of history.csv to TensorBoard's event files in a folder.

    As tf.summary.scalar does, which needs the tensorboard package even to write.
    """
    import tensorflow as tf

    metadata = tf.compat.v1.SummaryMetadata()
    metadata.plugin_data.plugin_name = "scalars"
    writer = tf.summary.create_file_writer(str(folder))
    with writer.as_default(int(row["step"])):
        for name, value in row.items():
            if name not in ("epoch", "step"):
                tf.summary.write(name, tf.constant(value, tf.float32), metadata=metadata)
    writer.close()
