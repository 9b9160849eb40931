# Each target only calls the README's own lines, in a virtual environment that is made once.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: install train lint test test-all test-jax test-tpu benchmark notebooks docs wheel

# The stamp makes a second call free; a changed setup.cfg installs again.
$(VENV)/installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[cpu,litert,test,lint]'
	touch $@

install: $(VENV)/installed

train: install
	$(BIN)/python train_tpu.py

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: install
	$(BIN)/python -m pytest

test-all: install test-jax
	$(BIN)/python -m pytest -m ""

# About half an hour; writes docs/benchmarks.json and its page.
benchmark: install
	$(BIN)/python benchmarks/run.py --peers
	$(BIN)/python benchmarks/pages.py

# Models and weights need no TensorFlow: an environment without it.
$(VENV)-jax/installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)-jax
	$(VENV)-jax/bin/pip install --quiet --upgrade pip
	$(VENV)-jax/bin/pip install --quiet 'jax[cpu]' keras numpy h5py safetensors filelock absl-py pytest pytest-xdist
	$(VENV)-jax/bin/pip install --quiet --no-deps --editable .
	touch $@

test-jax: $(VENV)-jax/installed
	KERAS_BACKEND=jax $(VENV)-jax/bin/python -m pytest -m "" tests/models/test_backends.py tests/models/test_fitting.py

# The train steps lowered for TPUs, which needs TensorFlow's TPU wheel without its driver library.
$(VENV)-tpu/installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)-tpu
	$(VENV)-tpu/bin/pip install --quiet --upgrade pip
	$(VENV)-tpu/bin/pip install --quiet tensorflow-tpu==2.20.0 keras numpy h5py safetensors filelock absl-py
	$(VENV)-tpu/bin/pip uninstall --quiet --yes libtpu
	$(VENV)-tpu/bin/pip install --quiet --no-deps --editable .
	touch $@

test-tpu: $(VENV)-tpu/installed
	$(VENV)-tpu/bin/python tools/lower_for_tpu.py
	! $(VENV)-tpu/bin/python tools/lower_for_tpu.py --forbidden InceptionV1

# Runs every notebook from top to bottom and stores its outputs; about twenty-five minutes on two cores.
$(VENV)/notebooks: $(VENV)/installed
	$(BIN)/pip install --quiet --editable '.[notebooks]'
	touch $@

notebooks: $(VENV)/notebooks
	$(BIN)/python tools/notebooks.py

# The site lies in build/site: the variants' pages are made from built models, which needs TensorFlow.
$(VENV)-docs/installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)-docs
	$(VENV)-docs/bin/pip install --quiet --upgrade pip
	$(VENV)-docs/bin/pip install --quiet --editable '.[cpu,docs]'
	touch $@

docs: $(VENV)-docs/installed
	$(VENV)-docs/bin/python tools/site.py build/pages
	$(VENV)-docs/bin/mkdocs build --strict

# dist/ with the wheel and the source distribution, checked.
$(VENV)-build/installed:
	$(PYTHON) -m venv $(VENV)-build
	$(VENV)-build/bin/pip install --quiet --upgrade pip build twine
	touch $@

wheel: $(VENV)-build/installed
	rm -rf dist
	$(VENV)-build/bin/python -m build
	$(VENV)-build/bin/twine check --strict dist/*
