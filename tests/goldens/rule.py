"""Deterministic weights and pictures: every array is a pure function of its name (numpy only).

Only PCG64's raw 64-bit output (whose stream numpy guarantees), integer sums, one multiplication and
one addition in float64 and a cast to float32 are used, so the same bits come out everywhere.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np

SIGMA = math.sqrt(4 * (65536.0**2 - 1) / 12)  # standard deviation of `integers`
GAIN = 2.4
# Share of its mean that every filter loses. At 0 two pictures grow alike with depth, at 1 float32
# rounding noise grows; in between both stay small.
CENTRE = {"conv_kernel": 0.3, "depthwise_kernel": 0.3, "dense_kernel": 1.0}


def raw(name, n):
    """n uint64 of the stream that belongs to `name`."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "little")
    return np.asarray(np.random.PCG64(seed).random_raw(int(n)), np.uint64)


def integers(name, n):
    """n int64, mean 0: sums of four 16-bit integers."""
    return raw(name, n).view(np.uint16).reshape(-1, 4).sum(axis=1, dtype=np.int64) - 131070


def normal(name, n):
    """n float64, mean 0, variance 1, close to a normal distribution."""
    return integers(name, n) * (1.0 / SIGMA)


def uniform(name, n, low, high):
    return (raw(name, n) >> np.uint64(11)) * 2.0**-53 * (high - low) + low


def kernel(name, shape, kind, layout, gain):
    """He-normal. `layout` names the axes: H, W, I(nput), O(utput), M(ultiplier)."""
    sides = dict(zip(layout, shape, strict=True))
    inputs = "HW" if layout == "HWIM" else "HWI"
    fan_in = math.prod(sides[c] for c in inputs if c in sides)
    outputs = "IM" if layout == "HWIM" else "O"
    axes = tuple(i for i, c in enumerate(layout) if c not in outputs)
    a = integers(name, math.prod(shape)).reshape(shape)
    mean = a.sum(axis=axes, keepdims=True) / float(math.prod(shape[i] for i in axes))
    return (a - CENTRE[kind] * mean) * (gain * math.sqrt(GAIN / fan_in) / SIGMA)


def array_for(name, shape, kind, layout="-", gain=1.0):
    """The array `name`: float32 of `shape`; `gain` multiplies it."""
    n = math.prod(shape)
    if kind.endswith("kernel"):
        a = kernel(name, tuple(shape), kind, layout, gain)
    elif kind == "bn_gamma":
        a = uniform(name, n, 0.7, 1.3) * gain
    elif kind == "bn_var":
        a = uniform(name, n, 0.6, 1.5) * gain
    else:
        a = normal(name, n) * (gain * {"bias": 0.05, "bn_beta": 0.1, "bn_mean": 0.1}[kind])
    return a.astype(np.float32).reshape(shape)


def images(size, n=2):
    """n RGB pictures, uint8 (n, size, size, 3): waves of several directions, blocks and noise."""
    y, x = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    out = np.zeros((n, size, size, 3), np.uint8)
    for k in range(n):
        for c in range(3):
            r = [int(v) for v in raw(f"image/{k}/{c}", 40) >> np.uint64(20)]
            acc = np.zeros((size, size), np.int64)
            for w in range(4):
                fy, fx = r[4 * w] % 25 - 12, r[4 * w + 1] % 25 - 12
                t = ((fy * y + fx * x) * 1024 // size + r[4 * w + 2] % 1024) % 1024
                acc += np.abs(t - 512) * (1 + r[4 * w + 3] % 3)
            acc += np.array([v % 1200 for v in r[16:32]]).reshape(4, 4)[
                y * 4 // size, x * 4 // size
            ]
            # Each channel of each picture has a range of its own, at least 150 wide.
            lo, hi = sorted((r[32] % 256, r[33] % 256))
            lo, hi = max(0, min(lo, hi - 150)), min(255, max(hi, lo + 150))
            noise = raw(f"noise/{size}/{k}/{c}", size * size) % np.uint64(400)
            acc = acc + noise.astype(np.int64).reshape(size, size)
            acc = lo + (acc - acc.min()) * (hi - lo) // max(1, int(acc.max() - acc.min()))
            out[k, :, :, c] = acc.astype(np.uint8)
    return out


def preprocess(pictures, spec):
    """float32 as the peer was fed: (uint8[channel order] / divide - subtract) / then_divide."""
    p = spec["preprocess"]
    x = (pictures[..., ::-1] if p["channels"] == "BGR" else pictures).astype(np.float32)
    divide, subtract, then_divide = (
        np.asarray(p[key], np.float32) for key in ("divide", "subtract", "then_divide")
    )
    return ((x / divide - subtract) / then_divide).astype(np.float32)
