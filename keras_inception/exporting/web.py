"""A page that classifies images in the visitor's browser, with LiteRT.js."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import shutil
from importlib import resources
from pathlib import Path
from typing import Any

from keras_inception.exporting.checks import Check
from keras_inception.exporting.exportable import Exportable
from keras_inception.exporting.samples import Samples
from keras_inception.exporting.targets import Target
from keras_inception.exporting.tflite import TFLite

QUANTIZATIONS = ("float32", "float16", "dynamic")

LITERT_JS = "2.5.3"
_CDN = "https://cdn.jsdelivr.net/npm"
# What the page loads of LiteRT.js, by its own names: package, path and SHA-384 in base64. The
# "compat" pair is for browsers without relaxed SIMD.
RUNTIME = {
    "core": (
        "core",
        "dist/index.js",
        "MapSVJ/DPwvaWpp7q+Bid9O3uY1oB0KOU1QRMP+Mm5zdz5oMme/BUyX6dVAMWnPg",
    ),
    "utils": (
        "wasm-utils",
        "dist/index.js",
        "HIPwlWsctS5BRqrnvJKDVJ8SvqKB0QmiImdr6+hpP7+8UqeMJX/qrBkdfKQV2WZ/",
    ),
    "loader": (
        "core",
        "wasm/litert_wasm_internal.js",
        "NB/Wc4iozynQO5jzJ2VFoMKbqMvwwFGWxJL/o63IJT6W2JfZbsSLxA2cF6H/mLpQ",
    ),
    "wasm": (
        "core",
        "wasm/litert_wasm_internal.wasm",
        "AZ/Ak4CbDpjqpSr8WsnoL3Dcx6bDFA/k9b/jahok1TGHZ2OqIRjLBMiEmiNedhlC",
    ),
    "compat_loader": (
        "core",
        "wasm/litert_wasm_compat_internal.js",
        "oh4nb8zDq6eVOpGeZE5gwDOJ16QujHLL8k/HEXt3XiPxr+8zn3YnkXP8P3BlJET1",
    ),
    "compat_wasm": (
        "core",
        "wasm/litert_wasm_compat_internal.wasm",
        "glAZ6WjS7tLRt89pbTPXvLC1c7DCaVSfL2ngn5gZJiUuPs76fWYJy7ZeFaD0PJXx",
    ),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Web(Target):
    """A static folder for a web server: index.html, model.tflite, network.json, offline.js.

    The page classifies an image that is dropped, chosen or photographed, on the visitor's device;
    crop, resize and scaling follow the contract. Once loaded over https it works offline.

    Args:
        quantization: Of model.tflite: "float32", "float16", or "dynamic", which is half as large
            as float16 and moves the probabilities more.
        runtime: The folder node_modules that `npm install @litertjs/core` filled, to copy
            LiteRT.js from; by default the page loads it from a CDN. Version and digests are pinned
            either way.
        author, license: For the metadata of model.tflite.

    Raises:
        ValueError: an argument is out of range, or `runtime` holds another version of LiteRT.js.
    """

    quantization: str = "float16"
    _: dataclasses.KW_ONLY
    runtime: str | Path | None = None
    author: str = ""
    license: str = ""

    format = "web"
    runs = "model.tflite"
    holds = ("network.json", "index.html", "model.tflite", "offline.js", "litert")

    def __post_init__(self) -> None:
        if self.quantization not in QUANTIZATIONS:
            raise ValueError(
                f"`quantization` of a page should be one of {', '.join(QUANTIZATIONS)}. "
                f"Received: quantization={self.quantization!r}"
            )
        if self.runtime is not None:
            _runtime_files(Path(self.runtime))

    @property
    def _model(self) -> TFLite:
        return TFLite(self.quantization, author=self.author, license=self.license)

    def make(self, network: Exportable, path: Path) -> None:
        path.mkdir()
        self._model.make(network, path / self.runs)
        about = {
            "title": network.identity.variant or "Image classifier",
            "class_names": network.class_names,
            "preprocessing": network.preprocessing.to_dict(),
            "channels": network.input_shape[2],
            "thresholds": list(network.identity.thresholds) or None,
            "runtime": self._runtime(path),
        }
        (path / "network.json").write_text(json.dumps(about, ensure_ascii=False), encoding="utf-8")
        pages = resources.files("keras_inception.exporting") / "page"
        version = hashlib.sha256((path / self.runs).read_bytes()).hexdigest()[:16]
        for name in ("index.html", "offline.js"):
            text = (pages / name).read_text(encoding="utf-8")
            (path / name).write_text(text.replace("-VERSION", f"-{version}"), "utf-8")

    def _runtime(self, path: Path) -> dict[str, dict[str, str]]:
        """Copies LiteRT.js, if it is to be copied; where the page finds each of its files."""
        files = _runtime_files(Path(self.runtime)) if self.runtime is not None else {}
        described = {}
        for name, (package, inner, digest) in RUNTIME.items():
            url = f"{_CDN}/@litertjs/{package}@{LITERT_JS}/{inner}"
            if name in files:
                url = f"litert/{name}{Path(inner).suffix}"
                (path / "litert").mkdir(exist_ok=True)
                shutil.copyfile(files[name], path / url)
            described[name] = {"url": url, "integrity": f"sha384-{digest}"}
        return described

    def own_checks(
        self, path: Path, got: dict[str, Any], network: Exportable, samples: Samples
    ) -> list[Check]:
        return self._model.own_checks(path / self.runs, got, network, samples)


def _runtime_files(folder: Path) -> dict[str, Path]:
    """The files of LiteRT.js in a folder node_modules, by their names in `RUNTIME`.

    Raises:
        ValueError: one is missing, or of another version.
    """
    files = {}
    for name, (package, inner, digest) in RUNTIME.items():
        file = folder / "@litertjs" / package / inner
        if not file.is_file():
            raise ValueError(
                f"`runtime` should be the folder node_modules with LiteRT.js {LITERT_JS} in it: "
                f"npm install @litertjs/core@{LITERT_JS}. There is no {file}."
            )
        found = _sha384(file)
        if found != digest:
            raise ValueError(
                f"{file} is not of LiteRT.js {LITERT_JS}: npm install @litertjs/core@{LITERT_JS}. "
                f"Received: SHA-384 {found}"
            )
        files[name] = file
    return files


def _sha384(file: Path) -> str:
    return base64.b64encode(hashlib.sha384(file.read_bytes()).digest()).decode()
