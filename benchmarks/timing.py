"""What all benchmarks share: calls that take turns, and what is known of the machine.

Run as a program it serves the calls of `InAProcess`.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

HOPELESS = 6.0
# Packages whose versions stand beside what was measured.
PACKAGES = (
    "keras",
    "tensorflow",
    "tensorflow_cpu",
    "ai-edge-litert",
    "onnxruntime",
    "openvino",
)


def rows(
    case: str,
    calls: dict[str, Callable[[], Any]],
    *,
    rounds: int,
    images: int,
    words: dict[str, str] | None = None,
    warm_up: int = 2,
    hopeless: float = HOPELESS,
    own_clock: bool = False,
) -> list[dict[str, Any]]:
    """Times calls that take turns, so that what else the machine does falls on all.

    Args:
        case: What is computed, for the table.
        calls: Name -> what is timed; the first is the base of the ratios.
        rounds: How often each is called and timed.
        images: How many a call takes.
        words: Name -> why it cannot be measured here, or a remark.
        warm_up: Calls of each before.
        hopeless: A call that is this many times as slow as the base is not measured further.
        own_clock: Whether a call returns its own seconds, because only a part of it is timed.

    Returns:
        A row a call: "case", "name", "milliseconds", "low", "high" (median and range), "ratio",
        "ratio_low", "ratio_high" (how many times as fast as the base: median and range of the
        rounds' ratios), "images_per_second", "rounds" and "word".
    """

    def seconds_of(name: str) -> float:
        began = time.perf_counter()
        answer = calls[name]()
        return answer if own_clock else time.perf_counter() - began

    found = dict(words or {})
    base = next(iter(calls))
    first: dict[str, float] = {}
    for name in list(calls):
        for _ in range(warm_up):
            first[name] = seconds_of(name)
            if name != base and first[name] > hopeless * first[base] and _ > 0:
                found[name] = f"slow here: {first[name] * 1000:.0f} ms"
                del calls[name]
                break
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds):
        order = list(calls) if number % 2 else list(reversed(calls))
        for name in order:
            seconds[name].append(seconds_of(name))
    out = []
    for name in dict.fromkeys([*calls, *found]):
        row: dict[str, Any] = {"case": case, "name": name, "word": found.get(name, "")}
        if name in seconds:
            taken = seconds[name]
            ratios = [b / own for b, own in zip(seconds[base], taken, strict=True)]
            middle = statistics.median(taken)
            row |= {
                "milliseconds": middle * 1000,
                "low": min(taken) * 1000,
                "high": max(taken) * 1000,
                "ratio": statistics.median(ratios),
                "ratio_low": min(ratios),
                "ratio_high": max(ratios),
                "images_per_second": images / middle,
                "rounds": rounds,
            }
        out.append(row)
    return out


class InAProcess:
    """A call that is computed in a process of its own, which waits between its turns.

    Settings that TensorFlow and the C library read when they are loaded can so differ.

    Args:
        module: One of this folder's.
        function: Its function that makes the call to be timed.
        arguments: The function's, as JSON can hold them.
        as_commands: Whether the process is prepared as the training command prepares its own; if
            not, the libraries' defaults hold.
    """

    def __init__(self, module: str, function: str, *arguments: Any, as_commands: bool) -> None:
        self.name = f"{module}.{function}{arguments}"
        given = json.dumps(arguments), str(int(as_commands))
        self.process = subprocess.Popen(
            [sys.executable, __file__, module, function, *given],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        if self.process.stdout.readline() != "done\n":
            raise RuntimeError(f"{self.name} ended: {self.process.wait()}")

    def end(self) -> None:
        """Gives the process' memory back."""
        self.process.kill()
        self.process.wait()


def _serve(module: str, function: str, arguments: str, as_commands: str) -> None:
    """Makes the call, then computes it once for each line that arrives."""
    answers, sys.stdout = sys.stdout, sys.stderr
    if as_commands == "1":
        from keras_inception.cli.process import prepare_process, use_onednn

        prepare_process()
        use_onednn()
    call = getattr(importlib.import_module(module), function)(*json.loads(arguments))
    for _ in sys.stdin:
        call()
        answers.write("done\n")
        answers.flush()


def cores() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def circumstances() -> dict[str, Any]:
    """The machine, its load and the versions."""
    return {
        **machine(),
        "load": [round(n, 2) for n in os.getloadavg()],
        "python": platform.python_version(),
        "versions": versions(),
        "date": time.strftime("%Y-%m-%d"),
    }


def machine() -> dict[str, Any]:
    """The processor and its instructions, on which the fastest engine depends."""
    facts: dict[str, Any] = {"architecture": platform.machine(), "processors": cores()}
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return facts | {"model": platform.processor()}
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    flags = sorted(fields.get("flags", fields.get("Features", "")).split())
    return facts | {"model": fields.get("model name", ""), "flags": " ".join(flags)}


def versions() -> dict[str, str]:
    """Versions of this package and of what runs networks."""
    import keras_inception

    found = {"keras-inception": keras_inception.__version__}
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def peak_megabytes() -> float:
    """The most memory that this process has had resident."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def randomise(model: Any) -> Any:
    """Gives BatchNorm other statistics than the initial ones: with those TensorFlow does less."""
    import numpy as np

    rng = np.random.default_rng(0)
    for layer in model.layers:
        if type(layer).__name__ == "BatchNormalization":
            for weight in layer.weights:
                near_one = weight.name in ("moving_variance", "gamma")
                weight.assign(rng.uniform(0.5, 1.5, weight.shape) - (0.0 if near_one else 1.0))
    return model


if __name__ == "__main__":
    _serve(*sys.argv[1:])
