"""What several tests need: a small real run, a web server on loopback."""

from __future__ import annotations

import functools
import gc
import http.server
import os
import shutil
import sys
import threading
from pathlib import Path

import filelock
import pytest

from keras_inception.cli.process import prepare_process

sys.path.insert(0, str(Path(__file__).parent))
prepare_process()


def pytest_collection_finish(session):
    """What is imported stays: the garbage collector need not look at it after each network."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """The run folder of a short training of a short GoogLeNet on the `fake` data set.

    The first of pytest's workers that needs it trains it; each has a copy of its own.
    """
    import short_googlenet

    from keras_inception.models import inception_v1
    from keras_inception.recipes import Recipe
    from keras_inception.runs import RunFolder
    from keras_inception.training import train

    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    with filelock.FileLock(shared / "trained.lock"):
        if not (shared / "trained" / "model.keras").exists():
            recipe = Recipe(
                dataset="fake",
                image_size=32,
                width_multiplier=0.5,
                epochs=3,
                batch_size=32,
                learning_rate=0.016,
                ema=0.5,
            )
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(inception_v1, "features", short_googlenet.features)
                train(recipe, str(shared / "trained"))
    return RunFolder(shutil.copytree(shared / "trained", own / "fake"))


@pytest.fixture
def short_googlenet(monkeypatch):
    """InceptionV1 has one of its nine blocks."""
    from short_googlenet import one_block

    from keras_inception.models import inception_v1

    monkeypatch.setattr(inception_v1, "features", one_block)


@pytest.fixture
def bucket(monkeypatch, request):
    """The address of an empty folder of a file system that is none of this machine's.

    TensorFlow keeps ram:// in memory. To etils' epath it is made known as gs:// is, whose paths it
    leaves to TensorFlow.
    """
    import tensorflow as tf
    from etils.epath import backend, gpath, register

    monkeypatch.setattr(gpath, "_URI_PREFIXES", (*gpath._URI_PREFIXES, "ram://"))
    monkeypatch.setattr(gpath, "_URI_SCHEMES", gpath._URI_SCHEMES | {"ram"})
    monkeypatch.setitem(gpath._URI_MAP_ROOT, "ram://", "/ram/")
    monkeypatch.setitem(gpath._PREFIX_TO_BACKEND, "ram", backend.tf_backend)
    monkeypatch.setitem(register._URI_PREFIXES_TO_CLS, "ram://", gpath.PosixGPath)
    address = f"ram://bucket/{abs(hash(request.node.nodeid))}"
    tf.io.gfile.makedirs(address)
    yield address
    tf.io.gfile.rmtree(address)


class FileServer:
    """Serves folders over HTTP on loopback."""

    def __init__(self):
        self.servers = []

    def serve(self, folder):
        """Returns the base URL of a server whose root is `folder`."""

        class Quiet(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *arguments):
                return None

        handler = functools.partial(Quiet, directory=str(folder))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    def close(self):
        for server in self.servers:
            server.shutdown()
            server.server_close()


@pytest.fixture
def file_server():
    server = FileServer()
    yield server
    server.close()
