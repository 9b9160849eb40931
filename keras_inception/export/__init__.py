"""Models for servers and phones, checked. Names are loaded when first used (see `fresh`).

The package can be called: `keras_inception.export(source, formats, quantize, output, ...)` is
`keras_inception.export.run.export`, whose documentation lists the arguments.
"""

from __future__ import annotations

import importlib
import sys
import types
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
    if name == "export":  # keras_inception's public name for this package
        return sys.modules[__name__]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class _Callable(types.ModuleType):
    """The package's public function has the package's own name."""

    def __call__(self, *arguments: Any, **options: Any) -> dict[str, Any]:
        return importlib.import_module(f"{__name__}.run").export(*arguments, **options)


sys.modules[__name__].__class__ = _Callable
