"""The published Inception checkpoints, one record each: where the file is and what it needs.

The publishers' networks differ in BatchNorm's epsilon, in the padding of average pools and of the
stem, and in the scaling of the input. These facts are part of a record, so that the model built for
a checkpoint computes what its authors measured.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Any

from keras_inception.contracts import TORCH
from keras_inception.preprocessing import Preprocessing

IMAGENET = "ImageNet-1k"


@dataclasses.dataclass(frozen=True)
class Weights:
    """A weights file, published or your own, with the facts that a model needs for it.

    Attributes:
        name: "{network}.{tag}", such as "inception_v4.timm_tf". A builder's `weights=` takes it, or
            its tag alone.
        variant: The builder, such as "InceptionV4".
        url: Where the file is: http(s), or empty for a file of your own that `filename` names.
        filename: Its name in the cache, or the path of a file of your own. Where the publisher
            serves it zipped, `url` ends in .zip and this is the name inside the archive.
        layout: Name of the table in `weights.layouts` for its layer names; by default it is
            recognised.
        builder_arguments: Arguments that the builder needs for it, such as {"bn_scale": True}.
        preprocessing: The contract that the file was measured with.
        classes: Outputs of its classifier; 0 if it has none.
        label_offset: Outputs in front of the first real class: 1 where class 0 is background.
        label_set: What the classes are.
        hash: "{kind}:{hex digest}" of the file, or the digest's beginning if the publisher gives no
            more; empty if none is published.
        size: Bytes of the file, if published.
        top1, top5: Accuracy in percent as published, single crop on ImageNet's validation set.
        protocol: How it was measured, where the publisher says.
        license: SPDX identifier, or the publisher's words.
        paper: arXiv number.
        origin: Who trained it and from where it was ported.
        manual: Whether the host needs a browser, so that the package cannot download the file.
    """

    name: str = ""
    variant: str = ""
    url: str = ""
    filename: str = ""
    layout: str | None = None
    builder_arguments: dict[str, Any] = dataclasses.field(default_factory=dict)
    preprocessing: Preprocessing | None = None
    classes: int = 1000
    label_offset: int = 0
    label_set: str = IMAGENET
    hash: str = ""
    size: int | None = None
    top1: float | None = None
    top5: float | None = None
    protocol: str = ""
    license: str = ""
    paper: str = ""
    origin: str = ""
    manual: bool = False

    def __post_init__(self) -> None:
        if not self.filename:
            object.__setattr__(self, "filename", self.url.rsplit("/", 1)[-1])

    @property
    def tag(self) -> str:
        """The name without the network."""
        return self.name.partition(".")[2]

    def with_file(self, path: str | os.PathLike) -> Weights:
        """The same facts for a file of your own.

        Args:
            path: The weights file. It may have been fine-tuned: other classes are recognised.

        Returns:
            A record that a builder's `weights` takes.
        """
        return dataclasses.replace(
            self, name="", url="", filename=os.fspath(path), hash="", size=None
        )


_NETWORKS = {
    "inception_v1": ("InceptionV1", "1409.4842"),
    "bn_inception": ("BNInception", "1502.03167"),
    "inception_v3": ("InceptionV3", "1512.00567"),
    "inception_v4": ("InceptionV4", "1602.07261"),
    "inception_resnet_v1": ("InceptionResNetV1", "1602.07261"),
    "inception_resnet_v2": ("InceptionResNetV2", "1602.07261"),
}


def _record(name: str, **fields: Any) -> Weights:
    variant, paper = _NETWORKS[name.partition(".")[0]]
    return Weights(name, variant, paper=paper, **fields)


_TORCH = Preprocessing(size=(299, 299), mean=TORCH["mean"], std=TORCH["std"])
_224, _299 = (224, 224), (299, 299)
_GAMMA = {"bn_scale": True}
# The 3 x 3 average pools of torch's v3 and BN-Inception, and all of tf2cv's, divide by 9 at the
# border too.
_COUNTING = {"bn_scale": True, "avg_pool_counts_padding": True}
_CAFFE_BN = {
    **_COUNTING,
    "separable_stem": False,
    "widths": "caffe",
    "symmetric_padding": True,
    "bn_epsilon": 1e-5,
}


# --- TF-Slim ------------------------------------------------------------------------------------
# research/slim/README.md and preprocessing/inception_preprocessing.py. The bucket behind
# download.tensorflow.org is addressed by https. Digests of v1 and v2: OpenVINO's Open Model Zoo.
def _slim(name: str, *, file: str, pixels: tuple[int, int], layout: str, **fields: Any) -> Weights:
    return _record(
        f"{name}.slim",
        url=f"https://storage.googleapis.com/download.tensorflow.org/models/{file}.tar.gz",
        layout=f"slim/{layout}",
        preprocessing=Preprocessing(size=pixels, aspect="stretch", antialias=False),
        classes=1001,
        label_offset=1,
        protocol="central crop 87.5 % of each side",
        license="Apache-2.0",
        origin="Google, TF-Slim",
        **fields,
    )


# --- osmr/imgclsmob -----------------------------------------------------------------------------
# model_store.py and model_metainfos.csv of tf2cv 0.0.18 and pytorchcv 0.0.74. The sha1 is that of
# the unzipped file.
def _imgclsmob(name: str, *, file: str, release: str, sha1: str, **fields: Any) -> Weights:
    network, twin = file.partition("-")[0], "tf2cv" if file.endswith(".h5") else "pytorchcv"
    return _record(
        f"{name}.{twin}",
        url=f"https://github.com/osmr/imgclsmob/releases/download/{release}/{file}.zip",
        filename=file,
        layout=f"{twin}/{network}",
        preprocessing=_TORCH.replace(size=_224 if network == "bninception" else _299),
        hash=f"sha1:{sha1}",
        protocol="resize to 1 / 0.875, central crop",
        license="MIT",
        origin="osmr/imgclsmob",
        **fields,
    )


# --- timm ---------------------------------------------------------------------------------------
# default_cfgs of timm 1.0.31 and results-imagenet.csv; no digests are published outside the hub.
_TIMM = {  # network -> layout, crop, arguments
    "inception_v3": ("torchvision/inception_v3", 0.875, _COUNTING),
    "inception_v4": ("cadene/inception_v4", 0.875, _GAMMA),
    "inception_resnet_v2": ("cadene/inception_resnet_v2", 0.8975, _GAMMA),
}


def _timm(
    name: str, *, tag: str, hub: str, scaling: Preprocessing | None = None, **fields: Any
) -> Weights:
    layout, crop, arguments = _TIMM[name]
    contract = scaling or Preprocessing(size=_299)
    return _record(
        f"{name}.{tag}",
        url=f"https://huggingface.co/timm/{hub}/resolve/main/model.safetensors",
        filename=f"{hub}.safetensors",
        layout=layout,
        builder_arguments=arguments,
        preprocessing=contract.replace(crop_fraction=crop, interpolation="bicubic"),
        protocol=f"crop {crop}, bicubic",
        license="Apache-2.0",
        **fields,
    )


# --- keras.applications -------------------------------------------------------------------------
def _keras(name: str, *, tag: str, file: str, md5: str, **fields: Any) -> Weights:
    return _record(
        f"{name}.{tag}",
        url=f"https://storage.googleapis.com/tensorflow/keras-applications/{name}/{file}",
        layout=f"keras/{name}",
        preprocessing=Preprocessing(size=_299),
        hash=f"md5:{md5}",
        protocol="none published",
        license="Apache-2.0",
        origin="keras.applications, from TF-Slim",
        **fields,
    )


# --- Cadene/pretrained-models.pytorch -----------------------------------------------------------
def _cadene(name: str, *, file: str, layout: str, **fields: Any) -> Weights:
    return _record(
        f"{name}.cadene",
        url=f"http://data.lip6.fr/cadene/pretrainedmodels/{file}.pth",
        layout=f"cadene/{layout}",
        hash=f"sha256:{file.rpartition('-')[2]}",
        license="BSD-3-Clause",
        **fields,
    )


# --- FaceNet ------------------------------------------------------------------------------------
_FACES = Preprocessing(size=(160, 160), crop_fraction=1.0, mean=127.5, std=128.0)


def _facenet(tag: str, *, port: str, origin: str, **fields: Any) -> Weights:
    gammas = _GAMMA if port == "facenet_pytorch" else {}
    return _record(
        f"inception_resnet_v1.{tag}",
        layout=f"{port}/inception_resnet_v1",
        builder_arguments={**gammas, "embedding": 512},
        preprocessing=_FACES,
        label_set=f"{'VGGFace2' if 'vggface2' in tag else 'CASIA-WebFace'} identities",
        protocol="aligned faces (MTCNN), the embedding divided by its length",
        license="MIT",
        origin=origin,
        **fields,
    )


CATALOG: tuple[Weights, ...] = (
    _slim(
        "inception_v1",
        file="inception_v1_2016_08_28",
        pixels=_224,
        layout="inception_v1",
        hash="sha256:7a620c430fcaba8f8f716241f5148c4c47c035cce4e49ef02cfbe6cd1adf96a6",
        size=24642554,
        top1=69.8,
        top5=89.6,
    ),
    _record(
        "inception_v1.torchvision",
        url="https://download.pytorch.org/models/googlenet-1378be20.pth",
        layout="torchvision/googlenet",
        builder_arguments={**_GAMMA, "symmetric_padding": True, "adaptive_aux_pool": True},
        # `transform_input` turns ImageNet's mean and std into -1..1 inside torchvision's model.
        preprocessing=Preprocessing(size=_224),
        hash="sha256:1378be20",
        top1=69.778,
        top5=89.530,
        protocol="resize 256, crop 224",
        license="BSD-3-Clause",
        origin="torchvision, ported from TF-Slim's training",
    ),
    _record(
        "inception_v1.caffe",
        url="http://dl.caffe.berkeleyvision.org/bvlc_googlenet.caffemodel",
        layout="caffe/googlenet",
        builder_arguments={
            "batch_norm": False,
            "lrn": True,
            "branch5x5": 5,
            "last_pool": 3,
            "symmetric_padding": True,
        },
        preprocessing=Preprocessing(
            size=_224, aspect="stretch", antialias=False, mean=(123.0, 117.0, 104.0), std=1.0
        ),
        hash="sha256:6f7101e3a2183738a7125a0c5021ba82a1feb4228c5ca0924d991b6daf6f6fad",
        size=53533754,
        top1=68.7,
        top5=88.9,
        protocol="resize 256 x 256, crop 224",
        license="unrestricted",
        origin="BVLC: the paper's own network, without BatchNorm",
    ),
    # No digest of Google's two graphs of 2015 is published.
    _record(
        "inception_v1.2015",
        url="https://storage.googleapis.com/download.tensorflow.org/models/inception5h.zip",
        filename="tensorflow_inception_graph.pb",
        layout="google/inception_v1_2015",
        builder_arguments={
            "batch_norm": False,
            "lrn": (9, 1e-4, 0.5, 1.0),
            "widths": "2015",
            "branch5x5": 5,
            "last_pool": 3,
        },
        preprocessing=Preprocessing(size=_224, crop_fraction=1.0, mean=117.0, std=1.0),
        classes=1008,
        label_offset=1,
        label_set="ImageNet-1k in an order of its own",
        protocol="none published",
        license="Apache-2.0",
        origin="Google's graph of 2015 (inception5h), which DeepDream shows",
    ),
    _slim(
        "bn_inception",
        file="inception_v2_2016_08_28",
        pixels=_224,
        layout="inception_v2",
        hash="sha384:c0b2efbae8fc5e237ae67637dca3f311d4b4f7da576b56067e83d95c398a2fcc"
        "d50baff9cc0de64335f4d7b78e1adb07",
        size=41577079,
        top1=73.9,
        top5=91.8,
    ),
    _imgclsmob(
        "bn_inception",
        file="bninception-0865-4cab3cce.tf2.h5",
        release="v0.0.423",
        sha1="4cab3cce0eb1b79b872b189f5b0d9e4bb20f5ff4",
        builder_arguments={**_CAFFE_BN, "symmetric_pool_padding": True},
        top1=73.38,
        top5=91.35,
    ),
    _imgclsmob(
        "bn_inception",
        file="bninception-0774-d79ba5f5.pth",
        release="v0.0.405",
        sha1="d79ba5f573ba2da5fea5e4c9a7f67ddd526e234b",
        builder_arguments=_CAFFE_BN,
        top5=92.26,
    ),
    _cadene(
        "bn_inception",
        file="bn_inception-52deb4733",
        layout="bn_inception",
        builder_arguments=_CAFFE_BN,
        preprocessing=Preprocessing(size=_224, mean=(128.0, 117.0, 104.0), std=1.0),
        top1=73.524,
        top5=91.562,
        protocol="crop 0.875",
        origin="Cadene, ported from Caffe",
    ),
    _keras(
        "inception_v3",
        tag="keras",
        file="inception_v3_weights_tf_dim_ordering_tf_kernels.h5",
        md5="9a0d58056eeedaa3f26cb7ebd46da564",
        top1=77.9,
        top5=93.7,
    ),
    _keras(
        "inception_v3",
        tag="keras_notop",
        file="inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5",
        md5="bcbd6486424b2319ff4ef7d526e38f63",
        classes=0,
    ),
    _slim(
        "inception_v3",
        file="inception_v3_2016_08_28",
        pixels=_299,
        layout="inception_v3",
        top1=78.0,
        top5=93.9,
    ),
    _record(
        "inception_v3.torchvision",
        url="https://download.pytorch.org/models/inception_v3_google-0cc3c7bd.pth",
        layout="torchvision/inception_v3",
        builder_arguments=_COUNTING,
        # `transform_input` turns ImageNet's mean and std into -1..1 inside torchvision's model.
        preprocessing=Preprocessing(size=_299, crop_fraction=299 / 342),
        hash="sha256:0cc3c7bd",
        top1=77.294,
        top5=93.450,
        protocol="resize 342, crop 299",
        license="BSD-3-Clause",
        origin="torchvision, ported from Google's 2015 weights",
    ),
    _timm(
        "inception_v3",
        tag="timm_gluon",
        hub="inception_v3.gluon_in1k",
        scaling=_TORCH,
        top1=78.806,
        top5=94.372,
        origin="timm, ported from GluonCV",
    ),
    _timm(
        "inception_v3",
        tag="timm_tf",
        hub="inception_v3.tf_in1k",
        top1=77.866,
        top5=93.644,
        origin="timm, ported from TF-Slim",
    ),
    _timm(
        "inception_v3",
        tag="timm_tf_adv",
        hub="inception_v3.tf_adv_in1k",
        top1=77.598,
        top5=93.726,
        origin="timm, ported from TF-Slim; adversarially trained",
    ),
    _timm(
        "inception_v3",
        tag="timm_tv",
        hub="inception_v3.tv_in1k",
        top1=77.472,
        top5=93.468,
        origin="timm, torchvision's weights",
    ),
    _imgclsmob(
        "inception_v3",
        file="inceptionv3-0536-7a70b62f.tf2.h5",
        release="v0.0.552",
        sha1="7a70b62fef648deadbca8a10974b4ff3faa06092",
        builder_arguments=_COUNTING,
        top1=79.56,
        top5=94.64,
    ),
    _imgclsmob(
        "inception_v3",
        file="inceptionv3-0533-025fb71c.pth",
        release="v0.0.552",
        sha1="025fb71c673f8e325f4c24f25cbd4185540cca72",
        builder_arguments=_COUNTING,
        top5=94.67,
    ),
    _record(
        "inception_v3.fid",
        url="https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
        "pt_inception-2015-12-05-6726825d.pth",
        layout="torchvision/inception_v3",
        builder_arguments={**_GAMMA, "last_pool": "max"},
        preprocessing=Preprocessing(
            size=_299, crop_fraction=1.0, aspect="stretch", antialias=False
        ),
        classes=1008,
        label_offset=1,
        label_set="ImageNet-1k in an order of its own",
        hash="sha256:6726825d",
        protocol="features for the Frechet Inception distance",
        license="Apache-2.0",
        origin="Google's graph of 2015-12-05, ported by pytorch-fid",
    ),
    _record(
        "inception_v3.2015",
        url="https://storage.googleapis.com/download.tensorflow.org/models/image/imagenet/"
        "inception-2015-12-05.tgz",
        layout="google/inception_v3_2015",
        builder_arguments={"last_pool": "max"},
        preprocessing=Preprocessing(
            size=_299,
            crop_fraction=1.0,
            aspect="stretch",
            antialias=False,
            mean=128.0,
            std=128.0,
        ),
        classes=1008,
        label_offset=1,
        label_set="ImageNet-1k in an order of its own",
        protocol="none published",
        license="Apache-2.0",
        origin="Google's graph of 2015-12-05, of the image recognition tutorial",
    ),
    _timm(
        "inception_v4",
        tag="timm_tf",
        hub="inception_v4.tf_in1k",
        top1=80.144,
        top5=94.982,
        origin="timm, ported from TF-Slim",
    ),
    _slim(
        "inception_v4",
        file="inception_v4_2016_09_09",
        pixels=_299,
        layout="inception_v4",
        top1=80.2,
        top5=95.2,
    ),
    _imgclsmob(
        "inception_v4",
        file="inceptionv4-0506-62135f80.tf2.h5",
        release="v0.0.543",
        sha1="62135f80437e8d069ec6656545ccd1df2490d81c",
        builder_arguments=_COUNTING,
        top1=80.06,
        top5=94.94,
    ),
    _imgclsmob(
        "inception_v4",
        file="inceptionv4-0488-4ae4f331.pth",
        release="v0.0.543",
        sha1="4ae4f331a5ff649e39626fc49cd5c24b8159cd8c",
        builder_arguments=_GAMMA,
        top5=95.12,
    ),
    _cadene(
        "inception_v4",
        file="inceptionv4-8e4777a0",
        layout="inception_v4",
        builder_arguments=_GAMMA,
        preprocessing=Preprocessing(size=_299),
        classes=1001,
        label_offset=1,
        top1=80.062,
        top5=94.926,
        protocol="crop 0.875",
        origin="Cadene, ported from TF-Slim",
    ),
    _imgclsmob(
        "inception_resnet_v1",
        file="inceptionresnetv1-0480-e2968df0.tf2.h5",
        release="v0.0.552",
        sha1="e2968df03fbb249e8dc32c48667c92b26ded27fb",
        builder_arguments={**_GAMMA, "embedding": 512},
        top1=80.43,
        top5=95.20,
    ),
    _imgclsmob(
        "inception_resnet_v1",
        file="inceptionresnetv1-0480-f8b3e9e3.pth",
        release="v0.0.552",
        sha1="f8b3e9e369ff38e28b4ae4def273ef78741e2e28",
        builder_arguments={**_GAMMA, "embedding": 512},
        top5=95.20,
    ),
    _facenet(
        "facenet_vggface2",
        url="https://github.com/timesler/facenet-pytorch/releases/download/v2.2.9/"
        "20180402-114759-vggface2.pt",
        port="facenet_pytorch",
        classes=8631,
        origin="facenet-pytorch, ported from FaceNet 20180402-114759",
    ),
    _facenet(
        "facenet_casia",
        url="https://github.com/timesler/facenet-pytorch/releases/download/v2.2.9/"
        "20180408-102900-casia-webface.pt",
        port="facenet_pytorch",
        classes=10575,
        origin="facenet-pytorch, ported from FaceNet 20180408-102900",
    ),
    _facenet(
        "facenet_tf_vggface2",
        url="https://drive.google.com/open?id=1EXPBSXwTaqrSC0OhUdXNmKSh9qJUQ55-",
        filename="20180402-114759.zip",
        port="facenet",
        classes=0,
        origin="davidsandberg/facenet 20180402-114759",
        manual=True,
    ),
    _facenet(
        "facenet_tf_casia",
        url="https://drive.google.com/open?id=1R77HmFADxe87GmoLwzfgMu_HY0IhcyBz",
        filename="20180408-102900.zip",
        port="facenet",
        classes=0,
        origin="davidsandberg/facenet 20180408-102900",
        manual=True,
    ),
    _keras(
        "inception_resnet_v2",
        tag="keras",
        file="inception_resnet_v2_weights_tf_dim_ordering_tf_kernels.h5",
        md5="e693bd0210a403b3192acc6073ad2e96",
        top1=80.3,
        top5=95.3,
    ),
    _keras(
        "inception_resnet_v2",
        tag="keras_notop",
        file="inception_resnet_v2_weights_tf_dim_ordering_tf_kernels_notop.h5",
        md5="d19885ff4a710c122648d3b5c3b684e4",
        classes=0,
    ),
    _slim(
        "inception_resnet_v2",
        file="inception_resnet_v2_2016_08_30",
        pixels=_299,
        layout="inception_resnet_v2",
        top1=80.4,
        top5=95.3,
    ),
    _timm(
        "inception_resnet_v2",
        tag="timm_tf",
        hub="inception_resnet_v2.tf_in1k",
        top1=80.434,
        top5=95.312,
        origin="timm, ported from TF-Slim",
    ),
    _timm(
        "inception_resnet_v2",
        tag="timm_tf_ens_adv",
        hub="inception_resnet_v2.tf_ens_adv_in1k",
        top1=79.998,
        top5=94.940,
        origin="timm, ported from TF-Slim; ensemble adversarially trained",
    ),
    _imgclsmob(
        "inception_resnet_v2",
        file="inceptionresnetv2-0470-7f761d81.tf2.h5",
        release="v0.0.547",
        sha1="7f761d8133fc70ec7194966e1fff4553eaad9f96",
        builder_arguments=_COUNTING,
        top1=80.57,
        top5=95.30,
    ),
    _imgclsmob(
        "inception_resnet_v2",
        file="inceptionresnetv2-0474-19f51781.pth",
        release="v0.0.547",
        sha1="19f51781f8a454803207e319289f404d50e252cb",
        builder_arguments=_GAMMA,
        top5=95.26,
    ),
    _cadene(
        "inception_resnet_v2",
        file="inceptionresnetv2-520b38e4",
        layout="inception_resnet_v2",
        builder_arguments=_GAMMA,
        preprocessing=Preprocessing(size=_299, crop_fraction=0.8975),
        classes=1001,
        label_offset=1,
        top1=80.170,
        top5=95.234,
        protocol="crop 0.8975",
        origin="Cadene, ported from TF-Slim",
    ),
)

# What `weights="imagenet"` means. Of the files that are protected against tampering and that take
# the variant's own `preprocess_input`, the one with the highest published top-1 was chosen. An
# entry changes with a line in CHANGELOG.md only: a new checkpoint changes nobody's network.
IMAGENET_WEIGHTS = {
    "InceptionV1": "inception_v1.slim",
    "BNInception": "bn_inception.slim",
    "InceptionV3": "inception_v3.tf2cv",
    "InceptionV4": "inception_v4.slim",
    "InceptionResNetV1": "inception_resnet_v1.tf2cv",
    "InceptionResNetV2": "inception_resnet_v2.tf2cv",
}


def list_weights(variant: str | None = None) -> list[str]:
    """Names of the published checkpoints.

    Args:
        variant: A builder's name, such as "InceptionV4"; None lists all.

    Returns:
        Names such as "inception_v4.timm_tf", in the catalogue's order.
    """
    return [record.name for record in CATALOG if variant in (None, record.variant)]


def is_published(name: Any, variant: str | None = None) -> bool:
    """Whether something is the name of published weights, whatever lies in the folder.

    Args:
        name: Any value. A path, such as "./imagenet" or a `Path`, is no name.
        variant: A builder's name, whose tags and "imagenet" are then names as well.
    """
    if not isinstance(name, str):
        return False
    tags = {"imagenet", *(r.tag for r in CATALOG if r.variant == variant)} if variant else set()
    return name in tags or any(name == record.name for record in CATALOG)


def get_weights(name: str, variant: str | None = None) -> Weights:
    """The record of a published checkpoint.

    Args:
        name: A name of `list_weights`. With a variant, its tag alone or "imagenet" as well.
        variant: Name of the builder that the checkpoint is for.

    Raises:
        ValueError: there is no such checkpoint; the message lists those that there are.
    """
    records = [r for r in CATALOG if variant in (None, r.variant)]
    if name == "imagenet" and variant in IMAGENET_WEIGHTS:
        name = IMAGENET_WEIGHTS[variant]
    for record in records:
        if name == record.name or (variant is not None and name == record.tag):
            return record
    names = [r.tag if variant else r.name for r in records]
    if variant == "InceptionV2":
        names = ["none: train it, or use BNInception, the network that TF-Slim calls inception_v2"]
    raise ValueError(
        f"There are no published weights {name!r}{f' for {variant}' if variant else ''}; there are "
        f"{', '.join(names) or 'none'}."
    )
