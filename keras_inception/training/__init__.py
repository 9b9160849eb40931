"""The training loop. Names are loaded when first used: flags need no TensorFlow."""

from __future__ import annotations

import importlib
from typing import Any

_PUBLIC = {
    "Ending": "endings",
    "Interrupted": "endings",
    "LostImage": "endings",
    "LostWorker": "endings",
    "NonFinite": "endings",
    "stop_at_once": "endings",
    "naming_lost_images": "lost",
    "open_bound": "stages",
    "train": "stages",
    "is_chief": "strategy",
    "make_strategy": "strategy",
    "repeat_bit_for_bit": "strategy",
}

__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
