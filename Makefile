# Each target only calls the README's own lines, in a virtual environment that is made once.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: install train lint test test-all

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

test-all: install
	$(BIN)/python -m pytest -m ""
