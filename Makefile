# Two commands on a fresh machine (Linux, Python 3.11 or newer, no GPU):
#   make sample    set up everything and draw networks that classify MNIST digits
#   make test      set up everything and run the linters, the type checker and the tests
# JOBS=1 tests one file after the other, on how many processes else.
# VENV=folder uses another virtual environment, PYTHON=python3.12 another interpreter to make it.

VENV ?= .venv
PYTHON ?= python3
ARGS ?=
PYTEST_ARGS ?=
JOBS ?= 2

BIN := $(VENV)/bin
BASE := $(VENV)/.biasgpu-base
TEST := $(VENV)/.biasgpu-test
PIP := $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help sample test lint wheel bench docs-cli clean

help:
	@sed -n '1,5s/^# \{0,1\}//p' Makefile
	@echo "also: make lint | wheel | bench | docs-cli | clean"

sample: $(BASE)
	$(BIN)/biasgpu sample --width 512 $(ARGS)

test: lint
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(PYTEST_ARGS)

lint: $(TEST)
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python

# From a copy of the tracked files, so that neither stray files nor an old build/ get in.
wheel: | $(BIN)/python
	rm -rf build/wheel-source dist/biasgpu-*.whl && mkdir -p build/wheel-source
	git ls-files -z | tar --null -T - -cf - | tar -xf - -C build/wheel-source
	$(PIP) wheel --quiet --no-deps --wheel-dir dist build/wheel-source
	$(BIN)/python .ci/check_wheel.py dist/biasgpu-*.whl

bench: $(TEST)
	$(BIN)/python -m benchmarks $(ARGS)

docs-cli: $(BASE)
	$(BIN)/python -m biasgpu.cli.pages > docs/cli.md.new && mv docs/cli.md.new docs/cli.md

# Results in runs/ and the virtual environment stay.
clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find biasgpu cli kernels tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Error: $(PYTHON) is missing or older than Python 3.11." >&2; \
	  echo "Fix:   install Python 3.11 or newer, or name one: make PYTHON=python3.12 ..." >&2; \
	  exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "Error: $(PYTHON) has no venv module." >&2; \
	  echo "Fix:   install it (Debian, Ubuntu: apt install python3-venv), or make PYTHON=..." >&2; \
	  exit 1; }
	$(PYTHON) -m venv $(VENV)

$(BASE): pyproject.toml | $(BIN)/python
	$(PIP) install --quiet -e .
	@touch $@

# What is installed already and new enough is kept: a CPU build of torch stays one.
$(TEST): pyproject.toml | $(BIN)/python
	$(PIP) install --quiet -e '.[test]'
	@touch $(BASE) $@
