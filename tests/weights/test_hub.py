"""Repositories in Hugging Face's form: by address against a server of this machine, and by path."""

from __future__ import annotations

import hashlib
import http.server
import json
import re
import sys
import threading

import keras
import numpy as np
import pytest

import keras_inception
from keras_inception import InceptionV1, InceptionV3, Preprocessing
from keras_inception.weights import DownloadError, hub, layouts, read, writers

CONFIG = {
    "architecture": "inception_v3.tf_in1k",
    "num_classes": 2,
    "label_names": ["cat", "dog"],
    "pretrained_cfg": {
        "input_size": [3, 299, 299],
        "interpolation": "bicubic",
        "crop_pct": 0.9,
        "crop_mode": "squash",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "label_offset": 0,
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A repository of timm's InceptionV3 whose arrays are of one filter, which need no model."""
    folder = tmp_path_factory.mktemp("repository")
    layout, layers = layouts.LAYOUTS["torchvision/inception_v3"], {}
    for name, ours in layout.names.items():
        if ours.startswith("aux"):
            continue
        if ours.endswith("_bn"):
            kinds = ("gamma", "beta", "moving_mean", "moving_variance")
            layers[name] = {kind: np.ones(1, np.float32) for kind in kinds}
        elif ours == "predictions":
            layers[name] = {"kernel": np.ones((1, 2), np.float32), "bias": np.ones(2, np.float32)}
        else:
            inputs = 3 if ours == "stem_0_0_conv" else 1
            layers[name] = {"kernel": np.full((1, 1, inputs, 1), 0.5, np.float32)}
    writers.torch_safetensors(folder / hub.WEIGHTS, layers)
    (folder / hub.CONFIG).write_text(json.dumps(CONFIG))
    return folder


def check(loaded):
    identity = loaded.identity
    assert (identity.variant, identity.class_names) == ("InceptionV3", ("cat", "dog"))
    assert identity.arguments["avg_pool_counts_padding"] and identity.arguments["bn_scale"]
    contract = identity.preprocessing
    assert (contract.size, contract.crop_fraction, contract.aspect) == ((299, 299), 0.9, "stretch")
    assert contract.interpolation == "bicubic"
    assert loaded.outputs == 2 and loaded.label_offset == 0
    # ImageNet's mean and std are folded into the first kernel, as of every file of this layout.
    assert (contract.mean, contract.std) == (127.5, 127.5)
    kernel = loaded.arrays["stem_0_0_conv/kernel"][0, 0, :, 0]
    np.testing.assert_allclose(kernel, 0.5 * 127.5 / (255 * np.float64([0.229, 0.224, 0.225])))


def test_a_folder_says_variant_contract_and_names(folder, caplog):
    check(read(folder))
    assert "does not say how it was trained" not in caplog.text


def test_a_classifier_and_a_network_of_our_own(tmp_path):
    """config.json names the variant, and the native file says the rest."""
    contract = Preprocessing(size=(64, 64), aspect="pad", antialias=False)
    model = InceptionV1(weights=None, classes=2, input_shape=(64, 64, 3), width_multiplier=0.25)
    path = tmp_path / hub.WEIGHTS
    keras_inception.save_weights(model, path, preprocessing=contract, class_names=["cat", "dog"])
    (tmp_path / hub.CONFIG).write_text('{"architecture": "InceptionV1", "keras_inception": {}}')
    classifier = keras_inception.load_classifier(tmp_path)
    assert (classifier.class_names, classifier.preprocessing) == (("cat", "dog"), contract)
    images = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3)).astype(np.uint8)
    want = keras.ops.convert_to_numpy(model(contract.scale(images), training=False))
    np.testing.assert_allclose(classifier.predict(images), want, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "resnet50"}, "one of inception_v3, .* Received: 'resnet50'"),
        ({"architecture": None}, "Received: 'None'"),
        ({"pretrained_cfg": {"input_size": 3}}, r"\(config.json\) cannot be used"),
        (
            {"pretrained_cfg": {**CONFIG["pretrained_cfg"], "crop_mode": "x"}},
            "cannot be used: it lacks 'x'",
        ),
    ],
)
def test_a_strange_config_is_one_error(change, message, folder, tmp_path):
    (tmp_path / hub.WEIGHTS).write_bytes((folder / hub.WEIGHTS).read_bytes())
    (tmp_path / hub.CONFIG).write_text(json.dumps(CONFIG | change))
    with pytest.raises(ValueError, match=message):
        read(tmp_path)


def test_names_for_other_outputs_are_not_used(folder, tmp_path, caplog):
    (tmp_path / hub.WEIGHTS).write_bytes((folder / hub.WEIGHTS).read_bytes())
    (tmp_path / hub.CONFIG).write_text(json.dumps(CONFIG | {"label_names": ["a", "b", "c"]}))
    assert read(tmp_path).identity.class_names == ()
    assert "names 3 classes of 2 outputs" in caplog.text


def test_addresses_and_what_they_need(monkeypatch):
    assert hub.catalogued("hf://timm/inception_v3.gluon_in1k@main").name.endswith("timm_gluon")
    assert hub.catalogued("hf://timm/inception_v3") is None
    assert hub.is_repository("hf://a/b") and not hub.is_repository("a/b")
    for address in ("hf://a", "hf://a/b/c", "hf:///b", "hf://a/"):
        with pytest.raises(ValueError, match="hf://owner/name or .* Received: hf:"):
            read(address)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ValueError, match=r"pip install 'keras-inception\[hub\]'"):
        InceptionV3(weights="hf://a/b")


# ------------------------------------------------------------------------- by huggingface_hub


class _Hub(http.server.BaseHTTPRequestHandler):
    """What huggingface_hub asks of a hub: {repository}/resolve/{revision}/{file}."""

    protocol_version = "HTTP/1.1"
    files: dict = {}
    token = ""
    breaks = 0
    asked: list = []

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body):
        cls = type(self)
        cls.asked.append((self.command, self.path))
        found = re.fullmatch(r"/me/cats/resolve/([^/]+)/([^/?]+)", self.path)
        if cls.token and self.headers.get("Authorization") != f"Bearer {cls.token}":
            return self.refuse(401, "RepoNotFound")
        revision, name = (found[1], found[2]) if found else ("", "")
        if revision not in ("main", "v2"):
            return self.refuse(404, "RevisionNotFound" if found else "RepoNotFound")
        content = cls.files.get((revision, name))
        if content is None:
            return self.refuse(404, "EntryNotFound")
        start = int((self.headers.get("Range") or "bytes=0-")[6:].split("-")[0])
        self.send_response(206 if start else 200)
        rest = content[start:]
        self.send_header("Content-Length", str(len(rest)))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", hashlib.sha1(revision.encode()).hexdigest())
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        if not body:
            return None
        if cls.breaks and name == hub.WEIGHTS:
            cls.breaks -= 1
            self.wfile.write(rest[: len(rest) // 2])
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()
            return None
        self.wfile.write(rest)
        return None

    def refuse(self, code, what):
        self.send_response(code)
        self.send_header("X-Error-Code", what)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments):
        pass


@pytest.fixture
def served(folder, tmp_path, monkeypatch):
    constants = pytest.importorskip("huggingface_hub.constants")
    names = (hub.CONFIG, hub.WEIGHTS)
    both = {("main", name): (folder / name).read_bytes() for name in names}
    other = json.dumps(CONFIG | {"label_names": ["yes", "no"]}).encode()
    both |= {("v2", hub.CONFIG): other, ("v2", hub.WEIGHTS): both["main", hub.WEIGHTS]}
    handler = type("Handler", (_Hub,), {"files": both, "asked": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    yield handler
    server.shutdown()
    server.server_close()


def test_a_repository_is_brought_once_and_its_revisions_are_told_apart(served, monkeypatch):
    check(read("hf://me/cats"))
    brought = [path for command, path in served.asked if command == "GET"]
    assert [path.rpartition("/")[2] for path in brought] == [hub.CONFIG, hub.WEIGHTS]
    assert read("hf://me/cats@v2").identity.class_names == ("yes", "no")
    served.asked.clear()
    check(read("hf://me/cats"))
    assert {command for command, _ in served.asked} == {"HEAD"}
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    served.asked.clear()
    check(read("hf://me/cats"))
    assert not served.asked
    with pytest.raises(DownloadError, match="hf://me/dogs could not be brought"):
        read("hf://me/dogs")


def test_a_broken_download_goes_on(served):
    """Where it stopped, as far as huggingface_hub had stored what came."""
    served.breaks = 1
    check(read("hf://me/cats"))
    brought = [path for command, path in served.asked if command == "GET"]
    assert sum(hub.WEIGHTS in path for path in brought) == 2


def test_a_token_opens_a_repository(served, monkeypatch):
    served.token = "hf_secret"
    with pytest.raises(DownloadError, match="hf://me/cats could not be brought: .*401"):
        read("hf://me/cats")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    check(read("hf://me/cats"))


def test_what_is_not_there_is_one_line(served):
    for address in ("hf://me/cats@v9", "hf://you/cats"):
        with pytest.raises(DownloadError, match=f"{address} could not be brought") as caught:
            read(address)
        assert "\n" not in str(caught.value)


def test_older_repositories_have_pytorch_model_bin(served):
    served.files["main", "pytorch_model.bin"] = served.files.pop(("main", hub.WEIGHTS))
    check(read("hf://me/cats"))
