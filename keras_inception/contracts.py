"""Contracts by name, and one that a caller gives in place of what a network's file says."""

from __future__ import annotations

import json
import logging
import os
from typing import Any

from keras_inception import files, messages
from keras_inception.preprocessing import Preprocessing

_LARGEST_JSON = 2**20

_WHOLE = {"crop_fraction": 1.0, "aspect": "stretch", "antialias": False}
# mean and std of ImageNet's pixels, as torch's networks use them, in units of 0..255
TORCH = {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)}
# Contracts by the names that people know them by: `mode` of keras.applications ("inception" is its
# "tf"), whose users bring the whole image to the size, and torchvision's.
KNOWN: dict[str, dict[str, Any]] = {
    "inception": {"mean": 127.5, "std": 127.5, **_WHOLE},
    "torch": TORCH,
    "caffe": {"mean": (123.68, 116.779, 103.939), "std": 1.0, "channel_order": "BGR", **_WHOLE},
    "raw": {"mean": 0.0, "std": 1.0, **_WHOLE},
}

_SCALING = ("mean", "std", "channel_order")
# What a caller gives for a contract.
Given = Preprocessing | str | os.PathLike[str]


def chosen(
    given: Given,
    known: Preprocessing | None,
    size: tuple[int, int] | None = None,
    source: str = "The model",
) -> Preprocessing:
    """The contract that a caller gives for a network, in place of the one that its file holds.

    Args:
        given: A contract; one of `KNOWN`'s names; or the path of a JSON file of a contract's
            fields, in which `size` may be left out. Of a network with a contract of its own a name
            changes the scaling and the order of the channels, and nothing else.
        known: The network's own contract, if there is one.
        size: (height, width) that the network takes, if that is known otherwise.
        source: What messages call the network.

    Raises:
        ValueError: it is none of these, it has no size where the network takes any, or it scales
            images although the network scales them by itself.
    """
    contract = given if isinstance(given, Preprocessing) else _named(given, known, size, source)
    if known is None or contract == known:
        return contract
    if known.inside_model and not contract.inside_model:
        if contract.scaling not in ((0.0, 1.0, "RGB"), known.scaling):
            raise ValueError(
                f"{source} scales its images by itself, by mean {known.mean} and std {known.std}. "
                "Leave `preprocessing` out, which would scale them twice. "
                f"Received: mean {contract.mean} and std {contract.std}"
            )
        contract = contract.replace(
            inside_model=True, mean=known.mean, std=known.std, channel_order=known.channel_order
        )
    if contract != known:
        logging.warning(
            "%s has a contract of its own, which is not used: %s. Used is what was given, %s.",
            source,
            known,
            contract,
        )
    return contract


def _named(
    given: str | os.PathLike[str],
    known: Preprocessing | None,
    size: tuple[int, int] | None,
    source: str,
) -> Preprocessing:
    """The contract of a name or a JSON file; says what it is taken for."""
    fields = _fields(given)
    size = size or (known.size if known else None)
    if known and os.fspath(given) in KNOWN:
        scaling = {name: fields[name] for name in _SCALING if name in fields}
        return known.replace(**({"inside_model": False, "channel_order": "RGB"} | scaling))
    if "size" not in fields and size is None:
        raise ValueError(
            f"{source} takes images of any size: give `preprocessing` as a JSON file with a "
            f'"size": [height, width]. Received: {os.fspath(given)}'
        )
    contract = Preprocessing.from_dict({"size": size} | fields)
    if known is None:
        logging.warning("%s: preprocessing=%s is taken for %s.", source, given, contract)
    return contract


def _fields(given: Any) -> dict[str, Any]:
    """The fields of a contract by its name, or in a JSON file."""
    if isinstance(given, str) and given in KNOWN:
        return KNOWN[given]
    names = f"one of {', '.join(KNOWN)}, or a JSON file with a contract's fields"
    if not isinstance(given, str | os.PathLike) or not os.path.exists(given):
        raise ValueError(f"`preprocessing` should be {names}. Received: {messages.shown(given)}")
    try:
        fields = json.loads(files.read(given, _LARGEST_JSON))
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{given} holds no JSON, and `preprocessing` should be {names}: {error}"
        ) from error
    if not isinstance(fields, dict):
        raise ValueError(f"{given} should hold a JSON object. Received: {messages.shown(fields)}")
    return fields
