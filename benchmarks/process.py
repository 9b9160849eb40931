"""The training command with and without what it sets for its process; see cli/process.py.

    python benchmarks/process.py [--rounds 2]

All ways run the demo for two epochs, in turns; printed are the images a second of the second epoch,
medians and ratios to the first way, and the peak of memory. glibc's own variable, set to its
default value, turns the keeping of memory off.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

TRAIN = """
import resource, sys
from keras_inception import evaluation, exporting, report
from keras_inception.cli.train import main
nothing = lambda *given, **options: ""
evaluation.evaluate = evaluation.table = exporting.export_run = report.write_report = nothing
code = main(sys.argv)
print("PEAK", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
sys.exit(code)
"""
GLIBC = {"MALLOC_TOP_PAD_": "131072"}  # 128 KiB is its default
EIGEN = {"TF_ENABLE_ONEDNN_OPTS": "0"}  # TensorFlow's default without VNNI and AMX
WAYS = {
    "neither": GLIBC | EIGEN,
    "freed memory kept": EIGEN,
    "oneDNN": GLIBC,
    "both, as training does": {},
}


def one(variables: dict[str, str]) -> tuple[float, float]:
    """Images a second and megabytes of one run."""
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.run(
            [sys.executable, "-c", TRAIN, f"--run_dir={folder}/run", "--epochs=2"],
            env=os.environ | variables,
            check=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        rows = list(csv.DictReader(Path(f"{folder}/run/history.csv").open()))
    return float(rows[-1]["images_per_second"]), float(process.stdout.split("PEAK ")[1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=2)
    rounds = parser.parse_args().rounds
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in WAYS}
    for _ in range(rounds):
        for name, variables in WAYS.items():
            found[name].append(one(variables))
    first = [speed for speed, _ in found["neither"]]
    print(f"{'':20}   images/s (range)   ratio (range)       MB at most; {rounds} rounds in turns")
    for name, figures in found.items():
        speeds = [speed for speed, _ in figures]
        ratios = [speed / before for speed, before in zip(speeds, first, strict=True)]
        print(
            f"{name:20} {statistics.median(speeds):6.0f} ({min(speeds):.0f} to {max(speeds):.0f})"
            f"  {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            f"  {statistics.median(peak for _, peak in figures):6.0f}"
        )


if __name__ == "__main__":
    main()
