"""What was published of a network, to stand beside what was measured."""

from __future__ import annotations

from typing import Any

from keras_inception.catalog import get_weights, list_weights

# Top-1 and top-5 errors in percent of single networks on ImageNet's 50,000 validation images, by
# variant and number of crops: 1602.07261 tables 3 and 4. The papers' networks were never released;
# the published checkpoints are other trainings. The papers' single-crop errors leave out about
# 1,700 blacklisted images, so they are not listed.
PAPERS = {
    ("InceptionV3", "12"): (19.8, 4.6),
    ("InceptionV3", "144"): (18.9, 4.3),
    ("InceptionResNetV1", "12"): (19.8, 4.6),
    ("InceptionResNetV1", "144"): (18.8, 4.3),
    ("InceptionV4", "12"): (18.7, 4.2),
    ("InceptionV4", "144"): (17.7, 3.8),
    ("InceptionResNetV2", "12"): (18.7, 4.1),
    ("InceptionResNetV2", "144"): (17.8, 3.7),
}


def published_figures(
    source: str, variant: str, crops: str, summary: dict[str, Any], imagenet: bool
) -> list[dict[str, Any]]:
    """The published figures that a measurement can be held against.

    Args:
        source: What the network was named by; a catalogue name has a published accuracy.
        variant: The builder's name.
        crops: The protocol.
        summary: What was measured: `metrics.summarize_predictions`.
        imagenet: Whether the images are ImageNet's validation images.

    Returns:
        Rows of "metric", "published" and "measured" (shares), "inside" (whether the published
        figure, rounded as it was printed, lies in the measured 95 % interval), "protocol" (the
        publisher's) and "text". Empty if nothing was published or the images are others.
    """
    if not imagenet:
        return []
    figures: list[tuple[str, float, str]] = []
    if source in list_weights():
        record = get_weights(source)
        for metric, value in (("accuracy", record.top1), ("top5_accuracy", record.top5)):
            if value is not None:
                protocol = record.protocol or "single crop, not described further"
                figures.append((metric, value / 100, protocol))
    if (variant, crops) in PAPERS:
        for metric, error in zip(
            ("accuracy", "top5_accuracy"), PAPERS[variant, crops], strict=True
        ):
            figures.append((metric, 1 - error / 100, f"the paper's network, {crops} crops"))
    rows = []
    for metric, value, protocol in figures:
        if metric not in summary:
            continue
        low, high = summary[f"{metric}_interval"]
        inside = low <= value <= high
        label = {"accuracy": "top-1", "top5_accuracy": "top-5"}[metric]
        rows.append(
            {
                "metric": metric,
                "published": round(value, 6),
                "measured": summary[metric],
                "inside": inside,
                "protocol": protocol,
                "text": f"published {label} {value:.2%} ({protocol}): "
                f"{'inside' if inside else 'outside'} the measured interval",
            }
        )
    return rows
