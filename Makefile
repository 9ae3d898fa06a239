# `make demo` and `make test` work on a fresh machine with Python 3.11 or later and make.
#
# PYTHON=python3.12        the interpreter that makes the environment
# VENV=/tmp/elsewhere      where the environment lies
# TORCH_INDEX=https://...  where torch comes from; https://download.pytorch.org/whl/cpu has the
#                          small CPU build, PyPI has the CUDA build on Linux
PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=

BIN := $(VENV)/bin
STAMP := $(VENV)/.made-for-twofold
PIP := $(BIN)/python -m pip install --disable-pip-version-check -q

.PHONY: help env demo test check format docs clean

help:
	@echo "make demo    recommend films from MovieLens-100k, from nothing"
	@echo "make test    run the tests"
	@echo "make check   check format, lint and types"
	@echo "make format  format and fix what ruff can"
	@echo "make docs    write the generated pages of docs/"
	@echo "make clean   remove the environment and what the tools left"

# Rebuilt only when what it depends on changes. torch goes in first and alone: asked for together
# with the rest, an open range makes pip fetch several builds of some gigabytes to choose from.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "twofold needs Python 3.11 or later: make PYTHON=python3.12 ..." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV) (once, a few minutes) ..." >&2
	$(PIP) -c constraints.txt $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	$(PIP) -c constraints.txt -e '.[dev]'
	@touch $@

env: $(STAMP)

demo: $(STAMP)
	$(BIN)/twofold demo

test: $(STAMP)
	$(BIN)/python -m pytest

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(STAMP)
	$(BIN)/python -m docs.generate

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info
