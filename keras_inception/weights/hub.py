"""Repositories in Hugging Face's form: config.json and model.safetensors, there or in a folder.

config.json is timm's where timm has the network, so that either side loads what the other wrote. Of
any other network it names the variant, and the native file beside it says the rest.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from keras_inception import files
from keras_inception.budget import Budget, refusing
from keras_inception.catalog import CATALOG, Weights, get_weights
from keras_inception.messages import printable, some
from keras_inception.preprocessing import Preprocessing
from keras_inception.weights.download import DownloadError

SCHEME = "hf://"
CONFIG, WEIGHTS = "config.json", "model.safetensors"
# What timm calls its networks -> the builder.
ARCHITECTURES = {
    "inception_v3": "InceptionV3",
    "inception_v4": "InceptionV4",
    "inception_resnet_v2": "InceptionResNetV2",
}
# A key of ours in config.json, which timm does not look at.
OURS = "keras_inception"
_LONGEST_CONFIG = 2**24  # bytes
CROP_MODES = {"center": "crop", "squash": "stretch", "border": "pad"}


@dataclasses.dataclass(frozen=True)
class Repository:
    """A repository's files on this machine.

    Attributes:
        weights: The weights file.
        record: What config.json says of a torch-born file; None for a native one, which says it.
        class_names: Names of the classes, if config.json gives them.
    """

    weights: Path
    record: Weights | None
    class_names: tuple[str, ...]


def is_repository(source: Any) -> bool:
    """Whether something is the address of a repository, or a folder in its form."""
    if not isinstance(source, str | os.PathLike):
        return False
    if os.fspath(source).startswith(SCHEME):
        return True
    return all(Path(source, name).is_file() for name in (CONFIG, WEIGHTS))


def opened(source: str | os.PathLike) -> Repository:
    """A repository's files, brought here if need be.

    Args:
        source: "hf://owner/name", also with "@revision" (a branch, a tag or a commit), or a folder.
            huggingface_hub brings it, keeps it, and knows HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE.

    Raises:
        ValueError: the address or config.json is damaged, or the network is none of this package.
        DownloadError: it cannot be brought.
    """
    address = os.fspath(source)
    if address.startswith(SCHEME):
        config, weights = _brought(address)
    else:
        config, weights = Path(address, CONFIG), Path(address, WEIGHTS)
    with refusing(address, CONFIG):
        content = files.read(config, _LONGEST_CONFIG)
        said = Budget.of(len(content)).json(content, f"its {CONFIG}")
        return _understood(said, weights)


def _brought(address: str) -> tuple[Path, Path]:
    """The paths of config.json and of the weights in huggingface_hub's cache."""
    repository, _, revision = address.removeprefix(SCHEME).partition("@")
    if repository.count("/") != 1 or not all(repository.split("/")):
        raise ValueError(
            f"A repository is written hf://owner/name or hf://owner/name@revision. "
            f"Received: {printable(address)}"
        )
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ImportError as error:
        raise ValueError(
            f"{address} needs the package huggingface_hub: pip install 'keras-inception[hub]'"
        ) from error

    def bring(name: str) -> Path:
        endpoint = os.environ.get("HF_ENDPOINT")
        found = huggingface_hub.hf_hub_download(
            repository, name, revision=revision or None, endpoint=endpoint
        )
        return Path(found)

    try:
        return bring(CONFIG), _weights(bring, errors.EntryNotFoundError)
    except Exception as error:  # its own, httpx's and the system's have no common class
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DownloadError(printable(f"{address} could not be brought: {reason}", 600)) from error


def _weights(bring: Callable[[str], Path], missing: type[Exception]) -> Path:
    """The weights: safetensors, or what older repositories have."""
    try:
        return bring(WEIGHTS)
    except missing as error:
        if isinstance(error, OSError) and not hasattr(error, "response"):
            raise  # it could not be asked
        return bring("pytorch_model.bin")


def _understood(said: dict[str, Any], weights: Path) -> Repository:
    """What config.json says. Raises an error of some kind if it is damaged."""
    architecture = str(said["architecture"]).partition(".")[0]
    names = tuple(map(str, said.get("label_names") or ()))
    if OURS in said and architecture not in ARCHITECTURES:
        return Repository(weights, None, names)
    if architecture not in ARCHITECTURES:
        raise ValueError(
            f"its networks should be one of {some(ARCHITECTURES, 9)}. Received: {architecture!r}"
        )
    variant = ARCHITECTURES[architecture]
    config = said.get("pretrained_cfg") or said
    like = get_weights("timm_tf", variant)
    record = dataclasses.replace(
        like,
        name="",
        url="",
        hash="",
        filename=os.fspath(weights),
        classes=int(said.get("num_classes", config.get("num_classes", like.classes))),
        label_offset=int(config.get("label_offset") or 0),
        preprocessing=_contract(said, config),
    )
    return Repository(weights, record, names)


def _contract(said: dict[str, Any], config: dict[str, Any]) -> Preprocessing:
    """The contract: ours where it is there, which says more than timm's, or else timm's."""
    if OURS in said:
        return Preprocessing.from_dict(said[OURS]["preprocessing"])
    _, height, width = config["input_size"]
    # Ten digits undo the rounding of units of 0..1.
    mean, std = ([float(f"{255 * v:.10g}") for v in config[name]] for name in ("mean", "std"))
    return Preprocessing(
        size=(height, width),
        crop_fraction=float(config.get("crop_pct", 0.875)),
        aspect=CROP_MODES[config.get("crop_mode") or "center"],
        interpolation=config.get("interpolation", "bicubic"),
        mean=mean[0] if len(set(mean)) == 1 else tuple(mean),
        std=std[0] if len(set(std)) == 1 else tuple(std),
    )


def catalogued(address: str) -> Weights | None:
    """The catalogue's entry whose file lies in a repository, if one does."""
    repository = address.removeprefix(SCHEME).partition("@")[0]
    start = f"https://huggingface.co/{repository}/"
    return next((record for record in CATALOG if record.url.startswith(start)), None)
