"""A page of images with captions, which needs no other file: browsers and notebooks show it."""

from __future__ import annotations

import base64
import html
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from keras_inception.data.splits import Split
from keras_inception.files import write

_THUMBNAIL = 96  # the longer side of an image, in pixels; a smaller one is enlarged in the browser


class Shown(NamedTuple):
    """An image of a sheet and what stands below it; `mark` frames it."""

    image: Any
    caption: str = ""
    mark: bool = False


Row = tuple[str, Sequence[Shown]]  # what stands above some images, and these


def thumbnail(split: Split, i: int) -> Any:
    """An example as a small Pillow image."""
    from PIL import Image

    image = Image.fromarray(split.pixels(i).numpy())
    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
    return image


def write_sheet_of(
    path: str | os.PathLike, title: str, findings: Iterable[str], rows: Iterable[Row]
) -> None:
    """Writes the page.

    Args:
        path: The .html file.
        title: Of the page.
        findings: Sentences at its head.
        rows: The images.
    """
    sentences = "".join(f"<p>{html.escape(line)}</p>" for line in findings)
    body = "".join(
        f"<h2>{html.escape(heading)}</h2><div>{''.join(map(_figure, images))}</div>"
        for heading, images in rows
    )
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{html.escape(title)}</title><style>"
        "body { font: 16px/1.5 system-ui, sans-serif; margin: 1rem auto; max-width: 62rem; }"
        "h2 { font-size: 1rem; margin: 1rem 0 .2rem; } figcaption { font-size: .8rem; }"
        "figure { display: inline-block; margin: 0 .4rem .4rem 0; vertical-align: top; "
        "max-width: 9rem; } img { min-width: 64px; image-rendering: pixelated; }"
        ".mark img { outline: 3px solid #d96b0c; }"
        f"</style></head><body>{sentences}{body}</body></html>\n"
    )
    write(Path(path), page)


def _figure(shown: Shown) -> str:
    buffer = io.BytesIO()
    shown.image.save(buffer, "PNG")
    data = base64.b64encode(buffer.getvalue()).decode()
    caption = f"<figcaption>{html.escape(shown.caption)}</figcaption>" if shown.caption else ""
    kind = ' class="mark"' if shown.mark else ""
    return f'<figure{kind}><img alt="" src="data:image/png;base64,{data}">{caption}</figure>'
