"""The curves of a run: as an image, and for TensorBoard."""

from __future__ import annotations

from pathlib import Path


def draw(
    rows: list[dict[str, float]], path: Path, by: str = "epoch", chosen: float | None = None
) -> None:
    """Loss and accuracy, training and validation; a PNG image.

    Args:
        rows: The rows of history.csv, or of a probe's path.
        path: Where the image is written.
        by: "epoch", or "penalty" for the strengths of regularization that a probe tried.
        chosen: A value of `by` that is marked.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for key, label in ((name, "training"), (f"validation_{name}", "validation")):
            points = [(row[by], row[key]) for row in rows if key in row]
            if points:
                axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=label)
        axes.set_title(name)
        axes.grid(alpha=0.3)
        if by == "penalty":
            axes.set_xlabel("regularization")
            axes.set_xscale("log")
            axes.invert_xaxis()  # from strong to weak, as they are tried
        else:
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if chosen is not None:
            axes.axvline(chosen, color="gray", linestyle="--", label="chosen")
        if name == "accuracy":
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.legend()
    figure.savefig(path, dpi=120)


def to_tensorboard(folder: Path, row: dict[str, float]) -> None:
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
