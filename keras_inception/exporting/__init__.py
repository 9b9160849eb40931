"""Models for servers and phones, checked. Names are loaded when first used (see `fresh`)."""

from __future__ import annotations

import importlib
from typing import Any

_PUBLIC = {
    "ExportCheckError": "checks",
    "OpenVINO": "onnx",
    "Onnx": "onnx",
    "SavedModel": "saved_model",
    "TFLite": "tflite",
    "Target": "targets",
    "Web": "web",
    "check_recipe": "run",
    "export_run": "run",
}

__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
