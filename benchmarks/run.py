"""Measures the package beside what people would use instead, and writes what was found.

    python benchmarks/run.py                # about half an hour; docs/benchmarks.json
    python benchmarks/run.py --quick        # some minutes, smaller; into build/benchmarks
    python benchmarks/run.py --peers        # first makes the environments of the peers
    python benchmarks/run.py --only memory  # one group
    python benchmarks/run.py --add gpu_jax=FILE  # what gpu_jax.py measured on another machine
    python benchmarks/run.py --add inference_amx=FILE  # the inference of a benchmarks.json

Each group runs in a process of its own. Within a case all configurations take turns, so that what
else the machine does falls on all; medians, ranges and ratios to the case's first line are printed.
Figures of different cases, or of different machines, are not to be compared with each other.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import venv
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent

# Group -> what it measures.
GROUPS = {
    "startup": "commands from start to end, building and loading",
    "inference": "the engines against keras.applications",
    "exports": "LiteRT files against keras.applications converted the plain way",
    "training": "steps against Keras' fit of keras.applications",
    "memory": "peak memory of inference",
    "input_pipeline": "images a second and core",
    "gpu_jax": "v3 and v4 on a GPU under JAX, without TensorFlow",
    "inference_amx": "the engines against keras.applications, on a processor with AMX",
}
# What another environment or machine measured, which `--add` brings in.
ADDED = ("gpu_jax", "inference_amx")
QUICK = ("startup", "inference", "exports", "training", "input_pipeline")
# Engines and peers that this package does not need.
PEERS = ("openvino", "onnx", "onnxruntime", "tf2onnx", "ai-edge-litert")
TORCH = ("torch", "torchvision", "timm")
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="smaller, in some minutes")
    parser.add_argument("--only", default="", help=f"groups with commas: {', '.join(GROUPS)}")
    parser.add_argument("--peers", action="store_true", help="make .venv-peers with the peers")
    parser.add_argument("--add", default="", metavar="GROUP=FILE", help="measured elsewhere")
    parser.add_argument("--output", default="", help="folder [docs, or build/benchmarks if quick]")
    parser.add_argument("--group", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.group:
        one_group(options.group, options.quick)
        return
    output = Path(options.output or ROOT / ("build/benchmarks" if options.quick else "docs"))
    group, _, file = options.add.partition("=")
    if options.add:
        names = []
    elif options.only:
        names = options.only.split(",")
    else:
        names = list(QUICK if options.quick else GROUPS)
        names = [name for name in names if name not in ADDED]
    unknown = [name for name in (*names, *[group] * bool(group)) if name not in GROUPS]
    if unknown:
        parser.error(f"groups are {', '.join(GROUPS)}. Received: {', '.join(unknown)}")
    if options.add and not Path(file).is_file():
        parser.error(f"--add is GROUP=FILE, of a file that is there. Received: {options.add}")
    if options.peers:
        make_peers()
    python = ROOT / ".venv-peers/bin/python"
    python = python if python.exists() else Path(sys.executable)
    output.mkdir(parents=True, exist_ok=True)
    kept = output / "benchmarks.json"
    record = json.loads(kept.read_text()) if kept.exists() else {"groups": {}}
    if options.add:
        added = json.loads(Path(file).read_text())
        groups = added.get("groups", {group: added})
        record["groups"][group] = groups.get(group) or groups[group.removesuffix("_amx")]
        kept.write_text(json.dumps(record, indent=1) + "\n")
    for name in names:
        print(f"\n{name}: {GROUPS[name]}", flush=True)
        began = time.monotonic()
        flags = ["--quick"] * options.quick
        ran = subprocess.run(
            [str(python), str(HERE / "run.py"), "--group", name, *flags],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        )
        lines = [line for line in ran.stdout.splitlines() if line.startswith('{"circumstances"')]
        if ran.returncode or not lines:
            print(f"  {name} failed with exit code {ran.returncode}", flush=True)
            continue
        record["groups"][name] = json.loads(lines[-1])
        print(as_text(record["groups"][name]["rows"]))
        print(f"  {time.monotonic() - began:.0f} s", flush=True)
        # After each group, so that a run that is stopped leaves what it has.
        kept.write_text(json.dumps(record, indent=1) + "\n")
    print(f"\n{kept}; benchmarks/pages.py makes the page of docs/benchmarks.json")


def one_group(name: str, quick: bool) -> None:
    """Measures a group in this process; prints one line of JSON."""
    import importlib

    sys.path.insert(0, str(HERE))
    import timing

    from keras_inception.cli.process import prepare_process

    prepare_process()  # as the commands do; what takes TensorFlow as it is has its own process

    before = timing.circumstances()
    rows = importlib.import_module(name).measure(quick)
    print(json.dumps({"circumstances": before, "quick": quick, "rows": rows}))


def make_peers() -> None:
    """An environment with this one's packages and the peers'."""
    folder = ROOT / ".venv-peers"
    python = folder / "bin/python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    site = subprocess.run(
        [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    import sysconfig

    (Path(site) / "benchmarks.pth").write_text(f"{sysconfig.get_path('purelib')}\n{ROOT}\n")
    pip = [str(python), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, *PEERS], check=True)
    if subprocess.run([*pip, "--index-url", TORCH_INDEX, "torch", "torchvision"]).returncode:
        subprocess.run([*pip, "torch", "torchvision"], check=False)
    if subprocess.run([*pip, "timm"]).returncode:
        print("timm cannot be installed here; it is left out", flush=True)


def as_text(rows: list[dict[str, Any]]) -> str:
    """A group as lines, a case after the other."""
    lines, case = [], None
    for row in rows:
        if row["case"] != case:
            case = row["case"]
            lines.append(f"  {case}")
        lines.append(f"    {row['name']:44} {'  '.join(figures(row))}")
    return "\n".join(lines)


def figures(row: dict[str, Any]) -> list[str]:
    """A row's figures as people read them: time with range, ratio with range, the rest."""
    found = []
    if "milliseconds" in row:
        found.append(f"{row['milliseconds']:.1f} ms ({row['low']:.1f} to {row['high']:.1f})")
        found.append(f"{row['ratio']:.2f}x ({row['ratio_low']:.2f} to {row['ratio_high']:.2f})")
        if "images" in row["case"] or "training" in row["case"] or "input" in row["case"]:
            found.append(f"{row['images_per_second']:.1f} images/s")
    if "megabytes" in row and "milliseconds" not in row:
        found.append(f"{row['megabytes']:.0f} MB")
        if "ratio" in row:
            found.append(f"{row['ratio']:.2f}x")
    if "operations" in row:
        found.append(f"{row['operations']} operations, {row['megabytes']:.1f} MB")
    if "cores" in row:
        rate = row["images_per_second_per_core"]
        found.append(f"{rate:.0f} images/s a core: {row['cores']:.1f} cores for 1,000 images/s")
    return found + ([row["word"]] if row["word"] else [])


if __name__ == "__main__":
    main()
