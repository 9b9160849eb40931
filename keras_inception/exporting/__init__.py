"""Models for servers and phones, checked. Names are loaded when first used (see `fresh`)."""

from __future__ import annotations

import importlib
from typing import Any

_PUBLIC = {
    "ExportCheckError": "checks",
    "check_recipe": "run",
    "export_onnx": "onnx",
    "export_openvino": "onnx",
    "export_run": "run",
    "export_saved_model": "saved_model",
    "export_tflite": "tflite",
    "export_web": "web",
}

__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
