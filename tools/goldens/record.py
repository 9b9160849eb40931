"""What the scripts of this folder share: writing a golden, or holding it against what is there.

Every script takes the names of its peers and the folder of the goldens. With --check it compares
what it computes with the files that are there, and changes nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "goldens"))
import rule

IMAGENET = {
    "text": "(uint8/255 - ImageNet mean) / ImageNet std, RGB",
    "channels": "RGB",
    "divide": 255.0,
    "subtract": [0.485, 0.456, 0.406],
    "then_divide": [0.229, 0.224, 0.225],
}
PLUS_MINUS_ONE = {
    "text": "(uint8/255 - 0.5) * 2, RGB",
    "channels": "RGB",
    "divide": 255.0,
    "subtract": 0.5,
    "then_divide": 0.5,
}


def record(folder: Path, spec: dict[str, Any], outputs: dict[str, np.ndarray], check: bool) -> bool:
    """Writes {peer}.json and {peer}.npz, or compares; says what it did. False if they differ."""
    peer = spec["peer"]
    outputs = {name: np.asarray(value, np.float32) for name, value in outputs.items()}
    if check:
        there = json.loads((folder / f"{peer}.json").read_text())
        same = [tuple(map(str, row[:3])) for row in there["arrays"]] == [
            tuple(map(str, row[:3])) for row in spec["arrays"]
        ]
        with np.load(folder / f"{peer}.npz") as golden:
            worst = {k: float(np.abs(golden[k] - outputs[k]).max()) for k in golden}
        close = all(v < 1e-2 * max(1.0, float(outputs[k].std())) for k, v in worst.items())
        shown = ", ".join(f"{k} {v:.1e}" for k, v in worst.items())
        print(f"{peer}: names and shapes {'equal' if same else 'DIFFER'}; {shown}", flush=True)
        return same and close
    rows = ",\n".join(json.dumps(row, separators=(",", ":")) for row in spec["arrays"])
    head = json.dumps({k: v for k, v in spec.items() if k != "arrays"}, indent=1)[:-2]
    (folder / f"{peer}.json").write_text(f'{head},\n "arrays": [\n{rows}\n]}}\n')
    np.savez(folder / f"{peer}.npz", **outputs)
    print(f"{peer}: {len(spec['arrays'])} arrays, logits {outputs['logits'].std():.3f}", flush=True)
    return True


def images(spec: dict[str, Any]) -> np.ndarray:
    """The goldens' images, scaled as the peer wants them."""
    return rule.preprocess(rule.images(spec["input_size"]), spec)


def run(peers: dict[str, Callable[[str], tuple[dict, dict]]]) -> None:
    """The command line of a script: `peers` computes (spec, outputs) by name."""
    parser = argparse.ArgumentParser(description="Golden outputs of public implementations.")
    parser.add_argument("folder", type=Path, help="tests/goldens")
    parser.add_argument("peers", nargs="*", help=f"of {', '.join(peers)}; all by default")
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    arguments = parser.parse_args()
    unknown = set(arguments.peers) - set(peers)
    if unknown:
        parser.error(f"unknown peers {sorted(unknown)}; there are {', '.join(peers)}")
    good = True
    for name in arguments.peers or peers:
        spec, outputs = peers[name](name)
        good &= record(arguments.folder, spec, outputs, arguments.check)
    sys.exit(0 if good else 1)
