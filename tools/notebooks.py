"""Runs the notebooks and stores their outputs; says which stored outputs are not their code's.

    python tools/notebooks.py                  # runs all of notebooks/, which `make notebooks` does
    python tools/notebooks.py quickstart       # runs one of them
    python tools/notebooks.py --check          # runs nothing: exit code 1 if outputs are stale
    python tools/notebooks.py --repository NAME/keras_inception    # the address of the badges

Running needs the extra `notebooks`. A notebook runs from top to bottom in an empty folder; cells
with the tag "install" are for Colab and are left out. Nothing is stored unless all cells ran.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "notebooks"
MARK = "keras_inception"  # the notebook's metadata that holds the digest
COLORS = 64  # of a stored plot: a third of the bytes, and no difference to the eye
SECONDS = 1800  # of one cell


def digest(notebook: dict[str, Any]) -> str:
    """The sha256 of the code that runs here, together with its stored outputs."""
    cells = [
        {"source": _text(cell["source"]), "outputs": [_plain(o) for o in cell["outputs"]]}
        for cell in notebook["cells"]
        if cell["cell_type"] == "code" and not is_for_colab(cell)
    ]
    return hashlib.sha256(json.dumps(cells, sort_keys=True).encode()).hexdigest()


def is_current(notebook: dict[str, Any]) -> bool:
    """Whether the stored outputs are those that its code gave when it was run as a whole."""
    return notebook["metadata"].get(MARK, {}).get("sha256") == digest(notebook)


def has_outputs(notebook: dict[str, Any]) -> bool:
    """Whether outputs are stored; a notebook that was not run yet has none."""
    return any(cell.get("outputs") for cell in notebook["cells"])


def is_for_colab(cell: dict[str, Any]) -> bool:
    """Whether a cell only installs the package in Colab."""
    return "install" in cell["metadata"].get("tags", ())


def run(path: Path) -> None:
    """Runs a notebook and writes it with its outputs and their digest.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed; the file is as it was.
    """
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    bin_folder = Path(sys.executable).parent
    os.environ["PATH"] = f"{bin_folder}{os.pathsep}{os.environ['PATH']}"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(
            notebook,
            timeout=SECONDS,
            kernel_name="python3",
            resources={"metadata": {"path": folder}},
            skip_cells_with_tag="install",
            coalesce_streams=True,
        ).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", ()):
            _shrink(output)
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    write(path, json.loads(nbformat.writes(notebook)))


def write(path: Path, notebook: dict[str, Any]) -> None:
    """Writes a notebook that was just run, with the digest of code and outputs."""
    notebook["metadata"][MARK] = {"sha256": digest(notebook)}
    text = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)


def point_to(repository: str) -> None:
    """Sets the repository that badges and install cells name, "OWNER/NAME" on GitHub."""
    for path in sorted(FOLDER.glob("*.ipynb")):
        text = path.read_text(encoding="utf-8")
        text = re.sub(r"(github/)[\w.-]+/[\w.-]+(/blob/)", rf"\g<1>{repository}\2", text)
        text = re.sub(r"(github\.com/)[\w.-]+/[\w.-]+", rf"\g<1>{repository}", text)
        path.write_text(text, encoding="utf-8")


def _shrink(output: dict[str, Any]) -> None:
    """Stores a plot with few colors."""
    from PIL import Image

    data = output.get("data", {})
    if "image/png" not in data:
        return
    image = Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).convert("RGB")
    buffer = io.BytesIO()
    image.quantize(COLORS, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    data["image/png"] = base64.b64encode(buffer.getvalue()).decode()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "".join(value)


def _plain(value: Any) -> Any:
    """An output with its texts in one piece: the format allows lists of lines as well."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list) and all(isinstance(v, str) for v in value):
        return "".join(value)
    return value


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="notebooks without .ipynb; by default all")
    parser.add_argument("--check", action="store_true", help="only check the stored outputs")
    parser.add_argument("--repository", default="", metavar="OWNER/NAME")
    options = parser.parse_args()
    if options.repository:
        point_to(options.repository)
        return 0
    paths = [FOLDER / f"{name}.ipynb" for name in options.names] or sorted(FOLDER.glob("*.ipynb"))
    stale = 0
    for path in paths:
        if options.check:
            notebook = json.loads(path.read_text(encoding="utf-8"))
            if not is_current(notebook):
                what = "are not its code's" if has_outputs(notebook) else "are missing"
                print(f"{path.name}: the stored outputs {what}; run `make notebooks`")
                stale += 1
            continue
        began = time.monotonic()
        run(path)
        kilobytes = path.stat().st_size // 1000
        print(f"{path.name}: {time.monotonic() - began:.0f} s, {kilobytes} kB", flush=True)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
